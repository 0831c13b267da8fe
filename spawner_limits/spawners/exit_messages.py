"""`ExitMessages`: why a server came to its end, or lost a process, told to its user and to the administrator.

What is seen comes from the OOM watcher's own threads; here it reaches the hub's pages and log. None of it is written
into a running container, nor is one read for it: its user may lead the engine astray meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jupyterhub.spawner import SpawnException

from spawner_limits.lifecycle.exit_reason import OomKill, ServerContainer, ServerExit, oom_line
from spawner_limits.spawners.base import refused

if TYPE_CHECKING:
    from spawner_limits.lifecycle.watched_container import News
    from spawner_limits.spawners.docker import LimitedDockerSpawner

_END_S = 5
"""for an end to be explained: the engine's word about it may come a little after it"""
_STATE = "last_end"


class ExitMessages:
    """Of one spawner's server."""

    def __init__(self, spawner: LimitedDockerSpawner) -> None:
        self._spawner = spawner
        self.last: ServerExit | None = None
        """how the server came to its end the last time; `None`: as its user wanted it"""
        self._container = ""
        """the id of the container that is watched"""
        self._ended: asyncio.Future[ServerExit] | None = None
        self._was_asked_to_stop = False

    # -- from the start on ---------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Before a start: say why the server is not there."""
        self._container, self._was_asked_to_stop = "", False
        if (text := await self.text()) is not None:
            self._spawner.tell(text)

    def watch(self) -> None:
        """Watch the spawner's container, if it is not watched yet."""
        spawner = self._spawner
        # `poll` of a hub that was restarted has set `_container`, and nobody watches yet
        if spawner.object_id and (self._ended is None or spawner.object_id != self._container):
            self._container = spawner.object_id
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            spawner.state.watcher.watch(self._server(), lambda news: self._pass_on(loop, news))

    def _server(self) -> ServerContainer:
        return ServerContainer(container=self._container, user=self._spawner.user.name, server=self._spawner.name)

    def _pass_on(self, loop: asyncio.AbstractEventLoop, news: News) -> None:
        """From the watcher's thread to the hub's."""

        def hear() -> None:
            task, tasks = asyncio.ensure_future(self._hear(news)), self._spawner.state.tasks
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        with suppress(RuntimeError):  # the hub has stopped
            loop.call_soon_threadsafe(hear)

    def wait_no_longer_than_it_lives(self) -> None:
        """Have the hub stop waiting for an answer as soon as the container has ended; it would wait `http_timeout`."""
        server, ended = self._spawner.server, self._ended
        if server is None or ended is None:  # no hub
            return
        wait_up = server.wait_up

        async def wait(*arguments: Any, **options: Any) -> Any:
            up = asyncio.ensure_future(wait_up(*arguments, **options))
            try:
                await asyncio.wait({up, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not up.done() and await self._spawner.poll() is not None:
                    raise await self.refusal(ended.result())
                answer = await up
            finally:
                up.cancel()
            self.last = None
            return answer

        server.wait_up = wait

    async def refusal(self, end: ServerExit) -> SpawnException:
        """Of a start in which the server ended."""
        self.last = end
        message = await self.text() or f"Your server ended while it was started: {end.words}."
        return refused(message, reason=end.cause, status_code=500)

    # -- while it runs -------------------------------------------------------------------------------------------

    async def _hear(self, news: News) -> None:
        spawner = self._spawner
        if isinstance(news, OomKill):
            spawner.log.warning("%s", oom_line(news))
            return
        if not self._is_expected(news):
            spawner.log.warning("The server of %s ended: %s", spawner.log_name, news.words)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(news)
        if spawner.ready:  # the hub would find out by its next poll
            await spawner.poll_and_notify()

    # -- at its end ----------------------------------------------------------------------------------------------

    def is_there(self) -> bool:
        """Whether there is a container that this hub has handed over."""
        self._container = self._container or self._spawner.object_id
        return bool(self._container)

    def without_an_answer(self, error: Exception) -> int | str | None:
        """What `poll` says where the engine does not."""
        if not self.is_there():
            return 0
        if self._ended is not None and self._ended.done():  # such as with the engine
            return self._noted(self._ended.result())
        # taken for stopped, it would be lost to the hub; it may run on under an engine that is being restarted
        text = "The engine does not say whether the server of %s runs: %r"
        self._spawner.log.warning(text, self._spawner.log_name, error)
        return None

    async def status(self, stock: int | str) -> int | str:
        """What `poll` says of a server that has ended, in words after DockerSpawner's own; 0: as its user wanted it."""
        end = await self.end()
        if end is None:
            return stock
        if end.cause == "killed" and stock == 0 and not self._spawner.remove:
            end = replace(end, cause="vanished")  # a kept container does not go by itself
        noted = self._noted(end)
        return f"{stock}: {end.words}" if isinstance(stock, str) else noted

    def _noted(self, end: ServerExit) -> int | str:
        if self._is_expected(end):
            return 0
        self.last = end
        return end.words

    def _is_expected(self, end: ServerExit) -> bool:
        """Whether it surprises nobody: the hub stopped it, or its user did in JupyterLab."""
        return self._was_asked_to_stop if end.cause == "stopped" else (end.cause, end.exit_code) == ("exited", 0)

    async def end(self) -> ServerExit | None:
        """How the container ended; `None`: that is not known, or it runs."""
        if not self._container:
            return None
        watcher = self._spawner.state.watcher
        try:
            return await asyncio.wait_for(asyncio.wrap_future(watcher.end(self._server())), _END_S)
        except TimeoutError:
            return None

    def asked_to_stop(self) -> None:
        """The user or the hub wants its end: there is nothing to explain then."""
        self._was_asked_to_stop = True

    def stopped(self) -> None:
        """It has ended as it was asked to."""
        self.last, self._container = None, ""

    # -- what people see -----------------------------------------------------------------------------------------

    async def text(self) -> str | None:
        """Why the server is not there, for its user; `None`: there is nothing to explain. The time is the hub's."""
        if self.last is None:
            return None
        contact: str | None = None
        with suppress(SpawnException):  # no valid policy
            contact = (await self._spawner.current_policy()).contact
        return self.last.for_user(contact, now=datetime.now().astimezone())

    def kept(self) -> dict[str, Any]:
        """For the spawner's state, which JupyterHub keeps over its own restarts."""
        return {_STATE: self.last.details} if self.last is not None else {}

    def restore(self, state: dict[str, Any]) -> None:
        """What `kept` gave."""
        self.last = ServerExit.read(state.get(_STATE))
