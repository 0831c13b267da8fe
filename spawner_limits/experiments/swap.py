"""`swap`: memory and swap together. The staircase goes on in swap where memory ends, and ends where that does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.former import Setting, hold
from spawner_limits.experiments import lines
from spawner_limits.experiments.experiment import Experiment, Figure, Judged
from spawner_limits.experiments.stairs import STEP_MIB, Climb, climbed, size
from spawner_limits.limits import Limits
from spawner_limits.proof.evidence import Outcome
from spawner_limits.report.plot import Plot
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from spawner_limits.conformance.trial import Bench
    from spawner_limits.experiments.experiment import Stage

TITLE = "Memory and swap together: ten MiB of swap more"
MEMORY = 64 * MIB
TOTAL = 74 * MIB
_STAIRS_MIB = 112
_PARTS = ("without swap", "with 10 MiB of swap")


def needs_swap(bench: Bench) -> None:
    """CannotError on a host without swap."""
    if not bench.host.swap_bytes:
        raise CannotError(
            "this host has no swap, so nothing can be swapped out",
            "run it on a host with swap: mkswap and swapon of a partition, or of a file that fallocate made",
        )


def run(stage: Stage) -> Experiment:
    """Press on two containers. CannotError where there is no swap, or the load can't run."""
    needs_swap(stage.bench)
    climbs = []
    for part, total in zip(_PARTS, (MEMORY, TOTAL), strict=True):
        stage.say(f"{part}: steps of {STEP_MIB} MiB")
        climbs.append(climbed(stage.bench, Setting(limits=_limits(total)), _STAIRS_MIB))
    return told(climbs[0], climbs[1])


def _limits(total: int) -> Limits:
    return Limits(mem_limit=MEMORY, memswap_limit=total)


# -- told --------------------------------------------------------------------------------------------------------


def told(without: Climb, with_swap: Climb) -> Experiment:
    """The experiment, from what was read. Pure."""
    pairs = tuple(zip(_PARTS, (without, with_swap), (MEMORY, TOTAL), strict=True))
    judged = tuple(
        Judged(part=part, verdict=verdict)
        for part, climb, total in pairs
        for verdict in hold(_limits(total), "mem_limit", "memswap_limit")(climb.evidence)
    )
    return Experiment(
        name="swap",
        title=TITLE,
        setup=(
            f"A process takes {STEP_MIB} MiB after the other in {size(MEMORY)} of memory: once with a limit of memory "
            f"and swap together that equals it, once with one that is {size(TOTAL - MEMORY)} above it."
        ),
        figures=tuple(figure for part, climb, _ in pairs for figure in climb_figures(part, climb)),
        findings=_findings(without, with_swap, judged),
        judged=judged,
        plots=tuple(climb_plot(f"Memory and swap, {part}", climb, total) for part, climb, total in pairs),
    )


def climb_figures(part: str, climb: Climb) -> list[Figure]:
    """What a staircase comes to where swap counts."""
    v1 = climb.version == 1
    memory = climb.limit("memory.limit_in_bytes", "memory.max")
    total = climb.limit("memory.memsw.limit_in_bytes", "memory.swap.max")
    file = "memory.memsw.limit_in_bytes" if v1 else "memory.swap.max"
    rows: list[tuple[str, str, str, str, int | None]] = [
        (
            "limit of memory",
            size(memory),
            "memory.limit_in_bytes" if v1 else "memory.max",
            "memory_limit_bytes",
            memory,
        ),
        ("limit of both" if v1 else "limit of swap", size(total), file, "swap_limit_bytes", total),
        ("last step reached", size(climb.reached_bytes), "the process", "reached_bytes", climb.reached_bytes),
        (
            "most memory",
            size(climb.peak_bytes),
            "memory.max_usage_in_bytes" if v1 else "memory.peak",
            "peak_bytes",
            climb.peak_bytes,
        ),
        (
            "most swap",
            size(climb.swap_bytes),
            "memory.stat total_swap" if v1 else "memory.swap.current",
            "swap_bytes",
            climb.swap_bytes,
        ),
        (
            "OOM kills",
            "not read" if climb.kills is None else f"+{climb.kills}",
            "memory.oom_control" if v1 else "memory.events",
            "oom_kills",
            climb.kills,
        ),
        (
            "the process",
            "not known" if climb.exit_code is None else f"exit {climb.exit_code}",
            "the engine: exec",
            "exit_code",
            climb.exit_code,
        ),
    ]
    return [Figure(part=part, what=one, value=two, source=three, key=key, number=n) for one, two, three, key, n in rows]


def climb_plot(title: str, climb: Climb, limit: int | None) -> Plot:
    """Memory and swap over time, under the limit of both."""
    begin = climb.snapshots[0].monotonic_ns
    both = lines.values(
        climb.snapshots,
        begin,
        lambda one: (
            None
            if one.memory_current_bytes is None or one.swap_current_bytes is None
            else one.memory_current_bytes + one.swap_current_bytes
        ),
    )
    return Plot(
        title=title,
        unit="bytes",
        lines={"memory and swap": both, "memory": climb.memory(), "swap": climb.swap()},
        limit=None if limit is None else float(limit),
        marks=dict.fromkeys(lines.kills(climb.snapshots, begin), "OOM kill"),
        counts=lines.kills(climb.snapshots, begin),
    )


def _findings(without: Climb, with_swap: Climb, judged: tuple[Judged, ...]) -> tuple[str, ...]:
    wrong = [one for one in judged if one.verdict.outcome is not Outcome.HELD]
    if wrong:
        return tuple(
            f"{one.part}: {one.verdict.field} is {one.verdict.outcome}: {one.verdict.reason}." for one in wrong
        )
    more = with_swap.reached_bytes - without.reached_bytes
    largest = with_swap.swap_bytes or 0
    return (
        (
            f"Both limits HELD. Without swap the process was ended after {size(without.reached_bytes)}, with "
            f"{size(TOTAL - MEMORY)} of swap after {size(with_swap.reached_bytes)}: {size(more)} more."
        ),
        (
            f"Memory stopped at its own limit ({size(with_swap.peak_bytes)}), and {size(largest)} went to swap: the "
            "limit of memory alone kills nobody while there is swap left, it pushes out. The limit of both kills."
        ),
        (
            "Left out, memswap_limit is no limit of zero: Docker then makes it twice the memory. The policy here sets "
            "it to the memory, unless it is told otherwise."
        ),
    )
