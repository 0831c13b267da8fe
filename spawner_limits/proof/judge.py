"""Judge: expectations and evidence in, one verdict a limit out. Pure; knows no engine.

HELD needs three things: the Linux kernel shows the expected value, *this* press rose to it, and it was not exceeded.
BROKEN: exceeded by more than `tolerances` allow, or the kernel shows another value. UNKNOWN: all else, also what a
machine that was held up for a moment can make of an honest limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.limits import tell
from spawner_limits.proof import windows
from spawner_limits.proof.evidence import Evidence, Outcome, Verdict
from spawner_limits.proof.tolerances import (
    BATCH_PAGES,
    CPU,
    IN_A_ROW,
    OVER,
    REACHED,
    SATURATED,
    SLICE_S,
    THROTTLED,
    USED,
    WINDOWS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from spawner_limits.engines.base import CgroupVersion, Expectation, KernelFile
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Contest
    from spawner_limits.proof.series import Level, Series
    from spawner_limits.proof.windows import Window

Figures = dict[str, "float | int | str | None"]
_QUOTA_FIRST = "cpu_limit was reached before the share was: it binds first"
_WORST = 50
"""windows that are looked into: what the worst of them are not, the others need not be"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one judge found, before the kernel's own value of the limit is looked at."""

    outcome: Outcome
    seen: str
    reason: str
    figures: Figures
    counters: tuple[str, ...] = ()


def judge(expect: Sequence[Expectation], evidence: Evidence) -> tuple[Verdict, ...]:
    """One verdict for each expectation that has a value; "unlimited" is nothing that could hold."""
    return tuple(_verdict(one, evidence) for one in expect if one.value is not None)


def _verdict(expectation: Expectation, evidence: Evidence) -> Verdict:
    wanted = expectation.files(_version(expectation, evidence.series))
    finding = _found(expectation, evidence)
    under_load = finding.outcome
    wrong, unread = _readback(wanted, evidence.series)
    wrong = "; ".join(filter(None, (_escaped(wanted, evidence), wrong, _beyond_set(expectation, evidence.series))))
    if wrong:
        also = f"; {finding.reason}" if finding.outcome is Outcome.BROKEN else ""
        finding = replace(finding, outcome=Outcome.BROKEN, reason=wrong + also)
    elif finding.outcome is not Outcome.BROKEN and (unread or not wanted):
        reason = unread or "this version of cgroups has no file for it"
        finding = replace(finding, outcome=Outcome.UNKNOWN, reason=reason)
    return Verdict(
        field=expectation.field,
        outcome=finding.outcome,
        limit=tell(expectation.field, expectation.value),
        seen=finding.seen,
        reason=finding.reason,
        files=(*_limit_files(wanted, evidence.series), *map(evidence.series.told, finding.counters)),
        figures=finding.figures,
        under_load=under_load,
    )


def _found(expectation: Expectation, evidence: Evidence) -> Finding:
    """What the load showed; nothing, where the counters can't all be of one cgroup."""
    finding = _JUDGES[expectation.field](expectation, evidence)
    if (fallen := evidence.series.fallen()) is None:
        return finding
    reason = f"{fallen} went backwards: this was not one cgroup all the time"
    return Finding(outcome=Outcome.UNKNOWN, seen="–", reason=reason, figures={}, counters=finding.counters)


def _version(expectation: Expectation, series: Series) -> CgroupVersion:
    """The version of cgroups that carries the field here; a field without files is not in any."""
    controllers = [file.controller for file in expectation.v1]
    return 2 if controllers and series.version(controllers[0]) == 2 else 1  # noqa: PLR2004


# -- what the Linux kernel shows ---------------------------------------------------------------------------------


def _readback(wanted: Sequence[KernelFile], series: Series) -> tuple[str, str]:
    """What is wrong in the limit's files, and why one could not be read; "" for neither."""
    wrong, unread = [], []
    for file in wanted:
        seen = series.texts(file.name)
        others = [text for text in seen if text not in file.accept]
        if others:
            wrong.append(f"the kernel shows {file.name} = {others[0]}, expected {' or '.join(file.accept)}")
        elif not seen:
            unread.append(series.unread(file.name) or f"{file.name} was not read")
    return "; ".join(wrong), "; ".join(unread)


def _escaped(wanted: Sequence[KernelFile], evidence: Evidence) -> str:
    """Where a process of the container is under another cgroup's limits; "" for nowhere."""
    found = [evidence.strays[file.controller] for file in wanted if file.controller in evidence.strays]
    return f"a process of the container was moved to the cgroup {found[0]}" if found else ""


def _beyond_set(expectation: Expectation, series: Series) -> str:
    """Where the CPUs that count in the end are not among those of the set; v1 shows only what was written."""
    if expectation.field != "cpuset_cpus":
        return ""
    allowed = units.cpus_in(str(expectation.value))
    texts = filter(None, series.texts("cpuset.cpus.effective"))
    others = [text for text in texts if not units.cpus_in(text) <= allowed]
    if not others:
        return ""
    return f"the kernel shows cpuset.cpus.effective = {others[0]}, expected within {expectation.value}"


def _limit_files(wanted: Sequence[KernelFile], series: Series) -> tuple[str, ...]:
    return tuple(f"{file.name} = {[*series.texts(file.name), 'not read'][0]}" for file in wanted)


# -- memory ------------------------------------------------------------------------------------------------------


def _memory(expectation: Expectation, evidence: Evidence) -> Finding:
    level = evidence.series.level("memory_current_bytes")
    return _pressed_memory(expectation, evidence, level, ("memory_peak_bytes", "oom_kill"))


def _memory_and_swap(expectation: Expectation, evidence: Evidence) -> Finding:
    counters = ("memsw_peak_bytes", "swap_current_bytes", "oom_kill")
    level = evidence.series.total()
    finding = _pressed_memory(expectation, evidence, level, counters)
    if finding.outcome is Outcome.HELD and level is not None:
        finding = _swap_reached(finding, level, evidence)
    if finding.outcome is Outcome.UNKNOWN and not evidence.host.swap_bytes:
        return replace(finding, reason=f"{finding.reason}; this host has no swap to press with")
    return finding


def _swap_reached(finding: Finding, level: Level, evidence: Evidence) -> Finding:
    """Swap that is allowed must have been used: memory alone may come near a limit of both."""
    series = evidence.series
    memory, limit = series.memory_limit_bytes, int(finding.figures["limit_bytes"] or 0)
    if memory is None:
        return replace(finding, outcome=Outcome.UNKNOWN, reason="the memory limit beside it could not be read")
    swap, allowed = series.level("swap_current_bytes"), limit - memory
    used = max(swap.value if swap else 0, level.value - memory if series.version("memory") == 1 else 0)
    if allowed < evidence.page_size_bytes or used >= REACHED * allowed:
        return finding
    told = units.size_usage(used, allowed)
    return replace(finding, outcome=Outcome.UNKNOWN, reason=f"not pressed: {told} of the swap in it was used")


def _pressed_memory(
    expectation: Expectation, evidence: Evidence, level: Level | None, counters: tuple[str, ...]
) -> Finding:
    limit = int(expectation.value or 0) // evidence.page_size_bytes * evidence.page_size_bytes
    kills = evidence.series.risen("oom_kill")
    figures: Figures = {"peak_bytes": None if level is None else level.value, "limit_bytes": limit, "oom_kills": kills}
    if level is None:
        return _unread(evidence, "memory use", figures, counters)
    outcome, reason = _memory_outcome(level, limit, kills or 0, evidence)
    seen = units.size_usage(level.value, limit)
    return Finding(outcome=outcome, seen=seen, reason=reason, figures=figures, counters=counters)


def _memory_outcome(level: Level, limit: int, kills: int, evidence: Evidence) -> tuple[Outcome, str]:
    told = f"{level.words} {units.format_size(level.value)}"
    batch = BATCH_PAGES * evidence.page_size_bytes * evidence.series.cpus(evidence.host.cores)
    if level.value > limit + batch:
        return Outcome.BROKEN, f"{told} ({level.value} bytes) is above the limit"
    # from full on nothing rises; that it was wanted all the same, the kernel's kills tell
    if not level.rose_to(REACHED * limit) and not (level.value >= REACHED * limit and kills):
        full = "; it was full before the press" if level.before >= REACHED * limit else ""
        return Outcome.UNKNOWN, f"not pressed: {told}{full}{_because(evidence)}"
    above = f", {level.value - limit} bytes above it, as a batch of {BATCH_PAGES} pages a CPU may be"
    told += above if level.value > limit else ""
    if kills:
        return Outcome.HELD, f"{told}, and the OOM killer ended {_times(kills, 'process', 'processes')}"
    return Outcome.HELD, f"{told} reached the limit and did not pass it"


def _times(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _because(evidence: Evidence) -> str:
    return f" ({evidence.load.problem})" if evidence.load.problem else ""


def _unread(evidence: Evidence, what: str, figures: Figures, counters: tuple[str, ...]) -> Finding:
    why = evidence.series.unread(*counters)
    reason = f"{what} could not be read: {why}" if why else f"{what} was not read{_because(evidence)}"
    return Finding(outcome=Outcome.UNKNOWN, seen="–", reason=reason, figures=figures, counters=counters)


# -- CPU ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """A CPU quota as the Linux kernel counts it, and what an honest one may show."""

    cores: float
    period_us: int
    cpus: int
    """that the container may use: each may take out a slice"""

    @property
    def period_s(self) -> float:
        """Over which it is counted."""
        return self.period_us / 1_000_000

    @property
    def edge_s(self) -> float:
        """CPU time that a window may have beside its due: a period's edge, and the slices."""
        return self.cores * self.period_s + self.cpus * SLICE_S

    @property
    def window_s(self) -> float:
        """The shortest window in which that is within the tolerance."""
        return max(windows.shortest_s(self.period_us), round(self.edge_s / (CPU * self.cores), 3))

    def allows_s(self, window: Window) -> float:
        """CPU time that is not above it yet, by our clock."""
        return (1 + CPU) * self.cores * (window.wall_s + window.delay_s)

    def counted_s(self, window: Window) -> float:
        """CPU time that the kernel itself has given out, by the periods that it counted."""
        return self.cores * self.period_s * (window.periods or 0) + self.edge_s

    def is_above(self, window: Window) -> bool:
        """Whether more was used than our clock allows."""
        return window.used_s > self.allows_s(window)


def quota_of(expectation: Expectation, evidence: Evidence) -> Quota:
    """By what the kernel shows, if that is right: systemd rounds a quota up."""
    series, limit = evidence.series, float(expectation.value or 0)
    shown = series.quota_cores()
    right = shown is not None and _readback(expectation.files(_version(expectation, series)), series) == ("", "")
    return Quota(
        cores=shown if right and shown else limit, period_us=series.period_us, cpus=series.cpus(evidence.host.cores)
    )


def _cpu(expectation: Expectation, evidence: Evidence) -> Finding:
    quota, series = quota_of(expectation, evidence), evidence.series
    counters = ("cpu_usage_ns", "nr_throttled", "nr_periods")
    short = series.windows(windows.shortest_s(quota.period_us))
    if not short:
        return _unread(evidence, "CPU use over two seconds", {"limit_cores": quota.cores}, counters)
    pressed = list(windows.disjoint(one for one in short if (one.throttled_ratio or 0) >= THROTTLED))
    # a press that is shorter than that is judged as a whole where it is far too much
    long = series.windows(quota.window_s) or [one for one in (series.whole,) if one is not None]
    most = max(long, key=lambda window: window.cores)
    typical = _used(pressed) if pressed else most.cores
    outcome, reason = _above(quota, long, series) or _within_quota(quota, typical, pressed, evidence)
    return Finding(
        outcome=outcome,
        seen=units.cores_usage(typical, quota.cores),
        reason=reason,
        figures=_cpu_figures(quota.cores, most, typical, pressed),
        counters=counters,
    )


def _used(pressed: Sequence[Window]) -> float:
    """Cores, over all windows together."""
    return sum(one.used_s for one in pressed) / sum(one.wall_s for one in pressed)


def _above(quota: Quota, long: Sequence[Window], series: Series) -> tuple[Outcome, str] | None:
    """What windows with more than the quota come to: BROKEN, or something that a machine held up shows; else `None`."""
    above = sorted((one for one in long if quota.is_above(one)), key=lambda window: -window.cores)[:_WORST]
    if not above:
        return None
    broken = [one for one in above if not _excused(quota, one, series)]
    worst = (broken or above)[0]
    told = f"{worst.cores:.2f} cores over {worst.wall_s:.1f} s, {worst.cores / quota.cores - 1:.0%} above it"
    if broken and worst.wall_s + worst.delay_s >= quota.window_s:
        return Outcome.BROKEN, told
    if broken and worst.used_s > quota.allows_s(worst) + quota.edge_s:
        return Outcome.BROKEN, told
    return Outcome.UNKNOWN, f"{told}, but for a moment only: was this machine held up?"


def _excused(quota: Quota, window: Window, series: Series) -> bool:
    """Whether an honest quota shows that too, where the machine stood still for a moment.

    The process that ran then is charged for all of that time, which the kernel's own count of periods may cover; it is
    one step from a sample to the next; and the kernel takes it back by giving nothing until it is even.
    """
    if window.periods and window.used_s <= quota.counted_s(window):
        return True
    jump_s = max(window.steal_s, _jump_s(series, window, quota.cores, quota.edge_s))
    # what ran before a jump may end at a period's edge, as it may before a window's end
    beside_s = quota.edge_s if jump_s > quota.edge_s else 0.0
    return window.used_s - jump_s - beside_s <= quota.allows_s(window) or _paid_back(quota, window, series)


def _jump_s(series: Series, window: Window, cores: float, edge_s: float = 0.0) -> float:
    """CPU time that the one step with the most of it has beside its due: what a moment's standstill leaves."""
    return max((0.0, *(one.used_s - cores * one.wall_s - edge_s for one in series.steps(window))))


def _paid_back(quota: Quota, window: Window, series: Series) -> bool:
    """Whether so little was used after the window as the kernel gives to who has had more than its due."""
    debt_s = window.used_s - quota.cores * window.wall_s
    end_ns = window.start_ns + round((window.wall_s + debt_s / quota.cores + 2 * quota.period_s) * windows.SECOND_NS)
    first = next((one for one in series.snapshots if one.monotonic_ns >= window.start_ns), None)
    later = [one for one in series.snapshots if window.end_ns < one.monotonic_ns <= end_ns]
    longer = [found for one in later if first is not None and (found := windows.between(first, one)) is not None]
    return any(not quota.is_above(one) for one in longer)


def _cpu_figures(limit: float, most: Window, typical: float, pressed: Sequence[Window]) -> Figures:
    ratios = [window.throttled_ratio for window in pressed if window.throttled_ratio is not None]
    return {
        "limit_cores": limit,
        "used_cores": round(typical, 4),
        "most_cores": round(most.cores, 4),
        "most_window_seconds": round(most.wall_s, 3),
        "pressed_windows": len(pressed),
        "throttled_ratio": round(median(ratios), 4) if ratios else None,
    }


def _within_quota(quota: Quota, typical: float, pressed: Sequence[Window], evidence: Evidence) -> tuple[Outcome, str]:
    """For a limit that was not exceeded: HELD, if it was pressed."""
    if len(pressed) < WINDOWS:
        return Outcome.UNKNOWN, _unpressed(quota, typical, pressed, evidence)
    if typical < USED * quota.cores:
        return Outcome.UNKNOWN, f"throttled, but used only {typical:.2f} cores: is something else busy here?"
    lasted_s = sum(one.wall_s for one in pressed)
    if lasted_s < quota.window_s or typical > (1 + CPU) * quota.cores:
        needed = f"{quota.window_s:.0f} s, which so small a quota needs to be told from more"
        return Outcome.UNKNOWN, f"not pressed for long enough: {lasted_s:.0f} of {needed}"
    ratio = median(window.throttled_ratio or 0 for window in pressed)
    return (
        Outcome.HELD,
        f"throttled in {ratio:.0%} of periods and never above it, in {_times(len(pressed), 'window', 'windows')}",
    )


def _unpressed(quota: Quota, typical: float, pressed: Sequence[Window], evidence: Evidence) -> str:
    if quota.cores >= evidence.host.cores:
        return f"this host has {evidence.host.cores} cores, so the limit can't be pressed"
    if quota.cores >= quota.cpus:
        return f"the container may use {quota.cpus} of the CPUs, so the limit can't be pressed"
    if typical >= quota.cores * THROTTLED and not pressed:
        return "used in full, but not throttled long enough: is something else busy here?"
    return f"not pressed: throttled in {len(pressed)} of {WINDOWS} windows needed{_because(evidence)}"


def _cpu_period(expectation: Expectation, evidence: Evidence) -> Finding:
    """The period is right when the kernel counts that many of them while it throttles."""
    period_us = int(expectation.value or 0)
    short = evidence.series.windows(windows.shortest_s(period_us))
    pressed = list(windows.disjoint(one for one in short if (one.throttled_ratio or 0) >= THROTTLED))
    counters = ("nr_periods",)
    if len(pressed) < WINDOWS:
        reason = f"not pressed: cpu_limit was not throttled long enough{_because(evidence)}"
        return Finding(outcome=Outcome.UNKNOWN, seen="–", reason=reason, figures={}, counters=counters)
    measured = median(one.wall_s * 1_000_000 / (one.periods or 1) for one in pressed)
    # a window need not begin where a period does, so it may count one more or less
    held = abs(measured / period_us - 1) <= period_us / 1_000_000 / min(one.wall_s for one in pressed)
    return Finding(
        outcome=Outcome.HELD if held else Outcome.BROKEN,
        seen=units.usage(f"{measured:.0f}", str(period_us), measured / period_us),
        reason=f"a period of {measured:.0f} µs was counted",
        figures={"period_us": round(measured), "limit_period_us": period_us},
        counters=counters,
    )


def _cpuset(expectation: Expectation, evidence: Evidence) -> Finding:
    allowed = len(units.cpus_in(str(expectation.value)))
    long = evidence.series.windows(windows.SHORTEST_S)
    if not long:
        return _unread(evidence, "CPU use over two seconds", {"cpus": allowed}, ("cpu_usage_ns",))
    most = max(long, key=lambda window: window.cores)
    outcome, reason = _set_outcome(allowed, most, long, evidence)
    seen = units.cores_usage(most.cores, allowed)
    figures: Figures = {"most_cores": round(most.cores, 4), "cpus": allowed}
    return Finding(outcome=outcome, seen=seen, reason=reason, figures=figures, counters=("cpu_usage_ns",))


def _set_outcome(allowed: int, most: Window, long: Sequence[Window], evidence: Evidence) -> tuple[Outcome, str]:
    # fewer may count in the end than the set has, and then they are all that can be pressed
    cpus = min(allowed, evidence.series.cpus(evidence.host.cores))
    if most.used_s > (1 + OVER) * allowed * (most.wall_s + most.delay_s):
        told = f"{most.cores:.2f} cores over {most.wall_s:.1f} s on {allowed} CPUs"
        excess = [one for one in long if not _one_jump(allowed, one, evidence.series)]
        if excess:
            return Outcome.BROKEN, told
        return Outcome.UNKNOWN, f"{told}, but for a moment only: was this machine held up?"
    if allowed >= evidence.host.cores:
        return Outcome.UNKNOWN, f"this host has {evidence.host.cores} cores: all of them are allowed"
    busy = [one for one in long if one.cores >= SATURATED * cpus]
    if not busy:
        return Outcome.UNKNOWN, f"not pressed: {most.cores:.2f} of {cpus} CPUs busy{_because(evidence)}"
    wanted = [counts for one in busy if (counts := _wanted(evidence.series, one))]
    if not any(min(one) > cpus for one in wanted):
        most_wanted = max((max(one) for one in wanted), default=None)
        told = "how many threads wanted them is not known" if most_wanted is None else f"{most_wanted} threads ran"
        return Outcome.UNKNOWN, f"not pressed: {told}, and it takes more than {cpus} to want another CPU"
    return Outcome.HELD, "every allowed CPU was busy and more was wanted, and no more was used than they have"


def _one_jump(allowed: int, window: Window, series: Series) -> bool:
    """Whether the window is within the set but for one step in it."""
    return window.used_s - _jump_s(series, window, allowed) <= (1 + OVER) * allowed * (window.wall_s + window.delay_s)


def _wanted(series: Series, window: Window) -> list[int]:
    """How many threads ran or wanted to, each time that somebody looked within the window."""
    return [one.runnable for one in series.within(window) if one.runnable is not None]


def _shares(expectation: Expectation, evidence: Evidence) -> Finding:
    """Against its siblings on the same CPUs, the share of their time must be that of the kernel's own weights."""
    contest = evidence.contest
    if contest is None:
        return _nothing("not pressed: a share shows only when a sibling wants the same CPU", {}, ())
    pairs = (contest.subject, *contest.rivals)
    measured, weights = [windows.between(*one) for one in pairs], [_weight(one[-1]) for one in pairs]
    if None in measured or None in weights:
        return _nothing("CPU use or weight of the siblings could not be read", {}, ())
    promised = _promised(expectation, contest.subject[-1], weights[0] or 0)
    return _contested(contest, [one for one in measured if one], [promised, *(one or 0 for one in weights[1:])])


def _promised(expectation: Expectation, shown: Snapshot, weight: int) -> int:
    """The weight that a share is judged by: the kernel's own, if it is right; else the one that should be there."""
    files = [file for file in (*expectation.v1, *expectation.v2) if file.name in shown.limits]
    accept = [text for file in files for text in file.accept]
    return weight if not accept or str(weight) in accept else int(accept[-1])


def _contested(contest: Contest, measured: Sequence[Window], weights: Sequence[int]) -> Finding:
    """The first of them against all the others."""
    subject = measured[0]
    expected = weights[0] / sum(weights)
    busy = sum(one.cores for one in measured)
    share = subject.cores / busy if busy else 0.0
    figures: Figures = {
        "share": round(share, 4),
        "expected_share": round(expected, 4),
        "weight": weights[0],
        "rival_weight": sum(weights[1:]),
        "saturation": round(busy / contest.cpus, 4),
    }
    outcome, reason = _shared(contest, measured, weights, share)
    of = "of a CPU" if contest.cpus == 1 else f"of {contest.cpus} CPUs"
    seen = f"{share:.1%} {of} (expected {expected:.1%})"
    return Finding(outcome=outcome, seen=seen, reason=reason, figures=figures, counters=())


def _shared(contest: Contest, measured: Sequence[Window], weights: Sequence[int], share: float) -> tuple[Outcome, str]:
    busy = sum(one.cores for one in measured)
    of = "one CPU" if contest.cpus == 1 else f"{contest.cpus} CPUs"
    rivals = f"a sibling's {weights[1]}" if len(weights) == 2 else f"siblings' {' and '.join(map(str, weights[1:]))}"  # noqa: PLR2004
    told = f"weight {weights[0]} against {rivals} on {of} for {measured[0].wall_s:.0f} s"
    expected, tolerated = weights[0] / sum(weights), contest.tolerance * weights[0] / sum(weights)
    held_back = _held_back(contest, measured[0])
    if held_back > tolerated:
        return Outcome.UNKNOWN, _QUOTA_FIRST
    if busy < SATURATED * contest.cpus:
        whose = f"the CPU was only {busy:.0%} theirs" if contest.cpus == 1 else f"only {busy:.2f} CPUs were theirs"
        return Outcome.UNKNOWN, f"{whose}: something else is busy here"
    span = _span(contest, measured, held_back)
    rest = 1 - expected
    # a weight is divided among the CPUs where its cgroup runs (calc_group_shares), so it counts less on each of them
    if span.most < expected * (1 - span.mine) - tolerated or span.least > expected + rest * span.theirs + tolerated:
        return Outcome.BROKEN, f"{told} gave {share:.1%}, expected {expected:.1%}"
    certain = expected - tolerated <= span.least and span.most <= expected + tolerated
    if not certain or busy - span.others < SATURATED * contest.cpus:
        others = f"something else runs in these containers and used {span.others:.2f} cores"
        return Outcome.UNKNOWN, _QUOTA_FIRST if held_back else f"{others}: the share can't be told"
    return Outcome.HELD, told


def _held_back(contest: Contest, subject: Window) -> float:
    """Of the time, in how much the quota may have taken the CPU that the share would have given; 0 to 1.

    A server's own processes beside the load may use up a period now and then. Throttled time is of all CPUs together.
    """
    if not subject.throttled:
        return 0.0
    first, last = contest.subject
    throttled_ns = windows.rise(first.throttled_ns, last.throttled_ns)
    return 1.0 if throttled_ns is None else min(1.0, throttled_ns / windows.SECOND_NS / subject.wall_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    """Where a share of the CPUs that were contended for lies."""

    least: float
    most: float
    mine: float
    """of the time, something else may have run in the subject's container"""
    theirs: float
    """the same, in the rivals'"""
    others: float
    """cores that something else in the containers used"""


def _span(contest: Contest, measured: Sequence[Window], held_back: float) -> _Span:
    """What else ran took of its container's share where it ran on these CPUs, and nothing where it ran on others.

    What the quota took, the subject might have had.
    More than these CPUs have must have been used elsewhere.
    """
    wall_s, subject, busy = measured[0].wall_s, measured[0].cores, sum(one.cores for one in measured)
    known = sum(contest.others_s) / wall_s
    unknown = max(0.0, busy - (1 + OVER) * contest.cpus - known)
    mine, theirs = (one / wall_s + unknown for one in contest.others_s)
    beyond = min(max(0.0, busy - contest.cpus), known + unknown)
    mine, theirs = min(mine, subject), min(theirs, busy - subject)

    def share(elsewhere: float, of_rivals: float) -> float:
        left = busy - elsewhere - of_rivals
        return (subject - elsewhere) / left if left > 0 else 0.0

    return _Span(
        least=share(mine, max(0.0, beyond - mine)),
        most=share(max(0.0, beyond - theirs), theirs) + held_back,
        mine=min(1.0, mine),
        theirs=min(1.0, theirs),
        others=max(known + unknown, busy - contest.cpus),
    )


def _weight(snapshot: Snapshot) -> int | None:
    text = snapshot.limits.get("cpu.shares") or snapshot.limits.get("cpu.weight")
    return int(text) if text else None


# -- processes, and what can only be read -----------------------------------------------------------------------


def _pids(expectation: Expectation, evidence: Evidence) -> Finding:
    limit, series = int(expectation.value or 0), evidence.series
    level, refused = series.level("pids_current"), series.risen("pids_max_events")
    counters = ("pids_current", "pids_max_events")
    most = None if level is None else level.value
    figures: Figures = {"most_processes": most, "limit_processes": limit, "refused_forks": refused}
    if most is None:
        return _unread(evidence, "the number of processes", figures, counters)
    outcome, reason = _pids_outcome(limit, most, refused or 0, evidence)
    seen = units.usage(str(most), str(limit), most / limit)
    return Finding(outcome=outcome, seen=seen, reason=reason, figures=figures, counters=counters)


def _pids_outcome(limit: int, most: int, refused: int, evidence: Evidence) -> tuple[Outcome, str]:
    # pids_try_charge() counts a fork before it refuses it, so each CPU can show one too many for an instant
    if most > limit + evidence.host.cores or _in_a_row(evidence.series.values("pids_current"), limit) >= IN_A_ROW:
        return Outcome.BROKEN, f"{most} processes at once"
    if most >= limit and refused:
        return Outcome.HELD, f"{_times(refused, 'fork was', 'forks were')} refused at the limit"
    if refused:
        why = "a limit of a cgroup above" if evidence.series.values("pids_peak") else "a cgroup above, or unseen"
        forks = _times(refused, "fork was", "forks were")
        return Outcome.UNKNOWN, f"not pressed: {forks} refused at no more than {most} processes, by {why}"
    return Outcome.UNKNOWN, f"not pressed: {most} processes, no fork refused{_because(evidence)}"


def _in_a_row(counts: Sequence[int], limit: int) -> int:
    """The longest run of samples above the limit."""
    return max(_runs(counts, limit), default=0)


def _runs(counts: Sequence[int], limit: int) -> Iterator[int]:
    run = 0
    for count in counts:
        run = run + 1 if count > limit else 0
        yield run


def _nothing(reason: str, figures: Figures, counters: tuple[str, ...]) -> Finding:
    return Finding(outcome=Outcome.UNKNOWN, seen="–", reason=reason, figures=figures, counters=counters)


def _only_read(reason: str) -> Callable[[Expectation, Evidence], Finding]:
    return lambda _expectation, _evidence: _nothing(reason, {}, ())


_JUDGES: Mapping[str, Callable[[Expectation, Evidence], Finding]] = {
    "mem_limit": _memory,
    "memswap_limit": _memory_and_swap,
    "mem_swappiness": _only_read("the kernel shows it; how eagerly it swaps is not pressed here"),
    "mem_guarantee": _only_read("the kernel shows it; it would need a host that is short of memory to press it"),
    "cpu_limit": _cpu,
    "cpu_period": _cpu_period,
    "cpu_guarantee": _only_read("it would need a host that is short of cores to press it"),
    "cpu_shares": _shares,
    "cpuset_cpus": _cpuset,
    "pids_limit": _pids,
}
