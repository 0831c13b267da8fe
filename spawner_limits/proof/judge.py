"""Judge: expectations and evidence in, one verdict a limit out. Pure; knows no engine.

HELD needs three things: the Linux kernel shows the expected value, *this* press rose to it, and it was not exceeded.
BROKEN: exceeded by more than `tolerances` allow, or the kernel shows another value. UNKNOWN: all else, also what a
machine that was held up for a moment can make of an honest limit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.limits import tell
from spawner_limits.proof.contested import judge_share
from spawner_limits.proof.evidence import Evidence, Outcome, Verdict
from spawner_limits.proof.finding import Finding, because, only_read, times, unread
from spawner_limits.proof.quota import judge_period, judge_quota, judge_set
from spawner_limits.proof.readback import found_wrong, limit_files, version_of
from spawner_limits.proof.tolerances import BATCH_PAGES, IN_A_ROW, REACHED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from spawner_limits.engines.enforcement import Expectation
    from spawner_limits.proof.finding import Figures
    from spawner_limits.proof.series import Level


def judge(expect: Sequence[Expectation], evidence: Evidence) -> tuple[Verdict, ...]:
    """One verdict for each expectation that has a value; "unlimited" is nothing that could hold."""
    return tuple(_verdict(one, evidence) for one in expect if one.value is not None)


def _verdict(expectation: Expectation, evidence: Evidence) -> Verdict:
    wanted = expectation.files(version_of(expectation, evidence.series))
    finding = _found(expectation, evidence)
    under_load = finding.outcome
    wrong, not_read = found_wrong(wanted, expectation, evidence)
    if wrong:
        also = f"; {finding.reason}" if finding.outcome is Outcome.BROKEN else ""
        finding = replace(finding, outcome=Outcome.BROKEN, reason=wrong + also)
    elif finding.outcome is not Outcome.BROKEN and (not_read or not wanted):
        reason = not_read or "this version of cgroups has no file for it"
        finding = replace(finding, outcome=Outcome.UNKNOWN, reason=reason)
    return Verdict(
        field=expectation.field,
        outcome=finding.outcome,
        limit=tell(expectation.field, expectation.value),
        seen=finding.seen,
        reason=finding.reason,
        files=(*limit_files(wanted, evidence.series), *map(evidence.series.told, finding.counters)),
        figures=finding.figures,
        under_load=under_load,
    )


def _found(expectation: Expectation, evidence: Evidence) -> Finding:
    """What the load showed; nothing, where the counters can't all be of one cgroup."""
    finding = _JUDGES.get(expectation.field, _NOT_PRESSED)(expectation, evidence)
    if (fallen := evidence.series.fallen()) is None:
        return finding
    reason = f"{fallen} went backwards: this was not one cgroup all the time"
    return Finding(outcome=Outcome.UNKNOWN, seen="–", reason=reason, figures={}, counters=finding.counters)


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
        return unread(evidence, "memory use", figures, counters)
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
        return Outcome.UNKNOWN, f"not pressed: {told}{full}{because(evidence)}"
    above = f", {level.value - limit} bytes above it, as a batch of {BATCH_PAGES} pages a CPU may be"
    told += above if level.value > limit else ""
    if kills:
        return Outcome.HELD, f"{told}, and the OOM killer ended {times(kills, 'process', 'processes')}"
    return Outcome.HELD, f"{told} reached the limit and did not pass it"


# -- processes, and what can only be read -----------------------------------------------------------------------


def _pids(expectation: Expectation, evidence: Evidence) -> Finding:
    limit, series = int(expectation.value or 0), evidence.series
    level, refused = series.level("pids_current"), series.risen("pids_max_events")
    counters = ("pids_current", "pids_max_events")
    most = None if level is None else level.value
    figures: Figures = {"most_processes": most, "limit_processes": limit, "refused_forks": refused}
    if most is None:
        return unread(evidence, "the number of processes", figures, counters)
    outcome, reason = _pids_outcome(limit, most, refused or 0, evidence)
    seen = units.usage(str(most), str(limit), most / limit)
    return Finding(outcome=outcome, seen=seen, reason=reason, figures=figures, counters=counters)


def _pids_outcome(limit: int, most: int, refused: int, evidence: Evidence) -> tuple[Outcome, str]:
    # pids_try_charge() counts a fork before it refuses it, so each CPU can show one too many for an instant
    if most > limit + evidence.host.cores or _in_a_row(evidence.series.values("pids_current"), limit) >= IN_A_ROW:
        return Outcome.BROKEN, f"{most} processes at once"
    if most >= limit and refused:
        return Outcome.HELD, f"{times(refused, 'fork was', 'forks were')} refused at the limit"
    if refused:
        why = "a limit of a cgroup above" if evidence.series.values("pids_peak") else "a cgroup above, or unseen"
        forks = times(refused, "fork was", "forks were")
        return Outcome.UNKNOWN, f"not pressed: {forks} refused at no more than {most} processes, by {why}"
    return Outcome.UNKNOWN, f"not pressed: {most} processes, no fork refused{because(evidence)}"


def _in_a_row(counts: Sequence[int], limit: int) -> int:
    """The longest run of samples above the limit."""
    return max(_runs(counts, limit), default=0)


def _runs(counts: Sequence[int], limit: int) -> Iterator[int]:
    run = 0
    for count in counts:
        run = run + 1 if count > limit else 0
        yield run


_NOT_PRESSED = only_read("the kernel shows it; nothing presses it here")
_JUDGES: Mapping[str, Callable[[Expectation, Evidence], Finding]] = {
    "mem_limit": _memory,
    "memswap_limit": _memory_and_swap,
    "mem_swappiness": only_read("the kernel shows it; how eagerly it swaps is not pressed here"),
    "mem_guarantee": only_read("the kernel shows it; it would need a host that is short of memory to press it"),
    "cpu_limit": judge_quota,
    "cpu_period": judge_period,
    "cpu_guarantee": only_read("it would need a host that is short of cores to press it"),
    "cpu_shares": judge_share,
    "cpuset_cpus": judge_set,
    "pids_limit": _pids,
}
