"""The rules that keep a run short are kept: each is seen in a run of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.phases import SHARED, crowding, group

MARKS = '[pytest]\npythonpath = {root}\nmarkers =\n  alone: "."\n  soak: "."\n'


@pytest.fixture
def ran(tmp_path):
    """Runs tests of this text with the rules; stdout without what pytest says of their time."""

    def ran(text, *options):
        (tmp_path / "pytest.ini").write_text(MARKS.format(root=ROOT))
        for name in ("one", "other"):
            (tmp_path / f"test_{name}.py").write_text(text)
        plugins = ("-p", "tests.phases", "-p", "no:cacheprovider", "--strict-markers")
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *plugins, *options],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return ran


SLOW = "import pytest, time\n\n{mark}\ndef test_it():\n    time.sleep(0.2)\n"


@pytest.mark.parametrize(
    ("mark", "longest", "code"),
    [("", 0.001, 1), ("", 60, 0), ("@pytest.mark.alone", 0.1, 0), ("@pytest.mark.soak", 0.1, 0)],
    ids=["too long", "not too long", "alone", "soak"],
)
def test_what_takes_too_long_fails_the_run(ran, mark, longest, code):
    """But for what runs alone, or not each time; it is said what to do."""
    found = ran(SLOW.format(mark=mark), f"--longest={longest}")
    assert found.returncode == code, found.stdout + found.stderr
    told = r"took 0\.\d s, over 0\.\d* s: make it faster, or mark it alone or soak and say why"
    assert len(re.findall(told, found.stdout)) == (2 if code else 0)


@pytest.mark.parametrize(("load", "cpus", "times"), [(0, 2, 1), (2, 2, 1), (3, 2, 1.5), (12, 2, 6), (12, 64, 1)])
def test_a_crowded_machine_has_more_time(load, cpus, times):
    """Others' work fails no test."""
    assert crowding(load, cpus) == times


def test_what_takes_long_to_set_up_does_not(ran):
    """A hub that many tests share counts for none of them."""
    text = "import pytest, time\n\n@pytest.fixture\ndef hub():\n    time.sleep(0.2)\n\ndef test_it(hub):\n    pass\n"
    assert ran(text, "--longest=0.1").returncode == 0


WHERE = """
import os, pytest

@pytest.mark.parametrize("number", range(20))
def test_it(number):
    with open("workers", "a") as file:
        print(os.path.basename(__file__), os.environ["PYTEST_XDIST_WORKER"], file=file)
"""


def test_one_worker_runs_a_whole_module(ran, tmp_path):
    """Its tests share what the module has started; another one runs beside it."""
    found = ran(WHERE, "-n", "2")
    assert found.returncode == 0, found.stdout + found.stderr
    lines = (tmp_path / "workers").read_text().splitlines()
    where = dict(map(str.split, lines))
    assert len(lines) == 40
    assert set(lines) == {f"{module} {worker}" for module, worker in where.items()}
    assert set(where.values()) == {"gw0", "gw1"}


GROUPS = {
    "tests/unit/test_units.py::test_it[a::b]": "tests/unit/test_units.py",
    "tests/e2e/test_faults.py::test_it": "tests/e2e/test_faults.py",
    "tests/e2e/test_spawn.py::test_it": "hub",
    "tests/integration/test_oom_seen.py::test_it[/dev/kmsg]": "log",
}


@pytest.mark.parametrize(("nodeid", "wanted"), GROUPS.items(), ids=GROUPS)
def test_what_shares_something_is_run_by_one_worker(nodeid, wanted):
    """A module's tests, and those of modules with the same hub."""
    assert group(nodeid) == wanted


def test_what_shares_something_is_there():
    """A module that was renamed is in nobody's group."""
    found = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert SHARED.keys() - found == set()


def test_a_guest_runs_alone(ran, tmp_path):
    """Whatever its module says."""
    (tmp_path / "test_guest_x.py").write_text("def test_it():\n    pass\n")
    found = ran("def test_it():\n    pass\n", "-m", "alone")
    assert (found.returncode, found.stdout.splitlines()[-1].partition(" in ")[0]) == (0, "1 passed, 2 deselected")
