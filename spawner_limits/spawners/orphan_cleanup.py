"""`OrphanCleanup`: a restarted hub ends what the one before it started, or only made, and never noted.

Once for each process of a hub, at its first poll or start. What it is to do is decided in `lifecycle/orphans`; here is
what the hub knows: its database, and what its spawners are at. A start that fails leaves no container that never ran.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spawner_limits.clients.engine import GoneError
from spawner_limits.errors import LimitsError
from spawner_limits.lifecycle import orphans
from spawner_limits.lifecycle.exit_reason import ServerExit
from spawner_limits.spawners import hub_compat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.clients.docker import DockerEngine
    from spawner_limits.lifecycle.orphans import Orphan
    from spawner_limits.spawners.docker import LimitedDockerSpawner

_UNANSWERED = (LimitsError, TimeoutError)
_HUB_SINCE = time.time()
"""seconds since 1970; what was made earlier is not of this process"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleanup:
    """What is ended, once for each process of a hub."""

    ends: Mapping[str, asyncio.Task[None]]
    """by the container's name"""

    async def ended(self, container: str) -> None:
        """Wait until it is, if it is one of these."""
        if container in self.ends:
            await asyncio.shield(self.ends[container])


class OrphanCleanup:
    """Of one spawner's server, and through it of all that the hub has."""

    def __init__(self, spawner: LimitedDockerSpawner) -> None:
        self._spawner = spawner
        self._was_started = False

    def started(self) -> None:
        """From now on the server's start is this process's: what becomes of it is no earlier hub's doing."""
        self._was_started = True

    async def before_start(self) -> None:
        """Wait for the end of what an earlier hub has left of this server."""
        if (cleanup := self._begun()) is not None:
            await (await asyncio.shield(cleanup)).ended(self._spawner.container_name)

    async def before_poll(self) -> bool:
        """Begin; whether an earlier hub did not finish this server's start, which is ended now."""
        cleanup = self._begun()
        if cleanup is None or self._was_started or not hub_compat.is_cut_short(self._spawner):
            return False
        await (await asyncio.shield(cleanup)).ended(self._spawner.container_name)
        return True

    def interrupted(self) -> str:
        """What `poll` says of a server whose start was not finished."""
        exits = self._spawner.exits
        if exits.last is None or exits.last.cause != "interrupted":
            exits.last = ServerExit(at=datetime.now(UTC), cause="interrupted")
        return exits.last.words

    async def after_failure(self) -> None:
        """Remove a container that was made and never started, where it would go at its end; it holds nothing."""
        spawner = self._spawner
        if not (spawner.remove and spawner.object_id):
            return
        try:
            await spawner.state.threads.run(_remove_unstarted, spawner.state.engine, spawner.object_id)
        except _UNANSWERED as error:
            text = "A container of %s was not started, and can't be removed; the next start will: %s"
            spawner.log.warning(text, spawner.log_name, error)

    def _begun(self) -> asyncio.Task[Cleanup] | None:
        """The one of this process, begun where it was not; `None`: this hub could not tell its containers."""
        state = self._spawner.state
        if not hub_compat.hub_identity(self._spawner):
            return None
        cleanup = state.cleanup
        if cleanup is None or (cleanup.done() and (cleanup.cancelled() or cleanup.exception() is not None)):
            cleanup = state.cleanup = asyncio.ensure_future(self._cleanup())
        return cleanup

    async def _cleanup(self) -> Cleanup:
        spawner, state = self._spawner, self._spawner.state
        hub = hub_compat.hub_identity(spawner)
        try:
            found = await state.threads.run(lambda: state.engine.servers_of(hub, before=_HUB_SINCE))
        except _UNANSWERED as error:
            state.cleanup = None  # to be tried again
            spawner.log.warning("What an earlier hub has left can't be looked for: %s", error)
            return Cleanup(ends={})
        # on the hub's thread, and without waiting: between this and the ends' beginning no start can begin
        lost = orphans.orphans(found, hub_compat.claims(spawner))
        return Cleanup(ends={orphan.server.name: asyncio.ensure_future(self._end(orphan)) for orphan in lost})

    async def _end(self, orphan: Orphan) -> None:
        spawner, server = self._spawner, orphan.server
        whose = f"{server.user}:{server.server}" if server.server else server.user
        try:
            done = await spawner.state.threads.run(orphans.end, spawner.state.engine, orphan)
        except _UNANSWERED as error:
            text = "The orphan %s (server of %s: %s) can't be ended: %s"
            spawner.log.warning(text, server.name, whose, orphan.why, error or "no answer")
        else:
            spawner.log.warning("The orphan %s (server of %s: %s) is %s", server.name, whose, orphan.why, done)


def _remove_unstarted(engine: DockerEngine, container: str) -> None:
    with suppress(GoneError):
        if engine.inspect(container).state == "created":
            engine.remove(container)
