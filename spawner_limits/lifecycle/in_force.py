"""What a server may use now, by what is kept of it: what was applied to it last, else what it was started with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spawner_limits.policy.entitlement import Entitlement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spawner_limits.clients.engine import Server
    from spawner_limits.lifecycle.exit_reason import ServerContainer
    from spawner_limits.lifecycle.records import Record, Records


def in_force(server: Server, records: Records) -> Entitlement | None:
    """What a server may use now; `None`: that can't be known. OSError."""
    return last_applied(server.id, records) or server.entitlement


def last_applied(container: str, records: Records) -> Entitlement | None:
    """What was applied last to the container with that whole id; `None`: nothing. OSError."""
    return next((found for kept in reversed(records.of(container)) if (found := _applied(kept)) is not None), None)


def _applied(record: Record) -> Entitlement | None:
    if record.event != "applied" or "entitlement" not in record.details:
        return None
    try:
        return Entitlement.from_json(record.details["entitlement"])
    except (ValueError, TypeError):  # of another version
        return None


def events(server: Server, records: Records, event: str) -> Iterator[Record]:
    """The records of one kind since the server was started. OSError."""
    since = server.started
    return (found for found in records.of(server.id) if found.event == event and (since is None or found.at >= since))


def completed(container: ServerContainer, found: Server, records: Records) -> ServerContainer:
    """With the limit in force, and the rule that it came from."""
    limit = found.asked.get("Memory") or None
    try:
        entitlement = in_force(found, records)
    except OSError:  # as said where they are written
        entitlement = found.entitlement
    grant = entitlement.grants.get("mem_limit") if entitlement is not None else None
    rule = grant.rule if grant is not None and grant.value == limit else None
    return replace(container, limit_bytes=limit, rule=rule)
