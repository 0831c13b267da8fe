"""Two that took turns in the same rounds: the difference, the ratio, and how sure they are. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_RESAMPLES = 2_000
_TAIL = 0.025


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A median over the rounds, and where 95 of 100 bootstrap resamples have it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Seconds of each round, of both."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ours_s(self) -> float:
        """The median of ours."""
        return median(self.ours)

    @property
    def theirs_s(self) -> float:
        """The median of theirs."""
        return median(self.theirs)

    @property
    def added(self) -> Interval:
        """Seconds by which ours took longer in the same round."""
        return interval([ours - theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)])

    @property
    def ratio(self) -> Interval:
        """Ours / theirs in the same round."""
        return interval([ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)])


def interval(values: Sequence[float]) -> Interval:
    """The median of `values`, and its bootstrap interval; always the same one for the same values."""
    chance = random.Random(1)  # noqa: S311  not for secrets
    medians = sorted(median(chance.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    tail = int(_RESAMPLES * _TAIL)
    return Interval(median=median(values), low=medians[tail], high=medians[-1 - tail])
