"""`Places`: room on one engine, so that two spawns at the same moment can't both take the last of it.

Who holds what is read from the labels of all containers, whichever hub started them, and from the records of what was
applied to them since. Between that look and the moment
when a container can be seen, a server's place is kept in memory; what another hub started in between is seen by a
second look, just before the start.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import docker.errors

from spawner_limits.engines import labels
from spawner_limits.lifecycle.records import usual
from spawner_limits.lifecycle.servers import last_applied
from spawner_limits.policy.capacity import Allocation, Machine, NoCapacity, admit
from spawner_limits.policy.entitlement import Entitlement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from docker import APIClient
    from spawner_limits.lifecycle.records import Records
    from spawner_limits.policy.model import Host
    from spawner_limits.spawners.aside import Aside

_RUNS = ["running", "restarting", "paused"]
_STARTING_S = 300
"""seconds for which a container that was created, and not started, is taken for one that soon will be"""


class FullError(Exception):
    """There is no room for a server; `full` says why."""

    def __init__(self, full: NoCapacity) -> None:
        self.full = full
        super().__init__(full.fact)


class Places:
    """The places on one engine; one for all spawners of this hub."""

    def __init__(self, aside: Aside) -> None:
        """Nothing is asked yet."""
        self._aside = aside
        self._kept: dict[str, Allocation] = {}
        """container → what was promised to it and can't be seen yet"""
        self._lock = asyncio.Lock()

    async def machine(self) -> Machine:
        """What the engine's host has.

        Errors: docker.errors.DockerException, TimeoutError, requests.RequestException.
        """
        info = await self._aside.run(lambda _client: self._aside.info)
        return Machine(memory_bytes=int(info["MemTotal"]), cores=int(info["NCPU"]))

    async def holdings(self) -> tuple[Allocation, ...]:
        """Who holds what now, also the servers that are being started. Errors as `machine`."""
        seen = {one.container: one for one in await self._aside.run(look)}
        return tuple((self._kept | seen).values())

    @asynccontextmanager
    async def taken(self, entitlement: Entitlement, container: str, host: Host | None) -> AsyncIterator[None]:
        """Keep a place for a server while it starts. FullError where there is none; errors as `machine`."""
        if host is None and not entitlement.servers:  # nothing is counted
            yield
            return
        machine = await self.machine()
        async with self._lock:
            _check(admit(entitlement, container, host, machine, await self.holdings()))
            self._kept[container] = Allocation.of(container, entitlement)
        try:
            yield
        finally:
            self._kept.pop(container, None)

    async def check(self, entitlement: Entitlement, container: str, host: Host | None) -> None:
        """Look again, now that the container can be seen by other hubs. FullError where they left no room."""
        if host is not None or entitlement.servers:
            seen = await self._aside.run(look)
            _check(admit(entitlement, container, host, await self.machine(), seen))


def _check(found: NoCapacity | None) -> None:
    if found is not None:
        raise FullError(found)


def look(
    client: APIClient, *, now: Callable[[], float] = time.time, records: Records | None = None
) -> tuple[Allocation, ...]:
    """What each container holds that carries an entitlement, and runs or is about to. `now`: seconds since 1970."""
    records = records or usual()
    wanted = {"label": labels.ENTITLEMENT, "status": [*_RUNS, "created"]}
    found = client.containers(all=True, filters=wanted)
    recently = now() - _STARTING_S
    live = [one for one in found if one["State"] in _RUNS or one["Created"] > recently]
    return tuple(holding for one in live if (holding := _holding(client, one, records)) is not None)


def _holding(client: APIClient, listed: dict[str, Any], records: Records) -> Allocation | None:
    name = listed["Names"][0].removeprefix("/")
    try:
        given = Entitlement.from_json(listed["Labels"][labels.ENTITLEMENT])
        return Allocation.of(name, last_applied(listed["Id"], records) or given)
    except ValueError:  # of another version, or not ours: its limits are read, as nobody may hold without being counted
        return _inspected(client, listed, name)


def _inspected(client: APIClient, listed: dict[str, Any], name: str) -> Allocation | None:
    try:
        config = client.inspect_container(listed["Id"])["HostConfig"]
    except docker.errors.NotFound:
        return None
    quota, period = config.get("CpuQuota") or 0, config.get("CpuPeriod") or 100_000
    return Allocation(
        container=name,
        user=str(listed["Labels"].get(labels.USER, "")),
        server=str(listed["Labels"].get(labels.SERVER, "")),
        mem_limit=config.get("Memory") or None,
        cpu_limit=quota / period if quota > 0 else None,
    )
