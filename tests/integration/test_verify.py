"""`spawner-limits verify --image`: what each load makes of each limit, on the real engine and the real kernel."""

from __future__ import annotations

import json
import os
import pty
import re
import xml.etree.ElementTree as ET
from contextlib import suppress
from pathlib import Path

import pytest

from spawner_limits.units import MIB
from tests import kernel_files
from tests.busy import TRIES, is_busy
from tests.conftest import MINIMAL, TENSORFLOW
from tests.integration.conftest import eventually

LIMIT = 64 * MIB
HOG = """
import os, sys
sys.stdout.reconfigure(line_buffering=True)
child = os.fork()
if not child:
    taken = []
    for _ in range(int(sys.argv[1])):
        taken.append(bytearray(b"x") * (1 << 20))
    os._exit(0)
code = os.waitstatus_to_exitcode(os.wait()[1])
print("the hog ended with", code)
sys.exit(code if code >= 0 else 128 - code)
"""
"""takes so many MiB in a child, and ends as the child did, in a shell's terms"""
KILLED = """
import os, signal, sys
child = os.fork()
if not child:
    taken = bytearray(b"x") * (20 << 20)
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(128 - os.waitstatus_to_exitcode(os.wait()[1]))
"""
"""what looks like an OOM kill from outside, and is none"""
FORKS = """
import os, time
children = []
try:
    while True:
        child = os.fork()
        if not child:
            time.sleep(60)
        children.append(child)
except BlockingIOError as error:
    print(error.strerror)
for child in children:
    os.kill(child, 9)
    os.wait()
"""
CACHE = "head -c 200M /dev/zero > /tmp/cache && rm /tmp/cache"


def python(script, *arguments):
    """A Python program as a load."""
    return ("python3", "-c", script, *map(str, arguments))


PEAK = r"peak 64 MiB"
NO_SWAP = r"not pressed: (peak|largest sample) \d+ [KM]iB; this host has no swap to press with"
EXACT = {
    # options, load, exit code, the load's own exit code, verdicts
    "memory: a hog is killed by the OOM killer": (
        {"mem-limit": "64M"},
        python(HOG, 256),
        0,
        137,
        {
            "mem_limit": ("HELD", f"{PEAK}, and the OOM killer ended 1 process"),
            "memswap_limit": ("HELD", f"{PEAK}, and the OOM killer ended 1 process"),
        },
    ),
    "memory: a load that stays below it presses nothing": (
        {"mem-limit": "64M"},
        python(HOG, 20),
        3,
        0,
        {
            "mem_limit": ("UNKNOWN", r"not pressed: (peak|largest sample) \d+ [KM]iB"),
            "memswap_limit": (
                "UNKNOWN",
                r"not pressed: (peak|largest sample) \d+ [KM]iB(; this host has no swap to press with)?",
            ),
        },
    ),
    "memory: page cache over the limit is reclaimed, and nobody is killed": (
        {"mem-limit": "64M"},
        ("sh", "-c", CACHE),
        0,
        0,
        {
            "mem_limit": ("HELD", f"{PEAK} reached the limit and did not pass it"),
            "memswap_limit": ("HELD", f"{PEAK} reached the limit and did not pass it"),
        },
    ),
    "memory: a SIGKILL that looks like an OOM kill is none": (
        {"mem-limit": "64M"},
        python(KILLED),
        3,
        137,
        {
            "mem_limit": (
                "UNKNOWN",
                r"not pressed: (peak|largest sample) \d+ [KM]iB \(the load ended with exit code 137\)",
            ),
            "memswap_limit": (
                "UNKNOWN",
                r"not pressed: (peak|largest sample) \d+ [KM]iB \(the load ended with exit code 137\).*",
            ),
        },
    ),
    "processes: a fork is refused": (
        {"pids-limit": "32"},
        python(FORKS),
        0,
        0,
        {"pids_limit": ("HELD", "1 fork was refused at the limit")},
    ),
    "an idle load presses nothing": (
        {"mem-limit": "64M", "cpu-limit": "0.5", "pids-limit": "32"},
        ("sleep", "3"),
        3,
        0,
        {
            "mem_limit": ("UNKNOWN", r"not pressed: (peak|largest sample) \d+ [KM]iB"),
            "memswap_limit": (
                "UNKNOWN",
                r"not pressed: (peak|largest sample) \d+ [KM]iB(; this host has no swap to press with)?",
            ),
            "cpu_limit": ("UNKNOWN", "not pressed: throttled in 0 of 3 windows needed"),
            "pids_limit": ("UNKNOWN", r"not pressed: \d processes, no fork refused"),
        },
    ),
    "a load that ends at once presses nothing": (
        {"mem-limit": "64M", "cpu-limit": "0.5"},
        ("true",),
        3,
        0,
        {
            "mem_limit": ("UNKNOWN", r"not pressed: (peak|largest sample) \d+ [KM]iB"),
            "memswap_limit": (
                "UNKNOWN",
                r"not pressed: (peak|largest sample) \d+ [KM]iB(; this host has no swap to press with)?",
            ),
            "cpu_limit": ("UNKNOWN", "CPU use over two seconds was not read"),
        },
    ),
    "a load that fails at once says why": (
        {"pids-limit": "32"},
        ("sh", "-c", "echo no data >&2; exit 5"),
        3,
        5,
        {
            "pids_limit": (
                "UNKNOWN",
                r"not pressed: \d processes, no fork refused \(the load ended with exit code 5: no data\)",
            )
        },
    ),
    "a command that the image does not have": (
        {"pids-limit": "32"},
        ("no-such-command",),
        3,
        126,
        {
            "pids_limit": (
                "UNKNOWN",
                r'not pressed: .*exec: "no-such-command": executable file not found in \$PATH.*',
            )
        },
    ),
    "a load that does not end is ended": (
        {"pids-limit": "32", "timeout": "10"},
        ("sh", "-c", "sleep 300 & sleep 300"),
        3,
        137,
        {
            "pids_limit": (
                "UNKNOWN",
                r"not pressed: \d processes, no fork refused \(the load did not end within 10 s and was ended\)",
            )
        },
    ),
    "swappiness is shown, and not pressed": (
        {"mem-limit": "64M", "mem-swappiness": "10"},
        python(HOG, 256),
        3,
        137,
        {
            "mem_limit": ("HELD", ".*"),
            "memswap_limit": ("HELD", ".*"),
            "mem_swappiness": ("UNKNOWN", "the kernel shows it; how eagerly it swaps is not pressed here"),
        },
    ),
}


def options(given):
    """Options as the command line has them."""
    return [f"--{name}={value}" for name, value in given.items()]


@pytest.mark.parametrize("case", EXACT.values(), ids=EXACT)
def test_a_load_decides_what_is_known(verify, case):
    """Verdicts, exit code and the load's own exit code; memory and processes are exact, whoever else is busy."""
    given, load, code, load_code, wanted = case
    found = verify("--image", MINIMAL, *options(given), "--json", "-", "--", *load)
    verdicts = found.verdicts()
    assert {field: outcome for field, (outcome, _) in verdicts.items()} == {
        field: outcome for field, (outcome, _) in wanted.items()
    }
    for field, (_, reason) in wanted.items():
        assert re.fullmatch(reason, verdicts[field][1]), verdicts[field][1]
    assert found.report["trials"][0]["load"]["exit_code"] == load_code
    assert found.code == found.report["exit_code"] == code


CPU = {
    "more busy processes than cores allowed": (
        {"cpu-limit": "0.5"},
        ("stress-ng", "--cpu", "3", "--timeout", "10"),
        {"cpu_limit": r"throttled in \d+% of periods and never above it, in \d windows"},
    ),
    "a period of its own": (
        {"cpu-limit": "0.3", "cpu-period": "50000"},
        ("stress-ng", "--cpu", "2", "--timeout", "8"),
        {
            "cpu_limit": r"throttled in \d+% of periods and never above it, in \d windows",
            "cpu_period": r"a period of \d+ µs was counted",
        },
    ),
    "one CPU of two": (
        {"cpuset-cpus": "0"},
        ("stress-ng", "--cpu", "2", "--timeout", "5"),
        {"cpuset_cpus": "every allowed CPU was busy and more was wanted, and no more was used than they have"},
    ),
    "a share against a sibling": (
        {"cpu-shares": "2048"},
        ("true",),
        {"cpu_shares": "weight 2048 against a sibling's 1024 on one CPU for 5 s"},
    ),
}
CONTENDED = (
    r"not pressed: throttled in [0-2] of 3 windows needed"
    r"|used in full, but not throttled long enough: is something else busy here\?"
    r"|not pressed: \d\.\d+ of 1 CPUs busy"
    r"|the CPU was only \d+% theirs: something else is busy here"
)


class Bystander:
    """How busy this host was, our own load and everybody else's together."""

    def __init__(self):
        self._first = self._read()

    @staticmethod
    def _read():
        return [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]

    @property
    def busy(self):
        """Share of the host's CPU time that was used since."""
        spent = [now - then for now, then in zip(self._read(), self._first, strict=True)]
        return 1 - (spent[3] + spent[4]) / sum(spent)


@pytest.mark.alone  # it measures CPU time
@pytest.mark.parametrize(("given", "load", "wanted"), CPU.values(), ids=CPU)
def test_a_press_on_cpu_holds(verify, given, load, wanted):
    """HELD; UNKNOWN is tried again where something else was busy on this host, and says so; BROKEN never."""
    for _ in range(TRIES):
        host = Bystander()
        found = verify("--image", MINIMAL, *options(given), "--json", "-", "--", *load)
        verdicts = found.verdicts()
        assert set(verdicts) == set(wanted)
        for field, (outcome, reason) in verdicts.items():
            assert outcome != "BROKEN", reason
            assert re.fullmatch(wanted[field] if outcome == "HELD" else CONTENDED, reason), reason
        if found.code == 0:
            return
        assert found.code == 3
        # alone, the load and the command use less than that
        assert host.busy > 0.6, f"UNKNOWN on a host that was only {host.busy:.0%} busy: {verdicts}"
    assert is_busy(), f"UNKNOWN {TRIES} times on a host that is not busy: {verdicts}"


def test_the_control_is_broken(verify):
    """The same hog without the limit, on to twice as much: the judge has power, and the exit code is 0."""
    found = verify("--image", MINIMAL, "--mem-limit=64M", "--control", "--json", "-", "--", *python(HOG, 128))
    trial, control = found.report["trials"]
    assert (trial["control"], trial["outcome"], control["control"], control["outcome"]) == (
        False, "HELD", True, "BROKEN",
    )  # fmt: skip
    assert (trial["load"]["exit_code"], control["load"]["exit_code"]) == (137, 0)
    assert (trial["subject"], control["subject"]) == (MINIMAL, MINIMAL)
    assert f"\n{MINIMAL}: pressing with" in f"\n{found.stderr}"
    assert f"\ncontrol ({MINIMAL}): pressing with" in found.stderr
    outcome, reason = found.verdicts(1)["mem_limit"]
    shown = r"the kernel shows memory\.\S+ = \d+, expected 67108864; peak 1\d\d MiB \(\d+ bytes\) is above the limit"
    assert outcome == "BROKEN"
    assert re.fullmatch(shown, reason), reason
    assert found.code == 0


LATE_HOG = "sleep 3; python3 -c 'import time; x = bytearray(b\"x\") * (128 << 20); time.sleep(1)'; sleep 2"
LIFTED = {
    "the memory limit": (
        {"mem-limit": "64M"}, ("sh", "-c", LATE_HOG), kernel_files.lift_memory, "mem_limit",
        r"the kernel shows \S+ = \S+, expected 67108864; peak 1\d\d MiB \(\d+ bytes\) is above the limit",
    ),
    "the quota": (
        {"cpu-limit": "0.2"}, ("stress-ng", "--cpu", "2", "--timeout", "7"), kernel_files.lift_quota, "cpu_limit",
        r"the kernel shows \S+ = .*, expected .*; \d\.\d\d cores over 2\.\d s, \d+% above it",
    ),
}  # fmt: skip


@pytest.mark.alone  # it measures CPU time
@pytest.mark.parametrize("case", LIFTED.values(), ids=LIFTED)
def test_a_limit_that_is_lifted_behind_the_engines_back_is_broken(verify, case):
    """Docker still says that the limit is there; the kernel's counters and files say otherwise."""
    given, load, lift, field, reason = case
    process = verify.start("--image", MINIMAL, *options(given), "--json", "-", "--", *load)
    lift(verify.pressed(process))
    found = verify.end(process)
    outcome, said = found.verdicts()[field]
    assert outcome == "BROKEN"
    assert re.fullmatch(reason, said), said
    assert found.code == 1


def test_a_limit_that_was_put_back_in_time_is_broken_all_the_same(verify):
    """Before and after the load the kernel shows the limit; what was used in between tells."""
    process = verify.start("--image", MINIMAL, "--mem-limit=64M", "--json", "-", "--", "sh", "-c", LATE_HOG)
    cgroup = verify.pressed(process)
    kernel_files.lift_memory(cgroup)
    used = cgroup.directories["memory"] / kernel_files.MEMORY_USED[cgroup.versions["memory"]]
    eventually(lambda: int(used.read_text()) > 1.5 * LIMIT)
    eventually(lambda: int(used.read_text()) < LIMIT // 2)
    kernel_files.restore_memory(cgroup, LIMIT)
    found = verify.end(process)
    outcome, reason = found.verdicts()["mem_limit"]
    assert outcome == "BROKEN"
    # on a busy host the load may end, and the limit be read a last time, before it was put back
    assert re.search(r"peak 1\d\d MiB \(\d+ bytes\) is above the limit", reason), reason
    assert found.code == 1


# -- TensorFlow --------------------------------------------------------------------------------------------------

# as many images as MNIST has, in numpy's usual floats: 359 MiB before TensorFlow is there
TRAINING = """
import numpy
images = numpy.random.default_rng(1).random((60_000, 28, 28, 1))
digits = numpy.zeros(60_000)
import tensorflow as tf
layers = tf.keras.layers
model = tf.keras.Sequential([layers.Conv2D(64, 3, activation="relu"), layers.Flatten(), layers.Dense(10)])
model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(images, digits, batch_size=1000, verbose=0)
"""


def test_training_under_300_mib_is_killed_and_the_limit_holds(verify):
    """`verify --image … --mem-limit 300M`: the OOM kill, exit code 137, and HELD for memory."""
    found = verify("--image", TENSORFLOW, "--mem-limit", "300M", timeout=280)
    assert found.code == 0, found.stdout
    assert found.words.startswith("every limit HELD (2 of 2)")
    assert "memory 300 MiB 300 / 300 MiB (100%) HELD peak 300 MiB, and the OOM killer ended" in found.words
    assert "training: TensorFlow does not fit in 300 MiB; the Linux kernel ended it (exit code 137)" in found.words, (
        found.words
    )


def test_a_training_that_is_the_load_itself_is_killed(verify):
    """The load's own exit code is 137; the kernel's counter, and not that code, makes the memory limit HELD."""
    found = verify(
        "--image", TENSORFLOW, "--mem-limit=300M", "--json", "-", "--", "python3", "-c", TRAINING, timeout=280
    )
    assert found.report["trials"][0]["load"]["exit_code"] == 137
    assert found.verdicts()["mem_limit"] == ("HELD", "peak 300 MiB, and the OOM killer ended 1 process")
    assert found.code == 0


# -- what is written ---------------------------------------------------------------------------------------------


def test_the_report_goes_where_it_is_asked_for(verify, tmp_path):
    """A table on stdout, and each file beside it; all of them tell of the same verdicts."""
    files = {kind: tmp_path / f"report.{kind}" for kind in ("json", "html", "junit")}
    given = [f"--{kind}={path}" for kind, path in files.items()]
    found = verify("--image", MINIMAL, "--mem-limit=64M", *given, "--", *python(HOG, 256))
    assert found.code == 0
    assert found.stdout.startswith("every limit HELD (2 of 2)\n")
    assert "exit 137: killed (SIGKILL); 1 OOM kill;" in found.words
    assert "the hog ended with -9" in found.words
    report = json.loads(files["json"].read_text())
    assert (report["schema_version"], report["exit_code"]) == (1, 0)
    page = files["html"].read_text()
    assert page.lower().startswith("<!doctype html>")
    assert page.count("HELD") >= 2
    suite = ET.fromstring(files["junit"].read_text())
    cases = [*suite.iter("testcase")]
    assert [len(case) for case in cases if case.find("failure") is not None or case.find("skipped") is not None] == []
    assert len(cases) == 2


def test_json_on_stdout_is_nothing_but_json(verify):
    """A program can read it; what a person reads meanwhile goes to stderr, the load's own noise nowhere."""
    # long enough to be told of once
    load = ("sh", "-c", "echo out; echo err >&2; sleep 3; exit 5")
    found = verify("--image", MINIMAL, "--pids-limit=32", "--json", "-", "--", *load)
    assert (found.report["schema_version"], found.report["exit_code"], found.code) == (1, 3, 3)
    assert found.report["trials"][0]["load"]["said"] == ["out"]
    first, *samples = found.stderr.splitlines()
    assert first == f"{MINIMAL}: pressing with sh -c 'echo out; echo err >&2; sleep 3; exit 5'"
    assert samples
    assert [line for line in samples if not line.startswith(f"  {MINIMAL} ")] == []


def test_without_a_terminal_nothing_is_coloured(verify):
    """Plain lines, as a log wants them."""
    found = verify("--image", MINIMAL, "--pids-limit=32", "--", "true", TERM="xterm-256color")
    assert "\x1b" not in found.stdout + found.stderr


COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*3[0-7](?:;[0-9]+)*m")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)], ids=["colours", "NO_COLOR"])
def test_a_terminal_has_colours_unless_no_color_is_set(verify, no_color, coloured):
    """The same words either way: colour is never alone."""
    ours, theirs = pty.openpty()
    process = verify.start(
        "--image", MINIMAL, "--pids-limit=32", "--", "true",
        stdout=theirs, stderr=theirs, NO_COLOR=no_color, TERM="xterm-256color",
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with suppress(OSError), os.fdopen(ours, "rb", buffering=0) as terminal:  # EIO: the other side is closed
        while chunk := terminal.read(4096):
            shown += chunk
    assert verify.end(process).code == 3
    assert (COLOUR.search(shown.decode()) is not None) is coloured
    assert b"UNKNOWN" in shown


def test_a_load_that_prints_without_end_is_not_kept(verify):
    """The end of what a load says is kept, not the gigabytes before it."""
    process = verify.start(
        "--image", MINIMAL, "--pids-limit=32", "--json", "-", "--",
        "sh", "-c", "yes 0123456789 | head -c 400M; echo; echo the end",
    )  # fmt: skip
    peak = 0

    def ended():
        nonlocal peak
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0])
        return process.poll() is not None

    eventually(ended, 60)
    found = verify.end(process)
    assert found.report["trials"][0]["load"]["said"][-1] == "the end"
    assert 0 < peak < 150 * 1024, f"{peak} KiB"
