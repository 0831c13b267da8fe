"""`overhead`: what `proof/overhead` measures, told as an experiment."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from spawner_limits.experiments.experiment import Experiment, Judged, figures
from spawner_limits.proof.claims import claim
from spawner_limits.proof.overhead.estimate import Finding
from spawner_limits.proof.overhead.experiment import measure
from spawner_limits.proof.overhead.report import SOURCE, change, interval, margin_words, signed
from spawner_limits.proof.overhead.table import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.experiments.experiment import Figure, Stage
    from spawner_limits.proof.evidence import Verdict
    from spawner_limits.proof.overhead.report import Overhead, Row

TITLE = "What a container costs: the same programs inside and outside of one"
_SEEDS = 1 << 32
_HOLDS: Mapping[Finding, bool | None] = {
    Finding.EQUIVALENT: True,
    Finding.FASTER: True,
    Finding.SLOWER: False,
    Finding.UNDECIDED: None,
}


def run(stage: Stage) -> Experiment:
    """Measure every workload. Errors as `measure`."""
    bench = stage.bench
    return told(measure(bench.engine, bench.image, seed=secrets.randbelow(_SEEDS), say=stage.say))


def told(overhead: Overhead) -> Experiment:
    """The experiment, from what was measured. Pure."""
    return Experiment(
        name="overhead",
        title=TITLE,
        setup=(
            "Each program was run in a container and, from the same files, in a chroot outside of it; in "
            f"{overhead.pairs} pairs, in random order (seed {overhead.seed}). Below zero the container is slower."
        ),
        figures=tuple(figure for row in overhead.rows for figure in _figures(row)),
        findings=(
            *(f"{row.workload.title}: {row.statement}." for row in overhead.rows),
            f"The published figures beside them are of {SOURCE}.",
        ),
        judged=tuple(Judged(part=row.workload.title, verdict=_judged(row)) for row in overhead.rows),
        drawn=table(overhead),
    )


def _figures(row: Row) -> list[Figure]:
    found, source = row.estimate, row.workload.measured
    told, span = ("–", "–") if found is None else (f"{signed(change(found.median))} %", interval(found))
    median, low, high = (None, None, None) if found is None else (found.median, found.low, found.high)
    return figures(
        row.workload.title,
        [
            ("median change", told, source, "median_ratio", median),
            ("90 % interval, low", span, source, "low_ratio", low),
            ("90 % interval, high", span, source, "high_ratio", high),
            ("pairs", str(len(row.pairs)), source, "pairs", len(row.pairs)),
        ],
    )


def _judged(row: Row) -> Verdict:
    return claim(
        "overhead",
        f"equivalent within {margin_words(row.margin)}, or faster",
        row.statement,
        _HOLDS[row.finding],
        reason=row.statement,
    )
