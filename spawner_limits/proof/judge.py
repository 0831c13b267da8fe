"""Judge: expectations and evidence in, one verdict a limit out. Pure; knows no engine.

HELD needs three things: the Linux kernel shows the expected value, the load really pressed against it, and it was not
exceeded. BROKEN: exceeded, or the kernel shows another value. UNKNOWN: not pressed, or the evidence can't be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.kernel import v1, v2
from spawner_limits.limits import tell
from spawner_limits.proof import windows
from spawner_limits.proof.evidence import Evidence, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spawner_limits.engines.base import CgroupVersion, Expectation, KernelFile
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Contest
    from spawner_limits.proof.windows import Window

THROTTLED = 0.9
"""a window presses on a quota when it ran out in so many of its periods"""
WINDOWS = 3
REACHED = 0.99
"""memory is pressed from here on: the counters lag by up to 64 pages a CPU"""
USED = 0.97
"""of its quota, what a load that is throttled all the time must get"""
GROSS = 1.15
"""times its bound: what a single window above it must show. Less may be a host that was held up for a moment: what runs
over the end of a period then is taken from the next one"""
SLICE_S = 0.005
"""bandwidth that a CPU may take out in advance (`sched_cfs_bandwidth_slice_us`)"""
SATURATED = 0.95

Figures = dict[str, "float | int | str | None"]


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
    wanted = expectation.files(_version(expectation, evidence))
    finding = _found(expectation, evidence)
    under_load = finding.outcome
    wrong, unread = _readback(wanted, evidence.snapshots)
    wrong = "; ".join(filter(None, (_escaped(wanted, evidence), wrong)))
    if wrong:
        also = f"; {finding.reason}" if finding.outcome is Outcome.BROKEN else ""
        finding = _replaced(finding, Outcome.BROKEN, wrong + also)
    elif finding.outcome is not Outcome.BROKEN and (unread or not wanted):
        finding = _replaced(finding, Outcome.UNKNOWN, unread or "this version of cgroups has no file for it")
    return Verdict(
        field=expectation.field,
        outcome=finding.outcome,
        limit=tell(expectation.field, expectation.value),
        seen=finding.seen,
        reason=finding.reason,
        files=(*_limit_files(wanted, evidence), *_counter_files(finding.counters, evidence)),
        figures=finding.figures,
        under_load=under_load,
    )


def _found(expectation: Expectation, evidence: Evidence) -> Finding:
    """What the load showed; nothing, where the counters can't all be of one cgroup."""
    finding = _JUDGES[expectation.field](expectation, evidence)
    if (fallen := windows.backwards(evidence.snapshots)) is None:
        return finding
    reason = f"{fallen} went backwards: this was not one cgroup all the time"
    return Finding(outcome=Outcome.UNKNOWN, seen="–", reason=reason, figures={}, counters=finding.counters)


def _replaced(finding: Finding, outcome: Outcome, reason: str) -> Finding:
    return Finding(
        outcome=outcome, reason=reason, seen=finding.seen, figures=finding.figures, counters=finding.counters
    )


def _version(expectation: Expectation, evidence: Evidence) -> CgroupVersion:
    """The version of cgroups that carries the field here; a field without files is not in any."""
    controllers = [file.controller for file in expectation.v1]
    found = (one.versions[name] for one in evidence.snapshots for name in controllers if name in one.versions)
    return next(found, 1)


# -- what the Linux kernel shows ---------------------------------------------------------------------------------


def _readback(wanted: Sequence[KernelFile], snapshots: Sequence[Snapshot]) -> tuple[str, str]:
    """What is wrong in the limit's files, and why one could not be read; "" for neither."""
    wrong, unread = [], []
    for file in wanted:
        seen = [one.limits[file.name] for one in snapshots if file.name in one.limits]
        others = [text for text in seen if text not in file.accept]
        if others:
            wrong.append(f"the kernel shows {file.name} = {others[0]}, expected {' or '.join(file.accept)}")
        elif not seen:
            reasons = [one.unread[file.name] for one in snapshots if file.name in one.unread]
            unread.append(reasons[0] if reasons else f"{file.name} was not read")
    return "; ".join(wrong), "; ".join(unread)


def _escaped(wanted: Sequence[KernelFile], evidence: Evidence) -> str:
    """Where a process of the container is under another cgroup's limits; "" for nowhere."""
    found = [evidence.strays[file.controller] for file in wanted if file.controller in evidence.strays]
    return f"a process of the container was moved to the cgroup {found[0]}" if found else ""


def _limit_files(wanted: Sequence[KernelFile], evidence: Evidence) -> tuple[str, ...]:
    seen = {name: text for one in evidence.snapshots for name, text in one.limits.items()}
    return tuple(f"{file.name} = {seen.get(file.name, 'not read')}" for file in wanted)


def _counter_files(counters: Sequence[str], evidence: Evidence) -> tuple[str, ...]:
    return tuple(_counter_file(counter, evidence) for counter in counters)


def _counter_file(counter: str, evidence: Evidence) -> str:
    read = [one for one in evidence.snapshots if getattr(one, counter) is not None]
    sources = v1.COUNTERS[counter]
    if read and read[0].versions.get(sources[0].controller) == 2:  # noqa: PLR2004
        sources = v2.COUNTERS[counter]
    name = " + ".join(f"{one.file} {one.key}" if one.key else one.file for one in sources)
    if not read:
        return f"{name}: not read"
    first, last = getattr(read[0], counter), getattr(read[-1], counter)
    return f"{name} = {last}" if first == last else f"{name}: {first} → {last}"


# -- memory ------------------------------------------------------------------------------------------------------


def _most(evidence: Evidence, counter: str) -> int | None:
    values = [value for one in evidence.snapshots if (value := getattr(one, counter)) is not None]
    return max(values, default=None)


def _risen(evidence: Evidence, counter: str) -> int | None:
    values = [value for one in evidence.snapshots if (value := getattr(one, counter)) is not None]
    return values[-1] - values[0] if values else None


def _memory(expectation: Expectation, evidence: Evidence) -> Finding:
    peak = _most(evidence, "memory_peak_bytes")
    name = "peak" if peak is not None else "largest sample"
    peak = peak if peak is not None else _most(evidence, "memory_current_bytes")
    return _pressed_memory(expectation, evidence, peak, name, ("memory_peak_bytes", "oom_kill"))


def _memory_and_swap(expectation: Expectation, evidence: Evidence) -> Finding:
    peak = _most(evidence, "memsw_peak_bytes")
    if peak is None:
        memory, swap = _most(evidence, "memory_peak_bytes"), _most(evidence, "swap_current_bytes")
        peak = None if memory is None or swap is None else memory + swap
    finding = _pressed_memory(
        expectation, evidence, peak, "peak", ("memsw_peak_bytes", "swap_current_bytes", "oom_kill")
    )
    if finding.outcome is Outcome.UNKNOWN and not evidence.host.swap_bytes:
        return _replaced(finding, Outcome.UNKNOWN, f"{finding.reason}; this host has no swap to press with")
    return finding


def _pressed_memory(
    expectation: Expectation, evidence: Evidence, peak: int | None, name: str, counters: tuple[str, ...]
) -> Finding:
    limit = int(expectation.value or 0) // evidence.page_size_bytes * evidence.page_size_bytes
    kills = _risen(evidence, "oom_kill")
    figures: Figures = {"peak_bytes": peak, "limit_bytes": limit, "oom_kills": kills}
    if peak is None:
        return _unread(evidence, "memory use", figures, counters)
    seen = units.size_usage(peak, limit)
    told = f"{name} {units.format_size(peak)}"
    reached = peak >= REACHED * limit
    if peak > limit:
        outcome, reason = Outcome.BROKEN, f"{told} ({peak} bytes) is above the limit"
    elif reached and kills:
        outcome, reason = Outcome.HELD, f"{told}, and the OOM killer ended {_times(kills, 'process', 'processes')}"
    elif reached:
        outcome, reason = Outcome.HELD, f"{told} reached the limit and did not pass it"
    else:
        outcome, reason = Outcome.UNKNOWN, f"not pressed: {told}{_because(evidence)}"
    return Finding(outcome=outcome, seen=seen, reason=reason, figures=figures, counters=counters)


def _times(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _because(evidence: Evidence) -> str:
    return f" ({evidence.load.problem})" if evidence.load.problem else ""


def _unread(evidence: Evidence, what: str, figures: Figures, counters: tuple[str, ...]) -> Finding:
    reasons = [one.unread[name] for one in evidence.snapshots for name in counters if name in one.unread]
    reason = f"{what} could not be read: {reasons[0]}" if reasons else f"{what} was not read{_because(evidence)}"
    return Finding(outcome=Outcome.UNKNOWN, seen="–", reason=reason, figures=figures, counters=counters)


# -- CPU ---------------------------------------------------------------------------------------------------------


def _period_us(evidence: Evidence) -> int:
    """The period in force, as the kernel shows it; its default where that was not read."""
    for one in evidence.snapshots:
        text = one.limits.get("cpu.cfs_period_us") or one.limits.get("cpu.max", "").partition(" ")[2]
        if text:
            return int(text)
    return 100_000


def _cpu(expectation: Expectation, evidence: Evidence) -> Finding:
    limit, period_us = float(expectation.value or 0), _period_us(evidence)
    counters = ("cpu_usage_ns", "nr_throttled", "nr_periods")
    series = list(windows.sliding(evidence.snapshots, windows.shortest_s(period_us)))
    if not series:
        return _unread(evidence, "CPU use over two seconds", {"limit_cores": limit}, counters)
    most = max(series, key=lambda window: window.cores)
    pressed = list(windows.disjoint(one for one in series if (one.throttled_ratio or 0) >= THROTTLED))
    typical = median(window.cores for window in pressed) if pressed else most.cores
    figures = _cpu_figures(limit, most, typical, pressed)
    seen = units.cores_usage(typical, limit)
    above = [(one, one.cores / _bound(limit, period_us, one, evidence)) for one in series]
    exceeded = [one for one, ratio in above if ratio > 1]
    told = f"{most.cores:.2f} cores over {most.wall_s:.1f} s, {most.cores / limit - 1:.0%} above it"
    if len(list(windows.disjoint(exceeded))) > 1 or any(ratio > GROSS for _, ratio in above):
        outcome, reason = Outcome.BROKEN, told
    elif exceeded:
        outcome, reason = Outcome.UNKNOWN, f"{told}, but in one window only: was something else busy here?"
    else:
        outcome, reason = _within_quota(limit, typical, pressed, evidence)
    return Finding(outcome=outcome, seen=seen, reason=reason, figures=figures, counters=counters)


def _bound(limit: float, period_us: int, window: Window, evidence: Evidence) -> float:
    """The most that an honest quota lets through in a window: one period more, and one slice on each CPU."""
    period_s = period_us / 1_000_000
    wall_s = window.wall_s + window.delay_s
    return (limit * (wall_s + period_s) + evidence.host.cores * SLICE_S) / window.wall_s


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


def _within_quota(limit: float, typical: float, pressed: Sequence[Window], evidence: Evidence) -> tuple[Outcome, str]:
    """For a limit that was not exceeded: HELD, if it was pressed."""
    if len(pressed) < WINDOWS:
        if limit >= evidence.host.cores:
            return Outcome.UNKNOWN, f"this host has {evidence.host.cores} cores, so the limit can't be pressed"
        if typical >= limit * THROTTLED and not pressed:
            return Outcome.UNKNOWN, "used in full, but not throttled long enough: is something else busy here?"
        return (
            Outcome.UNKNOWN,
            f"not pressed: throttled in {len(pressed)} of {WINDOWS} windows needed{_because(evidence)}",
        )
    if typical < USED * limit:
        return Outcome.UNKNOWN, f"throttled, but used only {typical:.2f} cores: is something else busy here?"
    ratio = median(window.throttled_ratio or 0 for window in pressed)
    return (
        Outcome.HELD,
        f"throttled in {ratio:.0%} of periods and never above it, in {_times(len(pressed), 'window', 'windows')}",
    )


def _cpu_period(expectation: Expectation, evidence: Evidence) -> Finding:
    """The period is right when the kernel counts that many of them while it throttles."""
    period_us = int(expectation.value or 0)
    series = windows.sliding(evidence.snapshots, windows.shortest_s(period_us))
    pressed = list(windows.disjoint(one for one in series if (one.throttled_ratio or 0) >= THROTTLED))
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
    series = list(windows.sliding(evidence.snapshots, windows.SHORTEST_S))
    if not series:
        return _unread(evidence, "CPU use over two seconds", {"cpus": allowed}, ("cpu_usage_ns",))
    most = max(series, key=lambda window: window.cores)
    if most.cores * most.wall_s > 1.01 * allowed * (most.wall_s + most.delay_s):
        outcome, reason = Outcome.BROKEN, f"{most.cores:.2f} cores over {most.wall_s:.1f} s on {allowed} CPUs"
    elif allowed >= evidence.host.cores:
        outcome, reason = Outcome.UNKNOWN, f"this host has {evidence.host.cores} cores: all of them are allowed"
    elif most.cores >= SATURATED * allowed:
        outcome, reason = Outcome.HELD, "every allowed CPU was busy, and no more was used than they have"
    else:
        outcome, reason = Outcome.UNKNOWN, f"not pressed: {most.cores:.2f} of {allowed} CPUs busy{_because(evidence)}"
    seen = units.cores_usage(most.cores, allowed)
    figures: Figures = {"most_cores": round(most.cores, 4), "cpus": allowed}
    return Finding(outcome=outcome, seen=seen, reason=reason, figures=figures, counters=("cpu_usage_ns",))


def _shares(_expectation: Expectation, evidence: Evidence) -> Finding:
    """Against its siblings on the same CPUs, the share of their time must be that of the kernel's own weights."""
    contest = evidence.contest
    if contest is None:
        return _nothing("not pressed: a share shows only when a sibling wants the same CPU", {}, ())
    pairs = (contest.subject, *contest.rivals)
    measured, weights = [windows.between(*one) for one in pairs], [_weight(one[-1]) for one in pairs]
    if None in measured or None in weights:
        return _nothing("CPU use or weight of the siblings could not be read", {}, ())
    return _contested(contest, [one for one in measured if one], [one or 0 for one in weights])


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
    of = "of a CPU" if contest.cpus == 1 else f"of {contest.cpus} CPUs"
    rivals = f"a sibling's {weights[1]}" if len(weights) == 2 else f"siblings' {' and '.join(map(str, weights[1:]))}"  # noqa: PLR2004
    told = f"weight {weights[0]} against {rivals} on {of[3:].replace('a CPU', 'one CPU')} for {subject.wall_s:.0f} s"
    if subject.throttled:
        outcome, reason = Outcome.UNKNOWN, "cpu_limit was reached before the share was: it binds first"
    elif busy < SATURATED * contest.cpus:
        whose = f"the CPU was only {busy:.0%} theirs" if contest.cpus == 1 else f"only {busy:.2f} CPUs were theirs"
        outcome, reason = Outcome.UNKNOWN, f"{whose}: something else is busy here"
    elif abs(share - expected) <= contest.tolerance * expected:
        outcome, reason = Outcome.HELD, told
    else:
        outcome, reason = Outcome.BROKEN, f"{told} gave {share:.1%}, expected {expected:.1%}"
    seen = f"{share:.1%} {of} (expected {expected:.1%})"
    return Finding(outcome=outcome, seen=seen, reason=reason, figures=figures, counters=())


def _weight(snapshot: Snapshot) -> int | None:
    text = snapshot.limits.get("cpu.shares") or snapshot.limits.get("cpu.weight")
    return int(text) if text else None


# -- processes, and what can only be read -----------------------------------------------------------------------


def _pids(expectation: Expectation, evidence: Evidence) -> Finding:
    limit = int(expectation.value or 0)
    most, refused = _most(evidence, "pids_current"), _risen(evidence, "pids_max_events")
    counters = ("pids_current", "pids_max_events")
    figures: Figures = {"most_processes": most, "limit_processes": limit, "refused_forks": refused}
    if most is None:
        return _unread(evidence, "the number of processes", figures, counters)
    # pids_try_charge() counts a fork before it refuses it, so each CPU can show one too many for an instant
    if most > limit + evidence.host.cores:
        outcome, reason = Outcome.BROKEN, f"{most} processes at once"
    elif refused:
        outcome, reason = Outcome.HELD, f"{_times(refused, 'fork was', 'forks were')} refused at the limit"
    else:
        outcome, reason = Outcome.UNKNOWN, f"not pressed: {most} processes, no fork refused{_because(evidence)}"
    seen = units.usage(str(most), str(limit), most / limit)
    return Finding(outcome=outcome, seen=seen, reason=reason, figures=figures, counters=counters)


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
