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

from spawner_limits import units
from spawner_limits.engines.base import DEFAULT_PERIOD_US, weights
from spawner_limits.limits import Limits
from spawner_limits.proof import interrupt, windows
from spawner_limits.proof.claims import claim, exactly
from spawner_limits.proof.conformance.bench import sampler
from spawner_limits.proof.conformance.case import Case, Group, Pace
from spawner_limits.proof.conformance.setting import Setting, expected, hold, made
from spawner_limits.proof.contest import idlest
from spawner_limits.proof.evidence import Contest, Evidence
from spawner_limits.proof.host import Idle
from spawner_limits.proof.judge import judge
from spawner_limits.proof.plot import Plot, Point
from spawner_limits.proof.tolerances import BALANCED, SATURATED, SHARE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.conformance.bench import Bench, Subject
    from spawner_limits.proof.conformance.case import AnyCase
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
    evidence: Evidence
    """of the host; its snapshots are the first one's"""
    replies: tuple[str | None, ...] = ()
    """what the engine said to each update; `None`: done"""

    @property
    def ends(self) -> list[tuple[Snapshot, Snapshot]]:
        """Of each, the first and the last snapshot of the window."""
        return [(one[0], one[-1]) for one in self.taken]

    @property
    def cores(self) -> list[float]:
        """What each used in the window; 0 where it was not read."""
        return [found.cores if (found := windows.between(*pair)) else 0.0 for pair in self.ends]

    @property
    def saturation(self) -> float:
        """Of the CPUs, the part that was theirs."""
        return sum(self.cores) / self.cpus


def contend(bench: Bench, rivalry: Rivalry) -> tuple[Rivals, ...]:
    """Have siblings press on the same CPUs; what was read in each phase. Errors as `Bench.container`."""
    cpus = rivalry.cpus or bench.host.cores
    cpu = idlest(frozenset(range(bench.host.cores))) if cpus == 1 else None
    with ExitStack() as stack:
        subjects = [stack.enter_context(made(bench, one)) for one in _settings(rivalry, cpu)]
        return tuple(_phase(subjects, one, cpus, cpu) for one in rivalry.phases)


def _settings(rivalry: Rivalry, cpu: int | None) -> list[Setting]:
    pinned = None if cpu is None else str(cpu)
    return [Setting(limits=Limits(cpu_shares=one, cpuset_cpus=pinned)) for one in rivalry.shares]


def _phase(subjects: Sequence[Subject], phase: Phase, cpus: int, cpu: int | None) -> Rivals:
    working = subjects[: len(subjects) - phase.resting]
    for one in subjects[len(working) :]:
        one.stop()
    fresh = [one for one in working if not one.loaded]
    for one in fresh:
        one.probe("spin", cpus, _SPIN_S)
    for one in fresh:
        one.busy()
    replies = [one.update(CpuShares=shares) for one, shares in zip(subjects, phase.updated, strict=False)]
    if phase.quota is not None:
        quota_us = round(phase.quota * DEFAULT_PERIOD_US)
        replies.append(subjects[0].update(CpuPeriod=DEFAULT_PERIOD_US, CpuQuota=quota_us))
    interrupt.pause(WARM_UP_S if fresh or replies else 0)
    return replace(_window(subjects, phase, cpus, cpu), replies=tuple(replies))


def _window(subjects: Sequence[Subject], phase: Phase, cpus: int, cpu: int | None) -> Rivals:
    rounds = sampler(*subjects, every_s=_EVERY_S).follow(seconds=phase.seconds)
    first = next(rounds)
    idle = Idle()
    hidden = [_hide(one, shares) for one, shares in zip(subjects, phase.shown, strict=False)]
    between = list(islice(rounds, round(phase.seconds / _EVERY_S)))
    for put_back in hidden:
        put_back()
    taken = list(zip(first, *between, sampler(*subjects).limits(), strict=True))
    return Rivals(taken=tuple(taken), cpus=cpus, idle=idle.cores(cpu), evidence=subjects[0].evidence(taken[0]))


def _hide(subject: Subject, shares: int | None) -> Callable[[], object]:
    """Write other shares behind the engine's back, and give what puts the right ones back."""
    file = "cpu.shares" if subject.bench.version == 1 else "cpu.weight"
    before = subject.read(file) or ""
    text = str(shares) if subject.bench.version == 1 else weights(shares or 1024)[-1]
    subject.write(file, text)
    return partial(subject.write, file, before)


# -- judged ------------------------------------------------------------------------------------------------------


def fair(shares: Shares, tolerance: float) -> Callable[[Rivals], list[Verdict]]:
    """A judge: each has the kernel's weight for its shares, and gets what its weight comes to."""

    def judged(rivals: Rivals) -> list[Verdict]:
        return [_fair(rivals, index, one or 1024, tolerance) for index, one in enumerate(shares)]

    return judged


def _fair(rivals: Rivals, index: int, shares: int, tolerance: float) -> Verdict:
    ends = rivals.ends
    contest = Contest(
        subject=ends[index],
        rivals=tuple(one for other, one in enumerate(ends) if other != index),
        cpus=rivals.cpus,
        tolerance=tolerance,
    )
    evidence = replace(rivals.evidence, snapshots=ends[index], contest=contest)
    wanted = expected(Limits(cpu_shares=shares), evidence.page_size_bytes, "cpu_shares")
    return judge(wanted, evidence)[0]


def _judge_readback(rivals: Rivals) -> list[Verdict]:
    """The shares on v1; on v2 what either formula makes of them, and which one it was."""
    (wanted,) = expected(Limits(cpu_shares=2048), 4096, "cpu_shares")
    limits = rivals.taken[0][0].limits
    found = [
        exactly(file.name, file.accept, limits.get(file.name))
        for file in wanted.files(rivals.taken[0][0].versions["cpu"])
    ]
    return [replace(one, seen=f"{one.seen}{_formula(one.seen)}") for one in found]


def _formula(weight: str) -> str:
    told = dict(zip(weights(2048), ("before runc 1.3.2 and crun 1.23", "since runc 1.3.2 and crun 1.23"), strict=True))
    return f" (the formula {told[weight]})" if weight in told else ""


def _judge_lone(rivals: Rivals) -> list[Verdict]:
    return [_of_the_whole("a lone container's part of the CPU", rivals, _WHOLE, _IDLE)]


def _judge_saturation(rivals: Rivals) -> list[Verdict]:
    return [_of_the_whole("the siblings' part of the CPUs", rivals, SATURATED, 1 - SATURATED)]


def _of_the_whole(name: str, rivals: Rivals, least: float, idle: float) -> Verdict:
    """They have the CPUs, but for what others use: only what nobody used speaks against it."""
    unused = rivals.idle / rivals.cpus
    return claim(
        name,
        expected=f"at least {least:.0%}",
        seen=f"{rivals.saturation:.1%}",
        holds=True if rivals.saturation >= least else False if unused > idle else None,
        reason=f"{name}: {rivals.saturation:.1%}, and {unused:.1%} was idle",
        files=[f"cpuacct.usage or cpu.stat usage_usec: {' + '.join(units.format_cores(one) for one in rivals.cores)}"],
        figures={"saturation": round(rivals.saturation, 4), "idle": round(unused, 4)},
    )


def _judge_with_quota(rivals: Rivals) -> list[Verdict]:
    """The quota caps the first; the others share what is left as if it were not there."""
    first, *others = rivals.cores
    rest = sum(others)
    parts = [one / rest if rest else 0.0 for one in others]
    capped = hold(Limits(cpu_limit=_QUOTA, cpuset_cpus=None), "cpu_limit")(rivals.evidence)
    fits = all(abs(one - 1 / len(others)) <= LOOSE / len(others) for one in parts)
    return [
        *capped,
        claim(
            "what the quota leaves, shared by the others",
            expected="50 % / 50 %",
            seen=" / ".join(f"{one:.1%}" for one in parts),
            holds=fits if rivals.saturation >= SATURATED else None,
            figures={"capped_cores": round(first, 4), "rest_cores": round(rest, 4)},
        ),
    ]


def _judge_updated(rivals: Rivals) -> list[Verdict]:
    replies = [one for one in rivals.replies if one is not None]
    said = claim("the engine's reply", expected="done", seen="; ".join(replies) or "done", holds=not replies)
    return [replace(said, under_load=None), *fair((1024, 1024, 1024), LOOSE)(rivals)]


def plot(phases: Sequence[Rivals], names: Sequence[str], title: str, marks: Sequence[str]) -> Plot:
    """Parts of the CPUs over time, each point over the second before it. `marks`: what begins each later phase."""
    begin = phases[0].taken[0][0].monotonic_ns
    whole = [[one for phase in phases for one in phase.taken[index]] for index in range(len(names))]
    lines: Mapping[str, tuple[Point, ...]] = {
        name: tuple(
            Point(seconds=_since(begin, last), value=_percent(first, last))
            for first, last in zip(taken, taken[_SECOND:], strict=False)
        )
        for name, taken in zip(names, whole, strict=True)
    }
    starts = {_since(begin, phase.taken[0][0]): mark for phase, mark in zip(phases[1:], marks, strict=True)}
    return Plot(title=title, unit="percent", lines=lines, marks=starts or None)


def _since(begin_ns: int, snapshot: Snapshot) -> float:
    return round((snapshot.monotonic_ns - begin_ns) / windows.SECOND_NS, 2)


def _percent(first: Snapshot, last: Snapshot) -> float | None:
    window = windows.between(first, last)
    return None if window is None else round(100 * window.cores, 2)


def _plot_shares(sitting: Sitting) -> list[Plot]:
    names = [f"{name}, cpu_shares {one}" for name, one in zip("ABC", _TWO_ONE_ONE, strict=True)]
    title = "Parts of one CPU over the last second; then C stops"
    return [plot([sitting.rivals, sitting.after], names, title, ["C stops"])] if sitting.after else []


# -- the list ----------------------------------------------------------------------------------------------------

_TWO_ONE_ONE = (2048, 1024, 1024)
_EQUAL = (1024, 1024, 1024)
_OTHERWISE = (1024, 2048, 1024)
_QUOTA = 0.3
_LONE = 16
_TOGETHER = Rivalry(
    shares=_TWO_ONE_ONE,
    cpus=0,
    phases=(Phase(seconds=WIDE_WINDOW_S), Phase(seconds=2.5, shown=_OTHERWISE), Phase(seconds=1.0, resting=3)),
)
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
_LONELY = Rivalry(shares=(_LONE,), phases=(Phase(seconds=2.0), Phase(seconds=1.0, quota=0.5)))
_FREE, _QUOTED = range(2)
_WIDE, _WIDE_HIDDEN, _WIDE_RESTING = range(3)
_HIDDEN = "other shares written behind the engine's back, and put back in time"
_REMEDY = (
    "cpu_shares do not divide the CPU here: check that containers are siblings (the same cgroup_parent), that the cpu "
    "controller is on (v2: cgroup.subtree_control), and who else writes cpu.shares or cpu.weight; or give cpu_limit"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sitting:
    """A phase, and the one after it where that is shown."""

    rivals: Rivals
    after: Rivals | None = None


def _press_on_one(bench: Bench, phase: int) -> Sitting:
    phases = bench.once("share: one CPU", lambda: contend(bench, _ON_ONE))
    return Sitting(rivals=phases[phase], after=phases[_STOPPED] if phase == _ASKED else None)


def _press_wide(bench: Bench, phase: int) -> Rivals:
    return bench.once("share: all CPUs", lambda: contend(bench, _TOGETHER))[phase]


def _press_lone(bench: Bench, phase: int) -> Rivals:
    return bench.once("share: alone", lambda: contend(bench, _LONELY))[phase]


def _on_one(judge_rivals: Callable[[Rivals], list[Verdict]]) -> Callable[[Sitting], list[Verdict]]:
    return lambda sitting: judge_rivals(sitting.rivals)


def _press_readback(bench: Bench, setting: Setting) -> Rivals:
    with made(bench, setting) as subject:
        taken = [subject.reader.read_limits()]
        return Rivals(taken=(tuple(taken),), cpus=1, idle=0.0, evidence=subject.evidence(taken))


CASES: tuple[AnyCase, ...] = (
    Case(
        number=22,
        group=Group.SHARE,
        title="cpu_shares reach the kernel",
        expected="cpu.shares 2048",
        expected_v2="cpu.weight 79 or 174, by the runtime's formula",
        tolerance="exact",
        limited=Setting(limits=Limits(cpu_shares=2048)),
        control=Setting(),
        control_words="a container without shares",
        press=_press_readback,
        judge=_judge_readback,
        remedy=_REMEDY,
        quick=True,
    ),
    Case(
        number=23,
        group=Group.SHARE,
        title="shares of 2048, 1024 and 1024 divide one CPU so",
        expected="50 / 25 / 25 %",
        expected_v2="as the kernel's weights: 50.3 / 24.8 / 24.8 or 46.5 / 26.7 / 26.7 %",
        tolerance="2 % over 5 s",
        limited=_ASKED,
        control=_ASKED_HIDDEN,
        control_words=_HIDDEN,
        press=_press_on_one,
        judge=_on_one(fair(_TWO_ONE_ONE, SHARE)),
        remedy=_REMEDY,
        pace=Pace.ALONE,
        plots=_plot_shares,
    ),
    Case(
        number=24,
        group=Group.SHARE,
        title="equal shares are equal",
        expected="33.3 % each",
        tolerance="2 % over 5 s",
        limited=_UPDATED,
        control=_UPDATED_HIDDEN,
        control_words=_HIDDEN,
        press=_press_on_one,
        judge=_on_one(fair(_EQUAL, SHARE)),
        remedy=_REMEDY,
        pace=Pace.ALONE,
    ),
    Case(
        number=25,
        group=Group.SHARE,
        title="shares divide all CPUs, with a worker for each",
        expected="50 / 25 / 25 %",
        expected_v2="as the kernel's weights",
        tolerance="20 % over 10 s",
        limited=_WIDE,
        control=_WIDE_HIDDEN,
        control_words=_HIDDEN,
        press=_press_wide,
        judge=fair(_TWO_ONE_ONE, BALANCED),
        remedy=_REMEDY,
        pace=Pace.ALONE,
    ),
    Case(
        number=26,
        group=Group.SHARE,
        title="a lone container gets the whole CPU, however low its shares",
        expected="98 % or more",
        tolerance="2 %",
        limited=_FREE,
        control=_QUOTED,
        control_words="the same load with a quota",
        press=_press_lone,
        judge=_judge_lone,
        remedy="a quota binds before the shares do: look at cpu.cfs_quota_us or cpu.max of the container and above it",
        pace=Pace.ALONE,
        quick=True,
    ),
    Case(
        number=27,
        group=Group.SHARE,
        title="the siblings had all CPUs while they were measured",
        expected="95 % of them; less, with nothing idle, says nothing",
        tolerance="–",
        limited=_WIDE,
        control=_WIDE_RESTING,
        control_words="the same containers without a load",
        press=_press_wide,
        judge=_judge_saturation,
        remedy="CPUs stood idle although work was there: look for a quota or a cpuset above the containers",
        pace=Pace.ALONE,
    ),
    Case(
        number=28,
        group=Group.SHARE,
        title="a quota caps one, and shares divide the rest",
        expected="0.30 cores, and 50 / 50 % of the rest",
        tolerance="5 %",
        limited=_CAPPED,
        control=_ASKED,
        control_words="the same load without the quota",
        press=_press_on_one,
        judge=_on_one(_judge_with_quota),
        remedy=_REMEDY,
        pace=Pace.ALONE,
    ),
    Case(
        number=29,
        group=Group.SHARE,
        title="changed shares count at once",
        expected="2048 made 1024: 33.3 % each from then on",
        tolerance="5 %",
        limited=_UPDATED,
        control=_UPDATED_HIDDEN,
        control_words=_HIDDEN,
        press=_press_on_one,
        judge=_on_one(_judge_updated),
        remedy="docker update does not reach the running container: restart the server for new shares",
        pace=Pace.ALONE,
    ),
)
