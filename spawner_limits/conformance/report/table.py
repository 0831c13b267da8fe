"""A conformance report for the terminal, as rich prints it: readable at 80 columns and without colour. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group as Parts
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spawner_limits.conformance.report import words
from spawner_limits.proof.evidence import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import RenderableType

    from spawner_limits.conformance.case import ConformanceReport, Group, Result

_STYLES = {Outcome.HELD: "bold green", Outcome.BROKEN: "bold red", Outcome.UNKNOWN: "bold yellow"}
_NUMBER, _TITLE, _VERDICT = 2, 41, 7
"""columns; what was seen takes the rest"""
_WORDS, _TERM = 3, 5
"""where the words below a row begin, and those of --verbose"""


def table(report: ConformanceReport) -> RenderableType:
    """The line that matters, then a line for each case, and below those that did not hold why and what to do."""
    return _table(report, lambda _: ())


def full_table(report: ConformanceReport) -> RenderableType:
    """The same, and below each case all that is known of it."""
    return _table(report, _details)


def _table(report: ConformanceReport, more: Callable[[Result], Iterable[tuple[str, str]]]) -> RenderableType:
    parts: list[RenderableType] = [Text(words.summary(report), style=_STYLES[words.tone(report)])]
    for group, results in words.groups(report):
        parts += [Text(""), *_group(report, group, results, more)]
    parts += [Text(""), *(Text(told, style="dim") for told in words.made(report))]
    return Parts(*parts)


def _group(
    report: ConformanceReport,
    group: Group,
    results: Iterable[Result],
    more: Callable[[Result], Iterable[tuple[str, str]]],
) -> Iterator[RenderableType]:
    yield Text(group.words, style="bold")
    for result in results:
        yield _row(result)
        for label, text in words.why(result):
            yield _labelled(label, text)
        if reason := words.uncounted(report, result):
            yield _indented(reason, _WORDS)
        for label, text in more(result):
            yield _labelled(label, text, "dim")


def _row(result: Result) -> Table:
    """What was seen of a case that HELD is cut to the line; of another it is the point."""
    held = result.outcome is Outcome.HELD
    row = Table.grid(padding=(0, 1, 0, 0), expand=True)
    row.add_column(width=_NUMBER, justify="right", no_wrap=True)
    row.add_column(width=_TITLE, overflow="fold")
    row.add_column(width=_VERDICT, no_wrap=True)
    row.add_column(ratio=1, no_wrap=held, overflow="ellipsis" if held else "fold")
    row.add_row(
        str(result.number),
        Text(words.line(result.title)),
        Text(result.outcome.value, style=_STYLES[result.outcome]),
        Text(words.line(result.seen)),
    )
    return row


def _details(result: Result) -> Iterator[tuple[str, str]]:
    """All that the page and the JSON have too, but the charts and the figures."""
    yield "expected", words.line(result.expected)
    yield "seen", words.line(result.seen)
    yield "tolerance", words.line(result.tolerance)
    if result.outcome is Outcome.HELD and result.reason:
        yield "reason", words.line(result.reason)
    for file in result.evidence:
        yield "evidence", words.line(file)
    yield from _control(result)
    yield "took", words.took(result)


def _control(result: Result) -> Iterator[tuple[str, str]]:
    if result.control is None:
        yield "control", words.NO_CONTROL
        return
    yield "control", words.control(result.control)
    yield "control saw", words.control_saw(result.control)


def _labelled(label: str, text: str, style: str = "") -> Padding:
    return _indented(f"{label}: {text}", _WORDS if not style else _TERM, style)


def _indented(text: str, by: int, style: str = "") -> Padding:
    return Padding(Text(text, style=style, overflow="fold"), (0, 0, 0, by))
