"""A cgroup v1 host with swap, which the host of these tests has not: cases and experiments that it can't decide."""

from __future__ import annotations

import pytest

from tests.guest.verdicts import experiment, report


def test_the_cases_of_swap(guests):
    """Those that a host without swap can't decide, with the cgroupfs driver."""
    found = report(guests("v1"), "--only", "swap")["cases"]
    assert {one["number"]: one["outcome"] for one in found} == dict.fromkeys((*range(47, 53), 65), "HELD"), found
    assert [one["number"] for one in found if one["control"] and one["control"]["outcome"] != "BROKEN"] == []


# case 51 shows the second one's fact, too
@pytest.mark.parametrize("name", ["swap", pytest.param("swappiness", marks=pytest.mark.soak)])
def test_experiments(guests, name):
    """Ten MiB more; 0 is killed, 60 swaps."""
    code, document, told = experiment(guests("v1"), name)
    assert (code, document and document["outcome"]) == (0, "HELD"), (document and document["findings"], told)
    swapped = [one["swap_bytes"] for one in document["figures"] if "swap_bytes" in one]
    assert swapped[0] == 0 < swapped[1]
