"""The whole conformance suite in guests: Debian's stable under systemd, and Debian's testing, which moves each day.

What is BROKEN there is a known defect, or the host's own fault.
"""

from __future__ import annotations

import sys

import pytest

from spawner_limits.conformance.cases import CASES
from tests.guest.guest import versions
from tests.guest.verdicts import report

pytestmark = pytest.mark.soak
HOSTS = (("trixie", "systemd"), ("forky", "systemd"), ("forky", "v2"))


@pytest.fixture(scope="module", params=HOSTS, ids=" ".join)
def host(request, guests):
    """Suite, and what the conformance suite says there; the packages' versions are printed, as testing's move."""
    suite, variant = request.param
    guest = guests(variant, suite)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stdout.write(f"\n{suite} {variant}: {versions(suite)}\n")
    return suite, report(guest)


def test_every_case_is_there_and_decided(host):
    """All of them hold, but for what Docker and the Linux kernel are known to drop."""
    _, found = host
    broken = {one["number"] for one in found["cases"] if one["outcome"] == "BROKEN"}
    assert [one["number"] for one in found["cases"]] == [one.number for one in CASES]
    assert {one["number"]: one["reason"] for one in found["cases"] if one["outcome"] == "UNKNOWN"} == {}
    assert broken == {one["number"] for one in found["cases"] if one["defect"]} == {17, 46, 61}
    assert [one["number"] for one in found["cases"] if one["control"] and one["control"]["outcome"] != "BROKEN"] == []


def test_shares_there_are_their_runtimes_weights(host):
    """2048, 1024 and 1024 are 50.3, 24.8 and 24.8 %; with runc since 1.3.2 they are 46.5, 26.7 and 26.7 %."""
    suite, found = host
    (shares,) = (one for one in found["cases"] if one["number"] == 23)
    for part in ("46.5%", "26.7%") if suite == "forky" else ("50.3%", "24.8%"):
        assert f"(expected {part})" in shares["seen"]
