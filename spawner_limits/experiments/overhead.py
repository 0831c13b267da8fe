"""`overhead`: the experiment that is in the project's checkout only, in `benchmarks/overhead`, and in no wheel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from spawner_limits.experiments.experiment import Experiment, Stage

TITLE = "What a container costs: the same programs inside and outside of one"
IMAGE = "spawner-limits/overhead"
"""has the programs; `docker/build.sh overhead` builds it"""


def benchmark() -> Callable[[Stage], Experiment]:
    """What does it. UsageError where this package is not in a checkout."""
    if not Path(__file__).parents[2].joinpath("benchmarks", "overhead").is_dir():
        raise UsageError("experiment overhead is in the project's checkout, not in this installation; run it there")
    from benchmarks.overhead.as_experiment import run  # noqa: PLC0415  it is not there in an installation

    return run


def run(stage: Stage) -> Experiment:
    """Do it. UsageError as `benchmark`; else errors as `benchmarks.overhead.experiment.measure`."""
    return benchmark()(stage)
