"""`OomWatcher`: sees OOM kills while containers live, and how each one ends; one an engine, in threads of its own.

What it sees it keeps in `Records`, and reports to whoever asked it to watch that container. Each kill is reported once,
also over a restart of the hub. Nothing here waits for the hub, and the hub waits for nothing here.
"""

from __future__ import annotations

import os
import select
import time
from collections import OrderedDict
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from spawner_limits.clients.docker_events import Connected, Event, Lost, Stream, last_run, past
from spawner_limits.clients.engine import GoneError, RefusedError
from spawner_limits.errors import UnreachableError
from spawner_limits.kernel.cgroups import CgroupError
from spawner_limits.kernel.kmsg import KernelLog, logged_kills
from spawner_limits.lifecycle.exit_reason import ServerExit, count_of
from spawner_limits.lifecycle.in_force import completed
from spawner_limits.lifecycle.watched_container import News, WatchedContainer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from logging import Logger
    from pathlib import Path

    from spawner_limits.clients.docker import DockerEngine
    from spawner_limits.kernel.kmsg import LoggedKill
    from spawner_limits.lifecycle.exit_reason import ServerContainer
    from spawner_limits.lifecycle.records import Record, Records

_EVERY_S = 1.0
_PAIR_S = 0.02
"""between the kernel's two lines about one kill"""
_REMEMBERED = 1000
"""ends, and containers that the kernel's log named and nobody asked to watch yet"""


class OomWatcher:
    """Watches the containers that it is asked to, until they end."""

    def __init__(self, engine: DockerEngine, records: Records, log: Logger, *, kmsg: str | Path = "/dev/kmsg") -> None:
        """`kmsg`: the kernel's log. The threads start now."""
        self._engine, self._records, self._log = engine, records, log
        self._kernel_log = KernelLog(kmsg)
        self._watched: dict[str, WatchedContainer] = {}
        self._ends: OrderedDict[str, ServerExit] = OrderedDict()
        self._unclaimed: OrderedDict[str, list[tuple[datetime, LoggedKill]]] = OrderedDict()
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closing = False
        self._stream = Stream(engine, lambda heard: self._do(lambda: self._hear(heard)))
        self._thread = Thread(target=self._run, name="spawner-limits-oom", daemon=True)
        self._thread.start()

    # -- asked from other threads ----------------------------------------------------------------------------------

    def watch(self, server: ServerContainer, report: Callable[[News], None]) -> None:
        """Watch a container that runs, or just was started; `report` is called in our thread, and must not wait."""
        self._do(lambda: self._begin(server, report))

    def end(self, server: ServerContainer) -> Future[ServerExit | None]:
        """How a container ended that no longer runs; `None`: it does run, or the engine does not answer."""
        future: Future[ServerExit | None] = Future()
        if self._thread.is_alive():
            self._do(lambda: self._answer(server, future))
        else:
            future.set_result(None)
        return future

    def close(self) -> None:
        """End the threads."""
        self._closing = True
        self._stream.close()
        self._do(lambda: None)
        self._thread.join()
        os.close(self._wake)

    def _do(self, work: Callable[[], None]) -> None:
        self._work.put(work)
        os.eventfd_write(self._wake, 1)

    # -- our thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with self._kernel_log:
            if self._kernel_log.problem:
                self._log.info("Which process the OOM killer takes can't be told: %s", self._kernel_log.problem)
            due = time.monotonic()
            while not self._closing:
                self._wait(due)
                self._read_kernel_log()
                while not self._work.empty():
                    self._work.get()()
                if time.monotonic() >= due:
                    due = time.monotonic() + _EVERY_S
                    for watched in list(self._watched.values()):
                        self._count(watched)
                self._report(datetime.now(UTC))
        for watched in self._watched.values():
            watched.close()

    def _wait(self, due: float) -> None:
        """Until somebody wants something, the kernel's log says something, or it is time."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if (log := self._kernel_log.fileno()) is not None:
            poll.register(log, select.POLLIN)
        is_unsettled = any(watched.is_unsettled for watched in self._watched.values())
        rest_s = 0.1 if is_unsettled else max(0.0, due - time.monotonic())
        ready = {descriptor for descriptor, _ in poll.poll(rest_s * 1000)}
        if log in ready:
            time.sleep(_PAIR_S)
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    # -- what is asked for -----------------------------------------------------------------------------------------

    def _begin(self, server: ServerContainer, report: Callable[[News], None]) -> None:
        if (known := self._watched.get(server.container)) is not None:
            known.report = report  # a new spawner of the same server
            return
        self._ends.pop(server.container, None)
        self._look(self._added(server, report))

    def _added(self, server: ServerContainer, report: Callable[[News], None]) -> WatchedContainer:
        watched = self._watched[server.container] = WatchedContainer(server, report)
        return watched

    def _answer(self, server: ServerContainer, future: Future[ServerExit | None]) -> None:
        """`future` gets an end that is known, or will be: what is noted here is decided by `_report`."""
        watched = self._watched.get(server.container)
        end = self._ends.get(server.container)
        if end is None and watched is None:
            end = self._recorded_end(server.container)
        if end is not None:
            _resolve(future, end)
            return
        watched = watched or self._added(server, lambda _: None)
        watched.waiting.append(future)
        self._look(watched)
        if watched.died is None:  # it runs, or the engine does not answer
            watched.waiting.remove(future)
            _resolve(future, None)

    # -- the engine's word, the kernel's log, and the container's own counter --------------------------------------

    def _look(self, watched: WatchedContainer) -> None:
        """Find a container's files, where it runs; note its end, where it no longer does."""
        try:
            found = self._engine.inspect(watched.server.container)
            pid = self._engine.process(found.id)
        except GoneError:
            self._look_back(watched, None)
        except (RefusedError, UnreachableError) as error:
            self._log.warning("The engine does not say how the server of %s is: %s", watched.server.name, error)
        else:
            watched.server = completed(watched.server, found, self._records)
            if not found.runs:
                self._look_back(watched, found.exit_code)
            elif not watched.is_open:
                self._open(watched, pid, found.started)

    def _look_back(self, watched: WatchedContainer, exit_code: int | None) -> None:
        """Note an end that was not heard, with what the kernel's log and the engine still know of it."""
        if watched.died is not None:
            return
        for at, kill in self._unclaimed.pop(watched.server.container, ()):
            watched.kills.log(kill, at)
        try:
            for event in last_run(past(self._engine, watched.server.container)):
                self._happened(watched, event)
        except (RefusedError, UnreachableError) as error:
            self._log.warning("The engine does not say how the server of %s ended: %s", watched.server.name, error)
        if not watched.is_open:  # nobody watched it: by the records, some kills were reported when somebody did
            watched.kills.spare(self._reported(watched.server.container, None))
        self._note_end(watched, exit_code)

    def _open(self, watched: WatchedContainer, pid: int, started: datetime | None) -> None:
        watched.is_open = True
        container = watched.server.container
        watched.kills.resume(self._reported(container, started))
        for at, kill in self._unclaimed.pop(container, ()):
            if started is None or at >= started:
                watched.kills.log(kill, at)
        try:
            watched.open(pid)
        except (CgroupError, OSError) as error:
            self._log.warning("The OOM kills of %s's server can't be counted: %s", watched.server.name, error)
        else:
            self._count(watched)

    def _count(self, watched: WatchedContainer) -> None:
        if not watched.count():  # the engine says how it ended
            self._look(watched)

    def _read_kernel_log(self) -> None:
        now = datetime.now(UTC)
        for kill in logged_kills(self._kernel_log.lines()):
            if (watched := self._watched.get(kill.container)) is not None:
                watched.kills.log(kill, now)
            else:
                self._unclaimed.setdefault(kill.container, []).append((now, kill))
                _forget(self._unclaimed)

    def _hear(self, heard: Event | Connected | Lost) -> None:
        match heard:
            case Lost():
                self._log.warning("The engine's events are not heard; they are asked for again: %s", heard.why)
            case Connected():
                for watched in list(self._watched.values()):
                    self._look(watched)
            case Event() if heard.container in self._watched:
                self._happened(self._watched[heard.container], heard)

    def _happened(self, watched: WatchedContainer, event: Event) -> None:
        if watched.heard is not None and event.at <= watched.heard:  # heard twice: now, and when looking back
            return
        watched.heard = event.at
        match event.action:
            case "oom":
                self._count(watched)
                watched.kills.event(event.at)
            case "kill" if event.signal is not None:
                watched.asked.add(event.signal)
            case "die":
                self._note_end(watched, event.exit_code, event.at)
            case "destroy" if watched.died is None:
                self._note_end(watched, None, event.at)

    def _note_end(self, watched: WatchedContainer, exit_code: int | None, at: datetime | None = None) -> None:
        if watched.died is None or (watched.died[1] is None and exit_code is not None):
            now = datetime.now(UTC)
            self._read_kernel_log()
            watched.end(exit_code, at or now, now)

    # -- what is reported, and kept --------------------------------------------------------------------------------

    def _report(self, now: datetime) -> None:
        for watched in list(self._watched.values()):
            if watched.is_decided(now):
                self._report_end(watched)
            elif watched.has_settled_kills(now):
                self._report_kills(watched, server_died=False)

    def _report_kills(self, watched: WatchedContainer, *, server_died: bool) -> None:
        oom = watched.oom_kill(server_died=server_died)
        self._record(watched.server, "oom", oom.details)
        watched.report(oom)

    def _report_end(self, watched: WatchedContainer) -> None:
        server, end = watched.server, watched.server_exit()
        if watched.kills.unreported:
            self._report_kills(watched, server_died=end.cause == "oom")
        del self._watched[server.container]
        self._ends[server.container] = end
        _forget(self._ends)
        details = {"user": server.user, "server": server.server, **end.details}
        del details["at"]
        self._record(server, "ended", details)
        watched.report(end)
        for future in watched.waiting:
            _resolve(future, end)

    def _record(self, server: ServerContainer, event: Any, details: Mapping[str, Any]) -> None:
        try:
            self._records.append(server.container, event, **details)
        except OSError as error:
            self._log.warning("What happened to the server of %s can't be recorded: %s", server.name, error)

    def _recorded(self, container: str) -> tuple[Record, ...]:
        try:
            return self._records.of(container)
        except OSError as error:
            self._log.warning("What was recorded of a container can't be read: %s", error)
            return ()

    def _reported(self, container: str, since: datetime | None) -> int:
        """How many kills were reported before, by this hub or an earlier one."""
        kills = [record for record in self._recorded(container) if record.event == "oom"]
        return sum(count_of(record.details) for record in kills if since is None or record.at >= since)

    def _recorded_end(self, container: str) -> ServerExit | None:
        ends = [record for record in self._recorded(container) if record.event == "ended"]
        return ServerExit.read({**ends[-1].details, "at": ends[-1].at.isoformat()}) if ends else None


def _resolve(future: Future[ServerExit | None], end: ServerExit | None) -> None:
    with suppress(InvalidStateError):  # whoever asked waits no more
        future.set_result(end)


def _forget(kept: OrderedDict[str, Any]) -> None:
    while len(kept) > _REMEMBERED:
        kept.popitem(last=False)
