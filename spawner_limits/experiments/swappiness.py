"""`swappiness`: on cgroup v1 with swap, 0 is no low value but another rule: nothing is swapped out, so it is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.former import KILLED, Setting, claim
from spawner_limits.experiments.experiment import Experiment, Figure, Judged
from spawner_limits.experiments.stairs import STEP_MIB, Climb, climbed, size
from spawner_limits.experiments.swap import climb_figures, climb_plot, needs_swap
from spawner_limits.limits import Limits
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.experiments.experiment import Stage
    from spawner_limits.proof.evidence import Verdict

TITLE = "Swappiness 0 and 60: killed although swap is free, or swapped out"
MEMORY = 64 * MIB
TOTAL = 128 * MIB
TRIED = (0, 60)
_STAIRS_MIB = 96
_RULE = (
    "0 is not a little less than 1: Linux then swaps nothing of the container out, and calls the OOM killer at the "
    "memory limit, however much swap is free. On cgroup v2 there is no such setting."
)


def run(stage: Stage) -> Experiment:
    """Press on two containers. CannotError on cgroup v2, without swap, or where the load can't run."""
    if stage.bench.version != 1:
        raise CannotError(
            "cgroup v2 has no swappiness of a container: Docker discards mem_swappiness, with a warning",
            "limit swap itself with memswap_limit; equal to mem_limit, nothing is swapped out",
        )
    needs_swap(stage.bench)
    climbs = {}
    for one in TRIED:
        stage.say(f"swappiness {one}: steps of {STEP_MIB} MiB")
        setting = Setting(limits=Limits(mem_limit=MEMORY, memswap_limit=TOTAL, mem_swappiness=one))
        climbs[one] = climbed(stage.bench, setting, _STAIRS_MIB)
    return told(climbs)


# -- told --------------------------------------------------------------------------------------------------------


def told(climbs: Mapping[int, Climb]) -> Experiment:
    """The experiment, from what was read: swappiness → its staircase. Pure."""
    return Experiment(
        name="swappiness",
        title=TITLE,
        setup=(
            f"A process takes {STEP_MIB} MiB after the other, {_STAIRS_MIB} MiB in all, in {size(MEMORY)} of memory; "
            f"memory and swap together may be {size(TOTAL)}, so there is room for it in swap."
        ),
        figures=tuple(figure for one, climb in climbs.items() for figure in _figures(one, climb)),
        findings=(*(_found(one, climb) for one, climb in climbs.items()), _RULE),
        judged=tuple(Judged(part=_part(one), verdict=_judged(one, climb)) for one, climb in climbs.items()),
        plots=tuple(climb_plot(f"Memory and swap, {_part(one)}", climb, MEMORY) for one, climb in climbs.items()),
    )


def _part(swappiness: int) -> str:
    return f"swappiness {swappiness}"


def _figures(swappiness: int, climb: Climb) -> list[Figure]:
    text = climb.snapshots[0].limits.get("memory.swappiness")
    mine = Figure(
        part=_part(swappiness),
        what="swappiness",
        value=text or "not read",
        source="memory.swappiness",
        key="swappiness",
        number=None if text is None else int(text),
    )
    return [mine, *climb_figures(_part(swappiness), climb)]


def _judged(swappiness: int, climb: Climb) -> Verdict:
    """With 0 it is killed and nothing is swapped; with any other value it lives, in swap."""
    swapped, killed = climb.swap_bytes, climb.exit_code == KILLED
    kept = climb.snapshots[0].limits.get("memory.swappiness") == str(swappiness)
    known = swapped is not None and climb.exit_code is not None
    holds = killed and not swapped if swappiness == 0 else not killed and bool(swapped)
    return claim(
        "swappiness",
        expected="killed, nothing swapped" if swappiness == 0 else "lives, swapped",
        seen=f"exit {climb.exit_code}, {size(swapped)} swapped",
        holds=holds and kept if known else None,
        files=[f"memory.swappiness = {climb.snapshots[0].limits.get('memory.swappiness')}"],
    )


def _found(swappiness: int, climb: Climb) -> str:
    end = "the OOM killer ended it" if climb.exit_code == KILLED else f"it ended by itself, with exit {climb.exit_code}"
    return (
        f"With swappiness {swappiness} the process reached {size(climb.reached_bytes)}, {size(climb.swap_bytes)} were "
        f"swapped out, and {end}."
    )
