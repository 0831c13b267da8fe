"""An experiment for the terminal, as something that rich prints: readable at 80 columns, and without colour. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spawner_limits.experiments.report import words
from spawner_limits.proof.evidence import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from spawner_limits.experiments.experiment import Done, Experiment, Figure

_STYLES = {Outcome.HELD: "bold green", Outcome.BROKEN: "bold red", Outcome.UNKNOWN: "bold yellow"}
_INDENT = 2
_WHAT, _VALUE = 29, 17
"""columns; the source takes the rest"""


def table(done: Done) -> RenderableType:
    """What was done, the figures with their sources, and what one sees in them."""
    experiment = done.experiment
    return Group(
        Text(experiment.title, style="bold"),
        Text(experiment.setup),
        *(_parts(experiment) if not experiment.drawn else (Text(""), Text(experiment.drawn))),
        Text(""),
        Text(words.SEEN, style="bold"),
        *(_item(one) for one in experiment.findings),
        Text(""),
        Text(words.summary(done), style=_STYLES[experiment.outcome]),
        *(Text(one, style="dim") for one in words.made(done)),
    )


def _parts(experiment: Experiment) -> Iterator[RenderableType]:
    for part, figures in words.parts(experiment):
        yield Text("")
        yield _heading(part, words.outcome(experiment, part))
        yield Padding(_rows(figures), (0, 0, 0, _INDENT))


def _heading(part: str, outcome: Outcome | None) -> Text:
    told = Text(words.line(part), style="bold")
    return told if outcome is None else told.append(f"  {outcome}", style=_STYLES[outcome])


def _rows(figures: list[Figure]) -> Table:
    drawn = Table.grid(padding=(0, 2, 0, 0))
    for width in (_WHAT, _VALUE):
        drawn.add_column(width=width, overflow="fold")
    drawn.add_column(overflow="fold")
    for one in figures:
        drawn.add_row(*(Text(words.line(cell)) for cell in (one.what, one.value)), Text(one.source, style="dim"))
    return drawn


def _item(finding: str) -> Table:
    drawn = Table.grid(padding=(0, 1, 0, 0))
    drawn.add_column(width=1)
    drawn.add_column(overflow="fold")
    drawn.add_row(Text("·"), Text(words.line(finding)))
    return drawn
