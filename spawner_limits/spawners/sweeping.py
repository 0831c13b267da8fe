"""`SweepingMixin`: a restarted hub ends what the one before it started, or only made, and never noted.

Once for each process of a hub, at its first poll or start. What it is to do is decided in `live/orphans`; here is what
the hub knows: its database, and what its spawners are at. A start that fails leaves no container that never ran.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import docker.errors
import requests
from jupyterhub import orm
from traitlets import HasTraits

from spawner_limits.lifecycle import orphans
from spawner_limits.lifecycle.exit_reason import End
from spawner_limits.lifecycle.orphans import Claim, Orphan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docker import APIClient
    from spawner_limits.spawners.aside import Aside

_UNANSWERED = (docker.errors.DockerException, requests.RequestException, TimeoutError)
_AT_WORK = frozenset({"spawn", "stop", "rename"})
"""what `Spawner.pending` says while the hub itself changes a server; "check": it only looks"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sweep:
    """What one sweep ends."""

    ends: Mapping[str, asyncio.Task[None]]
    """by the container's name"""

    async def ended(self, container: str) -> None:
        """Wait until it is, if it is one of these."""
        if container in self.ends:
            await asyncio.shield(self.ends[container])


class SweepingMixin(HasTraits):  # type: ignore[misc]  # traitlets is not typed
    """To be mixed in before `TellingMixin`."""

    hub_since: ClassVar[float] = time.time()
    """seconds since 1970; what was made earlier is not of this process"""
    sweeps: ClassVar[dict[Aside, asyncio.Task[_Sweep]]] = {}
    _was_started = False

    async def start(self) -> tuple[str, int]:
        """Start the server, after what an earlier hub has left of it; leave no container where that fails."""
        self._was_started = True
        if (sweep := self._sweep()) is not None:
            await (await asyncio.shield(sweep)).ended(self.container_name)
        try:
            started: tuple[str, int] = await super().start()
        except BaseException:
            await asyncio.shield(self._clear_away())
            raise
        return started

    async def poll(self) -> int | str | None:
        """As DockerSpawner; a server whose start an earlier hub did not finish is ended, and told so."""
        sweep = self._sweep()
        if sweep is None or not self._is_cut_short():
            status: int | str | None = await super().poll()
            return status
        await (await asyncio.shield(sweep)).ended(self.container_name)
        status = await super().poll()
        if status is None:  # it could not be ended
            return None
        if self.last_end is None or self.last_end.cause != "interrupted":
            self.last_end = End(at=datetime.now(UTC), cause="interrupted")
        return self.last_end.words

    def _is_cut_short(self) -> bool:
        row = self.orm_spawner
        return not self._was_started and row.server is not None and not _is_handed_over(row)

    async def _clear_away(self) -> None:
        """Remove a container that was made and never started, where it would go at its end; it holds nothing."""
        if not (self.remove and self.object_id):
            return
        try:
            await self.aside.run(_remove_unstarted, self.object_id)
        except _UNANSWERED as error:
            told = "A container of %s was not started, and can't be removed; the next start will: %s"
            self.log.warning(told, self._log_name, error)

    # -- the sweep -----------------------------------------------------------------------------------------------

    def _sweep(self) -> asyncio.Task[_Sweep] | None:
        """The one of this process, begun where it was not; `None`: this hub could not tell its containers."""
        if not self.hub_identity():
            return None
        sweep = self.sweeps.get(self.aside)
        if sweep is None or (sweep.done() and (sweep.cancelled() or sweep.exception() is not None)):
            sweep = self.sweeps[self.aside] = asyncio.ensure_future(self._swept())
        return sweep

    async def _swept(self) -> _Sweep:
        try:
            found = await self.aside.run(_look, self.hub_identity(), self.hub_since)
        except _UNANSWERED as error:
            del self.sweeps[self.aside]  # to be tried again
            self.log.warning("What an earlier hub has left can't be looked for: %s", error)
            return _Sweep(ends={})
        # on the hub's thread, and without waiting: between this and the ends' beginning no start can begin
        lost = orphans.orphans(found, self._claims())
        return _Sweep(ends={one.server.name: asyncio.ensure_future(self._end_orphan(one)) for one in lost})

    async def _end_orphan(self, orphan: Orphan) -> None:
        whose = f"{orphan.server.user}:{orphan.server.server}" if orphan.server.server else orphan.server.user
        told = (orphan.server.name, whose, orphan.why)
        try:
            done = await self.aside.run(orphans.end, orphan)
        except _UNANSWERED as error:
            self.log.warning("The orphan %s (server of %s: %s) can't be ended: %s", *told, error or "no answer")
        else:
            self.log.warning("The orphan %s (server of %s: %s) is %s", *told, done)

    def _claims(self) -> tuple[Claim, ...]:
        """What this hub has, by its database, and what it is at just now."""
        at_work = set(self._at_work())
        rows = self.user.db.query(orm.Spawner).filter(orm.Spawner.server != None)  # noqa: E711  SQLAlchemy's word for it
        noted = (_claim(row) for row in rows if (row.user.name, row.name) not in at_work)
        return (*noted, *(Claim(user=user, server=server) for user, server in at_work))

    def _at_work(self) -> Iterator[tuple[str, str]]:
        for user in self.user.settings["users"].values():
            for spawner in user.spawners.values():
                if spawner.pending in _AT_WORK:
                    yield user.name, spawner.name

    def hub_identity(self) -> str:
        """Which hub this is, over its restarts, told by its secret and its database; empty where neither is kept."""
        settings = getattr(self.user, "settings", None) or {}
        secret, database = settings.get("cookie_secret"), _database(getattr(self.user, "db", None))
        if not secret or not database:
            return ""
        return hmac.new(secret, f"spawner-limits.hub {database}".encode(), hashlib.sha256).hexdigest()[:32]

    if TYPE_CHECKING:

        @property
        def aside(self) -> Aside: ...  # noqa: D102

        container_name: str
        last_end: End | None
        log: Any
        object_id: str
        orm_spawner: Any
        remove: bool
        user: Any
        _log_name: str


def _claim(row: Any) -> Claim:
    container = (row.state or {}).get("object_id")
    return Claim(user=row.user.name, server=row.name, container=container or None, is_handed_over=_is_handed_over(row))


def _is_handed_over(row: Any) -> bool:
    # JupyterHub notes the address as soon as `start` has given it
    return bool(row.server.ip)


def _database(db: Any) -> str:
    """The address of a database that is kept; empty for one in memory, and without any."""
    if db is None:
        return ""
    url = db.get_bind().url
    if url.get_backend_name() != "sqlite":
        return str(url)  # without its password
    return str(Path(url.database).resolve()) if url.database not in {None, "", ":memory:"} else ""


def _look(client: APIClient, hub: str, before: float) -> tuple[Any, ...]:
    return orphans.look(client, hub, before=before)


def _remove_unstarted(client: APIClient, container: str) -> None:
    try:
        state = client.inspect_container(container)["State"]["Status"]
        if state == "created":
            client.remove_container(container, v=True)
    except docker.errors.NotFound:
        return
