"""A conformance report for programs: one JSON document, base units in the keys, `null` with its reason. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from spawner_limits.conformance.report import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.conformance.case import ConformanceReport, Result
    from spawner_limits.report.plot import Plot, Point

SCHEMA_VERSION = 1
_GAP = "nothing was read then"


def to_json(report: ConformanceReport) -> str:
    """The report as JSON. Only ASCII, so that no terminal obeys a name. Raises ValueError for a figure that is NaN."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "summary": words.summary(report),
        "exit_code": report.exit_code,
        "counts": _counts(report),
        "host": asdict(report.host),
        "image": report.image,
        "cgroup_version": report.cgroup_version,
        "started": report.started,
        "seconds": round(report.seconds, 3),
        "version": report.version,
        "left_out": sorted(report.left_out),
        "accepted": sorted(report.accepted),
        "cases": [_case(report, one) for one in report.results],
    }
    return json.dumps(document, indent=2, allow_nan=False)


def _counts(report: ConformanceReport) -> dict[str, int]:
    """They add up to the number of cases."""
    return {
        "held": words.held(report),
        "broken": len(words.fresh(report)),
        "broken_by_known_defects": len(words.defects(report)),
        "unknown": len(words.unknown(report)),
        "not_applicable": len(words.missing(report)),
        "accepted": len(words.known_to_caller(report)),
    }


def _case(report: ConformanceReport, result: Result) -> dict[str, Any]:
    return {
        "number": result.number,
        "group": result.group,
        "title": result.title,
        "outcome": result.outcome,
        "accepted": result.number in report.accepted,
        "applies": result.applies,
        "expected": result.expected,
        "seen": result.seen,
        "tolerance": result.tolerance,
        "reason": result.reason,
        "remedy": result.remedy,
        "defect": result.defect,
        "evidence": list(result.evidence),
        "figures": dict(result.figures),
        **_control(result),
        "seconds": round(result.seconds, 3),
        "tries": result.tries,
        "plots": [_plot(one) for one in result.plots],
    }


def _control(result: Result) -> dict[str, Any]:
    if result.control is None:
        return {"control": None, "control_reason": words.NO_CONTROL}
    return {"control": asdict(result.control), "control_reason": None}


def _plot(plot: Plot) -> dict[str, Any]:
    """Lines as columns of equal length; where one has a `null`, `unknown` says why."""
    gaps = any(one.value is None for points in plot.lines.values() for one in points)
    return {
        "title": plot.title,
        "unit": plot.unit,
        "limit": plot.limit,
        "limit_reason": "there is none" if plot.limit is None else None,
        "lines": [_line(label, points) for label, points in plot.lines.items()],
        "unknown": _GAP if gaps else None,
        "marks": [{"seconds": at, "what": what} for at, what in sorted((plot.marks or {}).items())],
    }


def _line(label: str, points: Sequence[Point]) -> dict[str, Any]:
    return {
        "label": label,
        "seconds": [one.seconds for one in points],
        "values": [one.value for one in points],
    }
