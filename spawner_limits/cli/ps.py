"""`spawner-limits ps`: every server on this machine, with its limits, whether they are in force, and its OOM kills."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from spawner_limits import units
from spawner_limits.cli import context, output
from spawner_limits.cli.plan import exit_code, step_object
from spawner_limits.clients.docker import THREADS
from spawner_limits.kernel.cgroups import CgroupError
from spawner_limits.lifecycle.in_force import events, in_force
from spawner_limits.lifecycle.node import Node
from spawner_limits.lifecycle.plan import plan, used_bytes
from spawner_limits.limits import tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from spawner_limits.clients.engine import Server
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.lifecycle.plan import Change
    from spawner_limits.lifecycle.records import Record
    from spawner_limits.policy.entitlement import Entitlement

_WIDTHS = (18, 30)
_HEAD = ("Server", "Memory", "Limits")
_KILLS = 3
"""so many are named; JSON has all"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What is known of one server."""

    server: Server
    entitlement: Entitlement | None
    """what it was given last"""
    shown: Snapshot | None = None
    drift: tuple[Change, ...] = ()
    attested: Record | None = None
    kills: tuple[Record, ...] = ()
    problem: str = ""
    """why its limits can't be read"""


def ps(
    users: context.Users = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show each running server: its limits, when they were attested, whether they still hold, and its OOM kills.

    What drifts here is not what the server was given; whether that is what the policy gives today, `plan` says.
    Exit code: 0 no drift, 1 drift, 3 a server's limits can't be known, 4 engine not reachable.
    """
    node = Node.here()
    found = [server for server in node.engine.servers(users=users or ()) if server.runs]
    with ThreadPoolExecutor(THREADS) as pool:
        rows = tuple(pool.map(lambda server: _row(server, node), found))
    if json:
        output.show_json({"servers": [_as_object(row) for row in rows]})
    else:
        output.show(*_told(rows))
    raise typer.Exit(exit_code(1 if row.drift else 3 if row.problem else 0 for row in rows))


def _row(server: Server, node: Node) -> Row:
    attested: Record | None = None
    kills: tuple[Record, ...] = ()
    entitlement = server.entitlement
    try:
        entitlement = in_force(server, node.records)
        attested = next(reversed([*events(server, node.records, "attested")]), None)
        kills = tuple(events(server, node.records, "oom"))
        shown = node.snapshots.of(server)
    except (CgroupError, OSError) as error:
        return Row(server=server, entitlement=entitlement, attested=attested, kills=kills, problem=str(error))
    made = None if entitlement is None else plan(server, entitlement, shown, node.host)
    return Row(
        server=server,
        entitlement=entitlement,
        shown=shown,
        drift=made.steps if made is not None else (),
        attested=attested,
        kills=kills,
        problem=made.problem if made is not None else server.problem,
    )


# -- for people ----------------------------------------------------------------------------------------------------


def _told(rows: Sequence[Row]) -> Iterator[RenderableType]:
    if not rows:
        yield Text("no server runs on this machine")
        return
    yield output.rows([], *_WIDTHS, head=_HEAD)
    for row in rows:
        yield output.rows([(row.server.whose, _memory(row), _state(row))], *_WIDTHS)
        yield from (output.indented(line) for line in _lines(row))


def _memory(row: Row) -> str:
    used = None if row.shown is None else used_bytes(row.shown)
    limit = row.entitlement.limits.mem_limit if row.entitlement is not None else None
    if used is None:
        return "unknown"
    return units.format_size(used) if limit is None else units.size_usage(used, limit)


def _state(row: Row) -> str:
    when = f"attested {row.attested.at.astimezone():%H:%M:%S}" if row.attested is not None else "not attested"
    if row.problem and not row.drift:
        return "UNKNOWN"
    return f"{when}, DRIFT" if row.drift else f"{when}, no drift"


def _lines(row: Row) -> Iterator[str]:
    if row.entitlement is not None:
        yield summary(row.entitlement)
    yield from (f"{step.field}: {step.actual}, expected {step.wanted}" for step in row.drift)
    if row.problem:
        yield row.problem
    if row.kills:
        count = sum(int(kill.details.get("count", 1)) for kill in row.kills)
        yield f"{count} OOM kill{'' if count == 1 else 's'}: {', '.join(map(_kill, row.kills[-_KILLS:]))}"


def _kill(kill: Record) -> str:
    """`python3 (PID 4711) at 21:14:02`."""
    process, pid = kill.details.get("process"), kill.details.get("pid")
    who = f"{process} (PID {pid})" if process else "a process that is not known"
    return f"{who} at {kill.at.astimezone():%H:%M:%S}"


def summary(entitlement: Entitlement) -> str:
    """All limits in one line."""
    return ", ".join(f"{name} {tell(name, grant.value)}" for name, grant in entitlement.grants.items()) or "no limits"


# -- for programs --------------------------------------------------------------------------------------------------


def _as_object(row: Row) -> dict[str, Any]:
    grants = row.entitlement.grants if row.entitlement is not None else {}
    return {
        "user": row.server.user,
        "server": row.server.server,
        "container": row.server.name,
        "container_id": row.server.id,
        "started": row.server.started.isoformat() if row.server.started is not None else None,
        "limits": {
            output.KEYS[name]: {**output.known(grant.value), "rule": grant.rule} for name, grant in grants.items()
        },
        "attested": row.attested.at.isoformat() if row.attested is not None else None,
        "attested_reason": None if row.attested is not None else "no record of it",
        "attestation_seconds": row.attested.details.get("seconds") if row.attested is not None else None,
        "memory_used_bytes": None if row.shown is None else used_bytes(row.shown),
        "drift": [step_object(step) for step in row.drift],
        "problem": row.problem or None,
        "oom_kills": [{"at": kill.at.isoformat(), **kill.details} for kill in row.kills],
    }
