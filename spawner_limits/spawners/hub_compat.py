"""What is used of JupyterHub beyond its documented API: its database's rows, and what its spawners are at just now.

Seen with JupyterHub 6.1.1. Whoever allows another version looks here first.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

from jupyterhub import orm

from spawner_limits.lifecycle.orphans import Claim

_AT_WORK = frozenset({"spawn", "stop", "rename"})
"""what `Spawner.pending` says while the hub itself changes a server; "check": it only looks"""


def claims(spawner: Any) -> tuple[Claim, ...]:
    """What the spawner's hub has, by its database, and what it is at just now."""
    at_work = {
        (user.name, other.name)
        for user in spawner.user.settings["users"].values()
        for other in user.spawners.values()
        if other.pending in _AT_WORK
    }
    rows = spawner.user.db.query(orm.Spawner).filter(orm.Spawner.server != None)  # noqa: E711  SQLAlchemy's word for it
    noted = (_claim(row) for row in rows if (row.user.name, row.name) not in at_work)
    return (*noted, *(Claim(user=user, server=server) for user, server in at_work))


def _claim(row: Any) -> Claim:
    container = (row.state or {}).get("object_id")
    return Claim(user=row.user.name, server=row.name, container=container or None, is_handed_over=_is_handed_over(row))


def is_cut_short(spawner: Any) -> bool:
    """Whether the hub's database has a server whose start was begun, and that was never handed over."""
    row = spawner.orm_spawner
    return row.server is not None and not _is_handed_over(row)


def _is_handed_over(row: Any) -> bool:
    # JupyterHub notes the address as soon as `start` has given it
    return bool(row.server.ip)


def hub_identity(spawner: Any) -> str:
    """Which hub this is, over its restarts, by its secret and its database; empty where neither is kept."""
    settings = getattr(spawner.user, "settings", None) or {}
    secret, database = settings.get("cookie_secret"), _database(getattr(spawner.user, "db", None))
    if not secret or not database:
        return ""
    return hmac.new(secret, f"spawner-limits.hub {database}".encode(), hashlib.sha256).hexdigest()[:32]


def _database(db: Any) -> str:
    """The address of a database that is kept; empty for one in memory, and without any."""
    if db is None:
        return ""
    url = db.get_bind().url
    if url.get_backend_name() != "sqlite":
        return str(url)  # without its password
    return str(Path(url.database).resolve()) if url.database not in {None, "", ":memory:"} else ""
