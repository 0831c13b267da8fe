"""`cpu`: the same load without a limit and under two quotas, by the kernel's counter, `docker stats`, and `top`."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from spawner_limits import interrupt
from spawner_limits.conformance import lines
from spawner_limits.conformance.cpu import WARM_UP_S, spinning
from spawner_limits.conformance.setting import Setting, hold, kernel_file, made
from spawner_limits.conformance.trial import sampler
from spawner_limits.experiments import accounts
from spawner_limits.experiments.experiment import Experiment, Judged, figures
from spawner_limits.experiments.stats import Stats
from spawner_limits.kernel.processes import members
from spawner_limits.limits import Limits
from spawner_limits.proof import windows
from spawner_limits.proof.evidence import Outcome
from spawner_limits.report.plot import Plot, Point
from spawner_limits.units import format_cores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.trial import Subject
    from spawner_limits.experiments.accounts import Account
    from spawner_limits.experiments.experiment import Row, Stage
    from spawner_limits.experiments.stats import Sample
    from spawner_limits.proof.evidence import Evidence, Verdict

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
    """One container under load, read in three ways at the same time: by the kernel, `docker stats` and `top`."""

    limit: float | None
    """cores; `None`: no limit"""
    workers: int
    seen: Seen
    shown: tuple[Sample, ...]
    """by `docker stats`, of the time that the snapshots cover"""
    accounts: tuple[Account, ...]
    """one a snapshot"""

    @property
    def part(self) -> str:
        """Heading of its figures."""
        return "no limit" if self.limit is None else f"limit {format_cores(self.limit)}"

    @property
    def kernel(self) -> float | None:
        """Cores, as the kernel counts."""
        whole = self.seen.series.whole
        return None if whole is None else whole.cores

    @property
    def docker(self) -> list[float]:
        """Cores, as `docker stats` shows them, sample by sample."""
        return [one.cpu_percent / 100 for one in self.shown if one.cpu_percent is not None]

    @property
    def off(self) -> list[float]:
        """By how much each sample is off what its own two readings of the kernel's counter come to: 0 is right."""
        shown = [one for one in self.shown if one.cpu_percent is not None and one.interval_ns and one.cpu_ns]
        return [(one.cpu_percent or 0.0) / 100 / (one.cpu_ns / one.interval_ns) - 1 for one in shown]

    @property
    def divisor(self) -> float | None:
        """Host CPU time that `docker stats` divided by, over the time that passed on all CPUs: it should be 1."""
        shown = [one for one in self.shown if one.cpu_percent is not None and one.interval_ns and one.cpus]
        return median([one.system_ns / one.interval_ns / one.cpus for one in shown]) if shown else None

    @property
    def processes(self) -> list[float]:
        """Cores by `top`, the busiest first."""
        return sorted(accounts.cores(self.accounts[0], self.accounts[-1]).values(), reverse=True)

    @property
    def steal(self) -> float:
        """Of the host's time, the part that the machine below took."""
        first, last = self.accounts[0], self.accounts[-1]
        host, steal = last.host - first.host, last.steal - first.steal
        return steal / (host + steal) if host + steal else 0.0

    @property
    def verdict(self) -> Verdict:
        """Of its limit."""
        return hold(Limits(cpu_limit=self.limit), "cpu_limit")(self.seen)[0]


def settings(cores: int) -> tuple[tuple[float | None, ...], int]:
    """The limits that are tried on a host with so many cores, and how many workers press on them."""
    workers = min(cores, _MOST_WORKERS)
    return (None, *(one if one < workers else _ROOM * workers for one in _WANTED)), workers


def run(stage: Stage) -> Experiment:
    """Press on three containers, one after the other. CannotError where the load can't run."""
    limits, workers = settings(stage.bench.host.cores)
    return told([_watched(stage, one, workers) for one in limits])


def _watched(stage: Stage, limit: float | None, workers: int) -> Watched:
    setting = Setting(asked=Limits(cpu_limit=limit, pids_limit=64))
    with made(stage.bench, setting) as subject, Stats(subject) as stats:
        spinning(subject, workers)
        subject.busy()
        interrupt.pause(WARM_UP_S)
        stage.say(f"{'no limit' if limit is None else format_cores(limit)}: {stage.seconds:.0f} s")
        for number in range(1, _TRIES + 1):
            seen, kept = _followed(subject, stage.seconds)
            if number == _TRIES or not _disturbed(limit, workers, seen):
                break
            stage.say("  others wanted the CPUs too; again")
    first, last = seen.snapshots[0].monotonic_ns, seen.snapshots[-1].monotonic_ns
    # a sample tells of the second before it: one of the warm-up says nothing of the window
    covered = [one for one in stats.samples if first + windows.SECOND_NS <= one.received_ns <= last]
    return Watched(limit=limit, workers=workers, seen=seen, shown=tuple(covered), accounts=tuple(kept))


def _disturbed(limit: float | None, workers: int, evidence: Evidence) -> bool:
    """Whether others had what the load was after."""
    if limit is None:
        whole = evidence.series.whole
        return whole is not None and whole.cores < _SATURATED * workers
    return hold(Limits(cpu_limit=limit), "cpu_limit")(evidence)[0].outcome is Outcome.UNKNOWN


def _followed(subject: Subject, seconds: float) -> tuple[Seen, list[Account]]:
    taken, kept = [], []
    for (one,) in sampler(subject, every_s=_EVERY_S).follow(seconds=seconds):
        taken.append(one)
        kept.append(accounts.read(members(subject.cgroup)))
    return subject.seen(taken), kept


# -- told --------------------------------------------------------------------------------------------------------


def told(watched: Sequence[Watched]) -> Experiment:
    """The experiment, from what was read. Pure."""
    limited = [one for one in watched if one.limit is not None]
    return Experiment(
        name="cpu",
        title=TITLE,
        setup=(
            f"{watched[0].workers} processes that never rest, in one container after the other: without a limit, and "
            f"with {' and '.join(format_cores(one.limit or 0) for one in limited)}. "
            "Each was read in three ways at the same time."
        ),
        figures=tuple(figure for one in watched for figure in figures(one.part, _rows(one))),
        findings=(*map(_held, watched), *_of_docker(watched), *_of_top(limited)),
        judged=tuple(Judged(part=one.part, verdict=one.verdict) for one in limited),
        plots=tuple(map(_plot, watched)),
    )


def _rows(watched: Watched) -> list[Row]:
    series, file = watched.seen.series, kernel_file("cpu_limit", watched.seen.version)
    quota, whole = watched.seen.snapshots[0].limits.get(file), series.whole
    ratio = None if whole is None else whole.throttled_ratio
    least, most = min(watched.docker, default=None), max(watched.docker, default=None)
    worst, busiest = max(watched.off, key=abs, default=None), max(watched.processes, default=None)
    top = sum(watched.processes)
    return [
        ("quota", quota or "not read", file, "quota_text", quota),
        ("used", _cores(watched.kernel), series.file("cpu_usage_ns"), "kernel_cores", _rounded(watched.kernel)),
        ("periods throttled", _percent(ratio), series.file("nr_throttled"), "throttled_ratio", _rounded(ratio)),
        ("shown, lowest", _percent(least), "docker stats", "shown_least_cores", _rounded(least)),
        ("shown, highest", _percent(most), "docker stats", "shown_most_cores", _rounded(most)),
        ("off by at most", _percent(worst, "+"), "docker stats", "shown_error_ratio", _rounded(worst)),
        (
            "host time counted",
            _percent(watched.divisor),
            "docker stats, its divisor",
            "system_ratio",
            _rounded(watched.divisor),
        ),
        ("busiest process", _percent(busiest), "top, ps", "process_cores", _rounded(busiest)),
        ("all its processes", _percent(top), "top, ps, added up", "processes_cores", _rounded(top)),
    ]


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)


def _cores(cores: float | None) -> str:
    return "not read" if cores is None else f"{cores:.3f} cores"


def _percent(part: float | None, sign: str = "") -> str:
    return "–" if part is None else f"{100 * part:{sign}.1f}%"


# -- found -------------------------------------------------------------------------------------------------------


def _held(watched: Watched) -> str:
    """What the kernel's own counter says of each container."""
    if watched.kernel is None:
        return f"{watched.part}: the Linux kernel's counter could not be read."
    if watched.limit is None:
        short = "" if watched.kernel >= _SATURATED * watched.workers else "; others on this host wanted the CPUs too"
        return f"Without a limit, {watched.workers} busy processes used {_cores(watched.kernel)}{short}."
    verdict, limit = watched.verdict, f"The limit of {format_cores(watched.limit)}"
    if verdict.outcome is Outcome.HELD:
        return f"{limit} HELD: the same load used {_cores(watched.kernel)}, and was stopped in each period."
    return f"{limit} is {verdict.outcome}: {verdict.reason}."


def _of_docker(watched: Sequence[Watched]) -> list[str]:
    """How far `docker stats` is from the counter, and by what."""
    apart = [part for one in watched for part in one.off]
    if not apart:
        return ["docker stats gave no sample in the time."]
    told = (
        f"docker stats was between {min(apart):+.1%} and {max(apart):+.1%} off what the Linux kernel counted meanwhile."
    )
    if max(map(abs, apart)) < _VISIBLE:
        return [f"{told} Here it may be believed; on a busy host, or one that is itself a virtual machine, less."]
    return [told, _why(watched)]


def _why(watched: Sequence[Watched]) -> str:
    ratios = [one.divisor for one in watched if one.divisor is not None]
    steal = max(one.steal for one in watched)
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


def _of_top(limited: Sequence[Watched]) -> list[str]:
    """What a person who looks at `top` would think."""
    read = [one for one in limited if one.processes and one.kernel]
    if not read:
        return []
    one, busy = read[0], [part for part in read[0].processes if part >= _VISIBLE]
    return [
        (
            f"top shows processes, not containers: under the limit of {format_cores(one.limit or 0)} it had "
            f"{len(busy)} busy lines of at most {busy[0]:.0%}, and only their sum, {sum(one.processes):.1%}, is what "
            f"the limit is compared with ({_cores(one.kernel)}). In top and docker stats, 100% is one CPU."
        )
    ]


# -- drawn -------------------------------------------------------------------------------------------------------


def _plot(watched: Watched) -> Plot:
    begin = watched.seen.snapshots[0].monotonic_ns
    return Plot(
        title=f"CPU over the last second, {watched.part}",
        unit="cores",
        lines={
            "the Linux kernel's counter": lines.cores(watched.seen.snapshots),
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
    pairs = zip(kept, kept[step:], strict=False)
    sums = [(last.monotonic_ns, sum(accounts.cores(first, last).values())) for first, last in pairs]
    return tuple(Point(seconds=lines.seconds(begin_ns, at_ns), value=round(cores, 4)) for at_ns, cores in sums)
