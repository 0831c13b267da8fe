"""Loads that try to be called HELD without having pressed, and honest ones that must not be called BROKEN.

What is expected of a field is the set of outcomes that are right. Images need python3 and sh.
"""

from __future__ import annotations

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
    os.execve("/bin/sh", ["sh", "-c", "while :; do :; done"], {})
time.sleep(1)
"""


UNPRIVILEGED = """
import os, resource, sys
os.getuid() or os.setuid(1000)
resource.setrlimit(resource.RLIMIT_NPROC, (5, 5))
os.execvp("python3", ["python3", "-c", *sys.argv[1:]])
"""
"""who has no privilege is bound by a ulimit, of all processes of that user on the host"""


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
        python(UNPRIVILEGED, CROWD, 60, 0.5),
        {"pids_limit": UNKNOWN},
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
        {"mem_limit": HELD},
    ),
    "processes: a crowd": (PIDS, python(CROWD, 60, 1), {"pids_limit": HELD}),
    "processes: threads": (PIDS, python(THREADS), {"pids_limit": HELD}),
    "processes: those that nobody waits for": (PIDS, python(ZOMBIES), {"pids_limit": HELD}),
    "CPU: more than it may": (("--cpu-limit", "0.5"), python(SPIN, 2, 9), {"cpu_limit": HELD}),
    # how long that must be pressed goes by the host's CPUs
    "CPU: a small quota": (("--cpu-limit", "0.05"), python(SPIN, 2, 9), {"cpu_limit": NEVER_BROKEN}),
    # whether three windows are full goes by where they begin
    "CPU: now and then": (
        ("--cpu-limit", "0.5"),
        ("sh", "-c", 'for i in 1 2 3; do "$@"; sleep 1; done', "sh", *python(SPIN, 2, 2)),
        {"cpu_limit": NEVER_BROKEN},
    ),
    "CPU set: more than it has": (("--cpuset-cpus", "0"), python(SPIN, 2, 4), {"cpuset_cpus": HELD}),
    "CPU shares: beside a sibling": (("--cpu-shares", "2048"), ("true",), {"cpu_shares": HELD}),
    "all: short-lived processes": (
        (*MEMORY, *PIDS, "--cpu-limit", "0.5"),
        python(STORM),
        {"mem_limit": UNKNOWN, "pids_limit": UNKNOWN, "cpu_limit": NEVER_BROKEN},
    ),
}


HONEST = {
    "memory": (MEMORY, python(HOG, 200)),
    "CPU": (("--cpu-limit", "0.5"), python(SPIN, 2, 9)),
    "processes": (PIDS, python(CROWD, 60, 1)),
}
"""loads that press on a limit that holds: whatever goes on beside them, it is not BROKEN"""
NOISE = {
    "both CPUs are busy": "for i in 1 2; do (while :; do :; done) & done; wait",
    "a slow disk": "while :; do head -c 60000000 /dev/zero >/var/tmp/noise; sync; done",
    "500 short processes a second": "while :; do for i in $(seq 50); do /bin/true; done; sleep 0.05; done",
}
"""shell commands for the host, that do not end"""


def outcomes(document):
    """Field → outcome and reason of the first trial in a report of `verify --json`."""
    return {one["field"]: (one["outcome"], one["reason"]) for one in document["trials"][0]["verdicts"]}


MEASURED = {"cpu_limit", "cpuset_cpus", "cpu_shares"}
"""fields whose press others on the machine may take away; memory and processes are counted exactly"""


def disturbed(document, expected):
    """The fields that should be HELD by a measurement of CPU, and are UNKNOWN."""
    found = outcomes(document)
    return {field for field, right in expected.items() if right == HELD and found[field][0] == "UNKNOWN"} & MEASURED


def wrong(document, expected):
    """What was judged otherwise than expected."""
    found = outcomes(document)
    return {field: found[field] for field, right in expected.items() if found[field][0] not in right}
