"""What came of each test in the two runs, and how they compare. Pure: pytest's reports go in, text comes out."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCHEMA_VERSION = 1
Status = Literal["passed", "failed", "skipped", "not run"]
_BAD: dict[str, Status] = {"failure": "failed", "error": "failed", "skipped": "skipped"}
"""element of a JUnit report → what it says"""
_REASON_CHARACTERS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Of one test in one run."""

    status: Status
    reason: str = ""
    """the first line of what pytest says; empty where it passed"""


Outcomes = dict[str, Outcome]
"""by the test's id, as pytest takes it: `tests/test_x.py::test_y[z]`"""
PASSED = Outcome(status="passed")
NOT_RUN = Outcome(status="not run", reason="not in the report")


def read(report: str) -> Outcomes:
    """A JUnit report. A test that is in it twice, such as with an error at its end, has not passed."""
    found: Outcomes = {}
    for case in ET.fromstring(report).iter("testcase"):
        name = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
        if found.get(name, PASSED).status == "passed":
            found[name] = _outcome(case)
    return found


def _outcome(case: ET.Element) -> Outcome:
    for child in case:
        if child.tag in _BAD:
            first = next(iter(child.attrib.get("message", "").splitlines()), "")
            return Outcome(status=_BAD[child.tag], reason=first[:_REASON_CHARACTERS])
    return PASSED


def started(report: str) -> int:
    """How many servers `LimitedDockerSpawner` started, as `ours.py` puts it into the report."""
    told = ET.fromstring(report).iter("property")
    return sum(int(one.attrib["value"]) for one in told if one.attrib["name"] == "started")


def steadied(before: Outcomes, again: Outcomes) -> Outcomes:
    """What counts when some tests were run again: one that passes once, passes."""
    return before | {name: new for name, new in again.items() if new.status == "passed"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two runs of one suite."""

    stock: Outcomes
    ours: Outcomes
    again: dict[str, int]
    """how often tests were run again, in both, because they differed; they count as they came out best"""
    started: int
    """servers that ours started, in its first run"""
    seconds: dict[str, float]
    """that each first run took"""

    def names(self) -> list[str]:
        """All tests, of both runs."""
        return sorted(self.stock.keys() | self.ours.keys())

    def pair(self, name: str) -> tuple[Outcome, Outcome]:
        """What came of a test with the stock class, and with ours."""
        return self.stock.get(name, NOT_RUN), self.ours.get(name, NOT_RUN)

    def differing(self) -> list[str]:
        """Those that came out otherwise."""
        return [name for name in self.names() if len({one.status for one in self.pair(name)}) > 1]

    def worse(self) -> list[str]:
        """Those that the stock class passes, and ours does not."""
        return [name for name in self.differing() if self.pair(name)[0].status == "passed"]

    def bad_in_both(self) -> list[str]:
        """Those of which nothing can be said, as the stock class does not pass them either."""
        pairs = ((name, self.pair(name)) for name in self.names())
        return [name for name, (stock, ours) in pairs if stock.status == ours.status != "passed"]

    def summary(self) -> str:
        """In one line."""
        stock, ours = (sum(one.status == "passed" for one in run.values()) for run in (self.stock, self.ours))
        return (
            f"{len(self.names())} tests; stock passes {stock}, ours passes {ours}; "
            f"{len(self.worse())} fail that stock passes"
        )


def as_text(found: Comparison) -> str:
    """The tests that differ, those that pass in neither run and why, and the summary."""
    rows = [(name, *(one.status for one in found.pair(name)), found.pair(name)[1].reason) for name in found.differing()]
    took = ", ".join(f"{run} {seconds:.0f} s" for run, seconds in found.seconds.items())
    neither = [(name, one.reason) for name in found.bad_in_both() for one in found.pair(name)[:1]]
    again = [(name, str(count)) for name, count in found.again.items()]
    parts = [
        table(("test", "stock", "ours", "why, with ours"), rows) or "No test differs.",
        table(("run again in both, as it differed", "times"), again),
        table(("passes in neither", "why, with the stock class"), neither),
        f"{took}; servers that ours started: {found.started}\n{found.summary()}",
    ]
    return "\n\n".join(filter(None, parts))


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """In columns; empty where there are no rows."""
    if not body:
        return ""
    rows = [head, *body]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def as_json(comparisons: Mapping[str, Comparison], **more: Any) -> str:
    """The same for programs, of each comparison by its name; `more`: what it was made with."""
    told = {name: _json(found) for name, found in comparisons.items()}
    return json.dumps({"schema_version": SCHEMA_VERSION, **more, "comparisons": told}, indent=1)


def _json(found: Comparison) -> dict[str, Any]:
    pairs = {name: dict(zip(("stock", "ours"), map(asdict, found.pair(name)), strict=True)) for name in found.names()}
    told = {"summary": found.summary(), "worse": found.worse(), "started": found.started}
    return told | {"seconds": dict(found.seconds), "again": dict(found.again), "tests": pairs}
