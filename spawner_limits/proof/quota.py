"""The judges of CPU limits: a quota, its period, and a set of CPUs. Pure.

What a machine that was held up for a moment makes of an honest limit is UNKNOWN, never BROKEN.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.proof import windows
from spawner_limits.proof.evidence import Outcome
from spawner_limits.proof.finding import Finding, because, times, unread
from spawner_limits.proof.readback import readback, version_of
from spawner_limits.proof.tolerances import CPU, OVER, SATURATED, SLICE_S, THROTTLED, USED, WINDOWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.engines.enforcement import Expectation
    from spawner_limits.proof.evidence import Evidence
    from spawner_limits.proof.finding import Figures
    from spawner_limits.proof.series import Series
    from spawner_limits.proof.windows import Window

_WORST = 50
"""windows that are looked into: what the worst of them are not, the others need not be"""


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
    right = shown is not None and readback(expectation.files(version_of(expectation, series)), series) == ("", "")
    return Quota(
        cores=shown if right and shown else limit, period_us=series.period_us, cpus=series.cpus(evidence.host.cores)
    )


def judge_quota(expectation: Expectation, evidence: Evidence) -> Finding:
    """No window above the quota, and the quota used up."""
    quota, series = quota_of(expectation, evidence), evidence.series
    counters = ("cpu_usage_ns", "nr_throttled", "nr_periods")
    short = series.windows(windows.shortest_s(quota.period_us))
    if not short:
        return unread(evidence, "CPU use over two seconds", {"limit_cores": quota.cores}, counters)
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
        f"throttled in {ratio:.0%} of periods and never above it, in {times(len(pressed), 'window', 'windows')}",
    )


def _unpressed(quota: Quota, typical: float, pressed: Sequence[Window], evidence: Evidence) -> str:
    if quota.cores >= evidence.host.cores:
        return f"this host has {evidence.host.cores} cores, so the limit can't be pressed"
    if quota.cores >= quota.cpus:
        return f"the container may use {quota.cpus} of the CPUs, so the limit can't be pressed"
    if typical >= quota.cores * THROTTLED and not pressed:
        return "used in full, but not throttled long enough: is something else busy here?"
    return f"not pressed: throttled in {len(pressed)} of {WINDOWS} windows needed{because(evidence)}"


def judge_period(expectation: Expectation, evidence: Evidence) -> Finding:
    """The period is right when the kernel counts that many of them while it throttles."""
    period_us = int(expectation.value or 0)
    short = evidence.series.windows(windows.shortest_s(period_us))
    pressed = list(windows.disjoint(one for one in short if (one.throttled_ratio or 0) >= THROTTLED))
    counters = ("nr_periods",)
    if len(pressed) < WINDOWS:
        reason = f"not pressed: cpu_limit was not throttled long enough{because(evidence)}"
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


def judge_set(expectation: Expectation, evidence: Evidence) -> Finding:
    """No more used than the CPUs of the set have, while more was wanted."""
    allowed = len(units.cpus_in(str(expectation.value)))
    long = evidence.series.windows(windows.SHORTEST_S)
    if not long:
        return unread(evidence, "CPU use over two seconds", {"cpus": allowed}, ("cpu_usage_ns",))
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
        return Outcome.UNKNOWN, f"not pressed: {most.cores:.2f} of {cpus} CPUs busy{because(evidence)}"
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
