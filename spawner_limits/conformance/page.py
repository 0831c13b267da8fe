"""The page of a conformance run, and that of the list of cases: words, record and test cases. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from spawner_limits.conformance.case import Group
from spawner_limits.proof.evidence import Outcome
from spawner_limits.report.page import Check, Chip, Column, Depth, Fact, Look, Page, Row, Section, Suite
from spawner_limits.report.to_json import members
from spawner_limits.report.to_junit import FAULTS
from spawner_limits.report.words import counted, host, line, tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from spawner_limits.conformance.case import AnyCase, ConformanceReport, Control, Result
    from spawner_limits.report.plot import Plot

SCHEMA_VERSION = 1
NO_CONTROL = "the case could not be run, so neither could its control"
_NAME = "spawner-limits conformance"
_LEAD = "Read on the host from the Linux kernel's own cgroup files, while containers pressed against their limits."
_LEGEND = {
    Outcome.HELD: "as expected while it was pressed, and BROKEN in the control, which is the same without the limit.",
    Outcome.BROKEN: "it is not so on this host.",
    Outcome.UNKNOWN: (
        "it could not be pressed or read here, others disturbed it, or the control was not BROKEN; "
        "it never counts as held."
    ),
}
_NOTHING = "no case was run"
_UNCOUNTED = {
    "accepted": "accepted: does not count in the exit code",
    "not_applicable": "does not apply to this host, and does not count in the exit code",
}
"""what a result may be counted as that is no part of the exit code, and why"""
_MINUTE_S = 60
_LONG_S = 90
"""from here on in minutes"""
_COLUMNS = (Column(width=2, number=True), Column(width=41), Column(width=7), Column(retold=True))


def page_of(report: ConformanceReport) -> Page:
    """All that a run found."""
    groups = [(group, [one for one in report.results if one.group is group]) for group in Group]
    return Page(
        title="Do limits hold on this host?",
        summary=summary(report),
        exit_code=report.exit_code,
        lead=_LEAD,
        sections=tuple(_section(report, group, results) for group, results in groups if results),
        footnotes=made(report),
        legend=_LEGEND,
        record=_record(report),
        program=_NAME,
        started=report.started,
        properties={"host": host(report.host), "image": line(report.image), "version": report.version},
        suites=tuple(_suite(report, group, results) for group, results in groups if results) or (_EMPTY,),
    )


# -- the line that matters ---------------------------------------------------------------------------------------


def summary(report: ConformanceReport) -> str:
    """Counts, then what is BROKEN here, what is BROKEN everywhere, and what is unknown.

    It says "every case HELD" only when every one did; the first of each kind is told whole.
    """
    if not report.results:
        return _NOTHING
    parts = _sorted_out(report)
    if len(parts["held"]) == len(report.results):
        asked = f"; {len(report.left_out)} were not asked for" if report.left_out else ""
        return f"every case HELD ({len(report.results)} of {len(report.results)}){asked}"
    told = [f"{what}: {_whole(parts[name])}" for name, what in _REASONED.items() if parts[name]]
    return f"{_counts(report, parts)}{': ' if told else ''}{'; '.join(told)}"


_REASONED = {"broken": "NOT so on this host", "unknown": "not known"}


def _sorted_out(report: ConformanceReport) -> Mapping[str, list[Result]]:
    """What the record counts → the results: each under one; those first that are told first."""
    names = ("held", "broken", "broken_by_known_defects", "unknown", "not_applicable", "accepted")
    parts = {name: [one for one in report.results if _counted_as(report, one) == name] for name in names}
    # first what a limit really lets through, then what the engine says of it
    parts["broken"].sort(key=lambda one: one.group is Group.CAPABILITY)
    # first what something can be done about
    parts["unknown"].sort(key=lambda one: not one.remedy)
    return parts


def _counted_as(report: ConformanceReport, result: Result) -> str:
    if result.outcome is Outcome.HELD:
        return "held"
    if result.number in report.accepted:
        return "accepted"
    if not result.applies:
        return "not_applicable"
    if result.outcome is Outcome.UNKNOWN:
        return "unknown"
    return "broken_by_known_defects" if result.defect else "broken"


def _counts(report: ConformanceReport, parts: Mapping[str, list[Result]]) -> str:
    upstream, lacking = parts["broken_by_known_defects"], parts["not_applicable"]
    defects = "a known defect" if len(upstream) == 1 else "known defects"
    words = {
        "held": "held",
        "broken": "BROKEN",
        "broken_by_known_defects": f"BROKEN by {defects} of the engine or the Linux kernel ({_numbers(upstream)})",
        "unknown": "unknown",
        "not_applicable": f"unknown, as cgroup v{report.cgroup_version} has no such thing ({_numbers(lacking)})",
        "accepted": f"accepted ({', '.join(f'{one.number} {one.outcome}' for one in parts['accepted'])})",
    }
    return ", ".join(f"{len(parts[name])} {what}" for name, what in words.items() if parts[name])


def _whole(results: Sequence[Result]) -> str:
    """The first with cause and remedy; the others by their numbers."""
    first, *others = results
    told = f"{line(first.title)} (case {first.number}), because {line(first.reason)}"
    told += f"; remedy: {line(first.remedy)}" if first.remedy else ""
    return told + (f"; and {len(others)} more ({_numbers(others)})" if others else "")


def _numbers(results: Iterable[Result]) -> str:
    return ranges(one.number for one in results)


# -- a group, and a case -----------------------------------------------------------------------------------------


def _section(report: ConformanceReport, group: Group, results: Sequence[Result]) -> Section:
    return Section(
        title=group.words,
        anchor=group,
        aside=tally([one.outcome for one in results]),
        columns=_COLUMNS,
        rows=tuple(_row(report, one) for one in results),
    )


def _row(report: ConformanceReport, result: Result) -> Row:
    remark = "not counted" if _uncounted(report, result) else ""
    return Row(
        cells=(str(result.number), result.title, Chip(outcome=result.outcome, remark=remark), result.seen),
        facts=_facts(report, result),
        plots=result.plots,
        brief=result.outcome is Outcome.HELD,
        anchor=f"case-{result.number}",
    )


def _facts(report: ConformanceReport, result: Result) -> tuple[Fact, ...]:
    """Of what did not hold, why and what to do; then all that is known of it."""
    why = {"because": result.reason, "remedy": result.remedy, "known defect": result.defect}
    held = result.outcome is Outcome.HELD
    figures = tuple(f"{name} = {_figure(value)}" for name, value in result.figures.items())
    return (
        *(_fact(label, "" if held else text, Depth.TABLE) for label, text in why.items()),
        _fact("", _uncounted(report, result), Depth.TABLE),
        _fact("expected", result.expected),
        _fact("seen", result.seen),
        _fact("tolerance", result.tolerance),
        _fact("reason", result.reason if held else ""),
        Fact(label="evidence", lines=result.evidence, look=Look.FILES, depth=Depth.FULL),
        Fact(label="figures", lines=figures, look=Look.FILES, depth=Depth.PAGE),
        _fact("control", control(result.control)),
        _fact("control saw", _saw(result.control)),
        _fact("took", took(result)),
    )


def _fact(label: str, text: str, depth: Depth = Depth.FULL) -> Fact:
    return Fact(label=label, lines=(text,) if text else (), depth=depth)


def _uncounted(report: ConformanceReport, result: Result) -> str:
    """Why a result that did not hold is no part of the exit code; "" where it is one."""
    return _UNCOUNTED.get(_counted_as(report, result), "")


def control(found: Control | None) -> str:
    """What came of a control, and whether that is right."""
    if found is None:
        return NO_CONTROL
    verdict = (
        "BROKEN, as it must be" if found.has_power else f"{found.outcome}: not BROKEN, so this judge has no power here"
    )
    return f"{line(found.words)}: {verdict}"


def _saw(found: Control | None) -> str:
    """What a control showed; where it has no power, why not."""
    if found is None:
        return ""
    return found.seen if found.has_power else found.reason or found.seen


def _figure(value: float | str | None) -> str:
    return "not read" if value is None else f"{value:.6g}" if isinstance(value, float) else line(str(value))


def took(result: Result) -> str:
    """`36 s`; `95 s in 3 tries`."""
    return duration(result.seconds) + (f" in {result.tries} tries" if result.tries > 1 else "")


# -- what is below the table -------------------------------------------------------------------------------------


def made(report: ConformanceReport) -> tuple[str, ...]:
    """Where, with what and when the run was, and what it left out."""
    cases = f"{counted(len(report.results), 'case')} in {duration(report.seconds)}"
    needless = [one.number for one in report.results if one.outcome is Outcome.HELD and one.number in report.accepted]
    of_these = f"; of these {ranges(needless)} HELD, and need not be accepted" if needless else ""
    lines = (
        host(report.host),
        line(f"image {report.image} · {cases} · started {report.started} · spawner-limits {report.version}"),
        f"not asked for: {ranges(report.left_out)}" if report.left_out else "",
        f"accepted: {ranges(report.accepted)}{of_these}" if report.accepted else "",
    )
    return tuple(filter(None, lines))


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


# -- for programs ------------------------------------------------------------------------------------------------


def _record(report: ConformanceReport) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "summary": summary(report),
        "exit_code": report.exit_code,
        "counts": {name: len(results) for name, results in _sorted_out(report).items()},
        "host": asdict(report.host),
        **members(report, "image cgroup_version started"),
        "seconds": round(report.seconds, 3),
        "version": report.version,
        "left_out": sorted(report.left_out),
        "accepted": sorted(report.accepted),
        "cases": [_case(report, one) for one in report.results],
    }


def _case(report: ConformanceReport, result: Result) -> dict[str, Any]:
    return {
        **members(result, "number group title outcome"),
        "accepted": result.number in report.accepted,
        **members(result, "applies expected seen tolerance reason remedy defect evidence"),
        "figures": dict(result.figures),
        "control": asdict(result.control) if result.control else None,
        "control_reason": None if result.control else NO_CONTROL,
        "seconds": round(result.seconds, 3),
        "tries": result.tries,
        "plots": [_plot(one) for one in result.plots],
    }


def _plot(plot: Plot) -> dict[str, Any]:
    """Lines as columns of equal length; where one has a `null`, `unknown` says why."""
    gaps = any(point.value is None for points in plot.lines.values() for point in points)
    return {
        **members(plot, "title unit limit"),
        "limit_reason": "there is none" if plot.limit is None else None,
        "lines": [
            {"label": label, "seconds": [one.seconds for one in points], "values": [one.value for one in points]}
            for label, points in plot.lines.items()
        ],
        "unknown": "nothing was read then" if gaps else None,
        "marks": [{"seconds": at, "what": what} for at, what in sorted((plot.marks or {}).items())],
    }


# -- for CI systems ----------------------------------------------------------------------------------------------

_EMPTY = Suite(
    name=_NAME,
    checks=(Check(group=_NAME, name="cases", outcome=Outcome.UNKNOWN, fault="error", message=_NOTHING),),
)
"""without a case of its own a run of nothing would look green"""


def _suite(report: ConformanceReport, group: Group, results: Sequence[Result]) -> Suite:
    checks = tuple(_check(report, one) for one in results)
    return Suite(name=group.words, checks=checks, seconds=sum(one.seconds for one in results))


def _check(report: ConformanceReport, result: Result) -> Check:
    """`skipped` is only what the caller accepts, and what this version of cgroups does not have.

    A known defect upstream is a failure all the same, as it is in the exit code.
    """
    uncounted = _uncounted(report, result)
    told = {fact.label: f"{fact.label}: {line(fact.lines[0])}" for fact in _facts(report, result) if fact.lines}
    order = ("expected", "seen", "tolerance", "remedy", "known defect", "control")
    return Check(
        group=result.group,
        name=f"{result.number} {line(result.title)}",
        outcome=result.outcome,
        fault="skipped" if uncounted else FAULTS[result.outcome],
        message="; ".join(filter(None, (uncounted, f"{result.outcome}: {line(result.reason)}"))),
        details=(*(told[label] for label in order if label in told), *map(line, result.evidence)),
        output=(line(result.seen), *result.evidence),
        seconds=result.seconds,
    )


# -- the list ----------------------------------------------------------------------------------------------------


def listing(cases: Sequence[AnyCase]) -> Page:
    """The cases, of which none was run: by group, with what is expected on either version of cgroups."""
    columns = (Column(width=2, number=True), Column(style="bold"), Column(width=5, style="dim"))
    groups = [(group, [one for one in cases if one.group is group]) for group in Group]
    return Page(
        title="Cases",
        summary=f"{counted(len(cases), 'case')}, of which --quick runs {sum(one.quick for one in cases)}",
        sections=tuple(
            Section(
                title=f"{group.words} (--only {group})",
                columns=columns,
                rows=tuple(
                    Row(cells=(str(one.number), one.title, "quick" if one.quick else ""), facts=tuple(_expected(one)))
                    for one in found
                ),
            )
            for group, found in groups
            if found
        ),
    )


def _expected(case: AnyCase) -> Iterator[Fact]:
    if case.only is not None:
        yield Fact(label=f"cgroup v{case.only} only", lines=(case.expects(case.only),))
    elif case.expected_v2 and case.expected_v2 != case.expected:
        yield Fact(label="cgroup v1", lines=(case.expected,))
        yield Fact(label="cgroup v2", lines=(case.expected_v2,))
    else:
        yield Fact(label="cgroup v1 and v2", lines=(case.expected,))
