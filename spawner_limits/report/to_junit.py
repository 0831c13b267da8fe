"""A page for CI systems: JUnit XML. Pure.

BROKEN is a `failure`, UNKNOWN an `error`: both stop a pipeline, and a CI system counts them apart, as the exit codes 1
and 3 do. `skipped` would look green, and what is not known does not count as held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET  # written, never parsed

from spawner_limits.proof.evidence import Outcome
from spawner_limits.report import words

if TYPE_CHECKING:
    from spawner_limits.report.page import Check, Page, Suite

FAULTS = {Outcome.HELD: "", Outcome.BROKEN: "failure", Outcome.UNKNOWN: "error"}
"""outcome → `Check.fault`, where nothing else says more"""
_COUNTS = {"testcase": "tests", "failure": "failures", "error": "errors", "skipped": "skipped"}


def to_junit(page: Page) -> str:
    """The page's suites as XML."""
    root = ET.Element("testsuites", name=page.program)
    root.extend(_suite(page, one) for one in page.suites)
    _count(root)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{words.plain(ET.tostring(root, encoding="unicode"))}\n'


def _suite(page: Page, suite: Suite) -> ET.Element:
    element = ET.Element("testsuite", name=suite.name, timestamp=page.started, time=f"{suite.seconds:.3f}")
    properties = ET.SubElement(element, "properties")
    for name, value in page.properties.items():
        ET.SubElement(properties, "property", name=name, value=value)
    element.extend(map(_case, suite.checks))
    if suite.output:
        ET.SubElement(element, "system-out").text = "\n".join(suite.output)
    _count(element)
    return element


def _case(check: Check) -> ET.Element:
    case = ET.Element("testcase", classname=check.group, name=check.name)
    if check.seconds is not None:
        case.set("time", f"{check.seconds:.3f}")
    if check.fault:
        fault = ET.SubElement(case, check.fault, message=check.message, type=check.outcome)
        fault.text = "\n".join(check.details)
    if check.output:
        ET.SubElement(case, "system-out").text = "\n".join(check.output)
    return case


def _count(element: ET.Element) -> None:
    """Set the counts that CI systems show, from the cases within."""
    for tag, name in _COUNTS.items():
        element.set(name, str(len(element.findall(f".//{tag}"))))
