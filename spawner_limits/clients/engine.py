"""`EngineClient`: the one port to container engines, and the values and errors that it speaks in. No SDK shows here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from spawner_limits.engines import labels
from spawner_limits.errors import LimitsError, UnreachableError
from spawner_limits.policy.entitlement import Entitlement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.kernel.snapshot import Snapshot

GRACE_S = 10
"""between SIGTERM and SIGKILL, as Docker has it by default"""


class SlowError(UnreachableError):
    """The engine does not answer in time, and may do still what it was asked for."""


class RefusedError(LimitsError):
    """The engine answers that it does not do it, in its own words."""

    exit_code = 4

    def __init__(self, words: str, status: int | None = None) -> None:
        """`status`: of the engine's answer, in the words of HTTP."""
        self.words, self.status = words, status
        super().__init__(f"the engine refused what it had to do: {words}")


class GoneError(RefusedError):
    """What was asked about is not, or no longer, on the engine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineInfo:
    """An engine and its host, as the engine tells of itself."""

    id: str
    """of this engine, over its restarts; empty where it has none"""
    version: str
    cgroup_version: CgroupVersion
    cgroup_driver: str
    """who makes the containers' cgroups: "cgroupfs", "systemd" or "none"; empty where that is not known"""
    memory_bytes: int
    cores: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A user's server as an engine knows it; whose it is, its labels say."""

    id: str
    """of the container, or of what the engine makes containers from"""
    name: str
    user: str
    server: str
    """empty for the default one"""
    image: str
    networks: tuple[str, ...]
    state: str
    """the engine's word: "running", "created", "exited" …"""
    runs: bool
    """whether it has processes that limits could bind"""
    started: datetime | None
    """`None`: it does not run, or the engine does not say"""
    exit_code: int | None = None
    """of its last run; `None`: it runs, or the engine does not say"""
    goes: bool = False
    """whether the engine removes it at its end"""
    node: str = ""
    """the host that it is on; empty: the engine's own"""
    containers: tuple[str, ...] = ()
    """ids of the containers that are it, on their node"""
    labels: Mapping[str, str]
    asked: Mapping[str, Any]
    """what of the limits the engine was asked for at last, in the words of its API"""
    entitlement: Entitlement | None = field(default=None)
    """what it was started with, by its label; `None`: `problem` says why"""
    problem: str = ""

    @property
    def whose(self) -> str:
        """For a message, as `whose`."""
        return whose(self.user, self.server)


def whose(user: str, server: str) -> str:
    """A user's server for a message: "ann" for the default one, else "ann/gpu"."""
    return f"{user}/{server}" if server else user


def entitlement_of(given: Mapping[str, str]) -> tuple[Entitlement | None, str]:
    """What labels say that a server may use, or why that can't be known."""
    if labels.ENTITLEMENT not in given:
        return None, f"the container has no label {labels.ENTITLEMENT}"
    try:
        return Entitlement.from_json(given[labels.ENTITLEMENT]), ""
    except ValueError as error:
        return None, f"its label {labels.ENTITLEMENT} is {error}"


class EngineReader(Protocol):
    """What every engine tells; synchronous, and safe to use from several threads.

    Each method may raise UnreachableError: the engine does not answer; and RefusedError, of which GoneError is one.
    """

    def info(self) -> EngineInfo:
        """The engine and its host, asked once."""

    def servers(self, *, users: Iterable[str] = ()) -> tuple[Server, ...]:
        """All servers, also those that don't run, sorted by user and name; or those of some users."""

    def inspect(self, server: str) -> Server:
        """One server by its id. GoneError."""


class EngineClient(EngineReader, Protocol):
    """What every engine can be asked for; errors as `EngineReader`."""

    def update(self, server: str, asked: Mapping[str, Any]) -> None:
        """Change limits while it runs, in the words of the engine's API. GoneError."""

    def stop(self, server: str) -> None:
        """End it: SIGTERM, and SIGKILL after `GRACE_S`; wait for that. GoneError."""

    def kill(self, server: str) -> None:
        """End it at once; fine where it does not run any more."""

    def remove(self, server: str) -> None:
        """Remove one that does not run, with what it alone has. GoneError."""


class Snapshots(Protocol):
    """Where the Linux kernel's word on a server comes from."""

    def of(self, server: Server) -> Snapshot:
        """Its counters and limits. CgroupError: they can't be read from here."""
