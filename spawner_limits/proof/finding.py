"""What the judge of one field found in the evidence, before the kernel's own value of the limit is looked at. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits.proof.evidence import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from spawner_limits.engines.enforcement import Expectation
    from spawner_limits.proof.evidence import Evidence

Figures = dict[str, "float | int | str | None"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one judge found, before the kernel's own value of the limit is looked at."""

    outcome: Outcome
    seen: str
    reason: str
    figures: Figures
    counters: tuple[str, ...] = ()


def times(count: int, one: str, many: str) -> str:
    """How many of what."""
    return f"{count} {one if count == 1 else many}"


def because(evidence: Evidence) -> str:
    """Why the load did not press, in brackets; "" where it did what it should."""
    return f" ({evidence.load.problem})" if evidence.load.problem else ""


def unread(evidence: Evidence, what: str, figures: Figures, counters: tuple[str, ...]) -> Finding:
    """Nothing, for what the kernel did not let read."""
    why = evidence.series.unread(*counters)
    reason = f"{what} could not be read: {why}" if why else f"{what} was not read{because(evidence)}"
    return nothing(reason, figures, counters)


def nothing(reason: str, figures: Figures, counters: tuple[str, ...]) -> Finding:
    """UNKNOWN, and no figure to show."""
    return Finding(outcome=Outcome.UNKNOWN, seen="–", reason=reason, figures=figures, counters=counters)


def only_read(reason: str) -> Callable[[Expectation, Evidence], Finding]:
    """A judge that always says why nothing presses on the field."""
    return lambda _expectation, _evidence: nothing(reason, {}, ())
