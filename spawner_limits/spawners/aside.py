"""Work on the engine beside DockerSpawner's own: its one thread serves every spawner's poll, and would hold them up."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import docker
from spawner_limits.spawners.admission import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spawner_limits.engines.enforcement import CgroupVersion

T = TypeVar("T")

THREADS = 8
INSIDE_THREADS = 32
TIMEOUT_S = 20


class Aside:
    """A client and threads of our own, of two kinds: whoever waits for one container must hold up no other's start."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        """`arguments`: of `docker.APIClient`. Nothing is connected yet."""
        self._arguments = arguments
        self._quick = ThreadPoolExecutor(THREADS, thread_name_prefix="spawner-limits")
        self._inside = ThreadPoolExecutor(INSIDE_THREADS, thread_name_prefix="spawner-limits-inside")

    @cached_property
    def client(self) -> docker.APIClient:
        """Connects at first use; docker.errors.DockerException when no engine answers."""
        return self.connect()

    def connect(self) -> docker.APIClient:
        """Another client, for one thread alone; errors as `client`."""
        return docker.APIClient(**self._arguments)

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """What the engine says of itself and its host, asked once."""
        found: dict[str, Any] = self.client.info()
        return found

    @property
    def cgroup_version(self) -> CgroupVersion:
        """The version of cgroups that the engine uses."""
        return 2 if str(self.info.get("CgroupVersion", "1")) == "2" else 1

    @cached_property
    def runtime(self) -> str:
        """What makes the engine's containers, and its version: "runc 1.3.6"; empty where the engine does not say."""
        name = str(self.info.get("DefaultRuntime", ""))
        parts = self.client.version().get("Components") or ()
        return next((f"{name} {one['Version']}" for one in parts if one["Name"] == name), "")

    @cached_property
    def places(self) -> Places:
        """The room on this engine's host."""
        return Places(self)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work(client, *arguments)`, which must be quick, in a thread. TimeoutError after `TIMEOUT_S` seconds."""
        return await self._run(self._quick, work, *arguments)

    async def run_inside(self, work: Callable[..., T], *arguments: Any) -> T:
        """As `run`, what reaches into a container: it waits for that one's volumes and processes, which may be slow."""
        return await self._run(self._inside, work, *arguments)

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
        future = asyncio.wrap_future(threads.submit(lambda: work(self.client, *arguments)))
        return await asyncio.wait_for(future, TIMEOUT_S)
