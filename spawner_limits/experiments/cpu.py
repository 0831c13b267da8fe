"""`cpu`: the same load without a limit and under two quotas, by the kernel's counter, `docker stats`, and `top`."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from spawner_limits import interrupt, units
from spawner_limits.conformance.cpu import WARM_UP_S, spinning
from spawner_limits.conformance.former import Setting, hold, made
from spawner_limits.conformance.trial import sampler
from spawner_limits.experiments import accounts, lines
from spawner_limits.experiments.experiment import Experiment, Figure, Judged
from spawner_limits.experiments.stats import Stats
from spawner_limits.kernel.processes import members
from spawner_limits.limits import Limits
from spawner_limits.proof import windows
from spawner_limits.proof.evidence import Outcome
from spawner_limits.report.plot import Plot, Point

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.conformance.trial import Subject
    from spawner_limits.experiments.accounts import Account
    from spawner_limits.experiments.experiment import Stage
    from spawner_limits.experiments.stats import Sample
    from spawner_limits.proof.evidence import Evidence

TITLE = "A CPU quota, as the Linux kernel counts it, and as docker stats and top show it"
_WANTED = (2.5, 0.5)
_MOST_WORKERS = 4
"""above the largest quota that is tried, and no more: the host is not ours alone"""
_ROOM = 0.75
"""of the workers, the quota that stands in for one that the host is too small for"""
_EVERY_S = 0.1
_TRIES = 3
"""what others disturbed may be repeated so often; what nobody did, never"""
_SATURATED = 0.95
_VISIBLE = 0.005
"""a difference from here on is worth a sentence"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """One container under load, read in three ways at the same time."""

    limit: float | None
    """cores; `None`: no limit"""
    workers: int
    evidence: Evidence
    shown: tuple[Sample, ...]
    """by `docker stats`, of the time that the snapshots cover"""
    accounts: tuple[Account, ...]
    """one a snapshot"""

    @property
    def part(self) -> str:
        """Heading of its figures."""
        return "no limit" if self.limit is None else f"limit {units.format_cores(self.limit)}"


def settings(cores: int) -> tuple[tuple[float | None, ...], int]:
    """The limits that are tried on a host with so many cores, and how many workers press on them."""
    workers = min(cores, _MOST_WORKERS)
    return (None, *(one if one < workers else _ROOM * workers for one in _WANTED)), workers


def run(stage: Stage) -> Experiment:
    """Press on three containers, one after the other. CannotError where the load can't run."""
    limits, workers = settings(stage.bench.host.cores)
    return told([_watched(stage, one, workers) for one in limits])


def _watched(stage: Stage, limit: float | None, workers: int) -> Watched:
    setting = Setting(limits=Limits(cpu_limit=limit, pids_limit=64))
    with made(stage.bench, setting) as subject, Stats(subject) as stats:
        spinning(subject, workers)
        subject.busy()
        interrupt.pause(WARM_UP_S)
        stage.say(f"{'no limit' if limit is None else units.format_cores(limit)}: {stage.seconds:.0f} s")
        for number in range(1, _TRIES + 1):
            evidence, kept = _follow(subject, stage.seconds)
            if number == _TRIES or not _disturbed(limit, workers, evidence):
                break
            stage.say("  others wanted the CPUs too; again")
    first, last = evidence.snapshots[0].monotonic_ns, evidence.snapshots[-1].monotonic_ns
    # a sample tells of the second before it: one of the warm-up says nothing of the window
    covered = [one for one in stats.samples if first + windows.SECOND_NS <= one.received_ns <= last]
    return Watched(limit=limit, workers=workers, evidence=evidence, shown=tuple(covered), accounts=tuple(kept))


def _disturbed(limit: float | None, workers: int, evidence: Evidence) -> bool:
    """Whether others had what the load was after."""
    if limit is None:
        whole = evidence.series.whole
        return whole is not None and whole.cores < _SATURATED * workers
    return hold(Limits(cpu_limit=limit), "cpu_limit")(evidence)[0].outcome is Outcome.UNKNOWN


def _follow(subject: Subject, seconds: float) -> tuple[Evidence, list[Account]]:
    taken, kept = [], []
    for (one,) in sampler(subject, every_s=_EVERY_S).follow(seconds=seconds):
        taken.append(one)
        kept.append(accounts.read(members(subject.cgroup)))
    return subject.evidence(taken), kept


# -- told --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """What the three said of the same seconds, in cores."""

    kernel: float | None
    shown: tuple[float, ...]
    """by `docker stats`, sample by sample"""
    off: tuple[float, ...]
    """of each sample: shown, over what the counter says of the same time, less 1"""
    processes: tuple[float, ...]
    """by `top`, the busiest first"""
    system: float | None
    """host CPU time that `docker stats` divided by, over the time that passed on all CPUs: it should be 1"""
    steal: float
    """of the host's time, the part that the machine below took"""

    @property
    def top(self) -> float:
        """All lines of `top` together."""
        return sum(self.processes)


def readings(watched: Watched) -> Readings:
    """The three readings of a container."""
    whole = watched.evidence.series.whole
    first, last = watched.accounts[0], watched.accounts[-1]
    host = last.host - first.host
    shown = [one for one in watched.shown if one.cpu_percent is not None]
    steal = last.steal - first.steal
    return Readings(
        kernel=None if whole is None else whole.cores,
        shown=tuple((one.cpu_percent or 0.0) / 100 for one in shown),
        off=_off(shown),
        processes=tuple(sorted(accounts.cores(first, last).values(), reverse=True)),
        system=_system(shown),
        steal=steal / (host + steal) if host + steal else 0.0,
    )


def _system(shown: Sequence[Sample]) -> float | None:
    """The median of the samples' divisors, each over the time that passed on all CPUs."""
    ratios = [one.system_ns / one.interval_ns / one.cpus for one in shown if one.interval_ns and one.cpus]
    return median(ratios) if ratios else None


def _off(shown: Sequence[Sample]) -> tuple[float, ...]:
    """By how much each sample is off what its own two readings of the kernel's counter come to."""
    return tuple(
        (one.cpu_percent or 0.0) / 100 / (one.cpu_ns / one.interval_ns) - 1
        for one in shown
        if one.interval_ns and one.cpu_ns
    )


def told(watched: Sequence[Watched]) -> Experiment:
    """The experiment, from what was read. Pure."""
    read = [readings(one) for one in watched]
    pairs = list(zip(watched, read, strict=True))
    judged = [_judged(one) for one in watched if one.limit is not None]
    return Experiment(
        name="cpu",
        title=TITLE,
        setup=(
            f"{watched[0].workers} processes that never rest, in one container after the other: without a limit, and "
            f"with {' and '.join(units.format_cores(one.limit) for one in watched if one.limit is not None)}. "
            "Each was read in three ways at the same time."
        ),
        figures=tuple(figure for one, found in pairs for figure in _figures(one, found)),
        findings=(*(_held(one, found, judged) for one, found in pairs), *_of_docker(read), *_of_top(pairs)),
        judged=tuple(judged),
        plots=tuple(_plot(one) for one in watched),
    )


def _judged(watched: Watched) -> Judged:
    (verdict,) = hold(Limits(cpu_limit=watched.limit), "cpu_limit")(watched.evidence)
    return Judged(part=watched.part, verdict=verdict)


def _figures(watched: Watched, read: Readings) -> list[Figure]:
    v1 = watched.evidence.snapshots[0].versions.get("cpuacct") == 1
    limits = watched.evidence.snapshots[0].limits
    name, quota = ("cpu.cfs_quota_us", limits.get("cpu.cfs_quota_us")) if v1 else ("cpu.max", limits.get("cpu.max"))
    whole = watched.evidence.series.whole
    ratio = None if whole is None else whole.throttled_ratio
    rows = [
        ("quota", quota or "not read", name, "quota_text", quota),
        ("used", _cores(read.kernel), "cpuacct.usage" if v1 else "cpu.stat usage_usec", "kernel_cores", read.kernel),
        ("periods throttled", _percent(ratio), "cpu.stat nr_throttled", "throttled_ratio", ratio),
        ("shown, lowest", _percent(min(read.shown, default=None)), "docker stats", "shown_least_cores", _low(read)),
        ("shown, highest", _percent(max(read.shown, default=None)), "docker stats", "shown_most_cores", _high(read)),
        ("off by at most", _signed(_worst(read)), "docker stats", "shown_error_ratio", _worst(read)),
        ("host time counted", _percent(read.system), "docker stats, its divisor", "system_ratio", read.system),
        ("busiest process", _percent(max(read.processes, default=None)), "top, ps", "process_cores", _busiest(read)),
        ("all its processes", _percent(read.top), "top, ps, added up", "processes_cores", read.top),
    ]
    return [
        Figure(part=watched.part, what=what, value=value, source=source, key=key, number=_rounded(number))
        for what, value, source, key, number in rows
    ]


def _worst(read: Readings) -> float | None:
    return max(read.off, key=abs, default=None)


def _signed(part: float | None) -> str:
    return "–" if part is None else f"{100 * part:+.1f}%"


def _low(read: Readings) -> float | None:
    return min(read.shown, default=None)


def _high(read: Readings) -> float | None:
    return max(read.shown, default=None)


def _busiest(read: Readings) -> float | None:
    return max(read.processes, default=None)


def _rounded(number: float | str | None) -> float | str | None:
    return round(number, 4) if isinstance(number, float) else number


def _cores(cores: float | None) -> str:
    return "not read" if cores is None else f"{cores:.3f} cores"


def _percent(part: float | None) -> str:
    return "–" if part is None else f"{100 * part:.1f}%"


# -- found -------------------------------------------------------------------------------------------------------


def _held(watched: Watched, read: Readings, judged: Sequence[Judged]) -> str:
    """What the kernel's own counter says of each container."""
    if read.kernel is None:
        return f"{watched.part}: the Linux kernel's counter could not be read."
    if watched.limit is None:
        short = "" if read.kernel >= _SATURATED * watched.workers else "; others on this host wanted the CPUs too"
        return f"Without a limit, {watched.workers} busy processes used {_cores(read.kernel)}{short}."
    (verdict,) = [one.verdict for one in judged if one.part == watched.part]
    limit = units.format_cores(watched.limit)
    if verdict.outcome is Outcome.HELD:
        return f"The limit of {limit} HELD: the same load used {_cores(read.kernel)}, and was stopped in each period."
    return f"The limit of {limit} is {verdict.outcome}: {verdict.reason}."


def _of_docker(read: Sequence[Readings]) -> list[str]:
    """How far `docker stats` is from the counter, and by what."""
    apart = [part for one in read for part in one.off]
    if not apart:
        return ["docker stats gave no sample in the time."]
    worst = max(apart, key=abs)
    told = (
        f"docker stats was between {min(apart):+.1%} and {max(apart):+.1%} off what the Linux kernel counted meanwhile."
    )
    if abs(worst) < _VISIBLE:
        return [f"{told} Here it may be believed; on a busy host, or one that is itself a virtual machine, less."]
    return [told, _why(read)]


def _why(read: Sequence[Readings]) -> str:
    ratios = [one.system for one in read if one.system is not None]
    steal = max(one.steal for one in read)
    why = (
        "It divides the container's CPU time by the whole host's, which it adds up from /proc/stat: a second counter, "
        "read at another moment and in steps of 10 ms"
    )
    if ratios:
        why += f"; for each second on each CPU it counted {min(ratios):.3f} to {max(ratios):.3f} s"
    if steal >= _VISIBLE:
        why += (
            f". Time that the machine below took ({steal:.1%} of it here) is not in that sum, which makes it read high"
        )
    return f"{why}."


def _of_top(pairs: Sequence[tuple[Watched, Readings]]) -> list[str]:
    """What a person who looks at `top` would think."""
    limited = [(one, read) for one, read in pairs if one.limit is not None and read.processes and read.kernel]
    if not limited:
        return []
    one, read = limited[0]
    busy = [part for part in read.processes if part >= _VISIBLE]
    return [
        (
            f"top shows processes, not containers: under the limit of {units.format_cores(one.limit or 0)} it had "
            f"{len(busy)} busy lines of at most {busy[0]:.0%}, and only their sum, {read.top:.1%}, is what the limit "
            f"is compared with ({_cores(read.kernel)}). In top and docker stats, 100% is one CPU."
        )
    ]


# -- drawn -------------------------------------------------------------------------------------------------------


def _plot(watched: Watched) -> Plot:
    begin = watched.evidence.snapshots[0].monotonic_ns
    return Plot(
        title=f"CPU over the last second, {watched.part}",
        unit="cores",
        lines={
            "the Linux kernel's counter": lines.cores(watched.evidence.snapshots, begin),
            "docker stats": tuple(
                Point(seconds=lines.seconds(begin, one.received_ns), value=round(one.cpu_percent / 100, 4))
                for one in watched.shown
                if one.cpu_percent is not None
            ),
            "top, added up": _top_line(watched.accounts, begin),
        },
        limit=watched.limit,
    )


def _top_line(kept: Sequence[Account], begin_ns: int) -> tuple[Point, ...]:
    step = round(lines.WINDOW_S / _EVERY_S)
    return tuple(
        Point(seconds=lines.seconds(begin_ns, last.monotonic_ns), value=round(sum(accounts.cores(*pair).values()), 4))
        for pair in zip(kept, kept[step:], strict=False)
        for last in pair[1:]
    )
