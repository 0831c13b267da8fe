"""`Climb`: one process in one container takes memory step by step, until it ends or is ended; what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.setting import kernel_file, made
from spawner_limits.experiments.stats import Stats
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.setting import Setting
    from spawner_limits.conformance.trial import Bench
    from spawner_limits.experiments.experiment import Row
    from spawner_limits.experiments.stats import Sample
    from spawner_limits.proof.evidence import Evidence

STEP_MIB = 4
PAUSE_S = 0.15
_LONGEST_S = 60
EVERY_S = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Climb:
    """What was seen of it."""

    seen: Seen
    """from before the first step until after the last"""
    shown: tuple[Sample, ...]
    """by `docker stats`, a line a second"""
    reached_bytes: int
    """the last step, by the process's own word"""

    @property
    def peak_bytes(self) -> int | None:
        """The most memory that the Linux kernel ever counted; on old ones, the largest sample."""
        kept = self.seen.series.most("memory_peak_bytes")
        return kept if kept is not None else self.seen.series.most("memory_current_bytes")

    @property
    def swap_bytes(self) -> int | None:
        """The most swap in a sample."""
        return self.seen.series.most("swap_current_bytes")

    def limit(self, what: str, field: str, key: str) -> Row:
        """A limit in the Linux kernel's file; `None` where it was not read, or is unlimited."""
        file = kernel_file(field, self.seen.version)
        text = self.seen.snapshots[0].limits.get(file)
        number = int(text) if text and text.isdigit() else None
        return (what, size(number), file, key, number)

    def rows(self) -> list[Row]:
        """What it came to."""
        series, code = self.seen.series, self.seen.exit_code
        swapped = self.swap_bytes
        return [
            ("last step reached", size(self.reached_bytes), "the process", "reached_bytes", self.reached_bytes),
            ("most memory", size(self.peak_bytes), series.file("memory_peak_bytes"), "peak_bytes", self.peak_bytes),
            ("most swap", size(swapped), series.file("swap_current_bytes"), "swap_bytes", swapped),
            kills(self.seen),
            ("the process", "not known" if code is None else f"exit {code}", "the engine: exec", "exit_code", code),
        ]


def kills(evidence: Evidence) -> Row:
    """How often the OOM killer ended a process of the container."""
    count, (file, *_) = evidence.series.risen("oom_kill"), evidence.series.file("oom_kill").split()
    return ("OOM kills", "not read" if count is None else f"+{count}", file, "oom_kills", count)


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
            taken = subject.follow(load, seconds=_LONGEST_S, every_s=EVERY_S)
            load.wait(1)
        steps = [word for word in load.stdout.split() if word.isdigit()]
        if not steps:
            said = (load.stderr or load.stdout).strip()
            raise CannotError(f"the load did not begin: {said}", "give an --image with python3")
        seen = subject.seen(taken, load.exit_code, alive=subject.alive)
        return Climb(seen=seen, shown=tuple(stats.samples), reached_bytes=int(steps[-1]) * MIB)
