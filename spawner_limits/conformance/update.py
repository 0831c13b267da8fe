"""Cases 57 to 61: limits that are changed while a container runs, looked at three ways, and pressed. See `lasting`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spawner_limits import interrupt
from spawner_limits.conformance.case import CannotError, Case, Group, Pace
from spawner_limits.conformance.change import Change, agree, change, in_force
from spawner_limits.conformance.cpu import WARM_UP_S, quota, spinning, usage_plot
from spawner_limits.conformance.setting import NOTHING, Setting, hold, made, rewrite
from spawner_limits.conformance.trial import START_S, Subject
from spawner_limits.limits import Limits
from spawner_limits.proof import windows
from spawner_limits.proof.claims import (
    KILLED,
    claim,
    ended,
    judged,
    measured,
    no_oom_kill,
    oom_kills,
    unpressed,
)
from spawner_limits.proof.tolerances import WINDOWS
from spawner_limits.units import MIB, format_cores, format_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spawner_limits.clients.own_commands import Command
    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.trial import Bench
    from spawner_limits.proof.evidence import Verdict
    from spawner_limits.report.plot import Plot

LOAD_S = 60
_POLL_S = 0.05
SETTLED_S = 0.3
"""for what the kernel ended to be seen as ended"""
_START_CORES = 0.5
_IN_USE_MIB = 64
EXCEEDS_MIB = 128
_LARGE = Setting(asked=Limits(mem_limit=96 * MIB, memswap_limit=96 * MIB))
_SMALL = Limits(mem_limit=32 * MIB, memswap_limit=32 * MIB)
LIFTED = Limits(mem_limit=256 * MIB, memswap_limit=256 * MIB, pids_limit=256)


def begun(load: Command, word: str) -> None:
    """Wait until a load has said so. CannotError when it never does."""
    left = START_S * 2.0
    while word not in load.stdout.split():
        left -= _POLL_S
        if left < 0 or not load.running:
            raise CannotError(f"the load did not begin: {load.stderr.strip()}", "give an --image with python3")
        interrupt.pause(_POLL_S)


def exceeding(subject: Subject, **more: Any) -> Seen:
    """A load that takes more memory than any limit gives, and asks to be the OOM killer's first."""
    return subject.press("hog", EXCEEDS_MIB, 4, 0, "first", seconds=LOAD_S, **more)


# -- 57: CPU quota -------------------------------------------------------------------------------------------------


def _turned(bench: Bench, *cores: float, count: int = WINDOWS, really: Limits = NOTHING) -> list[Change]:
    """A container under load that is given one quota after the other, each for so many windows."""
    with made(bench, quota(_START_CORES)) as subject:
        load = spinning(subject, 2)
        subject.busy()
        return [_turn(subject, load, Limits(cpu_limit=wanted), count, really) for wanted in cores]


def _turn(subject: Subject, load: Command, limits: Limits, count: int, really: Limits) -> Change:
    changed = change(subject, limits)
    rewrite(subject, really)
    interrupt.pause(WARM_UP_S)
    taken = subject.follow(load, seconds=count * (windows.SHORTEST_S + 0.15) + 0.2)
    return replace(changed, seen=subject.seen(taken, load.exit_code))


def each_binds(turned: Sequence[Change]) -> list[Verdict]:
    """Each quota is in force, and holds."""
    return [
        said for turn in turned for said in (*unpressed(in_force)(turn), *hold(turn.limits, "cpu_limit")(turn.seen))
    ]


def _plot_turns(turned: Sequence[Change]) -> list[Plot]:
    pairs = [(turn.limits.cpu_limit or 0.0, turn.seen) for turn in turned]
    title = "After an update to {}"
    return [usage_plot(title.format(format_cores(cores)), {"cores used": seen}, cores) for cores, seen in pairs]


# -- 58, 59: memory below what is in use ---------------------------------------------------------------------------

_USERS: Mapping[str, tuple[tuple[int, ...], str]] = {
    "hog": ((4, LOAD_S), str(_IN_USE_MIB)),
    "cache": ((LOAD_S,), "written"),
}
"""probe → what it takes after its size, and what it says once it has its memory"""
_EXCEEDING = "exceeding"
"""the second load, larger than any of the limits"""


def _lowered(bench: Bench, probe: str, really: Limits = NOTHING) -> Change:
    """A load whose container's memory limit is lowered below what it uses, and then a second load."""
    arguments, word = _USERS[probe]
    with made(bench, _LARGE) as subject:
        _spare(subject)
        load = subject.probe(probe, _IN_USE_MIB, *arguments)
        begun(load, word)
        before = subject.reader.read()
        changed = change(subject, _SMALL)
        interrupt.pause(SETTLED_S)
        after, lives = subject.reader.read(), load.running
        rewrite(subject, really)
        seen = subject.seen([before, after], parts={_EXCEEDING: exceeding(subject)})
        return replace(changed, seen=seen, ran=1, ran_on=int(lives))


def _spare(subject: Subject) -> None:
    """Keep the OOM killer from what only waits.

    While v2 lowers memory.max it kills until the rest fits, and may be done with the load and go on before that has
    given its memory back: the container would end, and with it all evidence.
    """
    for pid in processes(subject):
        with suppress(OSError):  # a host that does not let us: then the case may be UNKNOWN
            Path(f"/proc/{pid}/oom_score_adj").write_text("-1000", encoding="ascii")


def processes(subject: Subject) -> frozenset[int]:
    """Those of the container, by its cgroup's own list."""
    text = (subject.cgroup.directories["pids"] / "cgroup.procs").read_text(encoding="ascii")
    return frozenset(map(int, text.split()))


def was_above(changed: Change) -> Verdict:
    """It was pressed: more was in use than the new limit. Else UNKNOWN: a load that is too small proves nothing."""
    used, limit = changed.seen.snapshots[0].memory_current_bytes, changed.limits.mem_limit or 0
    return measured(
        "memory in use before",
        f"more than {format_size(limit)}",
        used,
        lambda size: True if size > limit else None,
        tell=format_size,
        figures={"used_before_bytes": used},
    )


def fits(changed: Change) -> Verdict:
    """What is in use is within the new limit."""
    used, limit = changed.seen.snapshots[-1].memory_current_bytes, changed.limits.mem_limit or 0
    fate = "the load runs on" if changed.ran_on else "the load was ended"
    return measured(
        "memory in use after",
        f"at most {format_size(limit)}",
        used,
        lambda size: size <= limit,
        tell=lambda size: f"{format_size(size)}, {fate}",
        files=() if used is None else (f"memory usage after the update = {used}",),
        figures={"used_after_bytes": used, "limit_bytes": limit},
    )


def load_lives(changed: Change) -> Verdict:
    """The load that used the memory is still there."""
    lives = changed.ran_on == changed.ran
    return claim("the load that used the memory", "runs on", "runs on" if lives else "was ended", lives)


def still_limited(changed: Change) -> list[Verdict]:
    """Whichever limit is recorded is in force."""
    what = f"a load of {EXCEEDS_MIB} MiB afterwards"
    return judged((ended(KILLED, what=what), oom_kills(what="afterwards")), changed.seen.parts[_EXCEEDING])


# -- 60, 61: what the answer is worth ------------------------------------------------------------------------------


def _refused(bench: Bench, really: Limits = NOTHING) -> list[Change]:
    asks: list[tuple[Limits, tuple[str, ...]]] = [
        (Limits(cpu_shares=1), ()),
        (Limits(cpu_shares=300_000), ()),
        (Limits(mem_limit=4 * MIB, memswap_limit=4 * MIB), ()),
        (Limits(mem_limit=128 * MIB), ("Memory",)),  # above memory and swap together, which stays
        (Limits(cpu_limit=0.005), ()),
        (Limits(cpuset_cpus=str(bench.host.cores + 7)), ()),
    ]
    with made(bench, _LARGE) as subject:
        return [change(subject, limits, *keys, really=really) for limits, keys in asks]


def _endless_swap(bench: Bench, really: Limits = NOTHING) -> Change:
    with made(bench, _LARGE) as subject:
        return change(subject, Limits(mem_limit=_LARGE.asked.mem_limit), really=really)


# -- the list ------------------------------------------------------------------------------------------------------

update_case = partial(
    Case,
    group=Group.UPDATE,
    control_words="the same, and the limit then lifted in the kernel's file behind the engine's back",
    remedy=(
        "don't change this limit while a server runs: stop the server and start it anew, and look at the kernel's own "
        "file afterwards (spawner-limits verify)"
    ),
)
_BEHIND = "the same, and the kernel's file then changed behind the engine's back"

CASES: tuple[AnyCase, ...] = (
    update_case(
        number=57,
        title="a CPU quota that is lowered and raised again binds at once",
        expected="reply, inspect and kernel agree; 0.25 cores, then 0.5 cores are used",
        tolerance="as case 9; 1 s after the update",
        press=lambda bench: _turned(bench, 0.25, 0.5),
        control=lambda bench: _turned(bench, 0.25, count=1, really=Limits(cpu_limit=_START_CORES)),
        control_words="the same, and the old quota then put back in the kernel's file",
        claims=(each_binds,),
        pace=Pace.QUOTA,
        cores=0.5,
        quick=False,
        plots=_plot_turns,
    ),
    update_case(
        number=58,
        title="memory is not lowered below what is in use by halves",
        expected="refused (EBUSY); reply, inspect and kernel unchanged, the load lives",
        expected_v2="accepted and in force; what does not fit is swapped, or ended by the OOM killer",
        press=lambda bench: _lowered(bench, "hog"),
        control=lambda bench: _lowered(bench, "hog", LIFTED),
        claims=(
            unpressed(agree),
            was_above,
            lambda changed: fits(changed) if changed.reply is None else load_lives(changed),
            still_limited,
        ),
        defect=(
            "runc on cgroup v1 lowers memory.limit_in_bytes first, which succeeds where there is swap, and then "
            "memory.memsw.limit_in_bytes, which fails with EBUSY: Docker says that nothing changed, and half of it has"
        ),
        defect_of=1,
    ),
    update_case(
        number=59,
        title="memory is lowered below its page cache, which is given back",
        expected="accepted and in force, the cache reclaimed, nobody killed",
        press=lambda bench: _lowered(bench, "cache"),
        control=lambda bench: _lowered(bench, "cache", LIFTED),
        claims=(
            unpressed(in_force),
            was_above,
            fits,
            lambda changed: no_oom_kill(what="by the update")(changed.seen),
            load_lives,
            still_limited,
        ),
    ),
    update_case(
        number=60,
        title="an update that is refused changes nothing",
        expected="shares 1 and 300000, memory of 4 MiB or above its swap, 0.005 cores, an absent CPU: nothing changes",
        expected_v2="shares are taken, as the least and the largest weight; the others change nothing",
        press=_refused,
        control=lambda bench: _refused(bench, Limits(cpu_shares=3)),
        control_words=_BEHIND,
        claims=(lambda changes: [verdict for changed in changes for verdict in agree(changed)],),
        remedy="keep shares within 2 and 262144, as the policy's check does; after a refusal give the old value anew",
        defect=(
            "runc on cgroup v1 writes cpu.shares first and finds afterwards that the Linux kernel has made 2 or 262144 "
            "of it; Docker takes its own record back, and leaves the kernel's (runc libcontainer/cgroups/fs/cpu.go)"
        ),
        defect_of=1,
    ),
    update_case(
        number=61,
        title="an update that is answered with success is in force",
        expected="memory_swap −1: refused, or unlimited in inspect and in the kernel",
        press=_endless_swap,
        control=lambda bench: _endless_swap(bench, Limits(mem_limit=96 * MIB, memswap_limit=160 * MIB)),
        control_words=_BEHIND,
        claims=(agree,),
        remedy=(
            "to allow more swap to a running server give a number of bytes, not −1; to allow it without end, start the "
            "server anew"
        ),
        defect=(
            "Docker hands memory_swap to the runtime only where it is above 0 (moby daemon/update_linux.go, "
            "toContainerdResources): −1 is recorded, and the kernel keeps the old limit"
        ),
    ),
)
