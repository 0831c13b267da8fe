"""`Plot`: what a chart shows, in its own unit; where it goes on paper is `report/chart`'s matter. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

USED, CACHE, SWAP = "memory used", "of that, file cache", "swap used"
"""labels of lines that look alike in every chart"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One value of a line in a plot."""

    seconds: float
    value: float | None
    """`None`: nothing was read then"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """Lines over time, in one unit, and the limit that they are held against."""

    title: str
    unit: str
    """"cores", "bytes", "percent" """
    lines: Mapping[str, tuple[Point, ...]]
    """label → its points, rising in time"""
    limit: float | None = None
    limit_words: str = "limit {}"
    """how the limit is told; `{}` is its value"""
    peak: float | None = None
    """the most that the Linux kernel itself kept"""
    marks: Mapping[float, str] | None = None
    """seconds → what happened then: "OOM kill", "the third one stops" """
    counts: Mapping[float, int] = field(default_factory=dict)
    """seconds of a mark → how often it happened then; a mark without a count is told without one"""
    nothing: str = "nothing was read"
    """why a plot without a value is empty"""
