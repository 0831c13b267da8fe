"""Containers that a hub started, or only made, and that it knows nothing of: it was killed before it could note them.

A container says by a label which hub made it; what another hub made is not looked at. What is to become of each is
decided without I/O, by what the hub's database says of its servers. Nothing that is kept at its end is removed here.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import docker.errors

from spawner_limits.engines import labels
from spawner_limits.lifecycle import servers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docker import APIClient
    from spawner_limits.lifecycle.servers import Server

_GRACE_S = 10
"""between SIGTERM and SIGKILL, as Docker has it by default"""
_REMOVED_S = 30
"""for the engine to remove what is to go with its end"""
_LIVE = frozenset({"running", "paused", "restarting"})
_NOT_RUNNING = 409
"""the engine's answer to a kill of what does not run, or not any more"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One server that a hub says is its."""

    user: str
    server: str
    """empty for the default one"""
    container: str | None = None
    """its whole id; `None`: any that says that it is this server, such as while the hub starts or stops it"""
    is_handed_over: bool = True
    """`False`: its start was begun by a hub that ended before the server was its user's"""


class Fate(StrEnum):
    """What is to become of an orphan."""

    STOP = "stopped"
    KILL = "killed"
    """nobody has it yet, and its limits may not be in force"""
    REMOVE = "removed, as it was never started"


@dataclass(frozen=True, kw_only=True, slots=True)
class Orphan:
    """One container that nobody would ever end."""

    server: Server
    fate: Fate
    why: str

    @property
    def goes(self) -> bool:
        """Whether the engine removes it at its end."""
        return _goes(self.server)


def look(client: APIClient, hub: str, *, before: float) -> tuple[Server, ...]:
    """All containers that the hub made `before` that moment, in seconds since 1970, by the engine's clock.

    Errors: docker.errors.APIError, requests.RequestException.
    """
    listed = client.containers(all=True, filters={"label": f"{labels.HUB}={hub}"})
    found = (_inspected(client, one["Id"]) for one in listed if one["Created"] <= before)
    return tuple(one for one in found if one is not None)


def _inspected(client: APIClient, container: str) -> Server | None:
    try:
        return servers.server(client.inspect_container(container))
    except docker.errors.NotFound:  # gone since it was listed
        return None


def orphans(found: Iterable[Server], claims: Iterable[Claim]) -> tuple[Orphan, ...]:
    """Which of the hub's own containers nobody has, and what is to become of them. Pure."""
    known: dict[tuple[str, str], Claim] = {(one.user, one.server): one for one in claims}
    judged = (_judged(one, known.get((one.user, one.server))) for one in found if labels.USER in one.labels)
    return tuple(one for one in judged if one is not None)


def _judged(one: Server, claim: Claim | None) -> Orphan | None:
    if claim is None:
        return _orphan(one, "the hub's database has no such server", Fate.STOP)
    if not claim.is_handed_over:
        return _orphan(one, "the hub ended while it was starting it", Fate.KILL)
    if claim.container not in (None, one.id):
        return _orphan(one, "the hub has another container for this server", Fate.STOP)
    return None


def _orphan(one: Server, why: str, fate: Fate) -> Orphan | None:
    if one.state in _LIVE:
        return Orphan(server=one, fate=fate, why=why)
    # one that was made to be kept is started at the user's next start
    return Orphan(server=one, fate=Fate.REMOVE, why=why) if one.state == "created" and _goes(one) else None


def _goes(one: Server) -> bool:
    return bool(one.host_config.get("AutoRemove"))


def end(client: APIClient, orphan: Orphan) -> str:
    """End one, and wait until it is gone, where it is to go; what was done, for the log.

    Errors: docker.errors.APIError, requests.RequestException. One that somebody else has ended meanwhile is none.
    """
    with suppress(docker.errors.NotFound):
        _ENDS[orphan.fate](client, orphan.server.id)
        if orphan.goes and orphan.fate is not Fate.REMOVE:
            client.wait(orphan.server.id, timeout=_REMOVED_S, condition="removed")
    after = "" if orphan.fate is Fate.REMOVE else " and removed" if orphan.goes else " and kept"
    return f"{orphan.fate.value}{after}"


def _stop(client: APIClient, container: str) -> None:
    client.stop(container, timeout=_GRACE_S)


def _kill(client: APIClient, container: str) -> None:
    try:
        client.kill(container)
    except docker.errors.APIError as error:
        if error.status_code != _NOT_RUNNING:
            raise


def _remove(client: APIClient, container: str) -> None:
    # with the volumes that have no name, as the engine itself does at its end
    client.remove_container(container, v=True)


_ENDS = {Fate.STOP: _stop, Fate.KILL: _kill, Fate.REMOVE: _remove}
