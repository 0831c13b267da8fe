"""`Series`: what the snapshots of one press show, reduced to single figures. Pure.

Here is the one place where a counter becomes evidence. A file that keeps the most of a cgroup's whole life, and a
counter that stood where it stands before anything pressed, are evidence of an earlier day: only what rose counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from spawner_limits.engines.enforcement import DEFAULT_PERIOD_US
from spawner_limits.kernel import v1
from spawner_limits.kernel.reader import TABLES
from spawner_limits.proof import windows
from spawner_limits.units import cpus_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.windows import Window

_PEAKS: Mapping[str, str] = {"memory_current_bytes": "memory_peak_bytes", "pids_current": "pids_peak"}
"""gauge → the counter that keeps the most of it, in the cgroup's life"""
_GROWING = ("cpu_usage_ns", "nr_periods", "nr_throttled", "oom_kill", "pids_max_events")
"""counters that no living cgroup's ever fall"""


def counter_file(counter: str, version: CgroupVersion) -> str:
    """Where the Linux kernel shows a counter: "memory.oom_control oom_kill"."""
    sources = TABLES[version].COUNTERS[counter]
    return " + ".join(f"{one.file} {one.key}" if one.key else one.file for one in sources)


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """The most of something in one press."""

    value: int
    before: int
    """what it was when the press began"""
    words: str
    """ "peak", by a file that keeps it; "largest sample" """
    file: str
    """the Linux kernel's file"""

    def rose_to(self, level: float) -> bool:
        """Whether it came to `level` in this press, from below it."""
        return self.before < level <= self.value


@dataclass(frozen=True, slots=True)
class Series:
    """The snapshots of one press, the first before it, the last after it."""

    snapshots: Sequence[Snapshot]

    # -- a counter ---------------------------------------------------------------------------------------------------

    def values(self, counter: str) -> list[int]:
        """What was read of a counter, in order."""
        return [value for one in self.snapshots if (value := getattr(one, counter)) is not None]

    def first(self, counter: str) -> int | None:
        """Its value before the press."""
        return next(iter(self.values(counter)), None)

    def last(self, counter: str) -> int | None:
        """Its value after the press."""
        values = self.values(counter)
        return values[-1] if values else None

    def most(self, counter: str) -> int | None:
        """The largest sample; of a file that keeps a life's peak, that peak."""
        return max(self.values(counter), default=None)

    def risen(self, counter: str) -> int | None:
        """By how much a counter rose; `None` where it was not read."""
        values = self.values(counter)
        return values[-1] - values[0] if values else None

    def level(self, gauge: str) -> Level | None:
        """The most of a gauge in this press: by the file that keeps its peak, if that rose meanwhile; or samples."""
        samples = self.values(gauge)
        peaks = self.values(_PEAKS[gauge]) if gauge in _PEAKS else []
        if peaks and peaks[-1] > peaks[0]:
            before = samples[0] if samples else peaks[0]
            return Level(value=max(peaks), before=before, words="peak", file=self.file(_PEAKS[gauge]))
        if not samples:
            return None
        return Level(value=max(samples), before=samples[0], words="largest sample", file=self.file(gauge))

    def total(self) -> Level | None:
        """The most memory and swap together in this press.

        v1 counts the two as one, and keeps its peak. v2 limits each by itself, so the sum of the most of each is within
        the sum of their limits.
        """
        if self.version("memory") == 1 and self.values("memsw_peak_bytes"):
            return self._together("memsw_peak_bytes")
        memory, swap = self.level("memory_current_bytes"), self.level("swap_current_bytes")
        if memory is None or swap is None:
            return None
        return Level(
            value=memory.value + swap.value,
            before=memory.before + swap.before,
            words=memory.words,
            file=f"{memory.file} + {swap.file}",
        )

    def sums(self) -> list[int]:
        """Memory and swap together, in each sample."""
        return [
            one.memory_current_bytes + one.swap_current_bytes
            for one in self.snapshots
            if one.memory_current_bytes is not None and one.swap_current_bytes is not None
        ]

    def _together(self, kept: str) -> Level | None:
        peaks = self.values(kept)
        samples = self.sums()
        if peaks[-1] > peaks[0]:
            before = samples[0] if samples else peaks[0]
            return Level(value=peaks[-1], before=before, words="peak", file=self.file(kept))
        names = f"{self.file('memory_current_bytes')} + {self.file('swap_current_bytes')}"
        return Level(value=max(samples), before=samples[0], words="largest sample", file=names) if samples else None

    def fallen(self) -> str | None:
        """The name of a counter that fell, which no counter of a living cgroup does; else `None`."""
        return next((name for name in _GROWING if any(b < a for a, b in pairwise(self.values(name)))), None)

    # -- the files ---------------------------------------------------------------------------------------------------

    def file(self, counter: str) -> str:
        """Where the Linux kernel shows a counter: "memory.oom_control oom_kill"."""
        return counter_file(counter, self.version(v1.COUNTERS[counter][0].controller))

    def told(self, counter: str) -> str:
        """A counter's file and what it showed: "memory.oom_control oom_kill: 0 → 1"."""
        first, last = self.first(counter), self.last(counter)
        if last is None:
            return f"{self.file(counter)}: not read"
        return f"{self.file(counter)} = {last}" if first == last else f"{self.file(counter)}: {first} → {last}"

    def version(self, controller: str) -> CgroupVersion:
        """Of cgroups, that the controller is on here."""
        return next((one.versions[controller] for one in self.snapshots if controller in one.versions), 1)

    def texts(self, *names: str) -> list[str]:
        """What limit files of these names said, in order."""
        return [one.limits[name] for one in self.snapshots for name in names if name in one.limits]

    def unread(self, *names: str) -> str | None:
        """Why the first of these counters or files could not be read."""
        return next((one.unread[name] for one in self.snapshots for name in names if name in one.unread), None)

    @property
    def period_us(self) -> int:
        """The period of a CPU quota that is in force; the kernel's default where it was not read."""
        for text in self.texts("cpu.cfs_period_us", "cpu.max"):
            if (period := text.rpartition(" ")[2]).isdigit():
                return int(period)
        return DEFAULT_PERIOD_US

    def quota_cores(self) -> float | None:
        """The CPU quota that the kernel showed first, in cores; `None`: none, or it was not read."""
        quotas = [text.partition(" ")[0] for text in self.texts("cpu.cfs_quota_us", "cpu.max")]
        return int(quotas[0]) / self.period_us if quotas and quotas[0].isdigit() else None

    def cpus(self, host: int) -> int:
        """How many CPUs the container may use: its set's, where that was read, else all of the host's."""
        texts = [text for text in self.texts("cpuset.cpus.effective", "cpuset.cpus") if text]
        return min([host, *(len(cpus_in(text)) for text in texts)])

    @property
    def memory_limit_bytes(self) -> int | None:
        """The memory limit that the kernel showed last; `None`: none, or it was not read."""
        texts = self.texts("memory.limit_in_bytes", "memory.max")
        return int(texts[-1]) if texts and texts[-1].isdigit() else None

    # -- rates -------------------------------------------------------------------------------------------------------

    @property
    def whole(self) -> Window | None:
        """The window from the first snapshot to the last."""
        return windows.between(self.snapshots[0], self.snapshots[-1]) if self.snapshots else None

    def windows(self, length_s: float) -> list[Window]:
        """From each snapshot, the window to the first one at least so much later."""
        return list(windows.sliding(self.snapshots, length_s))

    def steps(self, window: Window) -> Iterator[Window]:
        """The windows between neighbouring snapshots within a window."""
        return (step for pair in pairwise(self.within(window)) if (step := windows.between(*pair)) is not None)

    def within(self, window: Window) -> list[Snapshot]:
        """The snapshots of a window, its first and its last among them."""
        return [one for one in self.snapshots if window.start_ns <= one.monotonic_ns <= window.end_ns]
