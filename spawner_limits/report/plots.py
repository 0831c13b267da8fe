"""The plots of a trial: its CPU and its memory, from the snapshots. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits.report import series, words
from spawner_limits.report.plot import Plot, Point

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.proof.evidence import Trial

USED, CACHE, SWAP = "memory used", "of that, file cache", "swap used"
_NO_LIMIT = "{} would be the limit; here is none"


def cpu(trial: Trial) -> Plot:
    """Cores used against the limit."""
    every = series.points(trial.evidence.snapshots)
    return Plot(
        title="CPU: cores used over the last second",
        unit="cores",
        lines={"cores used": _column(series.thinned(every), "cpu_cores")},
        limit=_number(trial, "cpu_limit"),
        limit_words=_limit_words(trial),
        nothing=_nothing(trial, every, "cpu_cores"),
    )


def memory(trial: Trial) -> Plot:
    """Memory used against the limit, with the peak that the Linux kernel kept, and the OOM kills."""
    every = series.points(trial.evidence.snapshots)
    kills = series.kills(trial.evidence.snapshots)
    return Plot(
        title="Memory: used, as the limit counts it",
        unit="bytes",
        lines=_memory_lines(series.thinned(every)),
        limit=_number(trial, "mem_limit"),
        limit_words=_limit_words(trial),
        peak=_peak(trial),
        marks={kill.seconds: "OOM kill" for kill in kills},
        counts={kill.seconds: kill.count for kill in kills},
        nothing=_nothing(trial, every, "memory_bytes"),
    )


def _column(points: Sequence[series.Point], column: str) -> tuple[Point, ...]:
    return tuple(Point(seconds=one.seconds, value=getattr(one, column)) for one in points)


def _memory_lines(kept: Sequence[series.Point]) -> dict[str, tuple[Point, ...]]:
    """Cache and swap only where there was any to see."""
    lines = {
        USED: _column(kept, "memory_bytes"),
        CACHE: _column(kept, "cache_bytes"),
        SWAP: _column(kept, "swap_bytes"),
    }
    return {label: points for label, points in lines.items() if label == USED or any(one.value for one in points)}


def _number(trial: Trial, field: str) -> float | None:
    value = words.value(trial, field)
    return None if value is None else float(value)


def _limit_words(trial: Trial) -> str:
    return _NO_LIMIT if trial.control else "limit {}"


def _peak(trial: Trial) -> float | None:
    return max(
        (one.memory_peak_bytes for one in trial.evidence.snapshots if one.memory_peak_bytes is not None), default=None
    )


def _nothing(trial: Trial, every: Sequence[series.Point], column: str) -> str:
    return series.unknown(every, trial.evidence.snapshots).get(column, "there are no readings")
