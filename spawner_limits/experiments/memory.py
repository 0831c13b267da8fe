"""`memory`: a staircase into the OOM kill; and what `docker stats` calls memory beside what the limit counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.former import KILLED, Setting, hold, made, no_oom_kill
from spawner_limits.experiments import lines, stats
from spawner_limits.experiments.experiment import Experiment, Figure, Judged
from spawner_limits.experiments.stairs import STEP_MIB, Climb, climbed, size
from spawner_limits.limits import Limits
from spawner_limits.proof.evidence import Outcome
from spawner_limits.report.plot import Plot, Point
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from spawner_limits.experiments.experiment import Stage
    from spawner_limits.experiments.stats import Sample
    from spawner_limits.kernel.snapshot import Snapshot

TITLE = "A memory limit: a staircase into it, and what docker stats shows of memory"
LIMIT = 64 * MIB
_STAIRS_MIB = 96
_FILE_MIB = 96
_FILE_S = 60

_STAIRS, _CACHE = "the staircase", "a file of 96 MiB, written"


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """A container whose limit is full of file cache."""

    snapshots: tuple[Snapshot, ...]
    """while the file was written; the last one after that"""
    sample: Sample | None


def run(stage: Stage) -> Experiment:
    """Press on two containers. CannotError where the load can't run."""
    setting = Setting(limits=Limits(mem_limit=LIMIT, memswap_limit=LIMIT))
    stage.say(f"steps of {STEP_MIB} MiB in {size(LIMIT)}")
    climb = climbed(stage.bench, setting, _STAIRS_MIB)
    stage.say(f"a file of {_FILE_MIB} MiB in {size(LIMIT)}")
    return told(climb, _filled(stage, setting))


def _filled(stage: Stage, setting: Setting) -> Filled:
    with made(stage.bench, setting) as subject:
        load = subject.probe("cache", _FILE_MIB, _FILE_S)
        snapshots = subject.follow(load, seconds=_FILE_S / 2, every_s=0.02, until=lambda _: "written" in load.stdout)
        if "written" not in load.stdout:
            raise CannotError(f"the file was not written: {load.stderr.strip() or load.exit_code}", "")
        return Filled(snapshots=tuple(snapshots), sample=stats.once(subject))


# -- told --------------------------------------------------------------------------------------------------------


def told(climb: Climb, filled: Filled) -> Experiment:
    """The experiment, from what was read. Pure."""
    (verdict,) = hold(Limits(mem_limit=LIMIT), "mem_limit")(climb.evidence)
    lived = no_oom_kill(filled.snapshots, what="while the file was written")
    return Experiment(
        name="memory",
        title=TITLE,
        setup=(
            f"A limit of {size(LIMIT)}, without swap. In one container a process takes {STEP_MIB} MiB after the other; "
            f"in another one, a process writes a file of {_FILE_MIB} MiB."
        ),
        figures=(*_stairs_figures(climb), *_cache_figures(filled)),
        findings=(_kill_told(climb, verdict.outcome, verdict.reason), *_cache_told(filled)),
        judged=(Judged(part=_STAIRS, verdict=verdict), Judged(part=_CACHE, verdict=lived)),
        plots=(_stairs_plot(climb), _cache_plot(filled)),
    )


def _stairs_figures(climb: Climb) -> list[Figure]:
    v1 = climb.version == 1
    rows: list[tuple[str, str, str, str, int | None]] = [
        (
            "limit",
            size(climb.limit("memory.limit_in_bytes", "memory.max")),
            "memory.limit_in_bytes" if v1 else "memory.max",
            "limit_bytes",
            climb.limit("memory.limit_in_bytes", "memory.max"),
        ),
        ("last step reached", size(climb.reached_bytes), "the process", "reached_bytes", climb.reached_bytes),
        (
            "most memory",
            size(climb.peak_bytes),
            "memory.max_usage_in_bytes" if v1 else "memory.peak",
            "peak_bytes",
            climb.peak_bytes,
        ),
        (
            "OOM kills",
            _count(climb.kills),
            "memory.oom_control" if v1 else "memory.events",
            "oom_kills",
            climb.kills,
        ),
        ("the process", _code(climb.exit_code), "the engine: exec", "exit_code", climb.exit_code),
    ]
    alive = "running" if climb.alive else "ended"
    engine = Figure(
        part=_STAIRS, what="the container", value=alive, source="the engine: inspect", key="container", number=alive
    )
    return [
        *(
            Figure(part=_STAIRS, what=one, value=two, source=three, key=key, number=n)
            for one, two, three, key, n in rows
        ),
        engine,
    ]


def _count(count: int | None) -> str:
    return "not read" if count is None else f"+{count}"


def _code(code: int | None) -> str:
    return "not known" if code is None else f"exit {code}"


def _cache_figures(filled: Filled) -> list[Figure]:
    last = filled.snapshots[-1]
    v1 = last.versions.get("memory") == 1
    cache = last.memory_inactive_file_bytes
    kills = no_oom_kill(filled.snapshots).figures["oom_kills"]
    shown = filled.sample.memory_bytes if filled.sample else None
    rows: list[tuple[str, str, str, str, int | None]] = [
        (
            "what the limit counts",
            size(last.memory_current_bytes),
            "memory.usage_in_bytes" if v1 else "memory.current",
            "usage_bytes",
            last.memory_current_bytes,
        ),
        (
            "of that, idle cache",
            size(cache),
            f"memory.stat {'total_' if v1 else ''}inactive_file",
            "inactive_file_bytes",
            cache,
        ),
        ("shown as memory", size(shown), "docker stats", "shown_bytes", shown),
        (
            "OOM kills",
            _count(None if kills is None else int(kills)),
            "memory.oom_control" if v1 else "memory.events",
            "oom_kills",
            None if kills is None else int(kills),
        ),
    ]
    return [
        Figure(part=_CACHE, what=one, value=two, source=three, key=key, number=n) for one, two, three, key, n in rows
    ]


def _kill_told(climb: Climb, outcome: Outcome, reason: str) -> str:
    if outcome is not Outcome.HELD:
        return f"The memory limit is {outcome}: {reason}."
    rest = " The container lives on: only the process was ended." if climb.alive else ""
    code = f" with exit code {KILLED}" if climb.exit_code == KILLED else ""
    return (
        f"The limit HELD: the process reached {size(climb.reached_bytes)}, asked for {STEP_MIB} MiB more, and the "
        f"Linux kernel's OOM killer ended it{code}; no more than {size(climb.peak_bytes)} was ever counted.{rest}"
    )


def _cache_told(filled: Filled) -> list[str]:
    last, sample = filled.snapshots[-1], filled.sample
    if last.memory_current_bytes is None or sample is None or sample.memory_bytes is None:
        return ["What docker stats shows could not be compared: one of the two was not read."]
    usage, shown = last.memory_current_bytes, sample.memory_bytes
    found = [
        (
            f"docker stats showed {size(shown)} where the limit counted {size(usage)} of {size(LIMIT)}: it leaves out "
            "idle file cache, which the limit does not. A container can stand at its limit and look empty there."
        )
    ]
    if not no_oom_kill(filled.snapshots).figures["oom_kills"]:
        found.append(
            f"A file of {_FILE_MIB} MiB went through a limit of {size(LIMIT)} without an OOM kill: cache is given up "
            "when memory is wanted. It is not what kills; memory that processes hold is."
        )
    return found


def _stairs_plot(climb: Climb) -> Plot:
    begin = climb.snapshots[0].monotonic_ns
    return Plot(
        title="Memory of the staircase",
        unit="bytes",
        lines={
            "memory, as the limit counts it": climb.memory(),
            "docker stats": _shown(climb.shown, begin),
        },
        limit=float(LIMIT),
        marks=dict.fromkeys(lines.kills(climb.snapshots, begin), "OOM kill"),
        counts=lines.kills(climb.snapshots, begin),
    )


def _shown(samples: tuple[Sample, ...], begin_ns: int) -> tuple[Point, ...]:
    return tuple(
        Point(seconds=lines.seconds(begin_ns, one.received_ns), value=one.memory_bytes)
        for one in samples
        if one.memory_bytes and one.received_ns >= begin_ns
    )


def _cache_plot(filled: Filled) -> Plot:
    begin = filled.snapshots[0].monotonic_ns
    without = [
        one.memory_current_bytes - one.memory_inactive_file_bytes
        if one.memory_current_bytes is not None and one.memory_inactive_file_bytes is not None
        else None
        for one in filled.snapshots
    ]
    return Plot(
        title="Memory while a file is written",
        unit="bytes",
        lines={
            "memory, as the limit counts it": lines.values(
                filled.snapshots, begin, lambda one: one.memory_current_bytes
            ),
            "without idle cache, as docker stats shows it": tuple(
                Point(seconds=lines.seconds(begin, one.monotonic_ns), value=value)
                for one, value in zip(filled.snapshots, without, strict=True)
            ),
        },
        limit=float(LIMIT),
        marks=dict.fromkeys(lines.kills(filled.snapshots, begin), "OOM kill"),
        counts=lines.kills(filled.snapshots, begin),
    )
