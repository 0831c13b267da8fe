"""Loads that take memory, run to their end, and what they are run under; for all cases of memory. Judges nothing.

No swap is left to any of them, and a control has four times the limit, so that it does not take the host's memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits import interrupt
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.setting import Setting, made
from spawner_limits.conformance.trial import START_S
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import KILLED
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spawner_limits.clients.own_commands import Command
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.proof.evidence import Evidence

LIMIT_BYTES = 64 * MIB
FREE_BYTES = 4 * LIMIT_BYTES
HOG_MIB = 128
"""what a hog takes: above the limit, below what a control may"""
LONG_S = 40.0
"""for a load to end by itself: a host that is emulated takes so long"""
SAMPLE_S = 0.02
STEP_MIB = 4
_REST_MS = 50
WAITER = ("sleep", "240")
"""a process that takes nothing"""
EVERY = Limits(
    mem_limit=LIMIT_BYTES,
    memswap_limit=LIMIT_BYTES,
    mem_guarantee=LIMIT_BYTES // 2,
    cpu_limit=0.5,
    cpu_shares=512,
    cpuset_cpus="0",
    pids_limit=64,
)
"""every limit that both versions of cgroups have"""
LIMIT_FILE: Mapping[CgroupVersion, str] = {1: "memory.limit_in_bytes", 2: "memory.max"}


def limited(size_bytes: int, **host_config: object) -> Setting:
    """A container with so much memory, and no swap."""
    return Setting(limits=Limits(mem_limit=size_bytes, memswap_limit=size_bytes), host_config=host_config)


LIMITED, FREE = limited(LIMIT_BYTES), limited(FREE_BYTES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A load in a container, to its end."""

    evidence: Evidence
    exit_code: int | None
    """of the load; `None`: it runs on"""
    alive: bool
    """whether the container's first process was, after it"""
    printed: tuple[str, ...] = ()
    """what the load said: the guest's word"""


def ran(bench: Bench, setting: Setting, load: Callable[[Subject], Command]) -> Run:
    """A load beside the first process, to its end. CannotError when it can't press."""
    with made(bench, setting) as subject:
        before = subject.reader.read_limits()
        command = load(subject)
        snapshots = [before, *subject.follow(command, seconds=LONG_S, every_s=SAMPLE_S)]
        return Run(
            evidence=subject.evidence(snapshots, command),
            exit_code=None if _got_past(command, setting) else pressed(command),
            alive=subject.alive,
            printed=tuple(command.stdout.split()),
        )


def _got_past(command: Command, setting: Setting) -> bool:
    """Whether it has more than the limit already, and runs on: it swaps, and need not be waited for."""
    return command.running and reached_bytes(command.stdout) > (setting.limits.mem_limit or 0)


def reached_bytes(printed: str) -> int:
    """The last step that a load told of, in MiB."""
    return max((int(one) * MIB for one in printed.split() if one.isdigit()), default=0)


def pressed(command: Command) -> int:
    """The exit code of a load that did its work, or was killed over it. CannotError of any other."""
    said = command.stderr.strip().splitlines() or command.stdout.strip().splitlines() or ["it said nothing"]
    return worked(command.exit_code, said[-1])


def worked(exit_code: int | None, said: str) -> int:
    """The code of a load that did its work, or was killed over it. CannotError of any other: it pressed nothing."""
    if exit_code is None:
        raise CannotError(f"the load did not end in {LONG_S:.0f} s: {said}", _LATE)
    if exit_code not in {0, KILLED}:
        raise CannotError(f"the load failed with exit {exit_code}: {said}", "give an --image with python3 and sh")
    return exit_code


def climbed(bench: Bench, setting: Setting) -> Run:
    """Memory taken step by step, past the limit: once a run, for all cases that read it."""

    def load(subject: Subject) -> Command:
        return subject.probe("climb", HOG_MIB, STEP_MIB, _REST_MS)

    return bench.once(f"memory: climb {setting.limits.mem_limit}", lambda: ran(bench, setting, load))


def hogged(subject: Subject) -> Command:
    """Memory taken as fast as it can be."""
    return subject.probe("hog", HOG_MIB)


def under(parent: str, setting: Setting) -> Setting:
    """The same in a cgroup of ours."""
    host_config = {**setting.host_config, "cgroup_parent": parent}
    return Setting(limits=setting.limits, host_config=host_config, behind=setting.behind)


def limit_parent(subject: Subject, size_bytes: int) -> None:
    """Limit the cgroup above a container's. CannotError where the kernel does not take it."""
    file = LIMIT_FILE[subject.bench.version]
    if error := subject.write(file, str(size_bytes), above=1):
        raise CannotError(f"{file} of a parent cgroup can't be written: {error}")


def waiting(subject: Subject) -> tuple[Command, int]:
    """A process that takes nothing, by `docker exec`, and its id. CannotError when it does not begin."""
    load = subject.run(*WAITER)
    pid = _tried(lambda: load.pid)
    await_waiter(pid)
    return load, pid


def await_waiter(pid: int) -> None:
    """Until the process is what it was started for: engine and shell hold it first. CannotError when it never is."""
    _tried(lambda: _name(pid) == WAITER[0])


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _tried(look: Callable[[], int]) -> int:
    for _ in range(int(START_S / SAMPLE_S)):
        if found := look():
            return found
        interrupt.pause(SAMPLE_S)
    raise CannotError(f"{' '.join(WAITER)} did not begin in the container", "give an --image with sh and sleep")


_LATE = (
    "look whether it swaps instead of meeting its limit: then the engine can't limit swap (case 5 says why, and what "
    "to do); else try again when the host is less busy"
)
FOUR_TIMES = "the same load with four times the memory"
REMEDY = (
    "nothing on this host holds a memory limit: check the memory controller in /proc/cgroups (v1; some distributions "
    "need cgroup_enable=memory on the kernel's command line) or in cgroup.subtree_control (v2); look who else writes "
    "memory.limit_in_bytes or memory.max; and whether swap can be limited (case 5), or the load goes there"
)
