"""Claims: what a host must do besides keeping to a limit; judged with the same outcomes as `judge`. Pure.

A claim that is wrong is BROKEN; one that could not be read is UNKNOWN. Whether it was pressed is its own matter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from spawner_limits.proof.evidence import Outcome, Verdict
from spawner_limits.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from spawner_limits.proof.evidence import Evidence

N = TypeVar("N", int, float)
T = TypeVar("T")
Claim: TypeAlias = "Callable[[T], Verdict | Iterable[Verdict]]"
"""judges evidence; pure"""
KILLED = 137
"""exit code of what SIGKILL ended: 128 + 9"""


def claim(  # noqa: PLR0913  the columns of a verdict
    name: str,
    expected: str,
    seen: str | None,
    holds: bool | None,
    *,
    reason: str = "",
    files: Sequence[str] = (),
    figures: Mapping[str, float | int | str | None] | None = None,
) -> Verdict:
    """One claim, judged. `holds`: `None` where the evidence does not tell. `seen`: `None` where nothing was read."""
    outcome = Outcome.UNKNOWN if holds is None else Outcome.HELD if holds else Outcome.BROKEN
    told = "nothing was read" if seen is None else seen
    return Verdict(
        field=name,
        outcome=outcome,
        limit=expected,
        seen="–" if seen is None else seen,
        reason=reason or (f"{name}: {told}" if outcome is Outcome.HELD else f"{name}: {told}, expected {expected}"),
        files=tuple(files),
        figures=figures or {},
        under_load=outcome,
    )


def measured(  # noqa: PLR0913  as `claim`
    name: str,
    expected: str,
    value: N | None,
    holds: Callable[[N], bool | None],
    *,
    tell: Callable[[N], str] = str,
    reason: str = "",
    files: Sequence[str] = (),
    figures: Mapping[str, float | int | str | None] | None = None,
) -> Verdict:
    """A claim of a number: UNKNOWN where that was not read. `tell`: it in words."""
    seen, outcome = (None, None) if value is None else (tell(value), holds(value))
    return claim(name, expected, seen, outcome, reason=reason, files=files, figures=figures)


def rose(
    name: str,
    count: int | None,
    *,
    files: Sequence[str] = (),
    figures: Mapping[str, float | int | str | None] | None = None,
) -> Verdict:
    """A counter rose."""
    return measured(name, "+1 or more", count, lambda rise: rise > 0, tell="+{}".format, files=files, figures=figures)


def at_most(name: str, limit_bytes: int, size: int | None, file: str) -> Verdict:
    """A size, in bytes, is within a limit. `file`: where the size was read."""
    files = () if size is None else (f"{file} = {size}",)
    expected, figures = f"at most {format_size(limit_bytes)}", {"peak_bytes": size, "limit_bytes": limit_bytes}
    return measured(
        name, expected, size, lambda most: most <= limit_bytes, tell=format_size, files=files, figures=figures
    )


def exactly(name: str, accept: str | Sequence[str], seen: str | None) -> Verdict:
    """`name`, a kernel file or a key of the engine's record, must read one of the texts in `accept`."""
    wanted = (accept,) if isinstance(accept, str) else tuple(accept)
    holds = None if seen is None else seen in wanted
    return claim(name, " or ".join(wanted), seen, holds, files=() if seen is None else (f"{name} = {seen}",))


def judged(claims: Iterable[Claim[T]], evidence: T) -> list[Verdict]:
    """What claims say of evidence."""
    found = [say(evidence) for say in claims]
    return [verdict for said in found for verdict in ((said,) if isinstance(said, Verdict) else said)]


def unpressed(*claims: Claim[T]) -> Callable[[T], list[Verdict]]:
    """Files and answers are no load: they can show that a limit is missing, not that it holds."""
    return lambda evidence: [replace(verdict, under_load=None) for verdict in judged(claims, evidence)]


# -- of evidence -------------------------------------------------------------------------------------------------


def ended(*accept: int, what: str = "the load") -> Callable[[Evidence], Verdict]:
    """How the load ended: with one of these exit codes."""
    expected = f"exit {' or '.join(map(str, accept))}"

    def judge(evidence: Evidence) -> Verdict:
        code = evidence.load.exit_code
        figures = {"exit_code": code}
        return measured(f"end of {what}", expected, code, accept.__contains__, tell="exit {}".format, figures=figures)

    return judge


def oom_kills(*, least: int = 1, what: str = "") -> Callable[[Evidence], Verdict]:
    """The kernel's own count of OOM kills rose at least so much."""
    return _kills(f"+{least} or more", lambda count: count >= least, what)


def no_oom_kill(*, what: str = "") -> Callable[[Evidence], Verdict]:
    """The kernel's own count of OOM kills did not rise."""
    return _kills("+0", lambda count: count == 0, what)


def _kills(expected: str, holds: Callable[[int], bool], what: str) -> Callable[[Evidence], Verdict]:
    def judge(evidence: Evidence) -> Verdict:
        series, name = evidence.series, f"OOM kills{what and ' '}{what}"
        count, counted = series.risen("oom_kill"), f"{series.first('oom_kill')} → {series.last('oom_kill')}"
        files = () if count is None else (f"{series.file('oom_kill')}: {counted}",)
        figures = {"oom_kills": count}
        return measured(name, expected, count, holds, tell="+{}".format, files=files, figures=figures)

    return judge


def peak_within(limit_bytes: int) -> Callable[[Evidence], Verdict]:
    """The most memory that was ever counted is at most the limit."""

    def judge(evidence: Evidence) -> Verdict:
        series = evidence.series
        peak, name, file = series.most("memory_peak_bytes"), "peak", series.file("memory_peak_bytes")
        if peak is None:
            peak, name, file = series.most("memory_current_bytes"), "largest sample", "memory usage"
        return at_most(f"{name} of memory", limit_bytes, peak, file)

    return judge
