"""`KillCount`: how many processes of a container the OOM killer took, from three witnesses of the same kills.

The kernel's counter is right, but is looked at once a second, and is gone with the container. The kernel's log is there
at once, but not everywhere, and leaves out lines under many kills. The engine's `oom` event says that there was one, at
least. So the larger of counter and log counts, and an event only where neither of them knows of a kill near it. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spawner_limits.kernel.kmsg import LoggedKill

NEAR = timedelta(seconds=2)
"""a counter that is read once a second, on a busy host"""
_LAG = timedelta(seconds=0.5)
"""on cgroup v1 the event is made before the kill that the counter counts"""


@dataclass(slots=True)
class KillCount:
    """What is known of one run of one container."""

    base: int = 0
    """kills that were reported before this hub began to watch"""
    at: datetime | None = None
    """of the last kill"""
    last: LoggedKill | None = None
    """the last one that the kernel's log named"""
    _counter: int | None = None
    _counted_at: datetime | None = None
    _logged: int = 0
    _events: int = 0
    """of the engine, which no other witness has confirmed"""
    _event_at: datetime | None = None
    _reported: int = 0

    def resume(self, base: int) -> None:
        """`base` kills were reported before: they are not reported again."""
        self.base = self._reported = base

    def spare(self, reported: int) -> None:
        """Of all kills that are known, so many were reported before."""
        self._reported = max(self._reported, min(reported, self.kills))

    def count(self, counter: int, at: datetime) -> None:
        """The kernel's counter as it was read."""
        if counter > self.kills:
            self.at = at
        if counter > (self._counter or 0) or (self._event_at is not None and at - self._event_at > NEAR):
            self._events = 0
        self._counter, self._counted_at = counter, at

    def log(self, kill: LoggedKill, at: datetime) -> None:
        """A kill that the kernel's log names."""
        self._logged += 1
        self._events = 0
        self.last, self.at = kill, at

    def event(self, at: datetime) -> None:
        """An `oom` event of the engine, which may come late."""
        is_counted = self._counted_at is not None and at < self._counted_at - _LAG
        if not is_counted and (self.at is None or abs(at - self.at) > NEAR):
            self._events += 1
            self._event_at = at
            if self._counter is None:
                self.at = at

    def end(self) -> None:
        """The container ended, and its counter with it: an event that came since it was read stands for one kill."""
        if self._counter is not None and self._events:
            self._counter, self._events, self.at = self.kills + 1, 0, self._event_at

    @property
    def kills(self) -> int:
        """All that are known."""
        blind = self._events if self._counter is None else 0
        return max(self._counter or 0, self.base + self._logged + blind)

    @property
    def unreported(self) -> int:
        """How many `report` would give."""
        return self.kills - self._reported

    def report(self) -> int:
        """How many have not been reported yet; from now on they have."""
        count, self._reported = self.unreported, self.kills
        return count
