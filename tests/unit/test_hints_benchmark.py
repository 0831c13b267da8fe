"""The benchmark of hints: its figures from two snapshots, its sides, and its table."""

from __future__ import annotations

import json

import pytest

from benchmarks.hints import LIMITS, SIDES, Comparison, Run, _compared, _figures, as_json, as_text
from spawner_limits.errors import LimitsError
from spawner_limits.kernel.snapshot import Snapshot

TOLD = {"done": 20, "seconds": 5.0, "threads": 3}


def snapshot(**counters):
    return Snapshot(monotonic_ns=0, versions={}, **counters)


BEFORE = snapshot(cpu_usage_ns=10**9, nr_periods=100, nr_throttled=10, throttled_ns=5 * 10**9)
AFTER = snapshot(cpu_usage_ns=3 * 10**9, nr_periods=150, nr_throttled=50, throttled_ns=12 * 10**9)


def test_figures():
    """Work in a second, CPU time for each, the share of periods throttled, and what threads were held back."""
    assert _figures(TOLD, BEFORE, AFTER) == Run(rate=4.0, threads=3, cpu_s=0.1, throttled=0.8, waited_s=1.4)


def test_a_counter_that_can_not_be_read_is_no_zero():
    """The run fails, and says which."""
    after = Snapshot(monotonic_ns=0, versions={}, unread={"cpu_usage_ns": "its cgroup is gone"})
    with pytest.raises(LimitsError, match=r"^cpu_usage_ns can't be read: its cgroup is gone$"):
        _figures(TOLD, BEFORE, after)


def test_the_sides():
    """One has what the spawner gives in half a core, one nothing, one what a larger host would make of it."""
    assert LIMITS.cpu_limit == 0.5
    assert set(SIDES["hints"].values()) == {"1", "-XX:ActiveProcessorCount=1"}
    assert SIDES["none"] == {}
    assert set(SIDES["16 threads"].values()) == {"16"}


def run(rate):
    return Run(rate=rate, threads=2, cpu_s=0.05, throttled=0.5, waited_s=0.25)


ROUNDS = [{"hints": run(8.0), "none": run(none), "16 threads": run(2.0)} for none in (4.0, 8.0, 5.0)]


def test_the_ratio_is_of_each_round():
    """It is the median of the rounds' ratios, and not the ratio of medians."""
    found = _compared("matrix", ROUNDS)
    assert {side: one.median for side, one in found.faster.items()} == {"none": 1.6, "16 threads": 4.0}
    assert (found.faster["none"].low, found.faster["none"].high) == (1.0, 2.0)


def test_the_table():
    """Medians, one line a side."""
    assert (
        as_text([_compared("matrix", ROUNDS)])
        == """\
products of 512 × 512 (NumPy, OpenBLAS)
            threads  a second  CPU time each  periods throttled  held back  hints are faster by
     hints        2      8.00        50.0 ms                50%   0.25 s/s                    –
      none        2      5.00        50.0 ms                50%   0.25 s/s   1.60 (1.00 … 2.00)
16 threads        2      2.00        50.0 ms                50%   0.25 s/s   4.00 (4.00 … 4.00)"""
    )


def test_json_has_every_run():
    """With the limits and the variables of each side."""
    told = json.loads(as_json([_compared("matrix", ROUNDS)]))
    assert told["schema_version"] == 1
    (one,) = told["comparisons"]
    assert [run["rate"] for run in one["runs"]["none"]] == [4.0, 8.0, 5.0]
    assert one["faster"]["none"]["median"] == 1.6
    assert set(Comparison.__dataclass_fields__) == set(one)
