"""What was measured, as an experiment of `spawner-limits experiment`."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from benchmarks.overhead.estimate import Finding
from benchmarks.overhead.experiment import measure
from benchmarks.overhead.report import SOURCE, change, interval, margin_words, signed
from benchmarks.overhead.table import table
from spawner_limits.experiments.experiment import Experiment, Figure, Judged
from spawner_limits.experiments.overhead import TITLE
from spawner_limits.proof.claims import claim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.overhead.report import Overhead, Row
    from spawner_limits.experiments.experiment import Stage
    from spawner_limits.proof.evidence import Verdict

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
    return as_experiment(measure(bench.engine, bench.image, seed=secrets.randbelow(_SEEDS), say=stage.say))


def as_experiment(overhead: Overhead) -> Experiment:
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
    found = row.estimate
    rows: list[tuple[str, str, str, float | int | None]] = [
        (
            "median change",
            "–" if found is None else f"{signed(change(found.median))} %",
            "median_ratio",
            None if found is None else found.median,
        ),
        ("90 % interval, low", "–" if found is None else interval(found), "low_ratio", found.low if found else None),
        ("90 % interval, high", "–" if found is None else interval(found), "high_ratio", found.high if found else None),
        ("pairs", str(len(row.pairs)), "pairs", len(row.pairs)),
    ]
    return [
        Figure(part=row.workload.title, what=what, value=value, source=row.workload.measured, key=key, number=number)
        for what, value, key, number in rows
    ]


def _judged(row: Row) -> Verdict:
    return claim(
        "overhead",
        expected=f"equivalent within {margin_words(row.margin)}, or faster",
        seen=row.statement,
        holds=_HOLDS[row.finding],
        reason=row.statement,
    )
