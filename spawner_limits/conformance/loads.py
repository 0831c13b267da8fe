"""Loads that take memory, run to their end, and what they are run under; for all cases of memory. Judges nothing.

No swap is left to any of them, and a control has four times the limit, so that it does not take the host's memory.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits import interrupt
from spawner_limits.conformance.case import CannotError, Case, Group
from spawner_limits.conformance.setting import Setting, made
from spawner_limits.conformance.trial import START_S
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import KILLED
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from spawner_limits.clients.own_commands import Command
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.trial import Bench, Subject

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


def limited(size_bytes: int, **host_config: object) -> Setting:
    """A container with so much memory, and no swap."""
    return Setting(asked=Limits(mem_limit=size_bytes, memswap_limit=size_bytes), host_config=host_config)


LIMITED, FREE = limited(LIMIT_BYTES), limited(FREE_BYTES)


def probing(name: str, *arguments: object) -> Callable[[Subject], Command]:
    """A load that is one of `bench/probes`."""
    return lambda subject: subject.probe(name, *arguments)


HOG = probing("hog", HOG_MIB)
"""memory taken as fast as it can be"""


def ran(bench: Bench, setting: Setting, load: Callable[[Subject], Command]) -> Seen:
    """A load beside the first process, to its end. CannotError when it can't press."""
    with made(bench, setting) as subject:
        before = subject.reader.read_limits()
        command = load(subject)
        taken = subject.follow(command, seconds=LONG_S, every_s=SAMPLE_S)
        # what has more than the limit already, and runs on, swaps: it need not be waited for
        past = command.running and reached_bytes(command.stdout) > (setting.asked.mem_limit or 0)
        return subject.seen(
            [before, *taken],
            None if past else pressed(command),
            alive=subject.alive,
            printed=tuple(command.stdout.split()),
        )


def climbed(bench: Bench, setting: Setting) -> Seen:
    """Memory taken step by step, past the limit: once a run, for all cases that read it."""
    load = probing("climb", HOG_MIB, STEP_MIB, _REST_MS)
    return bench.once(f"memory: climb {setting.asked.mem_limit}", lambda: ran(bench, setting, load))


def reached_bytes(printed: str) -> int:
    """The last step that a load told of, in MiB."""
    return max((int(word) * MIB for word in printed.split() if word.isdigit()), default=0)


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


def under(parent: str, setting: Setting) -> Setting:
    """The same in a cgroup of ours."""
    return replace(setting, host_config={**setting.host_config, "cgroup_parent": parent})


# -- what takes nothing ------------------------------------------------------------------------------------------


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


# -- what the rows share -----------------------------------------------------------------------------------------

_LATE = (
    "look whether it swaps instead of meeting its limit: then the engine can't limit swap (case 5 says why, and what "
    "to do); else try again when the host is less busy"
)
REMEDY = (
    "nothing on this host holds a memory limit: check the memory controller in /proc/cgroups (v1; some distributions "
    "need cgroup_enable=memory on the kernel's command line) or in cgroup.subtree_control (v2); look who else writes "
    "memory.limit_in_bytes or memory.max; and whether swap can be limited (case 5), or the load goes there"
)
memory_case = partial(Case, group=Group.MEMORY, remedy=REMEDY, control_words="the same load with four times the memory")
climb_case = partial(
    memory_case,
    press=lambda bench: climbed(bench, LIMITED),
    control=lambda bench: climbed(bench, FREE),
)
