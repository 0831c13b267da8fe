"""Containers that a hub started, or only made, and that it knows nothing of: it was killed before it could note them.

A container says by a label which hub made it; what another hub made is not looked at. What is to become of each is
decided without I/O, by what the hub's database says of its servers. Nothing that is kept at its end is removed here.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from spawner_limits.clients.engine import GoneError
from spawner_limits.engines import labels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spawner_limits.clients.docker import DockerEngine
    from spawner_limits.clients.engine import Server

_LIVE = frozenset({"running", "paused", "restarting"})


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


def orphans(found: Iterable[Server], claims: Iterable[Claim]) -> tuple[Orphan, ...]:
    """Which of the hub's own containers nobody has, and what is to become of them. Pure."""
    known = {(claim.user, claim.server): claim for claim in claims}
    ours = (server for server in found if labels.USER in server.labels)
    judged = (_judged(server, known.get((server.user, server.server))) for server in ours)
    return tuple(orphan for orphan in judged if orphan is not None)


def _judged(server: Server, claim: Claim | None) -> Orphan | None:
    if claim is None:
        return _orphan(server, "the hub's database has no such server", Fate.STOP)
    if not claim.is_handed_over:
        return _orphan(server, "the hub ended while it was starting it", Fate.KILL)
    if claim.container not in (None, server.id):
        return _orphan(server, "the hub has another container for this server", Fate.STOP)
    return None


def _orphan(server: Server, why: str, fate: Fate) -> Orphan | None:
    if server.state in _LIVE:
        return Orphan(server=server, fate=fate, why=why)
    # what was made to be kept is started at the user's next start
    return Orphan(server=server, fate=Fate.REMOVE, why=why) if server.state == "created" and server.goes else None


def end(engine: DockerEngine, orphan: Orphan) -> str:
    """End it, and wait until it is gone, where it is to go; what was done, for the log.

    Errors: UnreachableError, RefusedError. One that somebody else has ended meanwhile is none.
    """
    server = orphan.server
    with suppress(GoneError):
        {Fate.STOP: engine.stop, Fate.KILL: engine.kill, Fate.REMOVE: engine.remove}[orphan.fate](server.id)
        if server.goes and orphan.fate is not Fate.REMOVE:
            engine.wait_removed(server.id)
    after = "" if orphan.fate is Fate.REMOVE else " and removed" if server.goes else " and kept"
    return f"{orphan.fate.value}{after}"
