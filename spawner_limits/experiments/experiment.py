"""The values of an experiment: its figures, what is found in them, and its charts. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from spawner_limits.proof.evidence import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spawner_limits.conformance.trial import Bench
    from spawner_limits.proof.evidence import Host, Verdict
    from spawner_limits.report.plot import Plot


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One row: what was read, and where."""

    part: str
    """heading of the rows that belong together: "0.50 cores" """
    what: str
    value: str
    """for people, with its unit"""
    source: str
    """the Linux kernel's file, or the program that says so"""
    key: str
    """for programs; carries the base unit: "used_cores" """
    number: float | int | str | None
    """in that unit; `None` where it could not be read"""


Row: TypeAlias = tuple[str, str, str, str, float | int | str | None]
"""all of a `Figure` but its part"""


def figures(part: str, rows: Iterable[Row]) -> list[Figure]:
    """The rows of one part."""
    return [
        Figure(part=part, what=what, value=value, source=source, key=key, number=number)
        for what, value, source, key, number in rows
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A limit that was pressed here, judged as `verify` and `conformance` judge it."""

    part: str
    """that of its figures"""
    verdict: Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """What came of one."""

    name: str
    title: str
    setup: str
    """what was done, in a sentence or two"""
    figures: tuple[Figure, ...]
    findings: tuple[str, ...]
    """what one sees and why: sentences with the numbers of the figures"""
    judged: tuple[Judged, ...] = ()
    plots: tuple[Plot, ...] = ()
    drawn: str = ""
    """lines of at most 80 characters that a terminal shows in place of the figures: what is no line over time"""

    @property
    def outcome(self) -> Outcome:
        """The worst of what was judged; HELD where nothing was to be."""
        found = {one.verdict.outcome for one in self.judged}
        return next((one for one in (Outcome.BROKEN, Outcome.UNKNOWN) if one in found), Outcome.HELD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """An experiment, and where and when it was done."""

    experiment: Experiment
    host: Host
    image: str
    started: str
    """RFC 3339, UTC"""
    seconds: float
    version: str
    """of this package"""

    @property
    def exit_code(self) -> int:
        """0: done · 1: a limit was BROKEN · 3: one could not be judged, so this does not show what it should."""
        return {Outcome.BROKEN: 1, Outcome.UNKNOWN: 3, Outcome.HELD: 0}[self.experiment.outcome]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Where an experiment is done, and for how long."""

    bench: Bench
    seconds: float
    """that each part which measures CPU time is watched"""
    say: Callable[[str], None]
    """told what is being done now"""
