"""`TellingMixin`: why a server came to its end, or lost a process, told to its user and to the administrator.

What is seen comes from `live/oom`, from its own threads; here it reaches the hub's pages and log. None of it is written
into a running container, nor is one read for it: its user may lead the engine astray meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

import docker.errors
import requests
from jupyterhub.spawner import SpawnException
from traitlets import HasTraits

from spawner_limits.lifecycle.exit_reason import End, Oom, Owned, oom_line
from spawner_limits.lifecycle.oom_watcher import Watcher
from spawner_limits.spawners.limited import refused

if TYPE_CHECKING:
    from spawner_limits.lifecycle.oom_watcher import News
    from spawner_limits.spawners.aside import Aside

_END_S = 5
"""for an end to be explained: the engine's word about it may come a little after it"""
_STATE = "last_end"


class TellingMixin(HasTraits):  # type: ignore[misc]  # traitlets is not typed
    """To be mixed in before DockerSpawner, beside `LimitsMixin` and `AttestedMixin`."""

    watchers: ClassVar[dict[Aside, Watcher]] = {}
    _hearing: ClassVar[set[asyncio.Task[None]]] = set()
    last_end: End | None = None
    """how the server came to its end the last time; `None`: as its user wanted it"""
    _container = ""
    """the id of the container that is watched"""
    _ended: asyncio.Future[End] | None = None
    _was_asked_to_stop = False

    @property
    def watcher(self) -> Watcher:
        """One for all spawners of one engine; its threads start at first use."""
        if self.aside not in self.watchers:
            self.watchers[self.aside] = Watcher(self.aside.connect, self.records, self.log)
        return self.watchers[self.aside]

    # -- from the start on ---------------------------------------------------------------------------------------

    async def start(self) -> tuple[str, int]:
        """Start the server. SpawnException says where the OOM killer ended it meanwhile."""
        self._container, self._was_asked_to_stop = "", False
        await self._tell_last_end()
        try:
            started: tuple[str, int] = await super().start()
        except (SpawnException, docker.errors.APIError) as error:
            if (end := await self._end()) is not None and end.cause == "oom":
                raise await self._refusal_of(end) from error
            raise
        self._wait_no_longer_than_it_lives()
        return started

    async def _tell_last_end(self) -> None:
        if (told := await self.told_end()) is not None:
            self.tell(told)

    async def start_object(self) -> None:
        """Start the container, and watch it."""
        await super().start_object()
        self._watch()

    def _watch(self) -> None:
        # `poll` of a hub that was restarted has set `_container`, and nobody watches yet
        if self.object_id and (self._ended is None or self.object_id != self._container):
            self._container = self.object_id
            self._ended = asyncio.get_running_loop().create_future()
            loop = asyncio.get_running_loop()
            self.watcher.watch(self._owned(), lambda news: self._pass_on(loop, news))

    def _owned(self) -> Owned:
        return Owned(container=self._container, user=self.user.name, server=self.name)

    def _pass_on(self, loop: asyncio.AbstractEventLoop, news: News) -> None:
        """From the watcher's thread to the hub's."""
        with suppress(RuntimeError):  # the hub has stopped
            loop.call_soon_threadsafe(self._begin_to_hear, news)

    def _begin_to_hear(self, news: News) -> None:
        task = asyncio.ensure_future(self._hear(news))
        self._hearing.add(task)  # asyncio itself would let go of it
        task.add_done_callback(self._hearing.discard)

    def _wait_no_longer_than_it_lives(self) -> None:
        """Have the hub stop waiting for an answer as soon as the container has ended; it would wait `http_timeout`."""
        server, ended = self.server, self._ended
        if server is None or ended is None:  # no hub
            return
        wait_up = server.wait_up

        async def wait(*arguments: Any, **options: Any) -> Any:
            up = asyncio.ensure_future(wait_up(*arguments, **options))
            try:
                await asyncio.wait({up, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not up.done() and await self.poll() is not None:
                    raise await self._refusal_of(ended.result())
                answer = await up
            finally:
                up.cancel()
            self.last_end = None
            return answer

        server.wait_up = wait

    async def _refusal_of(self, end: End) -> SpawnException:
        self.last_end = end
        message = await self.told_end() or f"Your server ended while it was started: {end.words}."
        return refused(message, reason=end.cause, status_code=500)

    # -- while it runs -------------------------------------------------------------------------------------------

    async def _hear(self, news: News) -> None:
        if isinstance(news, Oom):
            self.log.warning("%s", oom_line(news))
            return
        if not self._is_expected(news):
            self.log.warning("The server of %s ended: %s", self._log_name, news.words)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(news)
        if self.ready:  # the hub would find out by its next poll
            await self.poll_and_notify()

    # -- at its end ----------------------------------------------------------------------------------------------

    async def poll(self) -> int | str | None:
        """`None` while it runs; else how it ended, in words after DockerSpawner's own; 0: as its user wanted it."""
        self._container = self._container or self.object_id
        try:
            status: int | str | None = await super().poll()
        except (requests.RequestException, TimeoutError) as error:
            if not self._container:  # there is none, or none that this hub has handed over
                return 0
            if self._ended is not None and self._ended.done():  # such as with the engine
                return self._noted(self._ended.result())
            # taken for stopped, it would be lost to the hub; it may run on under an engine that is being restarted
            self.log.warning("The engine does not say whether the server of %s runs: %r", self._log_name, error)
            return None
        if status is None:
            self._watch()
            return None
        end = await self._end()
        return status if end is None else self._status(status, end)

    def _status(self, stock: int | str, end: End) -> int | str:
        """What the hub writes into its log."""
        if end.cause == "killed" and stock == 0 and not self.remove:
            end = replace(end, cause="vanished")  # a kept container does not go by itself
        noted = self._noted(end)
        return f"{stock}: {end.words}" if isinstance(stock, str) else noted

    def _noted(self, end: End) -> int | str:
        if self._is_expected(end):
            return 0
        self.last_end = end
        return end.words

    def _is_expected(self, end: End) -> bool:
        """Whether it surprises nobody: the hub stopped it, or its user did in JupyterLab."""
        return self._was_asked_to_stop if end.cause == "stopped" else (end.cause, end.exit_code) == ("exited", 0)

    async def _end(self) -> End | None:
        """How the container ended; `None`: that is not known, or it runs."""
        if not self._container:
            return None
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self.watcher.end(self._owned())), _END_S)
        except TimeoutError:
            return None

    async def stop(self, now: bool = False) -> None:
        """Stop it, as its user or the hub wants: there is nothing to explain then."""
        self._was_asked_to_stop = True
        await super().stop(now)
        self.last_end, self._container = None, ""

    # -- what people see -----------------------------------------------------------------------------------------

    async def told_end(self) -> str | None:
        """Why the server is not there, for its user; `None`: there is nothing to explain. The time is the hub's."""
        if self.last_end is None:
            return None
        return self.last_end.for_user(await self._contact(), now=datetime.now().astimezone())

    async def get_options_form(self) -> str:
        """The form before a start, if there is one, below why the server is not there."""
        form: str = await super().get_options_form()
        told = await self.told_end()
        return f'<p id="last-end" class="alert alert-warning">{escape(told)}</p>{form}' if form and told else form

    async def _contact(self) -> str | None:
        try:
            contact: str | None = (await self.current_policy()).contact
        except SpawnException:  # no valid policy
            return None
        return contact

    def get_state(self) -> dict[str, Any]:
        """JupyterHub keeps it over its own restarts."""
        state: dict[str, Any] = super().get_state()
        return state | ({_STATE: self.last_end.details} if self.last_end is not None else {})

    def load_state(self, state: dict[str, Any]) -> None:
        """What `get_state` gave."""
        super().load_state(state)
        self.last_end = End.read(state.get(_STATE))

    if TYPE_CHECKING:

        @property
        def aside(self) -> Aside: ...  # noqa: D102

        current_policy: Any
        log: Any
        name: str
        object_id: str
        poll_and_notify: Any
        ready: bool
        records: Any
        remove: bool
        server: Any
        tell: Any
        user: Any
        _log_name: str
