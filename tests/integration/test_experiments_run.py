"""Each experiment, done on the engine that is there: figures that can be, words that the judge gave, nothing left."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import pytest

from spawner_limits.proof.tolerances import SATURATED
from spawner_limits.units import MIB
from tests.busy import TRIES, is_busy
from tests.conftest import spawner_limits

SWAP = any(line.startswith("/") for line in Path("/proc/swaps").read_text(encoding="utf-8").splitlines())
pytestmark = pytest.mark.usefixtures("leaves_nothing")
CPUS = min(os.cpu_count() or 1, 4)
"""that the load of `cpu` is after"""


class Done:
    """What one run said."""

    def __init__(self, code, document):
        self.code, self.document = code, document
        self.findings = document["findings"]

    def __getitem__(self, key):
        """The figures under a key: part → value."""
        return {one["part"]: one[key] for one in self.document["figures"] if key in one}

    @property
    def outcomes(self):
        """Part → the words of what was judged there."""
        found = {}
        for one in self.document["judged"]:
            found.setdefault(one["part"], set()).add(one["outcome"])
        return found


@cache
def experiment(name, *arguments):
    """Done for all tests that look at it; again where something was busy on this host, and is no more."""
    for _ in range(TRIES):
        done = once(name, *arguments)
        if done.document["outcome"] != "UNKNOWN" or is_busy():
            break
    return done


def once(name, *arguments):
    """One run, which itself tries again what was disturbed."""
    ran = spawner_limits("experiment", name, "--json", "-", *arguments)
    assert ran.returncode in (0, 3), ran.stdout + ran.stderr
    assert "Exception" not in ran.stderr
    return Done(ran.returncode, json.loads(ran.stdout))


@pytest.mark.alone  # it measures CPU time
def test_cpu():
    """Each quota was pressed and HELD, and none lets more through; UNKNOWN where others had the CPUs all the while."""
    found = experiment("cpu")
    assert len(found.outcomes) == 2
    outcome = found.document["outcome"]
    # the same load without a limit is the run's own measure of it
    disturbed = outcome == "UNKNOWN" and (found["kernel_cores"]["no limit"] < SATURATED * CPUS or is_busy())
    right = {"HELD", "UNKNOWN"} if disturbed else {"HELD"}
    for part, outcomes in found.outcomes.items():
        limit = float(part.split()[1])
        assert found["kernel_cores"][part] <= 1.06 * limit
        assert abs(found["processes_cores"][part] - found["kernel_cores"][part]) < 0.03
        assert outcomes <= right, found.findings
    assert found["quota_text"]["no limit"] in ("-1", "max 100000")
    assert (found.code, outcome) == ((3, "UNKNOWN") if disturbed else (0, "HELD"))


@pytest.mark.alone  # it measures CPU time
def test_cpu_as_docker_stats_shows_it():
    """It has figures of its own, that are near enough to be of the same container."""
    found = experiment("cpu")
    assert len(found["shown_least_cores"]) == 3
    for part, least in found["shown_least_cores"].items():
        assert 0 < least <= found["shown_most_cores"][part] < 1.5 * max(2.0, found["kernel_cores"][part])
        assert 0.7 < found["system_ratio"][part] < 1.3


def test_memory():
    """The staircase ends in a kill at the limit; the cache is given up, and docker stats does not show it."""
    found = experiment("memory")
    assert (found.code, found.document["outcome"]) == (0, "HELD")
    stairs, cache_ = found["oom_kills"]
    assert (found["oom_kills"][stairs], found["oom_kills"][cache_], found["exit_code"][stairs]) == (1, 0, 137)
    assert 48 * MIB <= found["reached_bytes"][stairs] < found["peak_bytes"][stairs] <= 64 * MIB
    assert found["usage_bytes"][cache_] > 48 * MIB > found["shown_bytes"][cache_]
    assert found["container"][stairs] == "running"


def test_oom():
    """Eight die one by one and the container lives; then it ends with 137."""
    found = experiment("oom")
    assert (found.code, found.document["outcome"]) == (0, "HELD")
    falling, low = found.outcomes
    assert found["oom_kills"][falling] >= 8
    assert found["inspected_bytes"][falling] == 256 * MIB
    assert found["exit_code"][low] == 137


DUE = {
    # the first one's weight: its part of three, then of two
    "sharing": dict.fromkeys((1024, 100), (1 / 3, 1 / 2)),
    # on v1 the shares; on v2 what a runtime makes of them, by the formula of old or the newer one
    "shares": {2048: (1 / 2, 2 / 3), 79: (79 / 157, 79 / 118), 174: (174 / 374, 174 / 274)},
}


@pytest.mark.alone  # it measures CPU time
@pytest.mark.parametrize("name", DUE)
def test_three_on_one_cpu(name):
    """What was theirs alone was shared by the kernel's weights."""
    found = experiment(name, "--seconds", "5")
    three, two = found.outcomes
    if found.document["outcome"] == "UNKNOWN":
        assert is_busy(), found.findings
        return
    assert (found.document["outcome"], found.outcomes) == ("HELD", {three: {"HELD"}, two: {"HELD"}}), found.findings
    due = DUE[name][found["first_weight"]["weights"]]
    assert found["first_share"][three] == pytest.approx(due[0], rel=0.02)
    assert found["first_share"][two] == pytest.approx(due[1], rel=0.02)


@pytest.mark.skipif(SWAP, reason="this host has swap")
@pytest.mark.parametrize("name", ["swap", "swappiness"])
def test_without_swap_it_is_said(name):
    """Fact, cause, remedy, and exit code 3; nothing is made."""
    ran = spawner_limits("experiment", name)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert f"experiment {name}: " in ran.stderr
    assert "mkswap" in ran.stderr or "cgroup v2" in ran.stderr


def test_the_page_and_the_table(tmp_path):
    """One run gives the table on stdout, and a page and a document in files."""
    page, document = tmp_path / "x.html", tmp_path / "x.json"
    ran = spawner_limits("experiment", "memory", "--html", str(page), "--json", str(document), COLUMNS="80")
    assert ran.returncode == 0, ran.stderr
    assert "What one sees" in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80
    assert page.read_text(encoding="utf-8").count("<svg ") == len(json.loads(document.read_text())["plots"]) == 2


def test_an_image_that_is_not_there():
    """Usage, told in a sentence."""
    ran = spawner_limits("experiment", "memory", "--image", "no/such:image")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "no image no/such:image on this machine" in ran.stderr


def test_an_engine_that_is_not_there():
    """Exit code 4."""
    ran = spawner_limits("experiment", "memory", DOCKER_HOST="unix:///no/such/socket")
    assert ran.returncode == 4
    assert "the Docker engine does not answer" in ran.stderr
