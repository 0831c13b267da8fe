"""`Sampler`: snapshots of one or more containers, again and again, at the same moments. The only loop that takes them.

Who samples may look at more than the cgroup's files, such as at where its processes are: `look` adds that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spawner_limits.kernel.host import steal_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from spawner_limits.kernel.reader import Reader
    from spawner_limits.kernel.snapshot import Snapshot

INTERVAL_S = 0.1
FAST_S = 0.004
"""between samples of a container whose cgroup vanishes with what is killed"""
_SPARING = 4
"""times as long as a round takes, it is to the next one"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One container to sample."""

    reader: Reader
    look: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot
    """gets each snapshot as it is taken; gives it back, with what it has seen besides"""

    def read(self) -> Snapshot:
        """The counters, now."""
        return self.look(self.reader.read())

    def read_limits(self) -> Snapshot:
        """The counters and the limits, now."""
        return self.look(self.reader.read_limits())


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """Samples containers side by side."""

    sources: Sequence[Source]
    every_s: float = INTERVAL_S
    pause: Callable[[float], object] = time.sleep
    """waits so many seconds, or less where there is no more to wait for"""
    clock: Callable[[], float] = time.monotonic
    steal: Callable[[], int | None] = steal_ns

    def limits(self) -> tuple[Snapshot, ...]:
        """One round with all limits."""
        return self._stamped(source.read_limits() for source in self.sources)

    def follow(self, *, seconds: float, over: Callable[[], bool] = lambda: False) -> Iterator[tuple[Snapshot, ...]]:
        """Rounds until `over` says so or the time is up; the first and the last are with all limits.

        Where a round takes long, as on a host that is emulated, there are fewer: but for those of `FAST_S`.
        """
        yield self.limits()
        tick = self.clock()
        end = tick + seconds
        while self.clock() < end and not over():
            tick = max(tick + self.every_s, self.clock())
            self.pause(max(0.0, min(tick, end) - self.clock()))
            began = self.clock()
            yield self._stamped(source.read() for source in self.sources)
            if self.every_s > FAST_S:
                tick += max(0.0, _SPARING * (self.clock() - began) - self.every_s)
        yield self.limits()

    def _stamped(self, round_: Iterable[Snapshot]) -> tuple[Snapshot, ...]:
        taken, stolen = tuple(round_), self.steal()
        return tuple(replace(snapshot, steal_ns=stolen) for snapshot in taken)
