"""What one run of the experiment found, as values and in words, and as a record for programs. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.overhead.estimate import LEAST_PAIRS, Estimate, Finding, Pair, estimate, finding, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.overhead.workloads import Published, Workload
    from spawner_limits.proof.evidence import Host

SCHEMA_VERSION = 1
SOURCE = "Felter et al., IBM Research Report RC25482, 2014"
_EXIT_CODES = {Finding.SLOWER: 1, Finding.UNDECIDED: 3}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One workload."""

    workload: Workload
    pairs: tuple[Pair, ...]
    margin: float
    estimate: Estimate | None
    """`None`: no pair was run"""
    finding: Finding
    disturbed: int = 0
    """pairs that are left out, because other work held the CPU"""

    @property
    def statement(self) -> str:
        """Equivalent within ±5 % · slower by 3.1 % (2.0 … 4.2 %) · not decided with 8 pairs: -7.1 … +1.2 %."""
        said = _statement(self.estimate, self.finding, len(self.pairs), self.margin)
        return f"{said}; {_pairs(self.disturbed)} disturbed" if self.disturbed else said


@dataclass(frozen=True, kw_only=True, slots=True)
class Overhead:
    """All that one run found."""

    rows: tuple[Row, ...]
    host: Host
    image: str
    seed: int
    """of the order, and of the bootstrap"""
    margin: float
    """a share: 0.05 for ±5 %"""
    pairs: int
    """that were asked for; a row has fewer where the time was over before"""
    started: str
    """RFC 3339, UTC"""
    seconds: float
    version: str
    """of this package"""

    @property
    def exit_code(self) -> int:
        """0: nothing is slower beyond the margin · 1: something is slower, and not equivalent · 3: not decided."""
        codes = {_EXIT_CODES.get(row.finding, 0) for row in self.rows}
        return 1 if 1 in codes else max(codes, default=3)


def row(workload: Workload, pairs: Sequence[Pair], margin: float, seed: int, disturbed: int = 0) -> Row:
    """What the pairs of a workload say; the disturbed ones are not among them."""
    found = estimate([ratio(pair, workload.better) for pair in pairs], seed)
    return Row(
        workload=workload,
        pairs=tuple(pairs),
        margin=margin,
        estimate=found,
        finding=finding(found, len(pairs), margin),
        disturbed=disturbed,
    )


# -- words -------------------------------------------------------------------------------------------------------------


def change(share: float) -> float:
    """Percent against native: -4.0 for 0.96."""
    return (share - 1) * 100


def signed(percent: float) -> str:
    """+0.3, −4.1."""
    return f"{percent:+.1f}".replace("-", "−")


def interval(found: Estimate) -> str:
    """Its bounds as changes: "−0.3 … +0.9 %"."""
    return f"{signed(change(found.low))} … {signed(change(found.high))} %"


def margin_words(margin: float) -> str:
    """±5 %."""
    return f"±{margin * 100:g} %"


def published(percent: tuple[int, int]) -> str:
    """So much slower: "−4 %", "−0 … −3 %"."""
    least, most = percent
    return f"−{most} %" if least == most else f"−{least} … −{most} %"


def _statement(found: Estimate | None, what: Finding, pairs: int, margin: float) -> str:
    if found is None:
        return "not decided: no pair"
    if what is Finding.EQUIVALENT:
        return f"equivalent within {margin_words(margin)}"
    if what is Finding.UNDECIDED:
        more = f", at least {LEAST_PAIRS} are needed" if pairs < LEAST_PAIRS else ""
        return f"not decided with {_pairs(pairs)}: {interval(found)}{more}"
    bounds = sorted(abs(change(bound)) for bound in (found.low, found.high))
    return f"{what} by {abs(change(found.median)):.1f} % ({bounds[0]:.1f} … {bounds[1]:.1f} %)"


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"


# -- for programs ------------------------------------------------------------------------------------------------------


def record(overhead: Overhead) -> dict[str, Any]:
    """For JSON. Ratios are the container's performance as a share of the native one."""
    return {
        "schema_version": SCHEMA_VERSION,
        "version": overhead.version,
        "started": overhead.started,
        "seconds": round(overhead.seconds, 1),
        "host": asdict(overhead.host),
        "image": overhead.image,
        "seed": overhead.seed,
        "margin_ratio": overhead.margin,
        "pairs": overhead.pairs,
        "published_source": SOURCE,
        "workloads": [_row_record(one) for one in overhead.rows],
    }


def _row_record(one: Row) -> dict[str, Any]:
    found = one.estimate
    return {
        "workload": one.workload.key,
        "measured": one.workload.measured,
        "unit": one.workload.unit,
        "better": one.workload.better.value,
        "pairs": [asdict(pair) for pair in one.pairs],
        "disturbed_pairs": one.disturbed,
        "median_ratio": None if found is None else found.median,
        "low_ratio": None if found is None else found.low,
        "high_ratio": None if found is None else found.high,
        "deviation_ratio": None if found is None else found.deviation,
        "finding": one.finding.value,
        "statement": one.statement,
        "published": _published_record(one.workload.published),
    }


def _published_record(known: Published | None) -> Mapping[str, Any] | None:
    if known is None:
        return None
    return {
        "docker_slower_percent": list(known.docker_percent),
        "kvm_untuned_slower_percent": list(known.kvm_percent),
    }
