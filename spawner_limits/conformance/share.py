"""Cases 22 to 29: fair shares, by what siblings get of CPUs that all of them want.

On one CPU three busy workers settle within a quarter of a percent in five seconds; on several it is rougher, however
long one waits, and with fewer workers than CPUs it never settles. What is expected follows from the kernel's own
weights.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from spawner_limits import interrupt
from spawner_limits.bench.contest import ORDINARY_SHARES, idlest
from spawner_limits.conformance import lines
from spawner_limits.conformance.case import Case, Group, Pace
from spawner_limits.conformance.setting import Setting, hold, made, read, shown, texts
from spawner_limits.conformance.trial import sampler
from spawner_limits.engines.enforcement import DEFAULT_PERIOD_US, weights
from spawner_limits.kernel.host import Idle
from spawner_limits.limits import Limits
from spawner_limits.proof import windows
from spawner_limits.proof.claims import claim, unpressed
from spawner_limits.proof.evidence import Contest
from spawner_limits.proof.tolerances import BALANCED, SATURATED, SHARE
from spawner_limits.report.plot import Plot, Point
from spawner_limits.units import format_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Verdict

WINDOW_S = 5.0
WIDE_WINDOW_S = 10.0
WARM_UP_S = 1.0
LOOSE = 0.05
_SPIN_S = 90
_WHOLE = 0.98
_IDLE = 0.02
_EVERY_S = 0.25
_SECOND = 4
"""samples in a second"""

Shares = tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A window of a contest."""

    seconds: float
    updated: Shares = ()
    """what `docker update` makes of their shares before it"""
    shown: Shares = ()
    """what the kernel has meanwhile, written behind the engine's back and put back in time; empty: nothing is"""
    resting: int = 0
    """how many of the last ones have no load"""
    quota: float | None = None
    """cores that `docker update` gives the first one before it"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rivalry:
    """Siblings that want the same CPUs, for one phase after the other."""

    shares: Shares
    """of each; `None`: not given"""
    phases: tuple[Phase, ...]
    cpus: int = 1
    """0: all of the host's"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rivals:
    """What was read of siblings in one phase, at the same moments."""

    taken: tuple[tuple[Snapshot, ...], ...]
    """of each; the first and the last with all limits"""
    cpus: int
    idle: float
    """CPUs of these that nobody used in the window, on average"""
    seen: Seen
    """of the first one"""
    replies: tuple[str | None, ...] = ()
    """what the engine said to each update; `None`: done"""
    after: Rivals | None = None
    """the next phase, where that is shown too"""

    @property
    def ends(self) -> list[tuple[Snapshot, Snapshot]]:
        """Of each, the first and the last snapshot of the window."""
        return [(taken[0], taken[-1]) for taken in self.taken]

    @property
    def cores(self) -> list[float]:
        """What each used in the window; 0 where it was not read."""
        return [found.cores if (found := windows.between(*pair)) else 0.0 for pair in self.ends]

    @property
    def saturation(self) -> float:
        """Of the CPUs, the part that was theirs."""
        return sum(self.cores) / self.cpus


def contend(bench: Bench, rivalry: Rivalry) -> tuple[Rivals, ...]:
    """Have siblings press on the same CPUs; what was read in each phase. Errors as `made`."""
    cpus = rivalry.cpus or bench.host.cores
    cpu = idlest(frozenset(range(bench.host.cores))) if cpus == 1 else None
    pinned = None if cpu is None else str(cpu)
    settings = [Setting(asked=Limits(cpu_shares=shares, cpuset_cpus=pinned)) for shares in rivalry.shares]
    with ExitStack() as stack:
        subjects = [stack.enter_context(made(bench, setting)) for setting in settings]
        return tuple(_phase(subjects, phase, cpus, cpu) for phase in rivalry.phases)


def _phase(subjects: Sequence[Subject], phase: Phase, cpus: int, cpu: int | None) -> Rivals:
    working = subjects[: len(subjects) - phase.resting]
    for subject in subjects[len(working) :]:
        subject.stop()
    fresh = [subject for subject in working if not subject.loaded]
    for subject in fresh:
        subject.probe("spin", cpus, _SPIN_S)
    for subject in fresh:
        subject.busy()
    replies = [subject.update(CpuShares=shares) for subject, shares in zip(subjects, phase.updated, strict=False)]
    if phase.quota is not None:
        quota_us = round(phase.quota * DEFAULT_PERIOD_US)
        replies.append(subjects[0].update(CpuPeriod=DEFAULT_PERIOD_US, CpuQuota=quota_us))
    interrupt.pause(WARM_UP_S if fresh or replies else 0)
    return replace(_window(subjects, phase, cpus, cpu), replies=tuple(replies))


def _window(subjects: Sequence[Subject], phase: Phase, cpus: int, cpu: int | None) -> Rivals:
    rounds = sampler(*subjects, every_s=_EVERY_S).follow(seconds=phase.seconds)
    first = next(rounds)
    idle = Idle()
    hidden = [_hide(subject, shares) for subject, shares in zip(subjects, phase.shown, strict=False)]
    between = list(islice(rounds, round(phase.seconds / _EVERY_S)))
    for put_back in hidden:
        put_back()
    taken = tuple(zip(first, *between, sampler(*subjects).limits(), strict=True))
    return Rivals(taken=taken, cpus=cpus, idle=idle.cores(cpu), seen=subjects[0].seen(taken[0]))


def _hide(subject: Subject, shares: int | None) -> Callable[[], object]:
    """Write other shares behind the engine's back, and give what puts the right ones back."""
    ((file, text),) = texts(subject.bench, Limits(cpu_shares=shares or ORDINARY_SHARES)).items()
    before = subject.read(file) or ""
    subject.write(file, text)
    return partial(subject.write, file, before)


# -- claimed -----------------------------------------------------------------------------------------------------


def fair(shares: Shares, tolerance: float) -> Callable[[Rivals], list[Verdict]]:
    """Each has the kernel's weight for its shares, and gets what its weight comes to."""
    return lambda rivals: [
        _fair(rivals, index, Limits(cpu_shares=given or ORDINARY_SHARES), tolerance)
        for index, given in enumerate(shares)
    ]


def _fair(rivals: Rivals, index: int, limits: Limits, tolerance: float) -> Verdict:
    ends = rivals.ends
    others = tuple(pair for other, pair in enumerate(ends) if other != index)
    contest = Contest(subject=ends[index], rivals=others, cpus=rivals.cpus, tolerance=tolerance)
    return hold(limits, "cpu_shares")(replace(rivals.seen, snapshots=ends[index], contest=contest))[0]


def shares_shown(seen: Seen) -> list[Verdict]:
    """The shares on v1; on v2 what either formula makes of them, and which one it was."""
    found = shown(_DOUBLE, "cpu_shares")(seen)
    formulas = [formula(_DOUBLE.cpu_shares or 0, verdict.seen) for verdict in found]
    return [
        replace(verdict, seen=f"{verdict.seen} ({by})" if by else verdict.seen)
        for verdict, by in zip(found, formulas, strict=True)
    ]


def formula(shares: int, weight: str) -> str:
    """By which formula a runtime made that weight of the shares; empty: by none that is known."""
    told = ("the formula before runc 1.3.2 and crun 1.23", "the formula since runc 1.3.2 and crun 1.23")
    return dict(zip(weights(shares), told, strict=True)).get(weight, "")


def part_of_the_whole(name: str, least: float, idle: float) -> Callable[[Rivals], Verdict]:
    """They have the CPUs, but for what others use: only what nobody used speaks against it."""

    def judged(rivals: Rivals) -> Verdict:
        unused, part = rivals.idle / rivals.cpus, rivals.saturation
        return claim(
            name,
            f"at least {least:.0%}",
            f"{part:.1%}",
            True if part >= least else False if unused > idle else None,
            reason=f"{name}: {part:.1%}, and {unused:.1%} was idle",
            files=[f"cpuacct.usage or cpu.stat usage_usec: {' + '.join(map(format_cores, rivals.cores))}"],
            figures={"saturation": round(part, 4), "idle": round(unused, 4)},
        )

    return judged


def rest_in_halves(rivals: Rivals) -> Verdict:
    """What the quota of the first leaves, the others share as if it were not there."""
    first, *others = rivals.cores
    rest = sum(others)
    parts = [part / rest if rest else 0.0 for part in others]
    fits = all(abs(part - 1 / len(others)) <= LOOSE / len(others) for part in parts)
    return claim(
        "what the quota leaves, shared by the others",
        "50 % / 50 %",
        " / ".join(f"{part:.1%}" for part in parts),
        fits if rivals.saturation >= SATURATED else None,
        figures={"capped_cores": round(first, 4), "rest_cores": round(rest, 4)},
    )


def replied(rivals: Rivals) -> Verdict:
    """The engine took the update."""
    refusals = [reply for reply in rivals.replies if reply is not None]
    return claim("the engine's reply", "done", "; ".join(refusals) or "done", not refusals)


def plot(phases: Sequence[Rivals], names: Sequence[str], title: str, marks: Sequence[str]) -> Plot:
    """Parts of the CPUs over time, each point over the second before it. `marks`: what begins each later phase."""
    begin_ns = phases[0].taken[0][0].monotonic_ns
    whole = [[snapshot for phase in phases for snapshot in phase.taken[index]] for index in range(len(names))]
    drawn = {
        name: tuple(
            Point(seconds=lines.seconds(begin_ns, last.monotonic_ns), value=_percent(first, last))
            for first, last in zip(taken, taken[_SECOND:], strict=False)
        )
        for name, taken in zip(names, whole, strict=True)
    }
    starts = [lines.seconds(begin_ns, phase.taken[0][0].monotonic_ns) for phase in phases[1:]]
    return Plot(title=title, unit="percent", lines=drawn, marks=dict(zip(starts, marks, strict=True)) or None)


def _percent(first: Snapshot, last: Snapshot) -> float | None:
    window = windows.between(first, last)
    return None if window is None else round(100 * window.cores, 2)


def _plot_shares(rivals: Rivals) -> list[Plot]:
    names = [f"{name}, cpu_shares {shares}" for name, shares in zip("ABC", _TWO_ONE_ONE, strict=True)]
    title = "Parts of one CPU over the last second; then C stops"
    return [plot([rivals, rivals.after], names, title, ["C stops"])] if rivals.after else []


# -- the list ----------------------------------------------------------------------------------------------------

_DOUBLE = Limits(cpu_shares=2048)
_TWO_ONE_ONE = (2048, 1024, 1024)
_EQUAL = (1024, 1024, 1024)
_OTHERWISE = (1024, 2048, 1024)
_QUOTA = 0.3
_LONE = Rivalry(shares=(16,), phases=(Phase(seconds=2.0), Phase(seconds=1.0, quota=0.5)))
_FREE, _QUOTED = range(2)
_WIDE = Rivalry(
    shares=_TWO_ONE_ONE,
    cpus=0,
    phases=(Phase(seconds=WIDE_WINDOW_S), Phase(seconds=2.5, shown=_OTHERWISE), Phase(seconds=1.0, resting=3)),
)
_BUSY, _BUSY_HIDDEN, _RESTING = range(3)
_ON_ONE = Rivalry(
    shares=_TWO_ONE_ONE,
    phases=(
        Phase(seconds=WINDOW_S),
        Phase(seconds=3.0, resting=1),
        Phase(seconds=2.0, shown=_EQUAL),
        Phase(seconds=WINDOW_S, updated=_EQUAL),
        Phase(seconds=2.0, shown=_TWO_ONE_ONE),
        Phase(seconds=6.6, quota=_QUOTA),
    ),
)
"""what three containers on one CPU go through, once a run, for cases 23, 24, 28 and 29 and their controls"""
_ASKED, _STOPPED, _ASKED_HIDDEN, _UPDATED, _UPDATED_HIDDEN, _CAPPED = range(6)


def _of(bench: Bench, rivalry: Rivalry, phase: int) -> Rivals:
    """What was seen in a phase; all of them once a run."""
    key = f"share: {len(rivalry.shares)} on {rivalry.cpus or 'all'}"
    phases = bench.once(key, lambda: contend(bench, rivalry))
    return replace(phases[phase], after=phases[phase + 1] if phase + 1 < len(phases) else None)


share_case = partial(
    Case,
    group=Group.SHARE,
    control_words="other shares written behind the engine's back, and put back in time",
    remedy=(
        "cpu_shares do not divide the CPU here: check that containers are siblings (the same cgroup_parent), that the "
        "cpu controller is on (v2: cgroup.subtree_control), and who else writes cpu.shares or cpu.weight; or give "
        "cpu_limit"
    ),
)
contest_case = partial(share_case, pace=Pace.ALONE, quick=False)

CASES: tuple[AnyCase, ...] = (
    share_case(
        number=22,
        title="cpu_shares reach the kernel",
        expected="cpu.shares 2048",
        expected_v2="cpu.weight 79 or 174, by the runtime's formula",
        tolerance="exact",
        press=lambda bench: read(bench, Setting(asked=_DOUBLE)),
        control=lambda bench: read(bench, Setting()),
        control_words="a container without shares",
        claims=(shares_shown,),
    ),
    contest_case(
        number=23,
        title="shares of 2048, 1024 and 1024 divide one CPU so",
        expected="50 / 25 / 25 %",
        expected_v2="as the kernel's weights: 50.3 / 24.8 / 24.8 or 46.5 / 26.7 / 26.7 %",
        tolerance="2 % over 5 s",
        press=lambda bench: _of(bench, _ON_ONE, _ASKED),
        control=lambda bench: _of(bench, _ON_ONE, _ASKED_HIDDEN),
        claims=(fair(_TWO_ONE_ONE, SHARE),),
        plots=_plot_shares,
    ),
    contest_case(
        number=24,
        title="equal shares are equal",
        expected="33.3 % each",
        tolerance="2 % over 5 s",
        press=lambda bench: _of(bench, _ON_ONE, _UPDATED),
        control=lambda bench: _of(bench, _ON_ONE, _UPDATED_HIDDEN),
        claims=(fair(_EQUAL, SHARE),),
    ),
    contest_case(
        number=25,
        title="shares divide all CPUs, with a worker for each",
        expected="50 / 25 / 25 %",
        expected_v2="as the kernel's weights",
        tolerance="20 % over 10 s",
        press=lambda bench: _of(bench, _WIDE, _BUSY),
        control=lambda bench: _of(bench, _WIDE, _BUSY_HIDDEN),
        claims=(fair(_TWO_ONE_ONE, BALANCED),),
    ),
    contest_case(
        number=26,
        title="a lone container gets the whole CPU, however low its shares",
        expected="98 % or more",
        tolerance="2 %",
        press=lambda bench: _of(bench, _LONE, _FREE),
        control=lambda bench: _of(bench, _LONE, _QUOTED),
        control_words="the same load with a quota",
        claims=(part_of_the_whole("a lone container's part of the CPU", _WHOLE, _IDLE),),
        remedy="a quota binds before the shares do: look at cpu.cfs_quota_us or cpu.max of the container and above it",
        quick=True,
    ),
    contest_case(
        number=27,
        title="the siblings had all CPUs while they were measured",
        expected="95 % of them; less, with nothing idle, says nothing",
        tolerance="–",
        press=lambda bench: _of(bench, _WIDE, _BUSY),
        control=lambda bench: _of(bench, _WIDE, _RESTING),
        control_words="the same containers without a load",
        claims=(part_of_the_whole("the siblings' part of the CPUs", SATURATED, 1 - SATURATED),),
        remedy="CPUs stood idle although work was there: look for a quota or a cpuset above the containers",
    ),
    contest_case(
        number=28,
        title="a quota caps one, and shares divide the rest",
        expected="0.30 cores, and 50 / 50 % of the rest",
        tolerance="5 %",
        press=lambda bench: _of(bench, _ON_ONE, _CAPPED),
        control=lambda bench: _of(bench, _ON_ONE, _ASKED),
        control_words="the same load without the quota",
        claims=(lambda rivals: hold(Limits(cpu_limit=_QUOTA), "cpu_limit")(rivals.seen), rest_in_halves),
    ),
    contest_case(
        number=29,
        title="changed shares count at once",
        expected="2048 made 1024: 33.3 % each from then on",
        tolerance="5 %",
        press=lambda bench: _of(bench, _ON_ONE, _UPDATED),
        control=lambda bench: _of(bench, _ON_ONE, _UPDATED_HIDDEN),
        claims=(unpressed(replied), fair(_EQUAL, LOOSE)),
        remedy="docker update does not reach the running container: restart the server for new shares",
    ),
)
