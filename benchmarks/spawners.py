"""Spawners driven without a hub's process: real users in a database in memory, real containers that only wait."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker.errors
from dockerspawner import DockerSpawner
from jupyterhub import orm
from jupyterhub.objects import Hub
from jupyterhub.user import User
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from traitlets.config import Config

import docker
from spawner_limits.clients.docker import from_environment
from spawner_limits.lifecycle import cgroup_parent
from spawner_limits.lifecycle.records import Records
from spawner_limits.spawners.docker import LimitedDockerSpawner
from spawner_limits.spawners.hub_state import HubState
from spawner_limits.spawners.setup import users_network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

IMAGE = "spawner-limits/singleuser:minimal"
POLICY = """\
version: 1
host: {memory_overcommit: unlimited, cpu_overcommit: unlimited}
defaults: {mem_limit: 32M, cpu_limit: 0.5, pids_limit: 100}
"""
STOCK = {"mem_limit": "32M", "cpu_limit": 0.5}
"""what an administrator would write for the same limits"""
_THREADS = 8
_GONE_S = 30


def _database() -> Any:
    engine = create_engine("sqlite://")
    orm.Base.metadata.create_all(engine)
    return Session(engine)


def _network() -> str:
    return users_network()[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Yard:
    """Where spawners are driven, and what they leave is removed."""

    folder: Path
    prefix: str
    client: docker.APIClient
    log: logging.Logger
    network: str = field(default_factory=_network)
    database: Any = field(default_factory=_database)
    numbers: Iterator[int] = field(default_factory=count)
    """of users, none of whom comes twice"""
    kinds: list[type[DockerSpawner]] = field(default_factory=list)
    """whose clients are to be closed"""

    def ours(self, many: int, **traits: Any) -> list[LimitedDockerSpawner]:
        """Spawners of so many users, under the policy; `traits`: more of their configuration."""
        policy = self.folder / "limits.yaml"
        if not policy.exists():
            policy.write_text(POLICY, encoding="utf-8")
        kind = type(
            "Ours",
            (LimitedDockerSpawner,),
            {"state": HubState(from_environment(), self.log, self.records), "log": self.log},
        )
        return self.spawners(kind, many, policy_file=str(policy), cgroup_parent=self.prefix, **traits)

    def stock(self, many: int) -> list[DockerSpawner]:
        """DockerSpawner as it comes, with the same limits."""
        return self.spawners(type("Stock", (DockerSpawner,), {"log": self.log}), many, **STOCK)

    @property
    def records(self) -> Records:
        """What ours keep about their containers."""
        return Records(self.folder / "records")

    def spawners(self, kind: type[DockerSpawner], many: int, **traits: Any) -> list[Any]:
        """One of that kind for each of so many users."""
        self.kinds.append(kind)
        own = {"image": IMAGE, "cmd": ["sleep", "600"], "prefix": self.prefix, "remove": True}
        config = Config({kind.__name__: {**own, "network_name": self.network, **traits}})
        settings = {"spawner_class": kind, "config": config, "hub": Hub()}
        people = [orm.User(name=f"{kind.__name__.lower()}-{next(self.numbers)}") for _ in range(many)]
        self.database.add_all(people)
        self.database.commit()
        return [User(one, settings).spawners[""] for one in people]

    def clear(self) -> None:
        """Remove all containers, and wait until they are gone."""
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(self._remove, self._containers()))
        end = time.monotonic() + _GONE_S
        while self._containers() and time.monotonic() < end:
            time.sleep(0.1)

    def _containers(self) -> list[str]:
        found = self.client.containers(all=True, filters={"name": f"^/{self.prefix}-"})
        return [one["Id"] for one in found]

    def _remove(self, container: str) -> None:
        with suppress(docker.errors.NotFound):
            self.client.remove_container(container, force=True, v=True)


@contextmanager
def yard() -> Iterator[Yard]:
    """A yard for the time of a `with` block. UnreachableError without an engine."""
    log = logging.getLogger("benchmarks.spawners")
    log.setLevel(logging.ERROR)
    # as the records of a hub: on a tmpfs
    folder = Path(tempfile.mkdtemp(prefix="spawner-limits-", dir="/dev/shm"))
    client = docker.APIClient(version="auto", timeout=120)
    made = Yard(folder=folder, prefix=f"bench-{secrets.token_hex(4)}", client=client, log=log)
    try:
        yield made
    finally:
        made.clear()
        _close(made.kinds)
        with suppress(OSError):  # none was made, or the engine has not removed the last one below it yet
            cgroup_parent.remove(made.prefix)
        made.database.close()
        client.close()
        shutil.rmtree(folder)


def _close(kinds: Sequence[type[DockerSpawner]]) -> None:
    """End the threads and connections of each kind."""
    states: list[HubState] = [vars(kind)["state"] for kind in kinds if "state" in vars(kind)]  # of ours
    for state in states:
        if "watcher" in vars(state):
            state.watcher.close()
        state.engine.close()
    for client in (kind._client for kind in kinds if kind._client is not None):  # noqa: SLF001
        client.close()


async def burst(spawners: Sequence[DockerSpawner]) -> list[float]:
    """Start all at the same moment; after how many seconds each had its address."""
    begin = time.perf_counter()

    async def started(one: DockerSpawner) -> float:
        await one.start()
        return time.perf_counter() - begin

    return list(await asyncio.gather(*map(started, spawners)))
