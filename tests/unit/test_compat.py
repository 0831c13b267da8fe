"""How `make compat` compares environments; the runs themselves are `make compat`."""

from __future__ import annotations

from tests.compat.table import as_text, installed
from tests.upstream.outcomes import PASSED, Outcome

FAILED = Outcome(status="failed", reason="TypeError: no")
SAME = {"docker": "7.2.0"}
TOLD = """\
package  locked  newest  oldest
new      –       1       –
typer    0.29.2  0.29.2  0.15.0

test           locked  newest   oldest   why
tests/x.py::b  passed  passed   failed   TypeError: no
tests/x.py::c  passed  not run  not run  not in the report

locked: 3 of 3 passed; newest: 2 of 2 passed; oldest: 1 of 2 passed"""


def test_what_pip_lists_is_read():
    """By the names that the index has them under."""
    assert installed("PyYAML==6.0\njupyter_core==5.9.1\n") == {"pyyaml": "6.0", "jupyter-core": "5.9.1"}


def test_what_differs_is_told():
    """Each package and each test that differs, and why; what is the same in all is not told."""
    packages = {"locked": SAME | {"typer": "0.29.2"}, "newest": SAME | {"typer": "0.29.2", "new": "1"}}
    packages["oldest"] = SAME | {"typer": "0.15.0"}
    a, b, c = (f"tests/x.py::{name}" for name in "abc")
    outcomes = {"locked": {a: PASSED, b: PASSED, c: PASSED}, "newest": {a: PASSED, b: PASSED}}
    outcomes["oldest"] = {a: PASSED, b: FAILED}
    assert as_text(packages, outcomes) == TOLD


def test_nothing_differs():
    """Then it says so."""
    found = {"locked": {"t": PASSED}, "newest": {"t": PASSED}}
    assert as_text({"locked": SAME, "newest": SAME}, found) == (
        "No package differs.\n\nNo test differs.\n\nlocked: 1 of 1 passed; newest: 1 of 1 passed"
    )
