"""How a demonstration ended, in the last lines that it says. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spawner_limits.report import words

if TYPE_CHECKING:
    from collections.abc import Mapping

WORST_FIRST = ("BROKEN", "UNKNOWN")


def causes(report: Mapping[str, Any]) -> list[str]:
    """Why not every limit was HELD, by a report as JSON: each reason once, with the limits that it is behind."""
    trials = [trial for trial in report["trials"] if not trial["control"]]
    told = [
        f"{outcome}: {_named(limits)}: {words.line(reason)}"
        for outcome in WORST_FIRST
        for reason, limits in _by_reason(trials, outcome).items()
    ]
    told += [f"not judged: {words.line(one['subject'])}: {_problem(one)}" for one in trials if not one["verdicts"]]
    powerless = any(trial["control"] and trial["outcome"] != "BROKEN" for trial in report["trials"])
    return [*told, "the control without limits was not BROKEN, so this judge has no power here"] if powerless else told


def _by_reason(trials: list[Mapping[str, Any]], outcome: str) -> dict[str, dict[str, list[str]]]:
    """Reason → subject → the limits of this outcome."""
    found: dict[str, dict[str, list[str]]] = {}
    for trial in trials:
        for verdict in trial["verdicts"]:
            if verdict["outcome"] == outcome:
                subjects = found.setdefault(verdict["reason"], {})
                subjects.setdefault(words.line(trial["subject"]), []).append(words.resource(verdict["field"]))
    return found


def _named(limits: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{subject}'s {', '.join(fields)}" for subject, fields in limits.items())


def _problem(trial: Mapping[str, Any]) -> str:
    return words.line(trial["load"]["problem"] or "no limit was judged")
