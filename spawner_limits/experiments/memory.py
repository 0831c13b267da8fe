"""`memory`: a staircase into the OOM kill; and what `docker stats` calls memory beside what the limit counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits.conformance import lines
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.setting import Setting, hold, made
from spawner_limits.experiments import stats
from spawner_limits.experiments.experiment import Experiment, Judged, figures
from spawner_limits.experiments.stairs import EVERY_S, STEP_MIB, Climb, climbed, kills, size
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import KILLED, no_oom_kill
from spawner_limits.proof.evidence import Outcome
from spawner_limits.report.plot import Point
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.experiments.experiment import Row, Stage
    from spawner_limits.experiments.stats import Sample
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Verdict
    from spawner_limits.report.plot import Plot

TITLE = "A memory limit: a staircase into it, and what docker stats shows of memory"
LIMIT = 64 * MIB
_STAIRS_MIB = 96
_FILE_MIB = 96
_FILE_S = 60

_STAIRS, _CACHE = "the staircase", "a file of 96 MiB, written"


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """A container whose limit is full of file cache."""

    seen: Seen
    """while the file was written; the last snapshot after that"""
    sample: Sample | None


def run(stage: Stage) -> Experiment:
    """Press on two containers. CannotError where the load can't run."""
    setting = Setting(asked=Limits(mem_limit=LIMIT, memswap_limit=LIMIT))
    stage.say(f"steps of {STEP_MIB} MiB in {size(LIMIT)}")
    climb = climbed(stage.bench, setting, _STAIRS_MIB)
    stage.say(f"a file of {_FILE_MIB} MiB in {size(LIMIT)}")
    return told(climb, _filled(stage, setting))


def _filled(stage: Stage, setting: Setting) -> Filled:
    with made(stage.bench, setting) as subject:
        load = subject.probe("cache", _FILE_MIB, _FILE_S)
        taken = subject.follow(load, seconds=_FILE_S / 2, every_s=EVERY_S, until=lambda _: "written" in load.stdout)
        if "written" not in load.stdout:
            raise CannotError(f"the file was not written: {load.stderr.strip() or load.exit_code}")
        return Filled(seen=subject.seen(taken), sample=stats.once(subject))


# -- told --------------------------------------------------------------------------------------------------------


def told(climb: Climb, filled: Filled) -> Experiment:
    """The experiment, from what was read. Pure."""
    (verdict,) = hold(Limits(mem_limit=LIMIT), "mem_limit")(climb.seen)
    lived = no_oom_kill(what="while the file was written")(filled.seen)
    return Experiment(
        name="memory",
        title=TITLE,
        setup=(
            f"A limit of {size(LIMIT)}, without swap. In one container a process takes {STEP_MIB} MiB after the other; "
            f"in another one, a process writes a file of {_FILE_MIB} MiB."
        ),
        figures=(*figures(_STAIRS, _stairs_rows(climb)), *figures(_CACHE, _cache_rows(filled))),
        findings=(_kill_found(climb, verdict), *_cache_found(filled)),
        judged=(Judged(part=_STAIRS, verdict=verdict), Judged(part=_CACHE, verdict=lived)),
        plots=(_stairs_plot(climb), _cache_plot(filled)),
    )


def _stairs_rows(climb: Climb) -> list[Row]:
    alive = "running" if climb.seen.alive else "ended"
    return [
        climb.limit("limit", "mem_limit", "limit_bytes"),
        *(row for row in climb.rows() if row[0] != "most swap"),  # of which there is none here
        ("the container", alive, "the engine: inspect", "container", alive),
    ]


def _cache_rows(filled: Filled) -> list[Row]:
    last, series = filled.seen.snapshots[-1], filled.seen.series
    usage, cache = last.memory_current_bytes, last.memory_inactive_file_bytes
    shown = filled.sample.memory_bytes if filled.sample else None
    return [
        ("what the limit counts", size(usage), series.file("memory_current_bytes"), "usage_bytes", usage),
        ("of that, idle cache", size(cache), series.file("memory_inactive_file_bytes"), "inactive_file_bytes", cache),
        ("shown as memory", size(shown), "docker stats", "shown_bytes", shown),
        kills(filled.seen),
    ]


def _kill_found(climb: Climb, verdict: Verdict) -> str:
    if verdict.outcome is not Outcome.HELD:
        return f"The memory limit is {verdict.outcome}: {verdict.reason}."
    rest = " The container lives on: only the process was ended." if climb.seen.alive else ""
    code = f" with exit code {KILLED}" if climb.seen.exit_code == KILLED else ""
    return (
        f"The limit HELD: the process reached {size(climb.reached_bytes)}, asked for {STEP_MIB} MiB more, and the "
        f"Linux kernel's OOM killer ended it{code}; no more than {size(climb.peak_bytes)} was ever counted.{rest}"
    )


def _cache_found(filled: Filled) -> list[str]:
    usage = filled.seen.snapshots[-1].memory_current_bytes
    shown = filled.sample.memory_bytes if filled.sample else None
    if usage is None or shown is None:
        return ["What docker stats shows could not be compared: one of the two was not read."]
    found = [
        (
            f"docker stats showed {size(shown)} where the limit counted {size(usage)} of {size(LIMIT)}: it leaves out "
            "idle file cache, which the limit does not. A container can stand at its limit and look empty there."
        )
    ]
    if not filled.seen.series.risen("oom_kill"):
        found.append(
            f"A file of {_FILE_MIB} MiB went through a limit of {size(LIMIT)} without an OOM kill: cache is given up "
            "when memory is wanted. It is not what kills; memory that processes hold is."
        )
    return found


def _stairs_plot(climb: Climb) -> Plot:
    taken = climb.seen.snapshots
    begin = taken[0].monotonic_ns
    shown = tuple(
        Point(seconds=lines.seconds(begin, one.received_ns), value=one.memory_bytes)
        for one in climb.shown
        if one.memory_bytes and one.received_ns >= begin
    )
    drawn = {"memory, as the limit counts it": lines.memory(taken), "docker stats": shown}
    return lines.with_kills("Memory of the staircase", taken, drawn, float(LIMIT))


def _cache_plot(filled: Filled) -> Plot:
    taken = filled.seen.snapshots
    drawn = {
        "memory, as the limit counts it": lines.memory(taken),
        "without idle cache, as docker stats shows it": lines.values(taken, _without_cache),
    }
    return lines.with_kills("Memory while a file is written", taken, drawn, float(LIMIT))


def _without_cache(one: Snapshot) -> int | None:
    usage, cache = one.memory_current_bytes, one.memory_inactive_file_bytes
    return None if usage is None or cache is None else usage - cache
