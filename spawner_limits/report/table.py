"""A report for the terminal, as something that rich prints: readable at 80 columns, and without colour. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spawner_limits.proof.evidence import Outcome
from spawner_limits.report import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from spawner_limits.proof.evidence import Load, Report, Trial, Verdict

_STYLES = {Outcome.HELD: "bold green", Outcome.BROKEN: "bold red", Outcome.UNKNOWN: "bold yellow"}
_COMMAND = 70
"""characters of a command that are shown"""
_RESOURCE, _LIMIT, _SEEN = 14, 12, 34
"""columns; with the verdict they fill 80"""


def table(report: Report) -> RenderableType:
    """The line that matters, then each trial: its verdicts, how its load ended, and what the load said."""
    parts: list[RenderableType] = [Text(words.summary(report), style=_summary_style(report))]
    for trial in report.trials:
        parts += [Text(""), *_trial(trial)]
    parts += [Text(""), Text(words.host(report.host), style="dim"), Text(_made(report), style="dim")]
    return Group(*parts)


def _summary_style(report: Report) -> str:
    return _STYLES[{0: Outcome.HELD, 3: Outcome.UNKNOWN}.get(report.exit_code, Outcome.BROKEN)]


def _made(report: Report) -> str:
    return words.line(f"started {report.started}, spawner-limits {report.version}")


def _trial(trial: Trial) -> Iterator[RenderableType]:
    yield Text(words.heading(trial), style="bold")
    yield _verdicts(trial) if trial.verdicts else _indented(words.NOT_JUDGED, _STYLES[Outcome.UNKNOWN])
    for limit in words.not_judged(trial):
        yield _indented(
            f"not judged: {words.resource(limit.field)} {words.line(limit.value)} ({words.line(limit.rule)})"
        )
    yield _indented(f"load: {words.command(trial.evidence.load, _COMMAND)}")
    yield _indented("; ".join(words.ended(trial.evidence)))
    yield from _told(trial.evidence.load)


def _verdicts(trial: Trial) -> Group:
    """A line for each limit, and below it where the limit came from and why the verdict is what it is."""
    drawn: list[RenderableType] = [_columns("Resource", "Limit", "Seen", Text("Verdict"), style="dim")]
    for verdict in trial.verdicts:
        drawn += [_line(trial, verdict), _indented(_why(trial, verdict), "dim", by=4)]
    return Group(*drawn)


def _columns(resource: str, limit: str, seen: str, outcome: Text, *, style: str = "") -> Table:
    row = Table.grid(padding=(0, 1, 0, 0))
    for width in (_RESOURCE, _LIMIT, _SEEN):
        row.add_column(width=width, overflow="fold")
    row.add_column(no_wrap=True)
    row.add_row(Text(resource, style=style or "bold"), Text(limit, style=style), Text(seen, style=style), outcome)
    return row


def _line(trial: Trial, verdict: Verdict) -> Table:
    # in a control, BROKEN is the right outcome
    style = _STYLES[Outcome.HELD] if trial.control and verdict.outcome is Outcome.BROKEN else _STYLES[verdict.outcome]
    outcome = Text(verdict.outcome.value, style=style)
    return _columns(words.resource(verdict.field), words.line(verdict.limit), words.line(verdict.seen), outcome)


def _why(trial: Trial, verdict: Verdict) -> str:
    rule = words.rule(trial, verdict.field)
    return f"{words.line(verdict.reason)}; from {rule}" if rule else words.line(verdict.reason)


def _told(load: Load) -> Iterator[RenderableType]:
    if load.problem:
        yield _indented(f"problem: {words.line(load.problem)}", "bold yellow")
    if load.said:
        yield _indented(f"{words.OWN_WORDS}:")
        for told in load.said:
            yield _indented(words.plain(told.expandtabs()), "dim", by=4)


def _indented(text: str, style: str = "", by: int = 2) -> Padding:
    return Padding(Text(text, style=style, overflow="fold"), (0, 0, 0, by))
