"""How two runs of one suite are read and compared; the runs themselves are `make upstream`."""

from __future__ import annotations

import json

import pytest

from tests.upstream.outcomes import NOT_RUN, PASSED, Comparison, Outcome, as_json, as_text, read, started, steadied

FAILED = Outcome(status="failed", reason="ValueError: no")
SKIPPED = Outcome(status="skipped", reason="not here")
REPORT = """\
<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" tests="5">
<properties><property name="started" value="3"/></properties>
<testcase classname="tests.test_x" name="test_a[1-&lt;lambda&gt;]" time="0.1"/>
<testcase classname="tests.test_x" name="test_b"><system-out>said</system-out>
  <failure message="ValueError: no&#10;and more">traceback</failure></testcase>
<testcase classname="tests.test_x" name="test_c"><skipped type="pytest.skip" message="not here"/></testcase>
<testcase classname="tests.test_x" name="test_d"/>
<testcase classname="tests.test_x" name="test_d"><error message="failed on teardown"/></testcase>
<testcase classname="tests.test_y" name="test_b"><failure message="{long}"/></testcase>
</testsuite></testsuites>
""".replace("{long}", "x" * 101)


def comparison(stock, ours, again=None):
    return Comparison(stock=stock, ours=ours, again=again or {}, started=3, seconds={"stock": 12.4, "ours": 13.6})


def test_a_report_is_read():
    """By pytest's ids; the first line of the reason, no longer than a line; an error at the end is no pass."""
    assert read(REPORT) == {
        "tests/test_x.py::test_a[1-<lambda>]": PASSED,
        "tests/test_x.py::test_b": FAILED,
        "tests/test_x.py::test_c": SKIPPED,
        "tests/test_x.py::test_d": Outcome(status="failed", reason="failed on teardown"),
        "tests/test_y.py::test_b": Outcome(status="failed", reason="x" * 100),
    }


@pytest.mark.parametrize(("report", "servers"), [(REPORT, 3), (REPORT.replace("started", "other"), 0)])
def test_the_started_servers_are_read(report, servers):
    """None are, where our class was not in place."""
    assert started(report) == servers


PAIRS = {
    "both pass": (PASSED, PASSED, [], [], []),
    "both fail": (FAILED, FAILED, [], [], ["t"]),
    "both fail, each in its way": (FAILED, Outcome(status="failed", reason="other"), [], [], ["t"]),
    "both skip": (SKIPPED, SKIPPED, [], [], ["t"]),
    "ours fails": (PASSED, FAILED, ["t"], ["t"], []),
    "ours skips": (PASSED, SKIPPED, ["t"], ["t"], []),
    "ours is not there": (PASSED, None, ["t"], ["t"], []),
    "ours passes": (FAILED, PASSED, ["t"], [], []),
    "stock is not there": (None, PASSED, ["t"], [], []),
    "one fails, one skips": (FAILED, SKIPPED, ["t"], [], []),
}


@pytest.mark.parametrize(("stock", "ours", "differing", "worse", "neither"), PAIRS.values(), ids=PAIRS)
def test_a_test_is_compared(stock, ours, differing, worse, neither):
    """Worse is only what the stock class passes and ours does not, for whatever reason."""
    found = comparison({"t": stock} if stock else {}, {"t": ours} if ours else {})
    assert found.pair("t") == (stock or NOT_RUN, ours or NOT_RUN)
    assert (found.differing(), found.worse(), found.bad_in_both()) == (differing, worse, neither)


AGAIN = {
    "passes now": (FAILED, PASSED, PASSED),
    "passed before": (PASSED, FAILED, PASSED),
    "never": (FAILED, SKIPPED, FAILED),
    "was not there": (None, PASSED, PASSED),
}


@pytest.mark.parametrize(("before", "again", "counts"), AGAIN.values(), ids=AGAIN)
def test_what_passes_once_passes(before, again, counts):
    """And what was not run again stays as it was."""
    first = {"other": SKIPPED} | ({"t": before} if before else {})
    assert steadied(first, {"t": again}) == {"other": SKIPPED, "t": counts}


def test_what_is_printed():
    """What differs and why, what was run again, what passes in neither, and how many."""
    found = comparison(
        {"t::a": PASSED, "t::b": PASSED, "t::long": FAILED, "t::d": FAILED},
        {"t::a": PASSED, "t::b": FAILED, "t::long": FAILED, "t::d": PASSED},
        {"t::b": 2, "t::d": 2},
    )
    assert as_text(found) == (
        "test  stock   ours    why, with ours\n"
        "t::b  passed  failed  ValueError: no\n"
        "t::d  failed  passed\n"
        "\n"
        "run again in both, as it differed  times\n"
        "t::b                               2\n"
        "t::d                               2\n"
        "\n"
        "passes in neither  why, with the stock class\n"
        "t::long            ValueError: no\n"
        "\n"
        "stock 12 s, ours 14 s; servers that ours started: 3\n"
        "4 tests; stock passes 2, ours passes 2; 1 fail that stock passes"
    )


def test_what_is_printed_when_nothing_differs():
    """One line says so."""
    assert as_text(comparison({"t": PASSED}, {"t": PASSED})) == (
        "No test differs.\n"
        "\n"
        "stock 12 s, ours 14 s; servers that ours started: 3\n"
        "1 tests; stock passes 1, ours passes 1; 0 fail that stock passes"
    )


def test_what_programs_read():
    """Each comparison by its name, with every test of both runs."""
    told = json.loads(as_json({"as it is": comparison({"t": PASSED}, {}, {"t": 1})}, versions={"jupyterhub": "6.1.1"}))
    assert told == {
        "schema_version": 1,
        "versions": {"jupyterhub": "6.1.1"},
        "comparisons": {
            "as it is": {
                "summary": "1 tests; stock passes 1, ours passes 0; 1 fail that stock passes",
                "worse": ["t"],
                "started": 3,
                "seconds": {"stock": 12.4, "ours": 13.6},
                "again": {"t": 1},
                "tests": {
                    "t": {
                        "stock": {"status": "passed", "reason": ""},
                        "ours": {"status": "not run", "reason": "not in the report"},
                    }
                },
            }
        },
    }
