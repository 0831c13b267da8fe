"""Cases 34 to 38 and 41: whom the OOM killer ends, and how that is told from any other end.

Exit code 137 is any SIGKILL, and the engine's flag has several meanings: what decides is the kernel's own count.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits.bench.engine import kill
from spawner_limits.conformance.case import Case, Group
from spawner_limits.conformance.loads import (
    FOUR_TIMES,
    FREE,
    HOG_MIB,
    LIMITED,
    LONG_S,
    REMEDY,
    SAMPLE_S,
    WAITER,
    Run,
    await_waiter,
    climbed,
    hogged,
    limit_parent,
    pressed,
    ran,
    under,
    waiting,
    worked,
)
from spawner_limits.conformance.setting import Setting, made
from spawner_limits.conformance.trial import probe
from spawner_limits.kernel.sampler import FAST_S
from spawner_limits.proof.claims import KILLED, claim, ended, no_oom_kill, oom_kills
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spawner_limits.bench.engine import Command
    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Verdict

_PARENT_BYTES = 128 * MIB
"""of two containers together: above either's limit"""
_NEIGHBOUR_MIB = 16
_ENDED = "dev/shm/ended"
_NOTICE_S = 1.0
"""for the engine to tell us of an end"""


def judge_alive(*, alive: bool) -> Verdict:
    """The container runs on."""
    return claim(
        "the container",
        expected="runs on",
        seen="runs on" if alive else "has ended",
        holds=alive,
        files=[f"docker inspect: State.Running {str(alive).lower()}"],
    )


# -- 34: the first process ---------------------------------------------------------------------------------------


def _press_first(bench: Bench, setting: Setting) -> Run:
    """Its cgroup vanishes with it, so it is read until then, as often as can be."""
    with made(bench, setting, probe("hog", HOG_MIB)) as subject:
        before = subject.reader.read_limits()
        subject.go()
        taken = subject.follow(seconds=LONG_S, every_s=FAST_S, until=lambda one: one.oom_kill != 0)
        code = worked(subject.await_end(), "it is the container's first process")
        return Run(evidence=subject.evidence([before, *taken]), exit_code=code, alive=False)


def judge_first(run: Run) -> list[Verdict]:
    """The container ends with the code of a kill, and the kernel counted it."""
    return [ended(run.exit_code, KILLED, what="the first process"), _caught(run.evidence.snapshots, run.exit_code)]


def _caught(snapshots: Sequence[Snapshot], exit_code: int | None) -> Verdict:
    """As `oom_kills`; UNKNOWN where the count may have risen between the last sample and the end of the cgroup."""
    found = oom_kills(snapshots)
    if not found.figures["oom_kills"] and exit_code == KILLED and snapshots[-1].oom_kill is None:
        seen = "its cgroup was gone before the count could be read"
        return claim("OOM kills", expected="+1 or more", seen=seen, holds=None)
    return found


# -- 35: a child -------------------------------------------------------------------------------------------------


def _press_child(bench: Bench, setting: Setting) -> Run:
    with made(bench, setting, probe("fork_hog", HOG_MIB)) as subject:
        before = subject.reader.read_limits()
        subject.go()
        taken = subject.follow(
            seconds=LONG_S, every_s=SAMPLE_S, until=lambda one: one.oom_kill is None or _told(subject) is not None
        )
        evidence = subject.evidence([before, *taken])
        if (code := _told(subject)) is None:  # the first process is gone, or the load hangs
            worked(subject.await_end(seconds=3.0), "it is the first process, and has a child that takes memory")
            return Run(evidence=evidence, exit_code=None, alive=False)
        return Run(evidence=evidence, exit_code=worked(code, "it is the first process's child"), alive=subject.alive)


def _told(subject: Subject) -> int | None:
    """The child's exit code, as its parent has written it down."""
    with suppress(OSError):
        return int(Path(f"/proc/{subject.container.pid}/root/{_ENDED}").read_text(encoding="ascii"))
    return None


def judge_child(run: Run) -> list[Verdict]:
    """The child was killed, and nobody else."""
    return [
        ended(run.exit_code, KILLED, what="the child"),
        oom_kills(run.evidence.snapshots),
        judge_alive(alive=run.alive),
    ]


def judge_executed(run: Run) -> list[Verdict]:
    """What was started beside the first process was killed, and nobody else."""
    return [ended(run.exit_code, KILLED, what="the docker exec"), judge_alive(alive=run.alive)]


# -- 37: all of them ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Together:
    """A container in which one process met the limit."""

    exit_code: int | None
    """of the first process, which took nothing; `None`: it lives"""
    group_kills: int | None
    """`oom_group_kill` in the parent's `memory.events`, which outlives it"""
    file: str


def _press_together(bench: Bench, setting: Setting) -> Together:
    with bench.parent() as parent, made(bench, under(parent, setting), WAITER) as subject:
        subject.go()
        await_waiter(subject.container.pid)
        file = subject.path("memory.events", above=1)
        load = hogged(subject)
        load.wait(LONG_S)
        text = file.read_text(encoding="ascii")
        events = dict(line.split() for line in text.splitlines())
        code = subject.await_end(seconds=3.0)
        if code is None:
            pressed(load)
        return Together(
            exit_code=code,
            group_kills=int(events["oom_group_kill"]) if "oom_group_kill" in events else None,
            file=f"memory.events of the cgroup above: {', '.join(text.splitlines())}",
        )


def judge_together(together: Together) -> list[Verdict]:
    """All its processes ended, and the kernel says that it was by this."""
    return [
        claim(
            "the first process, which took nothing",
            expected=f"exit {KILLED}",
            seen="lives" if together.exit_code is None else f"exit {together.exit_code}",
            holds=together.exit_code == KILLED,
            files=[together.file],
        ),
        claim(
            "memory.events oom_group_kill",
            expected="+1",
            seen=None if together.group_kills is None else f"+{together.group_kills}",
            holds=None if together.group_kills is None else together.group_kills > 0,
        ),
    ]


# -- 38: another kill --------------------------------------------------------------------------------------------


def _killed_by_us(subject: Subject) -> Command:
    load, pid = waiting(subject)
    kill([pid])
    return load


def _press_other_kill(bench: Bench, load: Callable[[Subject], Command]) -> Run:
    return ran(bench, LIMITED, load)


def judge_other_kill(run: Run) -> list[Verdict]:
    """The code of a kill, and no OOM kill: the memory limit is not to blame."""
    return [ended(run.exit_code, KILLED), no_oom_kill(run.evidence.snapshots)]


# -- 41: the neighbours ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """Two containers under one cgroup with a limit: one takes memory, the other has some."""

    hog: Run
    other: Run


def _press_neighbours(bench: Bench, setting: Setting) -> Neighbours:
    with (
        bench.parent() as parent,
        made(bench, under(parent, LIMITED)) as other,
        made(bench, under(parent, setting)) as hog,
    ):
        limit_parent(other, _PARENT_BYTES)
        before = {one: one.reader.read_limits() for one in (other, hog)}
        # the OOM killer would take this one first, if it were its turn to be asked
        kept = other.probe("hog", _NEIGHBOUR_MIB, 4, 4 * LONG_S, "first")
        other.follow(kept, seconds=LONG_S, every_s=SAMPLE_S, until=lambda _: str(_NEIGHBOUR_MIB) in kept.stdout.split())
        if not kept.running:
            pressed(kept)
        load = hogged(hog)
        taken = hog.follow(load, seconds=LONG_S, every_s=SAMPLE_S)
        kept.wait(_NOTICE_S)
        return Neighbours(
            hog=_seen(hog, [before[hog], *taken], load, pressed(load)),
            other=_seen(other, [before[other], other.reader.read_limits()], kept, kept.exit_code),
        )


def _seen(subject: Subject, snapshots: list[Snapshot], load: Command, exit_code: int | None) -> Run:
    evidence = subject.evidence(snapshots, load)
    return Run(evidence=evidence, exit_code=exit_code, alive=subject.alive and load.running)


def judge_neighbours(neighbours: Neighbours) -> list[Verdict]:
    """One container's OOM kill is its own affair."""
    other = neighbours.other
    return [
        ended(neighbours.hog.exit_code, KILLED, what="the load"),
        no_oom_kill(other.evidence.snapshots, what="next door"),
        claim(
            "the neighbour's process",
            expected="runs on",
            seen="runs on" if other.alive else f"has ended, exit {other.exit_code}",
            holds=other.alive,
        ),
    ]


# -- the list ----------------------------------------------------------------------------------------------------

_TELL = (
    "the engine or its runtime loses exit codes or OOM counts; look at the kernel's log (dmesg) for 'Memory cgroup out "
    "of memory', and take a newer containerd"
)

CASES: tuple[AnyCase, ...] = (
    Case(
        number=34,
        group=Group.MEMORY,
        title="a first process that meets the limit ends its container with 137",
        expected="exit 137, oom_kill in memory.oom_control +1",
        expected_v2="exit 137, oom_kill in memory.events +1",
        press=lambda bench: _press_first(bench, LIMITED),
        control=lambda bench: _press_first(bench, FREE),
        control_words=FOUR_TIMES,
        claims=(judge_first,),
        remedy=f"{REMEDY}; {_TELL}",
    ),
    Case(
        number=35,
        group=Group.MEMORY,
        title="a child that meets the limit dies alone",
        expected="the child 137, oom_kill +1, the container runs on",
        press=lambda bench: _press_child(bench, LIMITED),
        control=lambda bench: _press_child(bench, FREE),
        control_words=FOUR_TIMES,
        claims=(judge_child,),
        remedy=f"a Jupyter kernel's death may take its server along here: look at memory.oom.group (v2); {REMEDY}",
    ),
    Case(
        number=36,
        group=Group.MEMORY,
        title="what docker exec has started dies alone",
        expected="docker exec ends with 137, the container runs on",
        press=lambda bench: climbed(bench, LIMITED),
        control=lambda bench: climbed(bench, FREE),
        control_words=FOUR_TIMES,
        claims=(judge_executed,),
        remedy=f"{REMEDY}; {_TELL}",
    ),
    Case(
        number=37,
        group=Group.MEMORY,
        title="with memory.oom.group all processes die together",
        expected="cgroup v1 has none",
        expected_v2="the first process, which took nothing: exit 137; oom_group_kill +1",
        press=lambda bench: _press_together(
            bench, Setting(limits=LIMITED.limits, behind={2: {"memory.oom.group": "1"}})
        ),
        control=lambda bench: _press_together(bench, LIMITED),
        control_words="the same load without memory.oom.group",
        claims=(judge_together,),
        remedy="don't write memory.oom.group on this host; Docker leaves it at 0",
        only=2,
    ),
    Case(
        number=38,
        group=Group.MEMORY,
        title="a kill that is not by the limit is not taken for one",
        expected="exit 137, oom_kill in memory.oom_control +0",
        expected_v2="exit 137, oom_kill in memory.events +0",
        press=lambda bench: _press_other_kill(bench, _killed_by_us),
        control=lambda bench: _press_other_kill(bench, hogged),
        control_words="a kill by the limit",
        claims=(judge_other_kill,),
        remedy="something else in the container meets its limit: give it more memory",
    ),
    Case(
        number=41,
        group=Group.MEMORY,
        title="one container's OOM kill leaves its neighbour alone",
        expected="the load 137; next door oom_kill +0, and the process that would go first runs on",
        press=lambda bench: _press_neighbours(bench, LIMITED),
        control=lambda bench: _press_neighbours(bench, FREE),
        control_words="without a limit of its own, beside the neighbour under one cgroup's limit",
        claims=(judge_neighbours,),
        remedy="limit each container, not only a cgroup_parent of several: under that they die for one another",
    ),
)
