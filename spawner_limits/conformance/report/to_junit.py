"""A conformance report for CI systems: JUnit XML, one suite a group, one test a case. Pure.

As for `verify`, BROKEN is a `failure` and UNKNOWN an `error`: both stop a pipeline. `skipped` is only what the caller
accepts, and what this version of cgroups does not have. A known defect upstream is a failure all the same, as it is in
the exit code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET  # written, never parsed

from spawner_limits.conformance.report import words
from spawner_limits.proof.evidence import Outcome
from spawner_limits.report.to_junit import count, document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spawner_limits.conformance.case import ConformanceReport, Group, Result

_NAME = "spawner-limits conformance"
_KINDS = {Outcome.BROKEN: "failure", Outcome.UNKNOWN: "error"}


def to_junit(report: ConformanceReport) -> str:
    """The report as JUnit XML; it has a failure or an error exactly when the exit code is not 0."""
    root = ET.Element("testsuites", name=_NAME)
    root.extend(_suite(report, group, results) for group, results in words.groups(report))
    if not report.results:
        root.append(_nothing(report))
    return document(root)


def _suite(report: ConformanceReport, group: Group, results: list[Result]) -> ET.Element:
    seconds = sum(one.seconds for one in results)
    suite = ET.Element("testsuite", name=group.words, timestamp=report.started, time=f"{seconds:.3f}")
    suite.append(_properties(report))
    suite.extend(_case(report, one) for one in results)
    count(suite)
    return suite


def _properties(report: ConformanceReport) -> ET.Element:
    properties = ET.Element("properties")
    for name, value in (
        ("host", words.host(report.host)),
        ("image", words.line(report.image)),
        ("version", report.version),
    ):
        ET.SubElement(properties, "property", name=name, value=value)
    return properties


def _case(report: ConformanceReport, result: Result) -> ET.Element:
    name = f"{result.number} {words.line(result.title)}"
    case = ET.Element("testcase", classname=result.group.value, name=name, time=f"{result.seconds:.3f}")
    if result.outcome in _KINDS:
        kind = "skipped" if words.uncounted(report, result) else _KINDS[result.outcome]
        told = ET.SubElement(case, kind, message=_message(report, result), type=result.outcome.value)
        told.text = "\n".join(_details(result))
    ET.SubElement(case, "system-out").text = "\n".join((words.line(result.seen), *result.evidence))
    return case


def _message(report: ConformanceReport, result: Result) -> str:
    told = f"{result.outcome}: {words.line(result.reason)}"
    return "; ".join(filter(None, (words.uncounted(report, result), told)))


def _details(result: Result) -> Iterator[str]:
    yield f"expected: {words.line(result.expected)}"
    yield f"seen: {words.line(result.seen)}"
    yield f"tolerance: {words.line(result.tolerance)}"
    yield from (f"{label}: {text}" for label, text in words.why(result) if label != words.BECAUSE)
    yield f"control: {words.control(result.control) if result.control else words.NO_CONTROL}"
    yield from _lines(result.evidence)


def _lines(evidence: Iterable[str]) -> Iterator[str]:
    return (words.line(one) for one in evidence)


def _nothing(report: ConformanceReport) -> ET.Element:
    """Without a case of its own a run of nothing would look green."""
    suite = ET.Element("testsuite", name=_NAME, timestamp=report.started, time="0.000")
    case = ET.SubElement(suite, "testcase", classname=_NAME, name="cases")
    ET.SubElement(case, "error", message=words.NOTHING, type=Outcome.UNKNOWN.value)
    count(suite)
    return suite
