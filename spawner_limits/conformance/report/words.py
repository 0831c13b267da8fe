"""The words that all renderers of a conformance report share: the line that matters, and how a result is told. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits.conformance.case import Group
from spawner_limits.proof.evidence import Outcome
from spawner_limits.report.words import counted, host, line, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spawner_limits.conformance.case import ConformanceReport, Control, Result

__all__ = ["counted", "host", "line", "plain"]

QUESTION = "Do limits hold on this host?"
NOTHING = "no case was run"
NO_CONTROL = "the case could not be run, so neither could its control"
NO_POWER = "not BROKEN, so this judge has no power here"
ACCEPTED = "accepted: does not count in the exit code"
NOT_HERE = "does not apply to this host, and does not count in the exit code"
BECAUSE, REMEDY, KNOWN = "because", "remedy", "known defect"
_LOWER = {Outcome.HELD: "held", Outcome.BROKEN: "BROKEN", Outcome.UNKNOWN: "unknown"}
_MINUTE_S = 60
_LONG_S = 90
"""from here on in minutes"""


# -- the line that matters ---------------------------------------------------------------------------------------


def summary(report: ConformanceReport) -> str:
    """Counts, then what is BROKEN here, what is BROKEN everywhere, and what is unknown.

    It says "every case HELD" only when every one did; the first of each kind is told whole.
    """
    if not report.results:
        return NOTHING
    if all(one.outcome is Outcome.HELD for one in report.results):
        return f"every case HELD ({len(report.results)} of {len(report.results)}){_asked(report)}"
    told = [_counts(report), _broken(fresh(report)), _unknown(unknown(report))]
    first, *rest = filter(None, told)
    return f"{first}{': ' if rest else ''}{'; '.join(rest)}"


def _asked(report: ConformanceReport) -> str:
    return f"; {len(report.left_out)} were not asked for" if report.left_out else ""


def _counts(report: ConformanceReport) -> str:
    upstream = defects(report)
    given = [f"{one.number} {one.outcome}" for one in known_to_caller(report)]
    counts = (
        (held(report), "held"),
        (len(fresh(report)), "BROKEN"),
        (len(upstream), f"BROKEN by {_defects(upstream)}"),
        (len(unknown(report)), "unknown"),
        (
            len(missing(report)),
            f"unknown, as cgroup v{report.cgroup_version} has no such thing ({_numbers(missing(report))})",
        ),
        (len(given), f"accepted ({', '.join(given)})"),
    )
    return ", ".join(f"{count} {what}" for count, what in counts if count)


def _defects(results: Sequence[Result]) -> str:
    what = "a known defect" if len(results) == 1 else "known defects"
    return f"{what} of the engine or the Linux kernel ({_numbers(results)})"


def _broken(results: Sequence[Result]) -> str:
    return f"NOT so on this host: {_whole(results)}" if results else ""


def _unknown(results: Sequence[Result]) -> str:
    return f"not known: {_whole(results)}" if results else ""


def _whole(results: Sequence[Result]) -> str:
    """The first with cause and remedy; the others by their numbers."""
    first, *others = results
    told = f"{line(first.title)} (case {first.number}), because {line(first.reason)}"
    told += f"; remedy: {line(first.remedy)}" if first.remedy else ""
    return told + (f"; and {len(others)} more ({_numbers(others)})" if others else "")


def _numbers(results: Iterable[Result]) -> str:
    return ranges(one.number for one in results)


# -- sorted out --------------------------------------------------------------------------------------------------


def known_to_caller(report: ConformanceReport) -> list[Result]:
    """What did not hold and is accepted."""
    return [one for one in report.results if one.number in report.accepted and one.outcome is not Outcome.HELD]


def held(report: ConformanceReport) -> int:
    """How many held."""
    return sum(one.outcome is Outcome.HELD for one in report.results)


def fresh(report: ConformanceReport) -> list[Result]:
    """BROKEN, and no known defect says why; first what a limit really lets through, then what the engine says of it."""
    found = [one for one in _counted(report, Outcome.BROKEN) if not one.defect]
    return sorted(found, key=lambda one: one.group is Group.CAPABILITY)


def defects(report: ConformanceReport) -> list[Result]:
    """BROKEN by a known defect."""
    return [one for one in _counted(report, Outcome.BROKEN) if one.defect]


def unknown(report: ConformanceReport) -> list[Result]:
    """UNKNOWN, and not accepted; first what something can be done about."""
    return sorted(_counted(report, Outcome.UNKNOWN), key=lambda one: not one.remedy)


def _counted(report: ConformanceReport, outcome: Outcome) -> list[Result]:
    counted = (one for one in report.results if one.applies and one.number not in report.accepted)
    return [one for one in counted if one.outcome is outcome]


def missing(report: ConformanceReport) -> list[Result]:
    """What this version of cgroups does not have, and nobody has accepted."""
    return [one for one in report.results if not one.applies and one.number not in report.accepted]


def groups(report: ConformanceReport) -> list[tuple[Group, list[Result]]]:
    """The groups in their order, each with its results by number; none that is empty."""
    parts = [(group, [one for one in report.results if one.group is group]) for group in Group]
    return [(group, results) for group, results in parts if results]


def tally(results: Sequence[Result]) -> str:
    """`12 held, 1 BROKEN`, of one group."""
    counts = {outcome: sum(one.outcome is outcome for one in results) for outcome in Outcome}
    return ", ".join(f"{count} {_LOWER[outcome]}" for outcome, count in counts.items() if count)


def tone(report: ConformanceReport) -> Outcome:
    """The outcome that a report's first line has the colour of."""
    return {0: Outcome.HELD, 3: Outcome.UNKNOWN}.get(report.exit_code, Outcome.BROKEN)


# -- one result --------------------------------------------------------------------------------------------------


def why(result: Result) -> list[tuple[str, str]]:
    """Of what did not hold: the cause, what to do, and the known defect, each with its label."""
    if result.outcome is Outcome.HELD:
        return []
    rows = ((BECAUSE, result.reason), (REMEDY, result.remedy), (KNOWN, result.defect))
    return [(label, line(text)) for label, text in rows if text]


def control(one: Control) -> str:
    """What came of a control, and whether that is right."""
    verdict = "BROKEN, as it must be" if one.has_power else f"{one.outcome}: {NO_POWER}"
    return f"{line(one.words)}: {verdict}"


def control_saw(one: Control) -> str:
    """What a control showed; where it has no power, why not."""
    return line(one.seen if one.has_power else one.reason or one.seen)


def uncounted(report: ConformanceReport, result: Result) -> str:
    """Why a result that did not hold is no part of the exit code; empty where it is one."""
    if result in known_to_caller(report):
        return ACCEPTED
    return "" if result.applies else NOT_HERE


def figure(value: float | str | None) -> str:
    """A figure for people."""
    return "not read" if value is None else f"{value:.6g}" if isinstance(value, float) else line(str(value))


def took(result: Result) -> str:
    """`36 s`; `95 s in 3 tries`."""
    return duration(result.seconds) + (f" in {result.tries} tries" if result.tries > 1 else "")


# -- what is below the table -------------------------------------------------------------------------------------


def made(report: ConformanceReport) -> tuple[str, ...]:
    """Where, with what and when the run was, and what it left out."""
    cases = f"{counted(len(report.results), 'case')} in {duration(report.seconds)}"
    needless = [one.number for one in report.results if one.outcome is Outcome.HELD and one.number in report.accepted]
    lines = (
        host(report.host),
        line(f"image {report.image} · {cases} · started {report.started} · spawner-limits {report.version}"),
        f"not asked for: {ranges(report.left_out)}" if report.left_out else "",
        f"accepted: {ranges(report.accepted)}{_needless(needless)}" if report.accepted else "",
    )
    return tuple(filter(None, lines))


def _needless(numbers: Sequence[int]) -> str:
    return f"; of these {ranges(numbers)} HELD, and need not be accepted" if numbers else ""


def duration(seconds: float) -> str:
    """`0.7 s`, `36 s`, `4 min 10 s`."""
    if round(seconds) >= _LONG_S:
        return f"{round(seconds) // _MINUTE_S} min {round(seconds) % _MINUTE_S} s"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"


def ranges(numbers: Iterable[int]) -> str:
    """`1–7, 9`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}–{part[-1]}" for part in parts)
