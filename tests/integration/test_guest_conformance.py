"""The conformance suite on hosts that this machine is not: cgroup v2 with the newest engine, one broken, v1 with swap.

What is BROKEN there is a known defect, or the host's own fault. What others on this machine disturb is UNKNOWN and is
tried again, so often; a HELD or a BROKEN never is.
"""

from __future__ import annotations

import json

import pytest

from spawner_limits.proof.conformance.cases import CASES
from tests.guest.guest import Guest, package
from tests.guest.matrix import report


def conform(variant, *options):
    """What the suite says in a guest of the newest suite."""
    with Guest(variant=variant) as guest:
        assert guest.run(["true"], package()).code == 0
        return report(guest, *options)


def reasons(found, outcome):
    """Number → reason of the cases with that outcome."""
    return {one["number"]: one["reason"] for one in found["cases"] if one["outcome"] == outcome}


def defects(found):
    """The cases that are BROKEN, and a known defect says why."""
    return {one["number"] for one in found["cases"] if one["outcome"] == "BROKEN" and one["defect"]}


def controls(found):
    """The cases whose control was not BROKEN."""
    return {one["number"] for one in found["cases"] if one["control"] and one["control"]["outcome"] != "BROKEN"}


@pytest.fixture(scope="module")
def v2():
    """The whole suite, on cgroup v2."""
    return conform("v2")


def test_every_case_is_there_and_decided_on_cgroup_v2(v2):
    """All of them hold, but for what Docker and the Linux kernel are known to drop."""
    assert [one["number"] for one in v2["cases"]] == [one.number for one in CASES]
    assert reasons(v2, "UNKNOWN") == {}
    assert set(reasons(v2, "BROKEN")) == defects(v2) == {17, 46, 61}
    assert controls(v2) == set()


def test_the_evidence_is_of_cgroup_v2(v2):
    """The same package and the same judge, other files."""
    evidence = {one["number"]: one["evidence"] for one in v2["cases"]}
    assert v2["cgroup_version"] == 2
    assert "cpu.max = 50000 100000" in evidence[8]
    assert "cpu.weight = 174" in evidence[22]
    assert any(file.startswith("memory.peak") for file in evidence[32])
    assert json.dumps(v2).count("memory.limit_in_bytes") == sum(
        one["expected"].count("memory.limit_in_bytes") for one in v2["cases"]
    )


def test_shares_there_are_the_newer_weights(v2):
    """2048, 1024 and 1024 are 46.5, 26.7 and 26.7 %, and expected to be."""
    (shares,) = (one for one in v2["cases"] if one["number"] == 23)
    assert "(expected 46.5%)" in shares["seen"]
    assert "(expected 26.7%)" in shares["seen"]


def test_an_engine_in_the_root_cgroup_is_found_broken():
    """It drops swap limits: by what it says, by the kernel's files, and by a load that swaps."""
    found = conform("v2-root", "--only", "5,47,48,52")
    broken = reasons(found, "BROKEN")
    assert set(broken) == {5, 47, 48, 52}
    assert defects(found) == set()
    assert broken[48].startswith(
        "swap is NOT limited on this host, because dockerd lives in the root cgroup, where it finds no "
        "memory.swap.max, and so drops --memory-swap"
    )
    assert "swap is NOT limited on this host" in found["summary"]


def test_swap_on_cgroup_v1():
    """Cases 47 to 52, and 65, which a host without swap can't decide."""
    found = conform("v1", "--only", "swap")
    assert {one["number"]: one["outcome"] for one in found["cases"]} == dict.fromkeys((*range(47, 53), 65), "HELD")
    assert controls(found) == set()
