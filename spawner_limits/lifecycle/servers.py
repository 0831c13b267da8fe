"""`Server`: a user's server as the engine knows it, found by its labels. Asks the engine, and decides nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import docker.errors

from spawner_limits.engines import labels
from spawner_limits.kernel.cgroups import find
from spawner_limits.kernel.reader import Reader
from spawner_limits.policy.entitlement import Entitlement
from spawner_limits.policy.model import user_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from docker import APIClient
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.lifecycle.records import Record, Records

THREADS = 8
_FRACTION = 6
"""digits of a second that Python keeps; engines write nine"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """One container that says by its labels whose server it is."""

    id: str
    name: str
    """of the container"""
    user: str
    server: str
    """empty for the default one"""
    image: str
    networks: tuple[str, ...]
    state: str
    """the engine's word: "running", "created", "exited" …"""
    pid: int
    """of its first process; 0: it does not run"""
    started: datetime | None
    labels: Mapping[str, str]
    host_config: Mapping[str, Any]
    """what the engine was asked for at last, in the API's words"""
    entitlement: Entitlement | None
    """what it was started with, by its label; `None`: `problem` says why"""
    problem: str = ""

    @property
    def runs(self) -> bool:
        """Whether it has processes that limits could bind."""
        return self.pid > 0


def look(client: APIClient, *, users: Iterable[str] = ()) -> tuple[Server, ...]:
    """All servers on the engine, also those that don't run, sorted by user and name; or those of some users.

    Errors: docker.errors.APIError, requests.RequestException.
    """
    listed = client.containers(all=True, filters={"label": labels.USER})
    keys = {user_key(one) for one in users}
    wanted = [one["Id"] for one in listed if not keys or user_key(one["Labels"].get(labels.USER, "")) in keys]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="spawner-limits-look") as pool:
        found = [one for one in pool.map(lambda container: _inspected(client, container), wanted) if one is not None]
    return tuple(sorted(found, key=lambda one: (one.user, one.server, one.name)))


def _inspected(client: APIClient, container: str) -> Server | None:
    try:
        return server(client.inspect_container(container))
    except docker.errors.NotFound:  # gone since it was listed
        return None


def server(found: Mapping[str, Any]) -> Server:
    """What `docker inspect` said, as a value."""
    state, given = found["State"], found["Config"]["Labels"] or {}
    entitlement, problem = _entitlement(given)
    return Server(
        id=found["Id"],
        name=found["Name"].removeprefix("/"),
        user=given.get(labels.USER, ""),
        server=given.get(labels.SERVER, ""),
        image=found["Config"]["Image"],
        networks=tuple(sorted(found["NetworkSettings"].get("Networks") or {})),
        state=state["Status"],
        pid=state["Pid"],
        started=_moment(state["StartedAt"]) if state["Pid"] else None,
        labels=given,
        host_config=found["HostConfig"],
        entitlement=entitlement,
        problem=problem,
    )


def _entitlement(given: Mapping[str, str]) -> tuple[Entitlement | None, str]:
    if labels.ENTITLEMENT not in given:
        return None, f"the container has no label {labels.ENTITLEMENT}"
    try:
        return Entitlement.from_json(given[labels.ENTITLEMENT]), ""
    except ValueError as error:
        return None, f"its label {labels.ENTITLEMENT} is {error}"


def _moment(text: str) -> datetime:
    """`2026-11-22T09:00:00.123456789Z`, with or without so many digits."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:_FRACTION]:0<{_FRACTION}}+00:00")


def reading(one: Server) -> Snapshot:
    """What the Linux kernel shows of a running server: counters and limits. CgroupError."""
    return read(one.pid, one.id)


def read(pid: int, container: str) -> Snapshot:
    """As `reading`, of the container with that id whose first process is `pid`."""
    with Reader(find(pid, container_id=container)) as reader:
        return reader.read_limits()


def in_force(one: Server, records: Records) -> Entitlement | None:
    """What a server may use now: what was applied to it last, else what it was started with. OSError."""
    return last_applied(one.id, records) or one.entitlement


def last_applied(container: str, records: Records) -> Entitlement | None:
    """What was applied last to the container with that whole id; `None`: nothing. OSError."""
    return next((found for one in reversed(records.of(container)) if (found := _applied(one)) is not None), None)


def _applied(record: Record) -> Entitlement | None:
    if record.event != "applied" or "entitlement" not in record.details:
        return None
    try:
        return Entitlement.from_json(record.details["entitlement"])
    except (ValueError, TypeError):  # of another version
        return None


def events(one: Server, records: Records, event: str) -> Iterator[Record]:
    """The records of one kind since the container was started. OSError."""
    since = one.started
    return (found for found in records.of(one.id) if found.event == event and (since is None or found.at >= since))
