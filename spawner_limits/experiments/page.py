"""The page of an experiment: its words and its record. Pure."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from spawner_limits.proof.evidence import Outcome
from spawner_limits.report.page import Chip, Column, Depth, Fact, Look, Page, Row, Section
from spawner_limits.report.to_json import members
from spawner_limits.report.words import host, line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spawner_limits.experiments.experiment import Done, Experiment, Figure, Judged
    from spawner_limits.report.plot import Plot

SCHEMA_VERSION = 1
_COLUMNS = (Column(head="What", width=30), Column(head="Value", width=18), Column(head="Source", style="dim"))


def page_of(done: Done) -> Page:
    """All that came of it."""
    experiment = done.experiment
    return Page(
        title=experiment.title,
        lead=experiment.setup,
        summary=summary(done),
        exit_code=done.exit_code,
        findings=experiment.findings,
        sections=tuple(_sections(experiment)),
        footnotes=(
            host(done.host),
            f"image {done.image}, spawner-limits {done.version}",
            f"started {done.started}, took {done.seconds:.0f} s",
        ),
        record=_record(done),
    )


def summary(done: Done) -> str:
    """The line that matters."""
    experiment, count = done.experiment, len(done.experiment.judged)
    if experiment.outcome is Outcome.HELD:
        return f"{experiment.name}: what was judged HELD ({count} of {count})"
    wrong = [one.verdict for one in experiment.judged if one.verdict.outcome is experiment.outcome]
    reasons = "; ".join(dict.fromkeys(line(one.reason) for one in wrong))
    return f"{experiment.name}: {len(wrong)} of {count} {experiment.outcome}: {reasons}"


def _sections(experiment: Experiment) -> Iterator[Section]:
    """The charts; what is drawn, or else the figures by their parts; what was judged, each with its evidence."""
    if experiment.plots:
        yield Section(plots=experiment.plots, anchor="plot", depth=Depth.PAGE)
    if experiment.drawn:
        yield Section(facts=(Fact(lines=(experiment.drawn,), look=Look.SAID),))
    for part, figures in groupby(experiment.figures, key=lambda one: one.part):
        found = {one.verdict.outcome for one in experiment.judged if one.part == part}
        worst = next((one for one in (Outcome.BROKEN, Outcome.UNKNOWN, Outcome.HELD) if one in found), None)
        yield Section(
            title=part,
            chip=Chip(outcome=worst) if worst else None,
            columns=_COLUMNS,
            heads=Depth.PAGE,
            indent=2,
            rows=tuple(Row(cells=(one.what, one.value, one.source)) for one in figures),
            depth=Depth.PAGE if experiment.drawn else Depth.TABLE,
        )
    if experiment.judged:
        yield Section(
            title="Judged, as verify and conformance judge",
            columns=(Column(head="What", width=60, style="bold"), Column(head="Verdict", width=12)),
            rows=tuple(map(_row, experiment.judged)),
            depth=Depth.PAGE,
        )


def _row(judged: Judged) -> Row:
    verdict = judged.verdict
    return Row(
        cells=(f"{judged.part}: {verdict.field}", Chip(outcome=verdict.outcome)),
        facts=(
            Fact(lines=(verdict.reason,)),
            Fact(label="evidence", lines=verdict.files, look=Look.FILES, depth=Depth.PAGE),
        ),
    )


# -- for programs ------------------------------------------------------------------------------------------------


def _record(done: Done) -> dict[str, Any]:
    experiment = done.experiment
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment": experiment.name,
        **members(experiment, "title outcome"),
        **members(done, "exit_code started"),
        "seconds": round(done.seconds, 1),
        "version": done.version,
        "host": asdict(done.host),
        "image": done.image,
        "setup": experiment.setup,
        "figures": [_figure(figure) for figure in experiment.figures],
        "findings": experiment.findings,
        "judged": [
            {
                "part": one.part,
                **members(one.verdict, "field outcome limit seen reason files"),
                "figures": dict(one.verdict.figures),
            }
            for one in experiment.judged
        ],
        "plots": [_plot(plot) for plot in experiment.plots],
    }


def _figure(figure: Figure) -> dict[str, Any]:
    told = {**members(figure, "part what source"), figure.key: figure.number}
    return told if figure.number is not None else {**told, "reason": figure.value}


def _plot(plot: Plot) -> dict[str, Any]:
    return {
        **members(plot, "title unit limit"),
        "marks": [{"seconds": seconds, "what": what} for seconds, what in (plot.marks or {}).items()],
        "lines": [
            {
                "label": label,
                "seconds": [point.seconds for point in points],
                plot.unit: [point.value for point in points],
            }
            for label, points in plot.lines.items()
        ],
    }
