"""A page for the terminal, as something that rich prints: readable at 80 columns, and without colour. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spawner_limits.proof.evidence import Outcome
from spawner_limits.report import words
from spawner_limits.report.page import Chip, Depth, Look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from spawner_limits.report.page import Column, Fact, Page, Row, Section

SEEN = "What one sees"
_STYLES = {Outcome.HELD: "bold green", Outcome.BROKEN: "bold red", Outcome.UNKNOWN: "bold yellow", None: ""}
_COMMAND = 70
"""characters of a command that are shown"""
_ITEM = 2
"""where what is said of a section begins"""


def table(page: Page) -> RenderableType:
    """The line that matters, then each section: its rows, and what is said of them."""
    return _table(page, Depth.TABLE)


def full_table(page: Page) -> RenderableType:
    """The same, and below each row all that is known of it."""
    return _table(page, Depth.FULL)


def _table(page: Page, depth: Depth) -> RenderableType:
    summary = Text(words.line(page.summary), style=_STYLES[page.tone])
    story = (Text(words.line(page.title), style="bold"), Text(words.line(page.lead)))
    parts: list[RenderableType] = [*story] if page.findings else [summary]
    for section in page.sections:
        if section.depth <= depth:
            parts += [Text(""), *_section(section, depth)]
    if page.findings:
        parts += [Text(""), Text(SEEN, style="bold"), *map(_finding, page.findings), Text(""), summary]
    elif page.footnotes:
        parts.append(Text(""))
    return Group(*parts, *(Text(words.line(one), style="dim") for one in page.footnotes))


def _finding(text: str) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row(Text("·"), Text(words.line(text)))
    return grid


def _section(section: Section, depth: Depth) -> Iterator[RenderableType]:
    if section.title:
        title = Text(words.line(section.title), style="bold")
        yield title if section.chip is None else title.append("  ").append_text(_chip(section.chip))
    if section.heads <= depth and section.rows and any(column.head for column in section.columns):
        yield _cells(section, [Text(column.head, style="dim") for column in section.columns])
    for row in section.rows:
        yield _cells(section, [_cell(*one) for one in zip(row.cells, section.columns, strict=True)], brief=row.brief)
        yield from _row_facts(section.columns[0], row, depth)
    for fact in section.facts:
        if fact.lines and fact.depth <= depth:
            yield from _fact(fact, _ITEM if section.title else 0)


# -- rows --------------------------------------------------------------------------------------------------------


def _cells(section: Section, cells: Sequence[Text], *, brief: bool = False) -> Padding:
    """Columns that share their places with those of the section's other rows."""
    rest = any(column.width is None for column in section.columns)
    grid = Table.grid(padding=(0, 1, 0, 0), expand=rest)
    for column, cell in zip(section.columns, cells, strict=True):
        cut = column.retold and brief
        grid.add_column(
            width=column.width,
            ratio=1 if column.width is None else None,
            justify="right" if column.number else "left",
            no_wrap=cut or column.number or bool(cell.no_wrap),
            overflow="ellipsis" if cut else "fold",
        )
    grid.add_row(*cells)
    return Padding(grid, (0, 0, 0, section.indent))


def _cell(cell: str | Chip, column: Column) -> Text:
    return _chip(cell) if isinstance(cell, Chip) else Text(words.line(cell), style=column.style)


def _chip(chip: Chip) -> Text:
    return Text(chip.outcome, style=_STYLES[chip.tone], no_wrap=True)


# -- what is said ------------------------------------------------------------------------------------------------


def _row_facts(first: Column, row: Row, depth: Depth) -> Iterator[RenderableType]:
    """Below the row's name: where it has a number before it, right of that. What has no label is dim."""
    by = first.width + 1 if first.number and first.width else 2 * _ITEM
    for fact in row.facts:
        if fact.depth is Depth.TABLE:
            yield from _fact(fact, by, "" if fact.label else "dim")
        elif fact.depth <= depth:
            yield from _fact(fact, by + _ITEM, "dim")


def _fact(fact: Fact, by: int, style: str = "") -> Iterator[RenderableType]:
    if fact.look is Look.SAID:
        yield from [_indented(f"{fact.label}:", by)] if fact.label else []
        below, look = (by + _ITEM, "dim") if fact.label else (by, "")
        yield from (_indented(words.plain(text.expandtabs()), below, look) for text in fact.lines)
        return
    for text in fact.lines:
        shown = words.cut(words.line(text), _COMMAND) if fact.look is Look.COMMAND else words.line(text)
        label = f"{fact.label}: " if fact.label else ""
        yield _indented(f"{label}{shown}", by, _STYLES[fact.tone] or style)


def _indented(text: str, by: int, style: str = "") -> Padding:
    return Padding(Text(text, style=style, overflow="fold"), (0, 0, 0, by))
