"""Charts of a trial as geometry: where lines, ticks and labels go in an SVG of fixed size. Pure; draws nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.proof.report import series, words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spawner_limits.proof.evidence import Trial

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 84, 536, 12, 216
"""of the plot, within the chart"""
_HEADROOM = 1.16
"""of the highest value; the limit's label stands in it"""
_TICKS = 5
_TIMES_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
_MINUTES_FROM_S = 120
_MARK_PX = 14
"""OOM kills nearer than this share one mark"""
_CROWDED_PX = 18
"""lines nearer than this can't both have a label on the same side"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """One mark on an axis, in pixels, with its label."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One line across the plot."""

    y: float
    label_y: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One series."""

    kind: str
    """how it looks: "used", "cache", "swap" """
    label: str
    path: str
    """SVG path data; it breaks off where nothing was read"""
    area: str = ""
    """the same, closed down to the axis"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """One chart, ready to be drawn."""

    title: str
    description: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    limit: Level | None
    peak: Level | None = None
    kills: tuple[Tick, ...] = ()
    kills_label: str = ""
    note: str = ""
    """why there is nothing to see"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """From values to pixels."""

    start: float
    """pixel of 0"""
    end: float
    """pixel of `top`"""
    top: float

    def at(self, value: float) -> float:
        """The pixel of a value, to a tenth."""
        return round(self.start + (self.end - self.start) * value / self.top, 1)


Values = list[tuple[float, float | None]]
"""seconds, value"""


def cpu(trial: Trial) -> Chart:
    """Cores used against the limit."""
    every = series.points(trial.evidence.snapshots)
    values: Values = [(point.seconds, point.cpu_cores) for point in series.thinned(every)]
    limit = _number(trial, "cpu_limit")
    most = _most(values)
    x, y = _times(values), _upward([most, limit], 0.01)
    title = "CPU: cores used over the last second"
    return Chart(
        title=title,
        description=_describe(title, values, limit, _cores),
        x_ticks=_time_ticks(x),
        y_ticks=_ticks(y, _decimal_step(y.top), _cores),
        lines=_lines(x, y, [("used", "cores used", values)]),
        limit=_limit(trial, limit, y, _cores),
        note="" if most is not None else _nothing(trial, "cpu_cores"),
    )


def memory(trial: Trial) -> Chart:
    """Memory used against the limit, with the peak that the Linux kernel kept, and the OOM kills."""
    every = series.points(trial.evidence.snapshots)
    kept = series.thinned(every)
    values: Values = [(point.seconds, point.memory_bytes) for point in kept]
    limit, peak = _number(trial, "mem_limit"), _peak(trial)
    most = _most(values)
    x, y = _times(values), _upward([most, limit, peak], units.MIB)
    title = "Memory: used, as the limit counts it"
    return Chart(
        title=title,
        description=_describe(title, values, limit, _size),
        x_ticks=_time_ticks(x),
        y_ticks=_ticks(y, _binary_step(y.top), _size),
        lines=_lines(x, y, _memory_lines(kept, values)),
        limit=_limit(trial, limit, y, _size),
        peak=_peak_level(peak, limit, y),
        kills=_kills(trial, x),
        kills_label=_kills_label(trial),
        note="" if most is not None else _nothing(trial, "memory_bytes"),
    )


# -- what is drawn -----------------------------------------------------------------------------------------------


def _number(trial: Trial, field: str) -> float | None:
    value = words.value(trial, field)
    return None if value is None else float(value)


def _size(size: float) -> str:
    return units.format_size(round(size)) if size else "0"


def _cores(cores: float) -> str:
    return units.format_cores(cores) if cores else "0"


def _most(values: Values) -> float | None:
    return max((value for _, value in values if value is not None), default=None)


def _peak(trial: Trial) -> float | None:
    return max(
        (one.memory_peak_bytes for one in trial.evidence.snapshots if one.memory_peak_bytes is not None), default=None
    )


def _memory_lines(kept: Sequence[series.Point], values: Values) -> list[tuple[str, str, Values]]:
    """Cache and swap only where there was any to see."""
    drawn = [("used", "memory used", values)]
    for kind, label, others in (
        ("cache", "of that, file cache", [(point.seconds, point.cache_bytes) for point in kept]),
        ("swap", "swap used", [(point.seconds, point.swap_bytes) for point in kept]),
    ):
        if _most([*others]):
            drawn.append((kind, label, [*others]))
    return drawn


def _limit(trial: Trial, limit: float | None, y: Axis, tell: Callable[[float], str]) -> Level | None:
    if limit is None:
        return None
    label = f"{tell(limit)} would be the limit; here is none" if trial.control else f"limit {tell(limit)}"
    return Level(y=y.at(limit), label_y=y.at(limit) - 6, label=label)


def _peak_level(peak: float | None, limit: float | None, y: Axis) -> Level | None:
    """The peak's label is below its line where the limit's is in the way."""
    if peak is None:
        return None
    below = limit is not None and 0 <= y.at(peak) - y.at(limit) < _CROWDED_PX
    return Level(y=y.at(peak), label_y=y.at(peak) + (15 if below else -6), label=f"peak {_size(peak)}")


def _kills(trial: Trial, x: Axis) -> tuple[Tick, ...]:
    """Marks where the count of OOM kills rose; ones that would overlap are joined."""
    marks: list[tuple[float, int, float]] = []
    for kill in series.kills(trial.evidence.snapshots):
        if marks and x.at(kill.seconds) - marks[-1][0] < _MARK_PX:
            at, count, since = marks[-1]
            marks[-1] = (at, count + kill.count, since)
        else:
            marks.append((x.at(kill.seconds), kill.count, kill.seconds))
    return tuple(
        Tick(at=at, label=f"{words.counted(count, 'OOM kill')} at {seconds:.1f} s") for at, count, seconds in marks
    )


def _kills_label(trial: Trial) -> str:
    found = series.kills(trial.evidence.snapshots)
    if not found:
        return ""
    told = words.counted(sum(kill.count for kill in found), "OOM kill")
    first, last = found[0].seconds, found[-1].seconds
    return f"{told} at {first:.1f} s" if first == last else f"{told}, from {first:.1f} to {last:.1f} s"


def _nothing(trial: Trial, column: str) -> str:
    every = series.points(trial.evidence.snapshots)
    reason = series.unknown(every, trial.evidence.snapshots).get(column, "there are no readings")
    return f"Nothing to draw: {words.line(reason)}"


def _describe(title: str, values: Values, limit: float | None, tell: Callable[[float], str]) -> str:
    most = _most(values)
    told = f"at most {tell(most)}" if most is not None else "nothing was read"
    against = f"the limit is {tell(limit)}" if limit is not None else "there is no limit"
    return f"{title}. Over {values[-1][0] if values else 0:.0f} s: {told}; {against}."


# -- axes --------------------------------------------------------------------------------------------------------


def _times(values: Values) -> Axis:
    return Axis(start=LEFT, end=RIGHT, top=max(values[-1][0] if values else 0.0, 1.0))


def _upward(highest: Sequence[float | None], least: float) -> Axis:
    top = max([least, *(value for value in highest if value is not None)]) * _HEADROOM
    return Axis(start=BOTTOM, end=TOP, top=top)


def _decimal_step(top: float) -> float:
    """The least of 1, 2, 5 × 10ⁿ that makes few enough ticks; two decimals are shown, so never below 0.01."""
    rough = top / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return max(step, 0.01)


def _binary_step(top: float) -> float:
    """The least power of two that makes few enough ticks."""
    return 2.0 ** math.ceil(math.log2(top / _TICKS))


def _ticks(axis: Axis, step: float, tell: Callable[[float], str]) -> tuple[Tick, ...]:
    count = math.floor(axis.top / step) + 1
    return tuple(Tick(at=axis.at(index * step), label=tell(index * step)) for index in range(count))


def _time_ticks(axis: Axis) -> tuple[Tick, ...]:
    step = next((step for step in _TIMES_S if axis.top / step <= _TICKS), axis.top / _TICKS)
    return _ticks(axis, step, _minutes if axis.top > _MINUTES_FROM_S and step % 60 == 0 else _seconds)


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"


# -- paths -------------------------------------------------------------------------------------------------------


def _lines(x: Axis, y: Axis, drawn: Sequence[tuple[str, str, Values]]) -> tuple[Line, ...]:
    return tuple(_line(x, y, *one) for one in drawn)


def _line(x: Axis, y: Axis, kind: str, label: str, values: Values) -> Line:
    runs = [list(run) for read, run in groupby(values, key=lambda one: one[1] is not None) if read]
    drawn = [[(x.at(seconds), y.at(value or 0.0)) for seconds, value in run] for run in runs]
    return Line(
        kind=kind,
        label=label,
        path=" ".join(_path(run) for run in drawn),
        area=" ".join(f"{_path(run)} V{BOTTOM} H{run[0][0]:g} Z" for run in drawn) if kind == "used" else "",
    )


def _path(run: Sequence[tuple[float, float]]) -> str:
    """SVG path data; a single point is a line without length, which a round cap shows as a dot."""
    first, *rest = [f"{at:g},{height:g}" for at, height in run]
    return f"M{first} L{' '.join(rest or [first])}"
