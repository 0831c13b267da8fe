"""A plot as geometry: where lines, ticks and labels go in an SVG of fixed size. Pure; draws nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import cycle, groupby
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.report import words
from spawner_limits.report.plot import CACHE, SWAP, USED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from spawner_limits.report.plot import Plot, Point

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 84, 536, 12, 216
"""of the plot, within the chart"""
_HEADROOM = 1.16
"""of the highest value; the limit's label stands in it"""
_TICKS = 5
_TIMES_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
_MINUTES_FROM_S = 120
_MARK_PX = 14
"""marks nearer than this are joined"""
_LABEL_PX = 110
"""how long a limit's label is"""
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
    at_start: bool = False
    """whether the label stands at the line's start, not at its end"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One series."""

    kind: str
    """how it looks: "used", "cache", "swap", or "first", "second", "third" side by side"""
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
    marks: tuple[Tick, ...] = ()
    marks_label: str = ""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """How values are told, and how far apart ticks are."""

    tell: Callable[[float], str]
    step: Callable[[float], float]
    """the axis' top → the step between its ticks"""
    least: float
    """no axis ends lower"""


def draw(plot: Plot) -> Chart:
    """Where everything in a plot goes. KeyError for a unit that is none of `UNITS`."""
    unit = UNITS[plot.unit]
    most = _most(point for points in plot.lines.values() for point in points)
    x, y = _times(plot), _upward([most, plot.limit, plot.peak], unit.least)
    return Chart(
        title=plot.title,
        description=_describe(plot, unit.tell),
        x_ticks=_time_ticks(x),
        y_ticks=_ticks(y, unit.step(y.top), unit.tell),
        lines=_lines(x, y, plot.lines),
        limit=_limit(plot, x, y, unit.tell),
        peak=_peak(plot, y, unit.tell),
        marks=_marks(plot, x),
        marks_label=_marks_label(plot),
        note="" if most is not None else f"Nothing to draw: {words.line(plot.nothing)}",
    )


# -- what is drawn -----------------------------------------------------------------------------------------------


def _most(points: Iterable[Point]) -> float | None:
    return max((one.value for one in points if one.value is not None), default=None)


def _limit(plot: Plot, x: Axis, y: Axis, tell: Callable[[float], str]) -> Level | None:
    """Its label gives way to marks, unless the peak's is where it would go."""
    if plot.limit is None:
        return None
    at = y.at(plot.limit)
    marked = any(x.at(seconds) > RIGHT - _LABEL_PX for seconds in plot.marks or {})
    label = plot.limit_words.format(tell(plot.limit))
    return Level(y=at, label_y=at - 6, label=label, at_start=marked and plot.peak is None)


def _peak(plot: Plot, y: Axis, tell: Callable[[float], str]) -> Level | None:
    """The peak's label is below its line where the limit's is in the way."""
    if plot.peak is None:
        return None
    at = y.at(plot.peak)
    below = plot.limit is not None and 0 <= at - y.at(plot.limit) < _CROWDED_PX
    return Level(y=at, label_y=at + (15 if below else -6), label=f"peak {tell(plot.peak)}")


def _marks(plot: Plot, x: Axis) -> tuple[Tick, ...]:
    """Ones that would overlap are joined."""
    joined: list[list[float]] = []
    for seconds in sorted(plot.marks or {}):
        if joined and x.at(seconds) - x.at(joined[-1][0]) < _MARK_PX:
            joined[-1].append(seconds)
        else:
            joined.append([seconds])
    return tuple(
        Tick(at=x.at(moments[0]), label=f"{_happened(plot, moments)} at {moments[0]:.1f} s") for moments in joined
    )


def _marks_label(plot: Plot) -> str:
    """Each thing that happened, once, with its time."""
    marks = plot.marks or {}
    alike = {text: [one for one in sorted(marks) if marks[one] == text] for text in marks.values()}
    return "; ".join(f"{_happened(plot, moments)}{_when(moments)}" for moments in alike.values())


def _when(moments: Sequence[float]) -> str:
    first, last = moments[0], moments[-1]
    return f" at {first:.1f} s" if first == last else f", from {first:.1f} to {last:.1f} s"


def _happened(plot: Plot, moments: Sequence[float]) -> str:
    """`1 OOM kill`, `3 OOM kills` where they are counted; else `the third one stops`, `3 × refused`."""
    marks = plot.marks or {}
    texts = dict.fromkeys(marks[one] for one in moments)
    return ", ".join(_times_it_did(plot, text, [one for one in moments if marks[one] == text]) for text in texts)


def _times_it_did(plot: Plot, text: str, moments: Sequence[float]) -> str:
    told = words.line(text)
    if all(one in plot.counts for one in moments):
        return words.counted(sum(plot.counts[one] for one in moments), told)
    return told if len(moments) == 1 else f"{len(moments)} × {told}"


def _describe(plot: Plot, tell: Callable[[float], str]) -> str:
    told = "; ".join(
        f"{words.line(label) + ' ' if len(plot.lines) > 1 else ''}{_at_most(points, tell)}"
        for label, points in plot.lines.items()
    )
    against = f"the limit is {tell(plot.limit)}" if plot.limit is not None else "there is no limit"
    return f"{plot.title}. Over {_end(plot):.0f} s: {told}; {against}."


def _at_most(points: Sequence[Point], tell: Callable[[float], str]) -> str:
    most = _most(points)
    return "nothing was read" if most is None else f"at most {tell(most)}"


# -- axes --------------------------------------------------------------------------------------------------------


def _end(plot: Plot) -> float:
    ends = [points[-1].seconds for points in plot.lines.values() if points]
    return max([*ends, *(plot.marks or {})], default=0.0)


def _times(plot: Plot) -> Axis:
    return Axis(start=LEFT, end=RIGHT, top=max(_end(plot), 1.0))


def _upward(highest: Sequence[float | None], least: float) -> Axis:
    top = max([least, *(value for value in highest if value is not None)]) * _HEADROOM
    return Axis(start=BOTTOM, end=TOP, top=top)


def _decimal_step(top: float) -> float:
    """The least of 1, 2, 5 × 10ⁿ that makes few enough ticks."""
    rough = top / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def _binary_step(top: float) -> float:
    """The least power of two that makes few enough ticks."""
    return 2.0 ** math.ceil(math.log2(top / _TICKS))


UNITS: Mapping[str, Unit] = {
    "cores": Unit(
        tell=lambda cores: units.format_cores(cores) if cores else "0",
        step=lambda top: max(_decimal_step(top), 0.01),  # two decimals are shown
        least=0.01,
    ),
    "bytes": Unit(
        tell=lambda size: units.format_size(round(size)) if size else "0", step=_binary_step, least=units.MIB
    ),
    "processes": Unit(tell=lambda count: f"{count:.0f}", step=lambda top: max(_decimal_step(top), 1.0), least=1.0),
    "percent": Unit(tell=lambda percent: f"{percent:.0f}%", step=lambda top: max(_decimal_step(top), 1.0), least=1.0),
}


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


_KINDS = {USED: "used", CACHE: "cache", SWAP: "swap"}
"""label → how it always looks"""


def _kinds(labels: Sequence[str]) -> Iterable[str]:
    if all(label in _KINDS for label in labels):
        return [_KINDS[label] for label in labels]
    return ["used"] if len(labels) == 1 else cycle(("first", "second", "third"))


def _lines(x: Axis, y: Axis, lines: Mapping[str, Sequence[Point]]) -> tuple[Line, ...]:
    kinds = _kinds(list(lines))
    return tuple(_line(x, y, kind, *one) for kind, one in zip(kinds, lines.items(), strict=False))


def _line(x: Axis, y: Axis, kind: str, label: str, points: Sequence[Point]) -> Line:
    runs = [list(run) for read, run in groupby(points, key=lambda one: one.value is not None) if read]
    drawn = [[(x.at(one.seconds), y.at(one.value or 0.0)) for one in run] for run in runs]
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
