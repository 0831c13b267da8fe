"""The experiment's result for the terminal: plain lines of 80 columns, with a chart of characters. Pure."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from benchmarks.overhead.report import SOURCE, change, interval, margin_words, published, signed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.overhead.estimate import Estimate
    from benchmarks.overhead.report import Overhead, Row

_COLUMNS = "{:<13}{:>8}  {:>17}{:>8}{:>6}  {:>11}{:>12}"
_WIDTH = 80
_HALF = 20
"""characters on either side of the chart's middle"""
_LEAST_PERCENT = 10.0


def table(overhead: Overhead) -> str:
    """A line for each workload, below it what may be said, the chart, and how it was measured."""
    return "\n".join(line.rstrip() for line in _lines(overhead))


def _lines(overhead: Overhead) -> Iterator[str]:
    yield f"A container against a chroot into the same image, margin {margin_words(overhead.margin)}"
    yield "(below zero the container is slower)"
    yield ""
    yield _COLUMNS.format("", "", "", "sd of", "", "published", "published")
    yield _COLUMNS.format("Workload", "Median", "90 % interval", "a pair", "Pairs", "Docker", "KVM untuned")
    for row in overhead.rows:
        yield from _row(row)
    yield ""
    yield from _chart(overhead)
    yield ""
    yield from _made(overhead)


def _row(row: Row) -> Iterator[str]:
    found, known = row.estimate, row.workload.published
    yield _COLUMNS.format(
        row.workload.title,
        "–" if found is None else f"{signed(change(found.median))} %",
        "–" if found is None else interval(found),
        "–" if found is None or found.deviation is None else f"{found.deviation * 100:.1f} %",
        len(row.pairs),
        "–" if known is None else published(known.docker_percent),
        "–" if known is None else published(known.kvm_percent),
    )
    yield f"  {row.statement}"


# -- the chart ---------------------------------------------------------------------------------------------------------


def _chart(overhead: Overhead) -> Iterator[str]:
    margin = overhead.margin * 100
    most = max(_LEAST_PERCENT, margin * 1.5)
    yield f"{'':<14}{f'{signed(-most)} %':<{_HALF}}0{f'{signed(most)} %':>{_HALF}}"
    for row in overhead.rows:
        yield f"{row.workload.title:<14}{_bar(row.estimate, margin, most)}"
    yield f"{'':<14}● median  ├┤ 90 % interval  ┆ margin  ◂▸ beyond"


def _bar(found: Estimate | None, margin: float, most: float) -> str:
    """One line of the chart, from `-most` to `most` percent."""
    cells = [" "] * (2 * _HALF + 1)
    for mark in (-margin, margin):
        cells[_cell(mark, most)] = "┆"
    cells[_HALF] = "│"
    if found is None:
        return "".join(cells)
    low, median, high = (_cell(change(share), most) for share in (found.low, found.median, found.high))
    cells[low : high + 1] = "─" * (high + 1 - low)
    cells[low], cells[high], cells[median] = "├", "┤", "●"
    if change(found.low) < -most:
        cells[0] = "◂"
    if change(found.high) > most:
        cells[-1] = "▸"
    return "".join(cells)


def _cell(percent: float, most: float) -> int:
    return min(max(round((percent / most + 1) * _HALF), 0), 2 * _HALF)


# -- how it was measured -----------------------------------------------------------------------------------------------


def _made(overhead: Overhead) -> Iterator[str]:
    for line in _told(overhead):
        yield from textwrap.wrap(line, _WIDTH, subsequent_indent="  ")


def _told(overhead: Overhead) -> Iterator[str]:
    for row in overhead.rows:
        yield f"{row.workload.title}: {row.workload.measured}"
    host = overhead.host
    yield f"{host.cores} cores, Linux {host.kernel}, {host.engine}"
    yield f"image {overhead.image}, seed {overhead.seed}"
    yield f"started {overhead.started}, took {overhead.seconds:.0f} s, spawner-limits {overhead.version}"
    yield f"published: {SOURCE}"
