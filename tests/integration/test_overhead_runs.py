"""The overhead experiment on the engine that is there: small runs of other programs, and interrupted ones."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.overhead.experiment import measure
from benchmarks.overhead.pair import Side, places
from benchmarks.overhead.workloads import Better, Program, Workload, cpu_seconds
from spawner_limits.clients.own_containers import Engine
from spawner_limits.engines import labels
from spawner_limits.errors import LimitsError, UsageError
from tests.conftest import MINIMAL, ROOT
from tests.integration.conftest import eventually, tiny

# docker-py leaves the socket of a stream to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

TINY = "spawner-limits/test-overhead:1"
"""sh and some tools: its files are copied at once"""

# no xz in this image, but Python's lzma
COMPRESS = """
TIMEFORMAT='elapsed %3R user %3U system %3S'
{ time python3 -c 'import lzma; lzma.compress(bytes(range(256)) * 4000, preset=1)'; } 2>&1
"""
SMALL = Workload(
    key="small",
    title="small",
    program=Program(name="small", command=("bash", "-c", COMPRESS)),
    measured="CPU time of a little compression",
    figure=cpu_seconds,
    unit="s",
    better=Better.LOWER,
)
SAME = """
read line < /proc/self/status; echo "$line"
while read -r name real rest; do case $name in Uid:|Gid:) echo "$name $real";; esac; done < /proc/self/status
echo "$PATH $GIVEN $OWN"; pwd
cat /bin/sh /bin/cat | { sum=0; while read -r line; do sum=$((sum + ${#line})); done; echo "$sum"; }
echo lost > /dev/null
echo x 2> /dev/null > /dev/full || echo full
echo x > /dev/shm/x && cat /dev/shm/x && rm /dev/shm/x
"""


@pytest.fixture
def engine():
    """The engine that is there."""
    found = Engine()
    yield found
    found.client.close()
    gc.collect()


@pytest.fixture(scope="module")
def image(client):
    """A small image of our own, with a user who is not root."""
    name, _, tag = TINY.partition(":")
    changes = ["USER 1000:100", "ENV OWN=own"]
    client.import_image_from_data(tiny(), repository=name, tag=tag, changes=changes)
    yield TINY
    client.remove_image(TINY)


def left_by(client, pid):
    """What a process made and left: containers, directories, and mounts that the host sees."""
    found = client.containers(all=True, filters={"label": labels.TRIAL})
    containers = [one["Names"] for one in found if one["Labels"][labels.TRIAL].startswith(f"{pid}.")]
    directories = list(Path(tempfile.gettempdir()).glob(f"spawner-limits-overhead-{pid}-*"))
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    return containers, directories, f"spawner-limits-overhead-{pid}-" in mounts


NOTHING = ([], [], False)


def test_a_small_run(client, engine):
    """Two pairs give two figures of each side, and too few to decide; every step is told; nothing is left."""
    said = []
    found = measure(engine, MINIMAL, pairs=2, seed=3, workloads=[SMALL], say=said.append)
    (row,) = found.rows
    assert (len(row.pairs), row.finding, found.exit_code, found.image, found.seed) == (2, "undecided", 3, MINIMAL, 3)
    assert all(0 < one.native < 60 and 0 < one.container < 60 for one in row.pairs)
    assert row.statement.startswith("not decided with 2 pairs: ")
    assert said[:2] == [
        f"making a container of {MINIMAL}, and a copy of its files for the native side",
        "small: warming up",
    ]
    assert [one.partition(" native")[0] for one in said[2:]] == ["1/2 small:", "2/2 small:"]
    assert left_by(client, os.getpid()) == NOTHING


def test_the_two_sides(client, engine, image):
    """Same user, environment and files; but one is in namespaces of its own, and the other in the host's."""
    same = Program(name="same", command=("sh", "-c", SAME), environment={"GIVEN": "given"})
    first = Program(name="first", command=("cat", "/proc/1/cmdline"))
    fails = Program(name="fails", command=("sh", "-c", "echo because >&2; exit 3"))
    absent = Program(name="absent", command=("/no/such/command",))
    with places(engine, image, 120) as sides:
        said = {side: sides[side].run(same).splitlines() for side in Side}
        ones = {side: sides[side].run(first) for side in Side}
        for side in Side:
            with pytest.raises(LimitsError, match=rf"^fails \({side}\) failed with exit code 3: because$"):
                sides[side].run(fails)
            with pytest.raises(LimitsError, match=r"no/such/command"):
                sides[side].run(absent)
    assert said[Side.NATIVE] == said[Side.CONTAINER]
    assert said[Side.NATIVE][:5] == [
        "Name:\tsh",
        "Uid: 1000",
        "Gid: 100",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin given own",
        "/",
    ]
    assert int(said[Side.NATIVE][5]) > 10_000
    assert said[Side.NATIVE][6:] == ["full", "x"]
    assert ones[Side.NATIVE] == Path("/proc/1/cmdline").read_text(encoding="utf-8")
    assert "docker-init" in ones[Side.CONTAINER]
    assert left_by(client, os.getpid()) == NOTHING


REFUSED = {
    "an image that is not there": (
        {"image": "no-such-image:1"},
        "no image no-such-image:1 on this machine",
    ),
    "no pairs": ({"pairs": 0}, "0 pairs: at least 1 is needed"),
    "a margin in percent": ({"margin": 5}, "a margin of 5 can't be: it is a share, 0.05 for ±5 %"),
    "no workloads": ({"workloads": ()}, "no workload was asked for"),
}


@pytest.mark.parametrize(("changed", "said"), REFUSED.values(), ids=REFUSED)
def test_refused(client, engine, changed, said):
    """What can't be asked for is refused before anything is made."""
    asked = {"image": MINIMAL, "pairs": 1, "seed": 1, "workloads": [SMALL], "say": print, **changed}
    with pytest.raises(UsageError) as raised:
        measure(engine, **asked)
    assert str(raised.value).startswith(said)
    assert left_by(client, os.getpid()) == NOTHING


def test_the_time_is_over(client, engine, image):
    """No pair is begun after its time; what has none is not decided, and nothing is left."""
    said = []
    nothing = sleeping("nothing", "nowhere")
    found = measure(engine, image, pairs=9, seed=1, workloads=[nothing], seconds=0, say=said.append)
    assert (found.rows[0].pairs, found.rows[0].estimate, found.exit_code) == ((), None, 3)
    assert said[-1] == "the time is over: 9 of 9 pairs of runs are left out"
    assert left_by(client, os.getpid()) == NOTHING


# -- interrupted -------------------------------------------------------------------------------------------------------

RUN = """
import sys
from spawner_limits import interrupt
from spawner_limits.clients.own_containers import Engine
from benchmarks.overhead.experiment import measure
from tests.integration.test_overhead_runs import sleeping

interrupt.heed()
try:
    measure(Engine(), sys.argv[1], pairs=1, seed=1, workloads=[sleeping(*sys.argv[2:])], say=print)
except KeyboardInterrupt:
    sys.exit(interrupt.EXIT_CODE)
"""
# which side it is on the first process tells: in a container that waits it is the engine's own
SLEEP = """
read -r first < /proc/1/comm
inside=native; [ "$first" != docker-init ] || inside=container
[ "$inside" != "$2" ] || sh -c 'sleep 300; : "$1"' sh "$1" &
wait
"""


def sleeping(mark, side):
    """Something that would take five minutes on one side, in a process that it started."""
    return Workload(
        key="sleeping",
        title="sleeping",
        program=Program(name="sleeping", command=("sh", "-c", SLEEP, "sh", mark, side)),
        measured="nothing",
        figure=len,
        unit="",
        better=Better.LOWER,
    )


def processes(mark):
    """Ids of the processes that have this word in their command line and are not Python."""
    found = []
    # not by a glob: that fails when a process ends meanwhile
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            words = (process / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
            if mark in words and words[0] == "sh":
                found.append(int(process.name))
    return found


def unpacking(process):
    """Whether its directory for the image's files is there and not empty."""
    return any(Path(tempfile.gettempdir()).glob(f"spawner-limits-overhead-{process.pid}-*/*"))


MOMENTS = {
    "SIGINT while the image is copied": (signal.SIGINT, MINIMAL, "nowhere", lambda made, _mark: unpacking(made)),
    "SIGINT in a native run": (signal.SIGINT, TINY, "native", lambda _made, mark: len(processes(mark)) > 1),
    "SIGTERM in a native run": (signal.SIGTERM, TINY, "native", lambda _made, mark: len(processes(mark)) > 1),
    "SIGINT in a container": (signal.SIGINT, TINY, "container", lambda _made, mark: len(processes(mark)) > 1),
    "SIGTERM in a container": (signal.SIGTERM, TINY, "container", lambda _made, mark: len(processes(mark)) > 1),
}


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize(("number", "of", "side", "ready"), MOMENTS.values(), ids=MOMENTS)
def test_interrupted(client, number, of, side, ready):
    """It ends soon, without a traceback; no process, container, file or mount is left."""
    mark = f"mark-{uuid.uuid4().hex}"
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, of, mark, side],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        eventually(lambda: ready(process, mark) or process.poll() is not None, 120)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, stderr) == (130, "spawner-limits: interrupted; removing what it made\n")
    assert (left_by(client, process.pid), processes(mark)) == (NOTHING, [])
