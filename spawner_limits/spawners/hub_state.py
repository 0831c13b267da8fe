"""`HubState`: what all spawners of one hub's process share about one engine."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from spawner_limits.clients.docker import DockerEngine, LocalSnapshots
from spawner_limits.lifecycle.oom_watcher import OomWatcher
from spawner_limits.lifecycle.records import usual
from spawner_limits.spawners.admission import Admission
from spawner_limits.spawners.engine_threads import EngineThreads

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Mapping
    from logging import Logger
    from typing import Any

    from spawner_limits.lifecycle.cgroup_parent import CgroupParent
    from spawner_limits.lifecycle.records import Records
    from spawner_limits.spawners.notebook import Bare
    from spawner_limits.spawners.orphan_cleanup import Cleanup


class HubState:
    """One for each engine; see `of`."""

    _known: ClassVar[dict[str, HubState]] = {}

    def __init__(self, arguments: Mapping[str, Any], log: Logger, records: Records | None = None) -> None:
        """`arguments`: of `docker.APIClient`. Nothing is connected yet."""
        self.log = log
        self.engine = DockerEngine(arguments)
        self.snapshots = LocalSnapshots(self.engine)
        self.records = records or usual()
        """what happened to each container's limits"""
        self.threads = EngineThreads()
        self.admission = Admission(self.engine, self.threads, self.records)
        self.bare_images: set[Bare] = set()
        """images that have none of our files in them"""
        self.cgroup_parents: dict[str, CgroupParent] = {}
        """by their names"""
        self.protected: set[Any] = set()
        """parent cgroups, networks and caps that were found in order"""
        self.cleanup: asyncio.Task[Cleanup] | None = None
        """of what an earlier process of the hub has left"""
        self.tasks: set[asyncio.Task[None]] = set()
        """asyncio itself would let go of them"""
        self.tidy_at = 0.0
        """by the monotonic clock: when records of containers that are long gone are looked for next"""
        self._warned: set[str] = set()

    @classmethod
    def of(cls, arguments: Mapping[str, Any], log: Logger) -> HubState:
        """The one of the engine that these arguments lead to."""
        address = str(arguments.get("base_url"))
        if address not in cls._known:
            cls._known[address] = cls(arguments, log)
        return cls._known[address]

    @cached_property
    def watcher(self) -> OomWatcher:
        """Sees OOM kills and ends; its threads start at first use."""
        return OomWatcher(self.engine, self.records, self.log)

    def warn(self, problems: Iterable[str]) -> None:
        """Each in the hub's log, once: they hold for every server."""
        for problem in problems:
            if problem not in self._warned:
                self._warned.add(problem)
                self.log.warning("Protection of the host: %s", problem)
