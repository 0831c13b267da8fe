"""The usage line while a load presses: what it says, and that a terminal has room for it."""

from __future__ import annotations

import pytest

from spawner_limits.cli.usage_line import COLUMNS, line
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.limits import Limits
from spawner_limits.units import GIB, MIB

LIMITS = Limits(mem_limit=GIB, cpu_limit=0.5)
SECOND_NS = 10**9


def snapshots(cores, used, cache=35 * MIB):
    """Twelve seconds, one each, with so many cores and so many bytes beside the cache in use."""
    return [
        Snapshot(
            monotonic_ns=second * SECOND_NS,
            versions={},
            cpu_usage_ns=int(cores * second * SECOND_NS),
            memory_current_bytes=used + cache,
            memory_inactive_file_bytes=cache,
        )
        for second in range(13)
    ]


LINES = {
    "a user": ("al", 0.47, 420 * MIB, "al  12 s: 0.47 / 0.50 cores (94%), memory 0.41 / 1.00 GiB (41%) + 35 MiB cache"),
    "a control has no room for the cache": (
        "control (alice)", 1.986, 1802 * MIB,
        "control (alice)  12 s: 1.99 / 0.50 cores (397%), memory 1.76 / 1.00 GiB (176%)",
    ),
    "nor for a long name": (
        "control (spawner-limits/singleuser:minimal)", 1.986, 1802 * MIB,
        "control (spawn…  12 s: 1.99 / 0.50 cores (397%), memory 1.76 / 1.00 GiB (176%)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("subject", "cores", "used", "said"), LINES.values(), ids=LINES)
def test_a_line(subject, cores, used, said):
    """Usage in the one form of this project; that it is the control's is said first, and never cut off."""
    assert line(subject, LIMITS, snapshots(cores, used)) == said
    assert len(said) <= COLUMNS


def test_what_is_not_limited_or_not_read():
    """It is told as it is."""
    unread = [Snapshot(monotonic_ns=second * SECOND_NS, versions={}) for second in range(3)]
    assert line("bob", Limits(), unread) == "bob   2 s: cores unknown, memory unknown"
    assert line("bob", Limits(), snapshots(1, GIB)) == "bob  12 s: 1.00 cores, memory 1.00 GiB + 35 MiB cache"
