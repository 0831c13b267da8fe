"""A container that was kept, before it is started again: what Docker is told, or why a new one is needed."""

from __future__ import annotations

import pytest

from spawner_limits.engines.docker import host_config, translate
from spawner_limits.lifecycle.kept_container import Renewal, renewal
from spawner_limits.limits import Limits
from spawner_limits.units import MIB

LIMITS = {"mem_limit": 256 * MIB, "memswap_limit": 256 * MIB, "cpu_limit": 0.5, "pids_limit": 100}
KEPT = host_config(translate(Limits(**LIMITS)).ask)


def due(kept=None, **limits):
    return renewal(translate(Limits(**LIMITS | limits)), KEPT | (kept or {}))


CASES = {
    "as it should be": (due(), Renewal(update={})),
    "less memory": (
        due(mem_limit=128 * MIB, memswap_limit=128 * MIB),
        Renewal(
            update={"Memory": 128 * MIB, "MemorySwap": 128 * MIB + 1},
            changes=(
                "Memory is 256 MiB, the policy says 128 MiB",
                "MemorySwap is 256 MiB + 1 byte (no swap), the policy says 128 MiB + 1 byte (no swap)",
            ),
        ),
    ),
    "half of a pair": (
        due({"MemorySwap": 512 * MIB}),
        Renewal(
            update={"Memory": 256 * MIB, "MemorySwap": 256 * MIB + 1},
            changes=("MemorySwap is 512 MiB, the policy says 256 MiB + 1 byte (no swap)",),
        ),
    ),
    "a quota": (
        due(cpu_limit=1.0),
        Renewal(
            update={"CpuPeriod": 100_000, "CpuQuota": 100_000}, changes=("CpuQuota is 50000, the policy says 100000",)
        ),
    ),
    "what can't be updated": (
        due(mem_swappiness=10),
        Renewal(update={}, cannot="MemorySwappiness is not set, the policy says 10"),
    ),
    "a quota by another name": (due({"NanoCpus": 2_000_000_000}), Renewal(update={}, cannot="NanoCpus is set")),
}


@pytest.mark.parametrize(("found", "wanted"), CASES.values(), ids=CASES)
def test_renewal(found, wanted):
    """Both halves of a pair are told, or none."""
    assert found == wanted
