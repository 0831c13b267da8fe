"""`Watcher`: sees OOM kills while a container lives, and how each one ends; one for each engine, in threads of its own.

What it sees it keeps in `Records`, and tells to whoever asked it to watch that container. Each kill is told once, also
over a restart of the hub. Nothing here waits for the hub, and the hub waits for nothing here.
"""

from __future__ import annotations

import os
import select
import time
from collections import OrderedDict
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from spawner_limits.clients.docker_events import Connected, Event, Lost, Stream, last_run, past
from spawner_limits.clients.engine import GoneError, RefusedError
from spawner_limits.errors import UnreachableError
from spawner_limits.kernel.cgroups import CgroupError, find
from spawner_limits.kernel.kmsg import KernelLog, logged_kills
from spawner_limits.kernel.oom import OomFiles
from spawner_limits.lifecycle.exit_reason import RECENT, OomKill, ServerExit, cause, count_of
from spawner_limits.lifecycle.in_force import completed
from spawner_limits.lifecycle.kill_count import KillCount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from logging import Logger
    from pathlib import Path

    from spawner_limits.clients.docker import DockerEngine
    from spawner_limits.kernel.kmsg import LoggedKill
    from spawner_limits.lifecycle.exit_reason import ServerContainer
    from spawner_limits.lifecycle.records import Record, Records

_EVERY_S = 1.0
_SETTLE = timedelta(seconds=0.7)
"""after a kill: by then its container has ended too, or goes on; and kills at about the same time are one message"""
_LATE = timedelta(seconds=0.5)
"""after a SIGKILL that nobody explains: an engine may tell of the OOM kill after the end"""
_PAIR_S = 0.02
"""between the kernel's two lines about one kill"""
_REMEMBERED = 1000
"""ends, and containers that the kernel's log named and nobody asked to watch yet"""
_SIGKILLED = 137

News = OomKill | ServerExit


@dataclass(slots=True)
class _Watched:
    """One container."""

    server: ServerContainer
    tell: Callable[[News], None]
    tally: KillCount = field(default_factory=KillCount)
    files: OomFiles | None = None
    is_open: bool = False
    """whether they were looked for"""
    peak_bytes: int | None = None
    heard: datetime | None = None
    """the engine's last event about it"""
    asked: set[int] = field(default_factory=set)
    """signals that the engine was asked to send"""
    died: tuple[datetime, int | None] | None = None
    """when, and with which exit code"""
    decide_at: datetime | None = None
    """how its end is told then"""
    waiting: list[Future[ServerExit | None]] = field(default_factory=list)

    def close(self) -> None:
        """Give the descriptors back."""
        if self.files is not None:
            self.files.close()
            self.files = None


class Watcher:
    """Watches the containers that it is asked to, until they end."""

    def __init__(self, engine: DockerEngine, records: Records, log: Logger, *, kmsg: str | Path = "/dev/kmsg") -> None:
        """`kmsg`: the kernel's log. The threads start now."""
        self._engine, self._records, self._log = engine, records, log
        self._kernel_log = KernelLog(kmsg)
        self._watched: dict[str, _Watched] = {}
        self._ends: OrderedDict[str, ServerExit] = OrderedDict()
        self._unclaimed: OrderedDict[str, list[tuple[datetime, LoggedKill]]] = OrderedDict()
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closing = False
        self._stream = Stream(engine, lambda heard: self._do(lambda: self._hear(heard)))
        self._thread = Thread(target=self._run, name="spawner-limits-oom", daemon=True)
        self._thread.start()

    # -- asked from other threads ----------------------------------------------------------------------------------

    def watch(self, server: ServerContainer, tell: Callable[[News], None]) -> None:
        """Watch a container that runs, or just was started; `tell` is called in our thread, and must not wait."""
        self._do(lambda: self._begin(server, tell))

    def end(self, server: ServerContainer) -> Future[ServerExit | None]:
        """How a container ended that no longer runs; `None`: it does run, or the engine does not answer."""
        future: Future[ServerExit | None] = Future()
        if self._thread.is_alive():
            self._do(lambda: self._answer(server, future))
        else:
            future.set_result(None)
        return future

    def close(self) -> None:
        """ServerExit the threads."""
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
                self._work_off()
                if time.monotonic() >= due:
                    due = time.monotonic() + _EVERY_S
                    self._sample()
                self._settle(datetime.now(UTC))
        for one in self._watched.values():
            one.close()

    def _wait(self, due: float) -> None:
        """Until somebody wants something, the kernel's log says something, or it is time."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if (log := self._kernel_log.fileno()) is not None:
            poll.register(log, select.POLLIN)
        unsettled = any(one.tally.unreported or one.decide_at for one in self._watched.values())
        rest_s = 0.1 if unsettled else max(0.0, due - time.monotonic())
        ready = {descriptor for descriptor, _ in poll.poll(rest_s * 1000)}
        if log in ready:
            time.sleep(_PAIR_S)
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _work_off(self) -> None:
        with suppress(Empty):
            while True:
                self._work.get_nowait()()

    # -- beginning -------------------------------------------------------------------------------------------------

    def _begin(self, server: ServerContainer, tell: Callable[[News], None]) -> None:
        if (known := self._watched.get(server.container)) is not None:
            known.tell = tell  # a new spawner of the same server
            return
        self._ends.pop(server.container, None)
        self._look(self._added(server, tell))

    def _added(self, server: ServerContainer, tell: Callable[[News], None]) -> _Watched:
        one = self._watched[server.container] = _Watched(server=server, tell=tell)
        return one

    def _look(self, one: _Watched) -> None:
        """Find a container's files, where it runs; note its end, where it no longer does."""
        try:
            found = self._engine.inspect(one.server.container)
            pid = self._engine.process(found.id)
        except GoneError:
            self._look_back(one, None)
        except (RefusedError, UnreachableError) as error:
            self._log.warning("The engine does not say how the server of %s is: %s", one.server.name, error)
        else:
            one.server = completed(one.server, found, self._records)
            if found.runs:
                self._open(one, pid, found.started)
            else:
                self._look_back(one, found.exit_code)

    def _look_back(self, one: _Watched, exit_code: int | None) -> None:
        """Note an end that was not heard, with what the kernel's log and the engine still know of it."""
        if one.died is not None:
            return
        for at, kill in self._unclaimed.pop(one.server.container, ()):
            one.tally.log(kill, at)
        try:
            for event in last_run(past(self._engine, one.server.container)):
                self._happened(one, event)
        except (RefusedError, UnreachableError) as error:
            self._log.warning("The engine does not say how the server of %s ended: %s", one.server.name, error)
        if not one.is_open:  # nobody watched it: by the records, some of that was told when somebody did
            one.tally.spare(self._told_before(one.server.container, None))
        self._note_end(one, exit_code)

    def _open(self, one: _Watched, pid: int, started: datetime | None) -> None:
        if one.is_open:
            return
        one.is_open = True
        container = one.server.container
        one.tally.resume(self._told_before(container, started))
        for at, kill in self._unclaimed.pop(container, ()):
            if started is None or at >= started:
                one.tally.log(kill, at)
        try:
            cgroup = find(pid, container_id=container, controllers=("memory",))
            one.files = OomFiles(cgroup)
        except (CgroupError, OSError) as error:
            self._log.warning("The OOM kills of %s's server can't be counted: %s", one.server.name, error)
        else:
            self._count(one)

    def _told_before(self, container: str, started: datetime | None) -> int:
        told = self._recorded(container)
        return sum(
            count_of(one.details) for one in told if one.event == "oom" and (started is None or one.at >= started)
        )

    def _recorded(self, container: str) -> tuple[Record, ...]:
        try:
            return self._records.of(container)
        except OSError as error:
            self._log.warning("What was recorded of a container can't be read: %s", error)
            return ()

    # -- seeing ----------------------------------------------------------------------------------------------------

    def _read_kernel_log(self) -> None:
        now = datetime.now(UTC)
        for kill in logged_kills(self._kernel_log.lines()):
            if (one := self._watched.get(kill.container)) is not None:
                one.tally.log(kill, now)
            else:
                self._unclaimed.setdefault(kill.container, []).append((now, kill))
                _forget(self._unclaimed)

    def _sample(self) -> None:
        for one in list(self._watched.values()):
            self._count(one)

    def _count(self, one: _Watched) -> None:
        if one.files is None:
            return
        try:
            kills = one.files.kills()
        except (OSError, ValueError):  # the container ended: the engine says how
            one.close()
            self._look(one)
            return
        one.tally.count(kills, datetime.now(UTC))
        if (limit := one.files.limit_bytes()) != one.server.limit_bytes:
            # changed while it runs: not by the rule that it was started under
            one.server = replace(one.server, limit_bytes=limit, rule=None)
        if one.tally.unreported:
            one.peak_bytes = one.files.peak_bytes()

    def _hear(self, heard: Event | Connected | Lost) -> None:
        match heard:
            case Lost():
                self._log.warning("The engine's events are not heard; they are asked for again: %s", heard.why)
            case Connected():
                for one in list(self._watched.values()):
                    self._look(one)
            case Event() if heard.container in self._watched:
                self._happened(self._watched[heard.container], heard)

    def _happened(self, one: _Watched, event: Event) -> None:
        if one.heard is not None and event.at <= one.heard:  # told twice: by the stream, and when looking back
            return
        one.heard = event.at
        match event.action:
            case "oom":
                self._count(one)
                one.tally.event(event.at)
            case "kill" if event.signal is not None:
                one.asked.add(event.signal)
            case "die":
                self._note_end(one, event.exit_code, event.at)
            case "destroy" if one.died is None:
                self._note_end(one, None, event.at)

    # -- ending ----------------------------------------------------------------------------------------------------

    def _note_end(self, one: _Watched, exit_code: int | None, at: datetime | None = None) -> None:
        """It ended. Why is decided at once, or, where an `oom` event may still come, a little later."""
        if one.died is not None and (one.died[1] is not None or exit_code is None):
            return
        now = datetime.now(UTC)
        one.died = (at or now, exit_code)
        one.close()
        self._read_kernel_log()
        is_explained = one.tally.at is not None and one.died[0] - one.tally.at <= RECENT
        may_change = exit_code is None or (exit_code == _SIGKILLED and not is_explained and not one.asked)
        one.decide_at = now + _LATE if may_change else now

    def _settle(self, now: datetime) -> None:
        for one in list(self._watched.values()):
            if one.decide_at is not None:
                if now >= one.decide_at:
                    self._finish(one)
            elif one.tally.unreported and (one.tally.at is None or now - one.tally.at >= _SETTLE):
                self._tell_oom(one, server_died=False)

    def _finish(self, one: _Watched) -> None:
        at, exit_code = one.died or (datetime.now(UTC), None)
        one.tally.end()
        why = cause(exit_code=exit_code, died_at=at, oom_at=one.tally.at, asked=one.asked)
        if one.tally.unreported:
            self._tell_oom(one, server_died=why == "oom")
        last = one.tally.last if why == "oom" else None
        end = ServerExit(
            at=at,
            cause=why,
            exit_code=exit_code,
            limit_bytes=one.server.limit_bytes,
            rule=one.server.rule,
            process=last.process if last else None,
            whose=last.whose if last else None,
        )
        del self._watched[one.server.container]
        self._keep_end(one.server, end)
        one.tell(end)
        for future in one.waiting:
            _resolve(future, end)

    def _tell_oom(self, one: _Watched, *, server_died: bool) -> None:
        last = one.tally.last
        oom = OomKill(
            at=one.tally.at or datetime.now(UTC),
            server=one.server,
            count=one.tally.report(),
            process=last.process if last else None,
            pid=last.pid if last else None,
            rss_bytes=last.rss_bytes if last else None,
            peak_bytes=one.peak_bytes,
            whose=last.whose if last else None,
            server_died=server_died,
        )
        one.tally.last = one.tally.last if server_died else None
        self._record(one.server, "oom", oom.details)
        one.tell(oom)

    def _keep_end(self, server: ServerContainer, end: ServerExit) -> None:
        self._ends[server.container] = end
        _forget(self._ends)
        details = {"user": server.user, "server": server.server, **end.details}
        self._record(server, "ended", {name: value for name, value in details.items() if name != "at"})

    def _record(self, server: ServerContainer, event: Any, details: Mapping[str, Any]) -> None:
        try:
            self._records.append(server.container, event, **details)
        except OSError as error:
            self._log.warning("What happened to the server of %s can't be recorded: %s", server.name, error)

    # -- answering -------------------------------------------------------------------------------------------------

    def _answer(self, server: ServerContainer, future: Future[ServerExit | None]) -> None:
        """`future` gets an end that is known, or will be: what is noted here is decided by `_settle`."""
        container = server.container
        if (end := self._ends.get(container) or self._end_on_record(container)) is not None:
            _resolve(future, end)
            return
        one = self._watched.get(container) or self._added(server, lambda _: None)
        one.waiting.append(future)
        self._look(one)
        if one.died is None:  # it runs, or the engine does not answer
            one.waiting.remove(future)
            _resolve(future, None)

    def _end_on_record(self, container: str) -> ServerExit | None:
        if container in self._watched:
            return None
        told = [one for one in self._recorded(container) if one.event == "ended"]
        return ServerExit.read({**told[-1].details, "at": told[-1].at.isoformat()}) if told else None


def _resolve(future: Future[ServerExit | None], end: ServerExit | None) -> None:
    with suppress(InvalidStateError):  # whoever asked waits no more
        future.set_result(end)


def _forget(kept: OrderedDict[str, Any]) -> None:
    while len(kept) > _REMEMBERED:
        kept.popitem(last=False)
