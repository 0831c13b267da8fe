"""`EngineThreads`: work on an engine beside the event loop, and beside DockerSpawner's one thread for all spawners."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

THREADS = 8
INSIDE_THREADS = 32
TIMEOUT_S = 20


class EngineThreads:
    """Threads of two kinds: whoever waits for what is in one container must hold up no other's start."""

    def __init__(self) -> None:
        """Threads start when they are needed."""
        self._quick = ThreadPoolExecutor(THREADS, thread_name_prefix="spawner-limits")
        self._inside = ThreadPoolExecutor(INSIDE_THREADS, thread_name_prefix="spawner-limits-inside")

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work(*arguments)`, which must be quick, in a thread. TimeoutError after `TIMEOUT_S` seconds."""
        return await _run(self._quick, work, *arguments)

    async def run_inside(self, work: Callable[..., T], *arguments: Any) -> T:
        """As `run`, what reaches into a container: it waits for that one's volumes and processes, which may be slow."""
        return await _run(self._inside, work, *arguments)


async def _run(threads: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.wait_for(asyncio.wrap_future(threads.submit(work, *arguments)), TIMEOUT_S)
