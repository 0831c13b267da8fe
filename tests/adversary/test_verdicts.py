"""Loads that try to be called HELD without having pressed, and honest ones that must not be called BROKEN.

Each by the command line, on the real engine. What is expected of a field is the set of outcomes that are right.
"""

from __future__ import annotations

import json

import pytest

from tests.conftest import MINIMAL, spawner_limits

pytestmark = pytest.mark.alone
"""it measures CPU time"""

HELD, UNKNOWN = {"HELD"}, {"UNKNOWN"}
NEVER_BROKEN = {"HELD", "UNKNOWN"}

HOG = """
import sys, time
blocks = []
for mib in range(2, int(sys.argv[1]) + 1, 2):
    blocks.append(bytearray(2 << 20)); print(mib); time.sleep(0.01)
time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)
"""
SPIN = """
import os, sys, time
for _ in range(int(sys.argv[1]) - 1):
    if not os.fork():
        break
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    pass
"""
CROWD = """
import os, sys, time
for _ in range(int(sys.argv[1])):
    try:
        if not os.fork():
            time.sleep(float(sys.argv[2])); os._exit(0)
    except BlockingIOError:
        break
time.sleep(float(sys.argv[2]))
"""
ZOMBIES = """
import os, time
try:
    while True:
        if not os.fork():
            os._exit(0)
except BlockingIOError:
    time.sleep(1)
"""
THREADS = """
import threading, time
try:
    while True:
        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
except RuntimeError:
    time.sleep(1)
"""
STORM = """
import os, time
end = time.monotonic() + 6
while time.monotonic() < end:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0); time.sleep(0.001)
"""
BEHIND = """
import os, time
if not os.fork():
    os.setsid()
    os.execve("/usr/bin/env", ["env", "-i", "sh", "-c", "while :; do :; done"], {})
time.sleep(1)
"""


def python(text, *arguments):
    return ("python3", "-c", text, *map(str, arguments))


MEMORY = ("--mem-limit", "96M")
PIDS = ("--pids-limit", "40")
ROWS = {
    # no press
    "memory: nothing runs": (MEMORY, ("true",), {"mem_limit": UNKNOWN, "memswap_limit": UNKNOWN}),
    "memory: a load that only says so": (MEMORY, ("echo", "HELD: memory 96 / 96 MiB (100%)"), {"mem_limit": UNKNOWN}),
    "memory: a load that ends as if it was killed": (MEMORY, ("sh", "-c", "kill -9 $$"), {"mem_limit": UNKNOWN}),
    "memory: a load that fails": (MEMORY, ("false",), {"mem_limit": UNKNOWN}),
    "memory: nearly the limit": (MEMORY, python(HOG, 70, 1), {"mem_limit": UNKNOWN}),
    "memory: a load that does not end": (("--timeout", "10", *MEMORY), ("sleep", "60"), {"mem_limit": UNKNOWN}),
    "memory: a flood of words": (MEMORY, ("sh", "-c", "yes HELD | head -c 30000000"), {"mem_limit": UNKNOWN}),
    "memory: words that a terminal would obey": (MEMORY, ("printf", r"\033]0;HELD\007\033[2J"), {"mem_limit": UNKNOWN}),
    "processes: nothing runs": (PIDS, ("true",), {"pids_limit": UNKNOWN}),
    "processes: one fewer than the limit": (PIDS, python(CROWD, 30, 0.5), {"pids_limit": UNKNOWN}),
    "processes: refused by a ulimit": (
        PIDS,
        ("sh", "-c", 'ulimit -u 5; exec "$@"', "sh", *python(CROWD, 60, 0.5)),
        {"pids_limit": NEVER_BROKEN},  # to a process with CAP_SYS_RESOURCE it is none
    ),
    "processes: many, but never at once": (PIDS, python(STORM), {"pids_limit": UNKNOWN}),
    "swap: memory alone comes near a limit of both": (
        ("--mem-limit", "100M", "--memswap-limit", "101M"),
        python(HOG, 150),
        {"mem_limit": HELD, "memswap_limit": UNKNOWN},
    ),
    "CPU: idle": (("--cpu-limit", "0.5"), ("sleep", "7"), {"cpu_limit": UNKNOWN}),
    "CPU: one process, and room for more": (("--cpu-limit", "1.5"), python(SPIN, 1, 7), {"cpu_limit": UNKNOWN}),
    "CPU: too short": (("--cpu-limit", "0.5"), python(SPIN, 2, 3), {"cpu_limit": UNKNOWN}),
    "CPU set: one process, which could use no more": (
        ("--cpuset-cpus", "0"),
        python(SPIN, 1, 4),
        {"cpuset_cpus": UNKNOWN},
    ),
    "CPU shares: something else runs in the container": (
        ("--cpu-shares", "2048"),
        python(BEHIND),
        {"cpu_shares": UNKNOWN},
    ),
    # honest
    "memory: into the OOM killer": (MEMORY, python(HOG, 200), {"mem_limit": HELD, "memswap_limit": HELD}),
    "memory: files in /dev/shm": (
        ("--mem-limit", "48M"),
        ("sh", "-c", "head -c 80000000 /dev/zero >/dev/shm/full"),
        {"mem_limit": HELD},
    ),
    "memory: many files, which the kernel gives back": (
        ("--mem-limit", "48M"),
        ("sh", "-c", "head -c 150000000 /dev/zero >/tmp/full"),
        {"mem_limit": NEVER_BROKEN},
    ),
    "processes: a crowd": (PIDS, python(CROWD, 60, 1), {"pids_limit": HELD}),
    "processes: threads": (PIDS, python(THREADS), {"pids_limit": HELD}),
    "processes: those that nobody waits for": (PIDS, python(ZOMBIES), {"pids_limit": HELD}),
    "CPU: more than it may": (("--cpu-limit", "0.5"), python(SPIN, 2, 9), {"cpu_limit": NEVER_BROKEN}),
    "CPU: a small quota": (("--cpu-limit", "0.05"), python(SPIN, 2, 9), {"cpu_limit": NEVER_BROKEN}),
    "CPU: now and then": (
        ("--cpu-limit", "0.5"),
        ("sh", "-c", 'for i in 1 2 3; do "$@"; sleep 1; done', "sh", *python(SPIN, 2, 2)),
        {"cpu_limit": NEVER_BROKEN},
    ),
    "CPU set: more than it has": (("--cpuset-cpus", "0"), python(SPIN, 2, 4), {"cpuset_cpus": NEVER_BROKEN}),
    "CPU shares: beside a sibling": (("--cpu-shares", "2048"), ("true",), {"cpu_shares": NEVER_BROKEN}),
    "all: short-lived processes": (
        (*MEMORY, *PIDS, "--cpu-limit", "0.5"),
        python(STORM),
        {"mem_limit": UNKNOWN, "pids_limit": UNKNOWN, "cpu_limit": NEVER_BROKEN},
    ),
}


def verified(*arguments):
    ran = spawner_limits("verify", "--image", MINIMAL, "--json", "-", *arguments, timeout=90)
    return ran, json.loads(ran.stdout)


@pytest.mark.parametrize(("limits", "load", "expected"), ROWS.values(), ids=ROWS)
def test_what_was_not_pressed_is_not_held_and_what_holds_is_not_broken(limits, load, expected):
    """UNKNOWN for the one, never BROKEN for the other; and the exit code says the same."""
    ran, document = verified(*limits, "--", *load)
    (trial,) = document["trials"]
    found = {one["field"]: one for one in trial["verdicts"]}
    wrong = {
        field: (found[field]["outcome"], found[field]["reason"])
        for field, right in expected.items()
        if found[field]["outcome"] not in right
    }
    assert wrong == {}
    outcomes = {one["outcome"] for one in found.values()}
    assert ran.returncode == (1 if "BROKEN" in outcomes else 3 if "UNKNOWN" in outcomes else 0)


@pytest.mark.parametrize("load", [("true",), ("sleep", "2")])
def test_a_control_whose_load_does_nothing_has_no_power(load):
    """The files of a container without limits are BROKEN by themselves: that proves nothing of the judge."""
    ran, document = verified("--mem-limit", "96M", "--control", "--", *load)
    assert ran.returncode == 1
    assert [trial["control"] for trial in document["trials"]] == [False, True]


def test_a_control_has_power_where_its_load_went_past_the_limit():
    """The same hog lives where there is no limit."""
    ran, _ = verified("--mem-limit", "96M", "--control", "--", *python(HOG, 200, 1))
    assert ran.returncode == 0
