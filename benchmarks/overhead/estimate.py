"""From pairs of figures to a median ratio, its interval, and what may be said of it. Pure."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from benchmarks.overhead.workloads import Better

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = 0.90
"""two one-sided tests (TOST) with 5 % each ask whether the interval of 90 % lies within the margin"""
RESAMPLES = 10_000
LEAST_PAIRS = 5
"""with four even the range from the lowest to the highest covers the median with 1 - 2 * 0.5**4 = 87.5 % only"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """The figures of two runs, one right after the other."""

    native: float
    container: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Of the container's performance as a share of the native one: 0.96 is 4 % slower."""

    median: float
    low: float
    high: float
    """bounds of the median's interval of 90 %, by bootstrap"""
    deviation: float | None
    """the standard deviation of one pair's ratio; `None` of a single pair"""


class Finding(StrEnum):
    """What a workload's pairs say."""

    EQUIVALENT = "equivalent"
    SLOWER = "slower"
    FASTER = "faster"
    UNDECIDED = "undecided"


def ratio(pair: Pair, better: Better) -> float:
    """How well the container did, as a share of native: above 1 it did better, whichever figure is the better one."""
    return pair.container / pair.native if better is Better.HIGHER else pair.native / pair.container


def estimate(ratios: Sequence[float], seed: int, resamples: int = RESAMPLES) -> Estimate | None:
    """The median with its percentile bootstrap interval. `None` without a ratio."""
    if not ratios:
        return None
    medians = resampled(ratios, random.Random(seed), resamples)  # noqa: S311  it keeps no secret
    return Estimate(
        median=statistics.median(ratios),
        low=quantile(medians, (1 - LEVEL) / 2),
        high=quantile(medians, (1 + LEVEL) / 2),
        deviation=statistics.stdev(ratios) if len(ratios) > 1 else None,
    )


def resampled(values: Sequence[float], source: random.Random, times: int) -> list[float]:
    """The medians of so many samples, each drawn with replacement and as long as `values`; sorted."""
    return sorted(statistics.median(source.choices(values, k=len(values))) for _ in range(times))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which that share lies, between two neighbours in proportion."""
    place = share * (len(ordered) - 1)
    below, above = math.floor(place), math.ceil(place)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def finding(found: Estimate | None, pairs: int, margin: float) -> Finding:
    """Equivalent, if the whole interval lies within the margin; else slower or faster, if all of it is on one side.

    `margin`: a share, 0.05 for ±5 %.
    """
    if found is None or pairs < LEAST_PAIRS:
        return Finding.UNDECIDED
    if 1 - margin <= found.low and found.high <= 1 + margin:
        return Finding.EQUIVALENT
    if found.high < 1:
        return Finding.SLOWER
    return Finding.FASTER if found.low > 1 else Finding.UNDECIDED
