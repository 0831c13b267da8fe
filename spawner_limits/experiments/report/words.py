"""The words that all forms of an experiment share. Pure."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from spawner_limits.proof.evidence import Outcome
from spawner_limits.report.words import host, line, plain

if TYPE_CHECKING:
    from spawner_limits.experiments.experiment import Done, Experiment, Figure

__all__ = ["host", "line", "plain"]

SEEN = "What one sees"


def parts(experiment: Experiment) -> list[tuple[str, list[Figure]]]:
    """The figures by their parts, in order."""
    return [(part, list(figures)) for part, figures in groupby(experiment.figures, key=lambda one: one.part)]


def outcome(experiment: Experiment, part: str) -> Outcome | None:
    """The worst of what was judged in a part; `None` where nothing was."""
    found = {one.verdict.outcome for one in experiment.judged if one.part == part}
    return next((one for one in (Outcome.BROKEN, Outcome.UNKNOWN, Outcome.HELD) if one in found), None)


def summary(done: Done) -> str:
    """The line that matters."""
    count = len(done.experiment.judged)
    if done.experiment.outcome is Outcome.HELD:
        return f"{done.experiment.name}: what was judged HELD ({count} of {count})"
    wrong = [one.verdict for one in done.experiment.judged if one.verdict.outcome is done.experiment.outcome]
    reasons = "; ".join(dict.fromkeys(line(one.reason) for one in wrong))
    return f"{done.experiment.name}: {len(wrong)} of {count} {done.experiment.outcome}: {reasons}"


def made(done: Done) -> tuple[str, str, str]:
    """Where, from what, and when."""
    image = line(f"image {done.image}, spawner-limits {done.version}")
    return host(done.host), image, line(f"started {done.started}, took {done.seconds:.0f} s")
