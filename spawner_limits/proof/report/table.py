"""A report for the terminal, as something that rich prints: readable at 80 columns, and without colour. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spawner_limits.proof.evidence import Outcome
from spawner_limits.proof.report import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from spawner_limits.proof.evidence import Load, Report, Trial, Verdict

_STYLES = {Outcome.HELD: "bold green", Outcome.BROKEN: "bold red", Outcome.UNKNOWN: "bold yellow"}
_COMMAND = 70
"""characters of a command that are shown"""
_SEEN = len("0.50 / 0.50 cores")
"""the percentage may stand below, so that more of the line is left for the reasons"""


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


def _verdicts(trial: Trial) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    drawn.add_column("Resource", no_wrap=True)
    drawn.add_column("Limit", overflow="fold")
    drawn.add_column("Seen", overflow="fold", max_width=_SEEN)
    drawn.add_column("Verdict", no_wrap=True)
    drawn.add_column("Why", overflow="fold")
    for verdict in trial.verdicts:
        drawn.add_row(*_row(trial, verdict))
    return drawn


def _row(trial: Trial, verdict: Verdict) -> tuple[Text, ...]:
    rule = words.rule(trial, verdict.field)
    # in a control, BROKEN is the right outcome
    style = _STYLES[Outcome.HELD] if trial.control and verdict.outcome is Outcome.BROKEN else _STYLES[verdict.outcome]
    return (
        Text(words.resource(verdict.field)),
        Text(words.line(verdict.limit)).append(f"\nfrom {rule}" if rule else "", style="dim"),
        Text(words.line(verdict.seen)),
        Text(verdict.outcome.value, style=style),
        Text(words.line(verdict.reason)),
    )


def _told(load: Load) -> Iterator[RenderableType]:
    if load.problem:
        yield _indented(f"problem: {words.line(load.problem)}", "bold yellow")
    if load.said:
        yield _indented(f"{words.OWN_WORDS}:")
        for told in load.said:
            yield _indented(words.plain(told.expandtabs()), "dim", by=4)


def _indented(text: str, style: str = "", by: int = 2) -> Padding:
    return Padding(Text(text, style=style, overflow="fold"), (0, 0, 0, by))
