"""`WatchedContainer`: what is seen of one container's OOM kills and of its end, and what is reported of it.

It asks neither the engine nor the records, and reads no files but the container's own counters of memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from spawner_limits.kernel.cgroups import find
from spawner_limits.kernel.oom import OomFiles
from spawner_limits.lifecycle.exit_reason import RECENT, SIGKILLED, OomKill, ServerExit, cause
from spawner_limits.lifecycle.kill_count import KillCount

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from spawner_limits.lifecycle.exit_reason import ServerContainer

_SETTLE = timedelta(seconds=0.7)
"""after a kill: by then its container has ended too, or goes on; and kills at about the same time are one message"""
_LATE = timedelta(seconds=0.5)
"""after a SIGKILL that nobody explains: an engine may tell of the OOM kill after the end"""

News = OomKill | ServerExit


@dataclass(slots=True)
class WatchedContainer:
    """One container, from the moment when somebody asks for it to its end."""

    server: ServerContainer
    report: Callable[[News], None]
    kills: KillCount = field(default_factory=KillCount)
    is_open: bool = False
    """whether its files were looked for"""
    heard: datetime | None = None
    """the engine's last event about it"""
    asked: set[int] = field(default_factory=set)
    """signals that the engine was asked to send"""
    died: tuple[datetime, int | None] | None = None
    """when, and with which exit code"""
    decide_at: datetime | None = None
    """when its end is decided and reported"""
    waiting: list[Future[ServerExit | None]] = field(default_factory=list)
    """for its end"""
    _files: OomFiles | None = None
    _peak_bytes: int | None = None

    def open(self, pid: int) -> None:
        """Open its files; `pid`: of its first process. CgroupError, OSError."""
        self._files = OomFiles(find(pid, container_id=self.server.container, controllers=("memory",)))

    def close(self) -> None:
        """Give the descriptors back."""
        if self._files is not None:
            self._files.close()
            self._files = None

    def count(self) -> bool:
        """Read the counter and the limit, where they are open; `False`: not any more, as the container ended."""
        if self._files is None:
            return True
        try:
            kills = self._files.kills()
        except (OSError, ValueError):
            self.close()
            return False
        self.kills.count(kills, datetime.now(UTC))
        if (limit := self._files.limit_bytes()) != self.server.limit_bytes:
            # changed while it runs: not by the rule that it was started under
            self.server = replace(self.server, limit_bytes=limit, rule=None)
        if self.kills.unreported:
            self._peak_bytes = self._files.peak_bytes()
        return True

    def end(self, exit_code: int | None, at: datetime, now: datetime) -> None:
        """It ended. Why is decided at once, or, where an `oom` event may still come, a little later."""
        self.died = (at, exit_code)
        self.close()
        is_explained = self.kills.at is not None and at - self.kills.at <= RECENT
        may_change = exit_code is None or (exit_code == SIGKILLED and not is_explained and not self.asked)
        self.decide_at = now + _LATE if may_change else now

    @property
    def is_unsettled(self) -> bool:
        """Whether there is something to report soon."""
        return bool(self.kills.unreported or self.decide_at)

    def is_decided(self, now: datetime) -> bool:
        """Whether its end is to be reported now."""
        return self.decide_at is not None and now >= self.decide_at

    def has_settled_kills(self, now: datetime) -> bool:
        """Whether it goes on, and kills are to be reported now."""
        if self.decide_at is not None or not self.kills.unreported:
            return False
        return self.kills.at is None or now - self.kills.at >= _SETTLE

    def server_exit(self) -> ServerExit:
        """How it ended, by all that is known."""
        at, exit_code = self.died or (datetime.now(UTC), None)
        self.kills.end()
        why = cause(exit_code=exit_code, died_at=at, oom_at=self.kills.at, asked=self.asked)
        last = self.kills.last if why == "oom" else None
        return ServerExit(
            at=at,
            cause=why,
            exit_code=exit_code,
            limit_bytes=self.server.limit_bytes,
            rule=self.server.rule,
            process=last.process if last else None,
            whose=last.whose if last else None,
        )

    def oom_kill(self, *, server_died: bool) -> OomKill:
        """The kills that were not reported yet; from now on they are."""
        last, self.kills.last = self.kills.last, None
        return OomKill(
            at=self.kills.at or datetime.now(UTC),
            server=self.server,
            count=self.kills.report(),
            process=last.process if last else None,
            pid=last.pid if last else None,
            rss_bytes=last.rss_bytes if last else None,
            peak_bytes=self._peak_bytes,
            whose=last.whose if last else None,
            server_died=server_died,
        )
