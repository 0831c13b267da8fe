"""`Node`: one host with its engine, the Linux kernel's word on its servers, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from spawner_limits.clients.docker import DockerEngine, LocalSnapshots
from spawner_limits.kernel.host import host_facts
from spawner_limits.lifecycle.records import usual

if TYPE_CHECKING:
    from spawner_limits.clients.engine import EngineClient, Snapshots
    from spawner_limits.kernel.host import HostFacts
    from spawner_limits.lifecycle.records import Records


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """All that `plan` and `apply` go by."""

    engine: EngineClient
    snapshots: Snapshots
    host: HostFacts
    records: Records

    @classmethod
    def here(cls, engine: DockerEngine | None = None, records: Records | None = None) -> Self:
        """The host that this runs on, with the Docker engine that the environment names. UnreachableError, OSError."""
        engine = engine or DockerEngine()
        return cls(
            engine=engine,
            snapshots=LocalSnapshots(engine),
            host=host_facts(engine.info().cgroup_version),
            records=records or usual(),
        )
