"""What goes wrong around `spawner-limits verify`: bad input, interrupts, and an engine or a container that dies."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import UnixStreamServer

import pytest

from spawner_limits.clients.docker import engine_info
from spawner_limits.kernel.cgroups import find
from tests.conftest import MINIMAL
from tests.integration.conftest import TINY, eventually, processes_of, tar

IMAGE = f"--image={MINIMAL}"
CORES = os.cpu_count()
REFUSED = "Docker refuses a container with these limits"

# -- bad input ---------------------------------------------------------------------------------------------------

# of a value that a policy could not have either, tests/unit/test_limits.py has the whole message
BAD = {
    "nothing to verify": ((), "name the users whose limits are to be verified, or an --image"),
    "limits without an image": (
        ("--mem-limit=1G",), "limits are given with --image; those of users are in the policy",
    ),
    "limits for users": (
        ("--mem-limit=1G", "alice"), "limits are given with --image; those of users are in the policy",
    ),
    "an image without limits": ((IMAGE,), "give at least one limit, such as --mem-limit 1G"),
    "no limit but unlimited": ((IMAGE, "--mem-limit=unlimited"), "give at least one limit, such as --mem-limit 1G"),
    "an image that is missing": (
        ("--image=no-such-image:1", "--mem-limit=1G"),
        "no image no-such-image:1 on this machine; build it with docker/build.sh, or pull it with docker pull",
    ),
    "an image without a name": (("--image=", "--mem-limit=1G"), "--image is empty: give the name of an image"),
    "a name that no image can have": (
        ("--image=No:Such:Image", "--mem-limit=1G"),
        f"{REFUSED}: invalid reference format: repository name must be lowercase",
    ),
    "a size that is none": ((IMAGE, "--mem-limit=2GBB"), "--mem-limit 2GBB: expected a size"),
    "a size below zero": ((IMAGE, "--mem-limit=-1"), "--mem-limit -1: expected a size"),
    "a size of zero": ((IMAGE, "--mem-limit=0"), "--mem-limit 0: expected a size above 0"),
    "an empty size": ((IMAGE, "--mem-limit="), "--mem-limit (empty): expected a size"),
    "an infinite size": ((IMAGE, "--mem-limit=.inf"), "--mem-limit .inf: expected a size"),
    "less memory than Docker accepts": (
        (IMAGE, "--mem-limit=4M"),
        "--mem-limit 4M: expected at least 6 MiB",
    ),
    "less memory and swap than memory": (
        (IMAGE, "--mem-limit=1G", "--memswap-limit=512M"),
        "--memswap-limit counts memory and swap together: it needs a --mem-limit that is not above it",
    ),
    "memory and swap without memory": (
        (IMAGE, "--memswap-limit=512M"),
        "--memswap-limit counts memory and swap together: it needs a --mem-limit that is not above it",
    ),
    "more memory kept than allowed": (
        (IMAGE, "--mem-limit=64M", "--mem-guarantee=128M"),
        f"{REFUSED}: Minimum memory limit can not be less than memory reservation limit, see usage",
    ),
    "swappiness above 100": ((IMAGE, "--mem-swappiness=101"), "--mem-swappiness 101: expected at most 100"),
    "more cores than the host has": (
        (IMAGE, "--cpu-limit=64"), f"--cpu-limit 64: this host has {CORES} cores, so the limit could never bind",
    ),
    "fewer cores than the kernel counts": (
        (IMAGE, "--cpu-limit=0.001"),
        "--cpu-limit 0.001: expected at least 0.01 cores",
    ),
    "a period without a quota": (
        (IMAGE, "--cpu-period=50000"), "--cpu-period is what --cpu-limit is counted over: it needs one",
    ),
    "a quota below the kernel's least": (
        (IMAGE, "--cpu-limit=0.01", "--cpu-period=1000"),
        f"{REFUSED}: CPU cfs quota can not be less than 1ms (i.e. 1000)",
    ),
    "a CPU that the host does not have": (
        (IMAGE, "--cpuset-cpus=99"),
        f"{REFUSED}: Requested CPUs are not available - requested 99, available: 0-{CORES - 1}",
    ),
    "CPUs that are no numbers": (
        (IMAGE, "--cpuset-cpus=all"), "--cpuset-cpus all: expected CPU numbers",
    ),
    "no process at all": (
        (IMAGE, "--pids-limit=0"),
        "--pids-limit 0: expected at least 1",
    ),
    "a directory that is not there": (
        (IMAGE, "--mem-limit=1G", "--json=/no/such/directory/report.json"),
        "--json /no/such/directory/report.json: not a file in a directory that exists",
    ),
    "a directory for a file": (
        (IMAGE, "--mem-limit=1G", "--html=/tmp"), "--html /tmp: not a file in a directory that exists",
    ),
    "two reports on stdout": (
        (IMAGE, "--mem-limit=1G", "--json=-", "--junit=-"),
        "only one of --json, --html and --junit can go to stdout",
    ),
    "users without a token": (
        ("alice",),
        (
            "no token for the hub: put one with the scopes servers, read:users and admin:server_state in "
            "JUPYTERHUB_API_TOKEN"
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_before_anything_starts(verify, arguments, message):
    """One line that says what was found, and begins so; exit code 2; stdout is empty."""
    found = verify(*arguments, *(["--", "true"] if "--image" in " ".join(arguments) else []), JUPYTERHUB_API_TOKEN="")
    assert (found.code, found.stdout) == (2, "")
    assert found.stderr.startswith(f"spawner-limits: {message}")
    assert found.stderr.count("\n") == 1
    assert verify.made() == set()


UNKNOWN_OPTIONS = {
    "an option that Docker has nothing for": ("--cpu-guarantee=1", "No such option: --cpu-guarantee"),
    "a timeout that leaves no time": ("--timeout=1", "greater than or equal to 10"),
    "a timeout that is no number": ("--timeout=soon", "valid integer"),
}


@pytest.mark.parametrize(("option", "message"), UNKNOWN_OPTIONS.values(), ids=UNKNOWN_OPTIONS)
def test_an_option_that_cannot_be_is_refused(verify, option, message):
    """The command line's own refusal, exit code 2."""
    found = verify(IMAGE, option, "--mem-limit=1G", "--", "true")
    assert (found.code, found.stdout) == (2, "")
    assert message in " ".join(re.sub("[│╭╮╰╯─]", " ", found.stderr).split())


# -- images that lack something ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(own_engine):
    """Name → image: one without any program, and one whose `sleep` does not wait."""
    true = Path("/usr/bin/true").resolve()
    libraries = [word for word in subprocess.check_output(["ldd", true], text=True).split() if word.startswith("/")]
    files = {library[1:]: (Path(library).read_bytes(), 0o755) for library in libraries}
    images = {
        "empty": {"etc/motd": (b"nobody lives here\n", 0o644)},
        "hasty": files | {"bin/sleep": (true.read_bytes(), 0o755)},
        "shell-less": files | {"bin/sleep": (Path("/usr/bin/sleep").read_bytes(), 0o755)},
    }
    for name, contents in images.items():
        own_engine.client.import_image_from_data(tar(contents), repository=f"test-{name}", tag="1")
    return {name: f"test-{name}:1" for name in images}


ENDED = r"a container of {} ended at once; the image needs a sleep that waits|container \S+ can't run true: .*"


@pytest.mark.parametrize("image", ["test-empty:1", "test-hasty:1"], ids=["no programs at all", "a sleep in haste"])
@pytest.mark.usefixtures("bare")
def test_an_image_without_a_sleep_cannot_be_pressed(own_verify, image):
    """Nothing can run in a container that has ended; exit code 2, and what the image lacks."""
    found = own_verify(f"--image={image}", "--mem-limit=64M", "--", "true")
    assert (found.code, found.stdout) == (2, "")
    assert re.fullmatch(f"spawner-limits: (?:{ENDED.format(image)})", found.message), found.message


@pytest.mark.usefixtures("bare")
def test_an_image_without_a_shell_has_no_load_for_shares(own_verify):
    """The load for a contest is `sh`; without one it says so, and nobody else's process is pinned."""
    found = own_verify("--image=test-shell-less:1", "--cpu-shares=2048", "--", "sleep", "1")
    assert (found.code, found.stdout) == (2, "")
    assert found.message.startswith("spawner-limits: the load for cpu_shares does not run: ")
    assert '"sh": executable file not found in $PATH' in found.message


@pytest.mark.parametrize(
    ("image", "code", "problem"),
    [
        ("test-shell-less:1", 126, r'.*exec: "sh": executable file not found in \$PATH.*'),
        (TINY, 127, r"the load ended with exit code 127: sh: \d: jupyter: not found"),
    ],
    ids=["no shell", "no jupyter"],
)
@pytest.mark.usefixtures("bare")
def test_an_image_without_jupyter_cannot_execute_the_notebook(own_verify, image, code, problem):
    """UNKNOWN, with what was missing: a notebook that never ran has pressed nothing."""
    found = own_verify(f"--image={image}", "--mem-limit=64M", "--json=-")
    load = found.report["trials"][0]["load"]
    assert re.fullmatch(problem, load["problem"]), load["problem"]
    assert {outcome for outcome, _ in found.verdicts().values()} == {"UNKNOWN"}
    assert found.code == 3
    assert load["exit_code"] == code


NOTEBOOK = """
cat > /tmp/broken.ipynb <<'END'
{"cells": [{"cell_type": "code", "id": "a", "execution_count": null, "metadata": {}, "outputs": [],
            "source": "raise ValueError('the data is not here')"}],
 "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
END
jupyter nbconvert --to notebook --execute --stdout /tmp/broken.ipynb
"""


def test_a_notebook_that_fails_is_unknown_and_says_why(verify):
    """Its last words are the reason, and nothing is HELD."""
    found = verify(IMAGE, "--mem-limit=512M", "--json=-", "--", "sh", "-c", NOTEBOOK)
    load = found.report["trials"][0]["load"]
    assert load["problem"] == "the load ended with exit code 1: ValueError: the data is not here"
    assert {outcome for outcome, _ in found.verdicts().values()} == {"UNKNOWN"}
    assert found.code == 3


# -- no engine, no hub -------------------------------------------------------------------------------------------


class _Deaf(BaseHTTPRequestHandler):
    """Answers everything with what its server was told to say."""

    def _answer(self):
        status, kind, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815  the base class's names

    def log_message(self, *_):
        """Quiet."""

    def address_string(self):
        return "a Unix socket"


class _UnixHTTPServer(UnixStreamServer):
    """HTTP on a Unix socket, as Docker speaks it."""


@contextmanager
def answering(server, answer):
    """Serve one answer to everything, for the time of the block."""
    server.answer = answer
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


HTML = (200, "text/html", b"<html>Welcome</html>")
NOT_DOCKER = {
    "HTML": HTML,
    "an error": (500, "text/plain", b"out of order"),
    "JSON of somebody else": (200, "application/json", b'{"hello": "world"}'),
}


@pytest.mark.parametrize("answer", NOT_DOCKER.values(), ids=NOT_DOCKER)
def test_a_socket_that_is_not_dockers(verify, tmp_path, answer):
    """Whatever answers there: no engine, exit code 4, one line."""
    path = os.path.relpath(tmp_path / "s")
    with answering(_UnixHTTPServer(path, _Deaf), answer):
        found = verify(IMAGE, "--mem-limit=64M", "--", "true", DOCKER_HOST=f"unix://{tmp_path}/s")
    assert (found.code, found.stdout) == (4, "")
    assert found.stderr.startswith("spawner-limits: the Docker engine does not answer (")
    assert found.stderr.endswith("); start it with docker/engine.sh\n")
    assert found.stderr.count("\n") == 1


NO_ENGINE = {
    "a socket that is not there": "unix:///nonexistent.sock",
    "a port where nobody listens": "tcp://127.0.0.1:9",
    "a file that is no socket": "unix:///etc/passwd",
    "no address": "nonsense://",
}


@pytest.mark.parametrize("host", NO_ENGINE.values(), ids=NO_ENGINE)
def test_no_engine(verify, host):
    """Exit code 4, and what to do about it."""
    found = verify(IMAGE, "--mem-limit=64M", "--", "true", DOCKER_HOST=host)
    assert (found.code, found.stdout) == (4, "")
    assert re.fullmatch(
        r"spawner-limits: the Docker engine does not answer \(.+\); start it with docker/engine.sh\n", found.stderr
    ), found.stderr


STRANGER = "what answers at {{url}} is no hub's API (HTTP {}); --hub ends in /hub/api"
NOT_A_HUB = {
    "HTML": (HTML, 4, STRANGER.format(200)),
    "JSON, but no answer of a hub's": ((200, "application/json", b"[]"), 4, STRANGER.format(200)),
    "nothing there": ((404, "text/plain", b"not found"), 4, STRANGER.format(404)),
    "an error": ((500, "text/plain", b"out of order"), 4, STRANGER.format(500)),
    "a proxy without a hub": ((503, "text/html", b"<html>"), 4, STRANGER.format(503)),
    "a wrong token": (
        (403, "application/json", b'{"status": 403, "message": "Missing or invalid credentials."}'), 4,
        "the hub at {url} does not accept the token; see JUPYTERHUB_API_TOKEN",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "code", "message"), NOT_A_HUB.values(), ids=NOT_A_HUB)
def test_what_answers_is_no_hub(verify, answer, code, message):
    """A wrong --hub is said in one line, and nothing is started."""
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), _Deaf), answer) as server:
        url = f"http://127.0.0.1:{server.server_port}/hub/api"
        found = verify("alice", "--hub", url, JUPYTERHUB_API_TOKEN="a-token")
    assert (found.code, found.stdout, found.stderr) == (code, "", f"spawner-limits: {message.format(url=url)}\n")


def test_no_hub(verify):
    """Exit code 4, and where it was looked for."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/hub/api"
    found = verify("alice", "--hub", url, JUPYTERHUB_API_TOKEN="a-token")
    assert (found.code, found.stdout) == (4, "")
    assert found.stderr == f"spawner-limits: no hub answers at {url}; is it started, and is --hub right?\n"


# -- interrupts --------------------------------------------------------------------------------------------------

BUSY = ("sh", "-c", "sleep 300 & sleep 300 & wait")
SHORT = ("sleep", "0.2")
PRESS = (f"--image={TINY}", "--mem-limit=64M", "--")
CONTEST = (f"--image={TINY}", "--cpu-shares=2048", "--")
PHASES = {
    "the container is made": ((*PRESS, *BUSY), "create", 1),
    "the container starts": ((*PRESS, *BUSY), "start", 1),
    "the load is made": ((*PRESS, *BUSY), "exec_create", 1),
    "the load starts": ((*PRESS, *BUSY), "exec_start", 1),
    "the load has ended": ((*PRESS, *SHORT), "exec_die", 1),
    "the container is removed": ((*PRESS, *SHORT), "die", 1),
    "the sibling is made": ((*CONTEST, *SHORT), "create", 2),
    "the sibling starts": ((*CONTEST, *SHORT), "start", 2),
    "one of the two burns": ((*CONTEST, *SHORT), "exec_start", 2),
    "both of them burn": ((*CONTEST, *SHORT), "exec_start", 3),
}


# one handler has both signals: the other one's phases are for a longer run
SIGNALS = {"Ctrl-C": signal.SIGINT, "SIGTERM": pytest.param(signal.SIGTERM, marks=pytest.mark.soak)}


@pytest.mark.parametrize("number", SIGNALS.values(), ids=SIGNALS)
@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES)
def test_an_interrupt_leaves_nothing(own_engine, own_verify, phase, number):
    """In each phase: exit code 130, one line, no container and no process."""
    arguments, event, count = phase
    process = own_engine.after(event, count, lambda: own_verify.start(*arguments))
    process.send_signal(number)
    found = own_verify.end(process, timeout=30)
    assert (found.code, found.stdout) == (130, "")
    assert found.message == "spawner-limits: interrupted; removing what it made"
    assert own_verify.containers() == []
    assert processes_of(own_verify.made()) == []


def test_an_interrupt_while_both_contend(own_verify):
    """Ctrl-C in the middle of the contest ends the load in both containers, and both containers."""
    process = own_verify.start(*CONTEST, *SHORT)
    eventually(lambda: len(own_verify.containers(process)) == 2)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    assert own_verify.end(process, timeout=30).code == 130
    assert processes_of(own_verify.made()) == []


def test_more_interrupts_do_not_stop_the_cleanup(own_engine, own_verify):
    """Somebody who loses patience, and presses again and again, leaves nothing either."""
    process = own_engine.after("exec_start", 1, lambda: own_verify.start(*PRESS, *BUSY))
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    found = own_verify.end(process)
    assert found.code == 130
    assert own_verify.containers() == []


def test_a_terminal_that_closes_leaves_nothing(own_engine, own_verify):
    """SIGHUP, as when a connection is lost, is an interrupt."""
    process = own_engine.after("exec_start", 1, lambda: own_verify.start(*PRESS, *BUSY))
    process.send_signal(signal.SIGHUP)
    assert own_verify.end(process, timeout=30).code == 130


def test_after_nohup_a_terminal_may_close(own_engine, own_verify):
    """Whoever said that SIGHUP is to be ignored meant it."""
    start = lambda: own_verify.start(*PRESS, "sleep", "2", wrapper=["nohup"])  # noqa: E731
    process = own_engine.after("exec_start", 1, start)
    process.send_signal(signal.SIGHUP)
    assert own_verify.end(process, timeout=30).code == 3


LOST = """
import io, os, signal
from spawner_limits import interrupt
class Answer(io.RawIOBase):
    def close(self):
        os.kill(os.getpid(), signal.SIGINT)
interrupt.heed()
Answer()
print("lost")
try:
    interrupt.pause(60)
except KeyboardInterrupt:
    print("found")
"""


def test_an_interrupt_that_python_drops_is_not_lost():
    """What is raised in a file's finalizer vanishes; the next pause brings it back."""
    found = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, check=True, timeout=30)
    assert found.stdout.split() == ["lost", "found"]


# -- what others left --------------------------------------------------------------------------------------------


def test_the_next_run_removes_what_a_killed_one_left(own_engine, own_verify):
    """After SIGKILL nobody cleans up, until the next `verify`; what a living one presses in is left alone."""
    living = own_engine.after("exec_start", 1, lambda: own_verify.start(*PRESS, *BUSY))
    killed = own_engine.after("exec_start", 1, lambda: own_verify.start(*PRESS, *BUSY))
    killed.kill()
    killed.communicate()
    (left,) = own_verify.containers(killed)
    assert processes_of([left["Id"]]) != []

    assert own_verify(*PRESS, "true").code == 3
    assert own_verify.containers(killed) == []
    assert processes_of([left["Id"]]) == []

    (pressed,) = own_verify.containers(living)
    assert pressed["State"] == "running"
    assert len(processes_of([pressed["Id"]])) > 2
    living.send_signal(signal.SIGINT)
    assert own_verify.end(living, timeout=30).code == 130


def test_a_run_on_another_engine_leaves_it_to_the_next_one_there(client, own_engine, own_verify, verify):
    """Though both engines have one id, as two on one host do: it would let go of what it can't find."""
    one, other = (engine.info() for engine in (client, own_engine.client))
    assert engine_info(one).id != engine_info(other).id
    killed = own_engine.after("exec_start", 1, lambda: own_verify.start(*PRESS, *BUSY))
    killed.kill()
    killed.communicate()
    assert verify("--image", MINIMAL, "--mem-limit=64M", "--", "true").code == 3
    assert own_verify.containers() != []
    assert own_verify(*PRESS, "true").code == 3
    assert own_verify.containers() == []


def test_runs_that_sweep_at_once_do_not_trip_over_each_other(own_engine, own_verify):
    """Three runs find the same remains, and each of them goes its way."""
    killed = [own_engine.after("exec_start", 1, lambda: own_verify.start(*PRESS, *BUSY)) for _ in range(3)]
    for one in killed:
        one.kill()
        one.communicate()
    assert len(own_verify.containers()) == len(killed)
    runs = [own_verify.start(*PRESS, "true") for _ in range(3)]
    assert [own_verify.end(run).code for run in runs] == [3, 3, 3]
    assert own_verify.containers() == []


# -- a container or an engine that dies --------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [PRESS, CONTEST], ids=["memory", "shares"])
def test_a_container_that_is_killed_is_unknown(own_engine, own_verify, arguments):
    """Somebody's `docker kill` in the middle of the load: UNKNOWN, with the reason, and exit code 3."""
    start = lambda: own_verify.start("--json=-", *arguments, *BUSY)  # noqa: E731
    process = own_engine.after("exec_start", 1, start)
    own_engine.client.kill(own_verify.running(process)["Id"])
    found = own_verify.end(process, timeout=30)
    assert found.code == 3
    assert found.report["trials"][0]["load"]["problem"] == "the container ended before its load did"
    assert {outcome for outcome, _ in found.verdicts().values()} == {"UNKNOWN"}


def test_a_container_that_is_removed_is_unknown(own_engine, own_verify):
    """`docker rm -f` is no different."""
    process = own_engine.after("exec_start", 1, lambda: own_verify.start("--json=-", *PRESS, *BUSY))
    own_engine.client.remove_container(own_verify.running(process)["Id"], force=True)
    found = own_verify.end(process, timeout=30)
    assert found.code == 3
    assert found.report["trials"][0]["load"]["problem"] == "the container ended before its load did"


def test_an_engine_that_dies_takes_nothing_along(mortal, mortal_verify):
    """SIGKILL for dockerd and containerd in mid-load: exit code 4, and the container's processes end without them."""
    process = mortal.after("exec_start", 1, lambda: mortal_verify.start(*PRESS, *BUSY))
    container = mortal_verify.running(process)
    cgroup = find(container["State"]["Pid"], container_id=container["Id"])
    members = cgroup.directories["memory"] / "cgroup.procs"
    eventually(lambda: len(members.read_text().split()) >= 4)
    mortal.kill()
    found = mortal_verify.end(process, timeout=30)
    assert (found.code, found.stdout) == (4, "")
    assert found.message.startswith("spawner-limits: the Docker engine does not answer (")
    eventually(lambda: members.read_text().split() == [])
    for directory in {*cgroup.directories.values(), cgroup.unified} - {None}:
        directory.rmdir()  # nobody else is left to


def test_an_engine_that_hangs_is_not_waited_for(mortal, mortal_verify):
    """It stops answering in mid-load, then Ctrl-C: exit code 4 in time, and no process of the load lives on."""
    process = mortal.after("exec_start", 1, lambda: mortal_verify.start(*PRESS, *BUSY))
    container = mortal_verify.running(process)
    cgroup = find(container["State"]["Pid"], container_id=container["Id"])
    members = cgroup.directories["memory"] / "cgroup.procs"
    eventually(lambda: len(members.read_text().split()) >= 4)
    mortal.process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    found = mortal_verify.end(process, timeout=60)
    assert (found.code, found.stdout) == (4, "")
    assert found.message.startswith("spawner-limits: the Docker engine does not answer (")
    eventually(lambda: members.read_text().split() == [])


# -- nobody who reads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone(own_verify, stream):
    """`verify … | head -0`: no traceback, no container."""
    ours, theirs = os.pipe()
    os.close(ours)
    process = own_verify.start(*PRESS, "sleep", "1", **{stream: theirs})
    os.close(theirs)
    found = own_verify.end(process, timeout=30)
    assert found.code == 1
    assert "BrokenPipe" not in (found.stderr or "")


@pytest.mark.parametrize("output", [(), ("--json=-",)], ids=["table", "JSON"])
def test_a_full_disk_under_stdout(own_verify, output):
    """The report can't be written, and that is said once."""
    with Path("/dev/full").open("w") as full:
        found = own_verify.end(own_verify.start(*output, *PRESS, "true", stdout=full))
    assert found.code == 2
    assert found.message == "spawner-limits: the report can't be written to stdout: No space left on device"


def test_a_full_disk_under_a_report(own_verify):
    """The verdicts are on stdout by then."""
    found = own_verify("--json=/dev/full", *PRESS, "true")
    assert found.code == 2
    assert found.message == "spawner-limits: --json /dev/full: No space left on device"
    assert "UNKNOWN" in found.stdout
