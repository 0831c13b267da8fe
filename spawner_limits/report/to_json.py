"""A report for programs: one JSON document, base units in the keys, `null` with its reason. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from spawner_limits.report import series, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Evidence, Origin, Report, Trial, Verdict

SCHEMA_VERSION = 1
_NOT_EXPECTED = "the engine was not asked for it"


def to_json(report: Report) -> str:
    """The report as JSON. Only ASCII, so that no terminal obeys a name. Raises ValueError for a figure that is NaN."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "summary": words.summary(report),
        "exit_code": report.exit_code,
        "started": report.started,
        "version": report.version,
        "host": asdict(report.host),
        "trials": [_trial(trial) for trial in report.trials],
    }
    return json.dumps(document, indent=2, allow_nan=False)


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "subject": trial.subject,
        "control": trial.control,
        "outcome": trial.outcome,
        "verdicts": [_verdict(trial, verdict) for verdict in trial.verdicts],
        "limits": _limits(trial),
        "load": _load(trial.evidence),
        "host": asdict(trial.evidence.host),
        "series": _series(trial.evidence.snapshots),
    }


def _verdict(trial: Trial, verdict: Verdict) -> dict[str, Any]:
    return {
        "field": verdict.field,
        "outcome": verdict.outcome,
        "limit": verdict.limit,
        "rule": words.rule(trial, verdict.field) or None,
        "seen": verdict.seen,
        "reason": verdict.reason,
        "files": list(verdict.files),
        "figures": dict(verdict.figures),
    }


def _limits(trial: Trial) -> list[dict[str, Any]]:
    """Every limit that was given, also one without a verdict."""
    judged = {verdict.field for verdict in trial.verdicts}
    return [
        {
            "field": one.field,
            "value": one.value,
            "rule": one.rule,
            "judged": one.field in judged,
            **_base(trial, one),
        }
        for one in trial.limits
    ]


def _base(trial: Trial, one: Origin) -> dict[str, Any]:
    """The limit in its base unit."""
    key = words.RESOURCES[one.field].key if one.field in words.RESOURCES else "limit"
    value = words.value(trial, one.field)
    if value is not None:
        return {key: value}
    return {key: None, "reason": words.UNLIMITED if one.value == words.UNLIMITED else _NOT_EXPECTED}


def _load(evidence: Evidence) -> dict[str, Any]:
    load, kills = evidence.load, series.kills(evidence.snapshots)
    read = any(one.oom_kill is not None for one in evidence.snapshots)
    return {
        "command": list(load.command),
        "exit_code": load.exit_code,
        "engine_oom_killed": load.oom_killed,
        "oom_kills": sum(kill.count for kill in kills) if read else None,
        "ended": list(words.ended(evidence)),
        "problem": load.problem,
        "said": list(load.said),
    }


def _series(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """Columns of equal length; a column with a `null` in it has its reason in `unknown`."""
    every = series.points(snapshots)
    kept = series.thinned(every)
    return {
        "cpu_window_seconds": series.WINDOW_S,
        "readings": len(every),
        "unknown": series.unknown(kept, snapshots),
        "oom_kills": [asdict(kill) for kill in series.kills(snapshots)],
        **{column: [getattr(point, column) for point in kept] for column in series.COLUMNS},
    }
