"""`Admission`: room on one engine, so that two spawns at the same moment can't both take the last of it.

Who holds what is read from the labels of all containers, whichever hub started them, and from the records of what was
applied to them since. Between that look and the moment when a container can be seen, its room is reserved in memory;
what another hub started in between is seen by a second look, just before the start.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from spawner_limits.clients.engine import GoneError
from spawner_limits.engines import labels
from spawner_limits.engines.enforcement import DEFAULT_PERIOD_US
from spawner_limits.lifecycle.in_force import last_applied
from spawner_limits.policy.capacity import Allocation, Machine, NoCapacity, admit
from spawner_limits.policy.entitlement import Entitlement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from spawner_limits.clients.docker import DockerEngine
    from spawner_limits.clients.engine import Server
    from spawner_limits.lifecycle.records import Records
    from spawner_limits.policy.model import Host
    from spawner_limits.spawners.engine_threads import EngineThreads

_RUNS = ["running", "restarting", "paused"]
_STARTING_S = 300
"""seconds for which a container that was created, and not started, is taken for one that soon will be"""


class FullError(Exception):
    """There is no room for a server; `full` says why."""

    def __init__(self, full: NoCapacity) -> None:
        self.full = full
        super().__init__(full.fact)


class Admission:
    """Who may still start on one engine; one for all spawners of this hub."""

    def __init__(self, engine: DockerEngine, threads: EngineThreads, records: Records) -> None:
        """Nothing is asked yet."""
        self._engine, self._threads, self._records = engine, threads, records
        self._reserved: dict[str, Allocation] = {}
        """container → what was promised to it and can't be seen yet"""
        self._lock = asyncio.Lock()

    async def machine(self) -> Machine:
        """What the engine's host has. Errors: UnreachableError, RefusedError, TimeoutError."""
        info = await self._threads.run(self._engine.info)
        return Machine(memory_bytes=info.memory_bytes, cores=info.cores)

    async def holdings(self) -> tuple[Allocation, ...]:
        """Who holds what now, also the servers that are being started. Errors as `machine`."""
        seen = await self._threads.run(look, self._engine, self._records)
        return tuple((self._reserved | {holding.container: holding for holding in seen}).values())

    @asynccontextmanager
    async def reserved(self, entitlement: Entitlement, container: str, host: Host | None) -> AsyncIterator[None]:
        """Keep room for a server while it starts. FullError where there is none; errors as `machine`."""
        if host is None and not entitlement.servers:  # nothing is counted
            yield
            return
        machine = await self.machine()
        async with self._lock:
            _check(admit(entitlement, container, host, machine, await self.holdings()))
            self._reserved[container] = Allocation.of(container, entitlement)
        try:
            yield
        finally:
            self._reserved.pop(container, None)

    async def check(self, entitlement: Entitlement, container: str, host: Host | None) -> None:
        """Look again, now that the container can be seen by other hubs. FullError where they left no room."""
        if host is not None or entitlement.servers:
            seen = await self._threads.run(look, self._engine, self._records)
            _check(admit(entitlement, container, host, await self.machine(), seen))


def _check(found: NoCapacity | None) -> None:
    if found is not None:
        raise FullError(found)


def look(engine: DockerEngine, records: Records, *, now: Callable[[], float] = time.time) -> tuple[Allocation, ...]:
    """What each container holds that carries an entitlement, and runs or is about to. `now`: seconds since 1970."""
    found = engine.listed(label=labels.ENTITLEMENT, status=[*_RUNS, "created"])
    recently = now() - _STARTING_S
    live = [container for container in found if container["State"] in _RUNS or container["Created"] > recently]
    return tuple(holding for container in live if (holding := _holding(engine, container, records)) is not None)


def _holding(engine: DockerEngine, listed: dict[str, Any], records: Records) -> Allocation | None:
    name = listed["Names"][0].removeprefix("/")
    try:
        given = Entitlement.from_json(listed["Labels"][labels.ENTITLEMENT])
        return Allocation.of(name, last_applied(listed["Id"], records) or given)
    except ValueError:  # of another version, or not ours: its limits are read, as nobody may hold without being counted
        with suppress(GoneError):
            return _inspected(engine.inspect(listed["Id"]))
        return None


def _inspected(server: Server) -> Allocation:
    quota, period = server.asked.get("CpuQuota") or 0, server.asked.get("CpuPeriod") or DEFAULT_PERIOD_US
    return Allocation(
        container=server.name,
        user=server.user,
        server=server.server,
        mem_limit=server.asked.get("Memory") or None,
        cpu_limit=quota / period if quota > 0 else None,
    )
