"""`swap`, `swappiness`: a staircase that goes on in swap where memory ends: to a limit of both; or, with 0, not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits.conformance import lines
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.setting import Setting, hold
from spawner_limits.experiments.experiment import Experiment, Judged, figures
from spawner_limits.experiments.stairs import STEP_MIB, Climb, climbed, size
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import KILLED, claim
from spawner_limits.proof.evidence import Outcome
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.conformance.trial import Bench
    from spawner_limits.experiments.experiment import Row, Stage
    from spawner_limits.proof.evidence import Verdict
    from spawner_limits.report.plot import Plot

SWAP = "Memory and swap together: ten MiB of swap more"
SWAPPINESS = "Swappiness 0 and 60: killed although swap is free, or swapped out"
MEMORY = 64 * MIB
TOTAL = 74 * MIB
AMPLE = 128 * MIB
TRIED = (0, 60)
_SWAP_MIB, _SWAPPINESS_MIB = 112, 96
_PARTS = {"without swap": MEMORY, "with 10 MiB of swap": TOTAL}
"""part → memory and swap together"""


def _need_swap(bench: Bench) -> None:
    if not bench.host.swap_bytes:
        raise CannotError(
            "this host has no swap, so nothing can be swapped out",
            "run it on a host with swap: mkswap and swapon of a partition, or of a file that fallocate made",
        )


def swap(stage: Stage) -> Experiment:
    """Press on two containers. CannotError where there is no swap, or the load can't run."""
    _need_swap(stage.bench)
    climbs = []
    for part, total in _PARTS.items():
        stage.say(f"{part}: steps of {STEP_MIB} MiB")
        climbs.append(climbed(stage.bench, Setting(asked=_limits(total)), _SWAP_MIB))
    return told_swap(*climbs)


def _limits(total: int) -> Limits:
    return Limits(mem_limit=MEMORY, memswap_limit=total)


def swappiness(stage: Stage) -> Experiment:
    """Press on two containers. CannotError on cgroup v2, without swap, or where the load can't run."""
    if stage.bench.version != 1:
        raise CannotError(
            "cgroup v2 has no swappiness of a container: Docker discards mem_swappiness, with a warning",
            "limit swap itself with memswap_limit; equal to mem_limit, nothing is swapped out",
        )
    _need_swap(stage.bench)
    climbs = {}
    for value in TRIED:
        stage.say(f"swappiness {value}: steps of {STEP_MIB} MiB")
        setting = Setting(asked=Limits(mem_limit=MEMORY, memswap_limit=AMPLE, mem_swappiness=value))
        climbs[value] = climbed(stage.bench, setting, _SWAPPINESS_MIB)
    return told_swappiness(climbs)


# -- told --------------------------------------------------------------------------------------------------------


def _rows(climb: Climb) -> list[Row]:
    """What a staircase comes to where swap counts."""
    other = "limit of both" if climb.seen.version == 1 else "limit of swap"
    return [
        climb.limit("limit of memory", "mem_limit", "memory_limit_bytes"),
        climb.limit(other, "memswap_limit", "swap_limit_bytes"),
        *climb.rows(),
    ]


def _plot(title: str, climb: Climb, limit: int) -> Plot:
    """Memory and swap over time, under the limit of both."""
    taken = climb.seen.snapshots
    drawn = {
        "memory and swap": lines.values(
            taken,
            lambda one: (
                None
                if one.memory_current_bytes is None or one.swap_current_bytes is None
                else one.memory_current_bytes + one.swap_current_bytes
            ),
        ),
        "memory": lines.memory(taken),
        "swap": lines.values(taken, lambda one: one.swap_current_bytes),
    }
    return lines.with_kills(title, taken, drawn, float(limit))


def told_swap(without: Climb, with_swap: Climb) -> Experiment:
    """`swap`, from what was read. Pure."""
    parts = [(part, climb, total) for (part, total), climb in zip(_PARTS.items(), (without, with_swap), strict=True)]
    judged = tuple(
        Judged(part=part, verdict=verdict)
        for part, climb, total in parts
        for verdict in hold(_limits(total), "mem_limit", "memswap_limit")(climb.seen)
    )
    return Experiment(
        name="swap",
        title=SWAP,
        setup=(
            f"A process takes {STEP_MIB} MiB after the other in {size(MEMORY)} of memory: once with a limit of memory "
            f"and swap together that equals it, once with one that is {size(TOTAL - MEMORY)} above it."
        ),
        figures=tuple(figure for part, climb, _ in parts for figure in figures(part, _rows(climb))),
        findings=_swap_found(without, with_swap, judged),
        judged=judged,
        plots=tuple(_plot(f"Memory and swap, {part}", climb, total) for part, climb, total in parts),
    )


def _swap_found(without: Climb, with_swap: Climb, judged: tuple[Judged, ...]) -> tuple[str, ...]:
    wrong = [one for one in judged if one.verdict.outcome is not Outcome.HELD]
    if wrong:
        return tuple(
            f"{one.part}: {one.verdict.field} is {one.verdict.outcome}: {one.verdict.reason}." for one in wrong
        )
    more = with_swap.reached_bytes - without.reached_bytes
    return (
        (
            f"Both limits HELD. Without swap the process was ended after {size(without.reached_bytes)}, with "
            f"{size(TOTAL - MEMORY)} of swap after {size(with_swap.reached_bytes)}: {size(more)} more."
        ),
        (
            f"Memory stopped at its own limit ({size(with_swap.peak_bytes)}), and {size(with_swap.swap_bytes or 0)} "
            "went to swap: the limit of memory alone kills nobody while there is swap left, it pushes out. The limit "
            "of both kills."
        ),
        (
            "Left out, memswap_limit is no limit of zero: Docker then makes it twice the memory. The policy here sets "
            "it to the memory, unless it is told otherwise."
        ),
    )


def told_swappiness(climbs: Mapping[int, Climb]) -> Experiment:
    """`swappiness`, from what was read: swappiness → its staircase. Pure."""
    parts = {f"swappiness {value}": (value, climb) for value, climb in climbs.items()}
    return Experiment(
        name="swappiness",
        title=SWAPPINESS,
        setup=(
            f"A process takes {STEP_MIB} MiB after the other, {_SWAPPINESS_MIB} MiB in all, in {size(MEMORY)} of "
            f"memory; memory and swap together may be {size(AMPLE)}, so there is room for it in swap."
        ),
        figures=tuple(
            figure for part, (_, climb) in parts.items() for figure in figures(part, (_eagerness(climb), *_rows(climb)))
        ),
        findings=(
            *(_swappiness_found(part, climb) for part, (_, climb) in parts.items()),
            (
                "0 is not a little less than 1: Linux then swaps nothing of the container out, and calls the OOM "
                "killer at the memory limit, however much swap is free. On cgroup v2 there is no such setting."
            ),
        ),
        judged=tuple(Judged(part=part, verdict=_judged(*pair)) for part, pair in parts.items()),
        plots=tuple(_plot(f"Memory and swap, {part}", climb, MEMORY) for part, (_, climb) in parts.items()),
    )


def _eagerness(climb: Climb) -> Row:
    text = climb.seen.snapshots[0].limits.get("memory.swappiness")
    number = None if text is None else int(text)
    return ("swappiness", text or "not read", "memory.swappiness", "swappiness", number)


def _judged(value: int, climb: Climb) -> Verdict:
    """With 0 it is killed and nothing is swapped; with any other value it lives, in swap."""
    code, swapped = climb.seen.exit_code, climb.swap_bytes
    text, killed = climb.seen.snapshots[0].limits.get("memory.swappiness"), code == KILLED
    is_so = killed and not swapped if value == 0 else not killed and bool(swapped)
    return claim(
        "swappiness",
        "killed, nothing swapped" if value == 0 else "lives, swapped",
        f"exit {code}, {size(swapped)} swapped",
        None if swapped is None or code is None else is_so and text == str(value),
        files=[f"memory.swappiness = {text}"],
    )


def _swappiness_found(part: str, climb: Climb) -> str:
    code = climb.seen.exit_code
    end = "the OOM killer ended it" if code == KILLED else f"it ended by itself, with exit {code}"
    return (
        f"With {part} the process reached {size(climb.reached_bytes)}, {size(climb.swap_bytes)} were swapped out, and "
        f"{end}."
    )
