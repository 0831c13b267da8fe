"""A report for CI systems: JUnit XML, one suite a trial, one case a verdict. Pure.

BROKEN is a `failure`, UNKNOWN an `error`: both stop a pipeline, and a CI system counts them apart, as the exit codes 1
and 3 do. `skipped` would look green, and what is not known does not count as held. In a control it is the other way
round, as in `Report.exit_code`: BROKEN passes, and what its load did not break of what the trial held is a failure; of
what the trial did not hold it is `skipped`: that is no fault, and no proof either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET  # written, never parsed

from spawner_limits.proof.evidence import Outcome
from spawner_limits.report import series, words

if TYPE_CHECKING:
    from spawner_limits.proof.evidence import Report, Trial, Verdict

_NAME = "spawner-limits verify"
_KINDS = {Outcome.BROKEN: "failure", Outcome.UNKNOWN: "error"}
_NO_POWER = "the same load without limits must be BROKEN"


def to_junit(report: Report) -> str:
    """The report as JUnit XML; it has a failure or an error exactly when the exit code is not 0."""
    root = ET.Element("testsuites", name=_NAME)
    root.extend(_suite(report, trial) for trial in report.trials)
    if not any(not trial.control for trial in report.trials):
        root.append(_nothing(report))
    return document(root)


def document(root: ET.Element) -> str:
    """The XML of a file whose suites are counted."""
    count(root)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{words.plain(ET.tostring(root, encoding="unicode"))}\n'


def _suite(report: Report, trial: Trial) -> ET.Element:
    every = series.points(trial.evidence.snapshots)
    seconds = every[-1].seconds if every else 0.0
    suite = ET.Element("testsuite", name=words.heading(trial), timestamp=report.started, time=f"{seconds:.3f}")
    suite.append(_properties(report))
    suite.extend(_case(report, trial, verdict) for verdict in trial.verdicts)
    if not trial.verdicts:
        suite.append(_unjudged(trial))
    ET.SubElement(suite, "system-out").text = _said(trial)
    count(suite)
    return suite


def _properties(report: Report) -> ET.Element:
    properties = ET.Element("properties")
    for name, value in (("host", words.host(report.host)), ("version", report.version)):
        ET.SubElement(properties, "property", name=name, value=value)
    return properties


def _case(report: Report, trial: Trial, verdict: Verdict) -> ET.Element:
    case = ET.Element("testcase", classname=words.line(trial.subject), name=verdict.field)
    kind, message = _kind(report, trial, verdict)
    if kind:
        outcome = ET.SubElement(case, kind, message=message, type=verdict.outcome.value)
        outcome.text = "\n".join(_details(trial, verdict))
    ET.SubElement(case, "system-out").text = "\n".join((verdict.seen, *verdict.files))
    return case


def _kind(report: Report, trial: Trial, verdict: Verdict) -> tuple[str | None, str]:
    """The element that tells a verdict, `None` for a pass, and its message."""
    reason = f"{words.resource(verdict.field)} {verdict.outcome.value}: {words.line(verdict.reason)}"
    if not trial.control:
        return _KINDS.get(verdict.outcome), reason
    if verdict.field in report.lacks(trial):
        return "failure", f"{_NO_POWER} by its load; {reason}"
    if verdict.outcome is Outcome.BROKEN:
        return None, reason
    if trial.outcome is Outcome.BROKEN:
        return "skipped", f"not broken by this load; {reason}"
    return "failure", f"{_NO_POWER}; {reason}"


def _details(trial: Trial, verdict: Verdict) -> tuple[str, ...]:
    rule = words.rule(trial, verdict.field)
    limit = f"limit {words.line(verdict.limit)}{rule and ', from '}{rule}"
    return (limit, f"seen {words.line(verdict.seen)}", *verdict.files)


def _unjudged(trial: Trial) -> ET.Element:
    """A trial that judged nothing: without a case of its own it would look green."""
    case = ET.Element("testcase", classname=words.line(trial.subject), name="limits")
    kind, message = ("failure", f"{_NO_POWER}; {words.NOT_JUDGED}") if trial.control else ("error", words.NOT_JUDGED)
    ET.SubElement(case, kind, message=message, type=Outcome.UNKNOWN.value)
    return case


def _nothing(report: Report) -> ET.Element:
    suite = ET.Element("testsuite", name=_NAME, timestamp=report.started, time="0.000")
    case = ET.SubElement(suite, "testcase", classname=_NAME, name="limits")
    ET.SubElement(case, "error", message=words.NOT_JUDGED, type=Outcome.UNKNOWN.value)
    count(suite)
    return suite


def _said(trial: Trial) -> str:
    load = trial.evidence.load
    told = [f"load: {words.command(load, 200)}", *words.ended(trial.evidence)]
    problem = [f"problem: {words.line(load.problem)}"] if load.problem else []
    said = [f"{words.OWN_WORDS}:", *load.said] if load.said else []
    return "\n".join([*told, *problem, *said])


def count(element: ET.Element) -> None:
    """Set the counts that CI systems show, from the cases within."""
    element.set("tests", str(len(element.findall(".//testcase"))))
    for kind, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        element.set(name, str(len(element.findall(f".//{kind}"))))
