"""An experiment for programs: one JSON document, base units in the keys, `null` with its reason. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spawner_limits.experiments.experiment import Done, Figure, Judged
    from spawner_limits.report.plot import Plot

SCHEMA_VERSION = 1


def to_json(done: Done) -> str:
    """The experiment as JSON, only ASCII. ValueError for a figure that is NaN."""
    one = done.experiment
    document = {
        "schema_version": SCHEMA_VERSION,
        "experiment": one.name,
        "title": one.title,
        "outcome": one.outcome,
        "exit_code": done.exit_code,
        "started": done.started,
        "seconds": round(done.seconds, 1),
        "version": done.version,
        "host": asdict(done.host),
        "image": done.image,
        "setup": one.setup,
        "figures": [_figure(figure) for figure in one.figures],
        "findings": list(one.findings),
        "judged": [_judged(judged) for judged in one.judged],
        "plots": [_plot(plot) for plot in one.plots],
    }
    return json.dumps(document, indent=2, allow_nan=False)


def _figure(figure: Figure) -> dict[str, Any]:
    told = {"part": figure.part, "what": figure.what, "source": figure.source, figure.key: figure.number}
    return told if figure.number is not None else {**told, "reason": figure.value}


def _judged(judged: Judged) -> dict[str, Any]:
    verdict = judged.verdict
    return {
        "part": judged.part,
        "field": verdict.field,
        "outcome": verdict.outcome,
        "limit": verdict.limit,
        "seen": verdict.seen,
        "reason": verdict.reason,
        "files": list(verdict.files),
        "figures": dict(verdict.figures),
    }


def _plot(plot: Plot) -> dict[str, Any]:
    return {
        "title": plot.title,
        "unit": plot.unit,
        "limit": plot.limit,
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
