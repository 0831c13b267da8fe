"""`climbed`: one process in one container takes memory step by step, until it ends or is ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.former import made
from spawner_limits.experiments import lines
from spawner_limits.experiments.stats import Stats
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from spawner_limits.conformance.former import Setting
    from spawner_limits.conformance.trial import Bench
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.experiments.lines import Line
    from spawner_limits.experiments.stats import Sample
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Evidence

STEP_MIB = 4
PAUSE_S = 0.15
_LONGEST_S = 60
_EVERY_S = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Climb:
    """What was read of it."""

    version: CgroupVersion
    evidence: Evidence
    shown: tuple[Sample, ...]
    """by `docker stats`, a line a second"""
    reached_bytes: int
    """the last step, by the process's own word"""
    exit_code: int | None
    alive: bool
    """whether the container is, afterwards"""

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """From before the first step until after the last."""
        return self.evidence.snapshots

    def limit(self, v1: str, v2: str) -> int | None:
        """A limit in the Linux kernel's file; `None` where it was not read, or is unlimited."""
        text = self.snapshots[0].limits.get(v1 if self.version == 1 else v2)
        return int(text) if text and text.isdigit() else None

    @property
    def peak_bytes(self) -> int | None:
        """The most memory that the Linux kernel ever counted; on old ones, the largest sample."""
        kept = self.evidence.series.most("memory_peak_bytes")
        return kept if kept is not None else self.evidence.series.most("memory_current_bytes")

    @property
    def swap_bytes(self) -> int | None:
        """The most swap in a sample."""
        return self.evidence.series.most("swap_current_bytes")

    @property
    def kills(self) -> int | None:
        """How often the OOM killer ended a process of the container."""
        return self.evidence.series.risen("oom_kill")

    def memory(self) -> Line:
        """Memory over time."""
        return lines.values(self.snapshots, self.snapshots[0].monotonic_ns, lambda one: one.memory_current_bytes)

    def swap(self) -> Line:
        """Swap over time."""
        return lines.values(self.snapshots, self.snapshots[0].monotonic_ns, lambda one: one.swap_current_bytes)


def size(size_bytes: int | None) -> str:
    """Bytes for people, with a decimal of a MiB: what is compared here is often less than one apart."""
    if size_bytes is None:
        return "not read"
    whole = size_bytes % MIB == 0 or size_bytes < MIB or size_bytes >= units.GIB
    return units.format_size(size_bytes) if whole else f"{size_bytes / MIB:.1f} MiB"


def climbed(bench: Bench, setting: Setting, mib: int) -> Climb:
    """Take so many MiB in a container of that setting. CannotError where the image has no python3."""
    with made(bench, setting) as subject:
        with Stats(subject) as stats:
            load = subject.probe("stairs", mib, STEP_MIB, PAUSE_S)
            snapshots = subject.follow(load, seconds=_LONGEST_S, every_s=_EVERY_S)
            load.wait(1)
        steps = [one for one in load.stdout.split() if one.isdigit()]
        if not steps:
            said = (load.stderr or load.stdout).strip()
            raise CannotError(f"the load did not begin: {said}", "give an --image with python3")
        return Climb(
            version=bench.version,
            evidence=subject.evidence(snapshots, load),
            shown=tuple(stats.samples),
            reached_bytes=int(steps[-1]) * MIB,
            exit_code=load.exit_code,
            alive=subject.alive,
        )
