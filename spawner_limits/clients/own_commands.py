"""`Command`: a command in a container, running beside its first process."""

from __future__ import annotations

import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker.errors
from docker.utils.socket import STDOUT, frames_iter

from spawner_limits.clients.docker import plain
from spawner_limits.clients.own_containers import ENGINE_GRACE_S, EVIDENCE_S, PASSES, STOPPED_ANSWERING, kill
from spawner_limits.deadline import Deadline, OvertimeError
from spawner_limits.errors import UsageError
from spawner_limits.kernel.cgroups import CgroupError
from spawner_limits.kernel.processes import members

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spawner_limits.clients.own_containers import Container, Engine

_TRIAL_VARIABLE = "SPAWNER_LIMITS_TRIAL"
_KEPT_BYTES = 1 << 18
"""of each stream of a load, the end; a load may print without end"""


class Command:
    """A command in a container, running in a thread of its own; what it starts can be ended by `stop`."""

    def __init__(
        self, engine: Engine, container: Container, command: Sequence[str], *, environment: Mapping[str, str] = {}
    ) -> None:
        """Start it. UsageError when the container can't run it."""
        self._engine, self._container = engine, container
        self._mark = uuid.uuid4().hex
        self._stdout, self._stderr = bytearray(), bytearray()
        self.exit_code: int | None = None
        self.problem: str | None = None
        try:
            self._exec: str = engine.client.exec_create(
                container.id, list(command), environment={**environment, _TRIAL_VARIABLE: self._mark}
            )["Id"]
        except docker.errors.APIError as error:
            raise UsageError(f"container {container.name} can't run {command[0]}: {plain(error)}") from error
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            stream: Any = self._engine.client.exec_start(self._exec, socket=True)
            try:
                for kind, text in frames_iter(stream, tty=False):  # type: ignore[no-untyped-call]
                    kept = self._stdout if kind == STDOUT else self._stderr
                    kept += text or b""
                    del kept[:-_KEPT_BYTES]
            finally:
                # left to the garbage collector, it complains that it is closed already (Python 3.14)
                stream._response.close()  # noqa: SLF001
                stream.close()
            self.exit_code = self._engine.client.exec_inspect(self._exec)["ExitCode"]
        except docker.errors.NotFound:  # gone with its container: nobody knows its exit code any more
            return
        except OvertimeError as error:
            self.problem = str(error)
        except (*STOPPED_ANSWERING, OSError) as error:
            self.problem = f"the engine stopped answering: {plain(error)}"

    @property
    def running(self) -> bool:
        """Whether it runs still, as far as the engine lets us know."""
        return self._thread.is_alive()

    @property
    def stdout(self) -> str:
        """What it has printed so far; of much, the end."""
        return self._stdout.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """What it has complained of so far; of much, the end."""
        return self._stderr.decode(errors="replace")

    @property
    def pid(self) -> int:
        """Its process id on the host; 0 before it has one."""
        return int(self._engine.client.exec_inspect(self._exec)["Pid"])

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came."""
        self._thread.join(seconds)
        return not self.running

    def stop(self) -> None:
        """End it and everything that it started, also what was handed to the container's first process since.

        What can't be ended in time, such as in a container that somebody paused, is in `problem`.
        """
        end = Deadline.after(self._engine.deadline.later(EVIDENCE_S).within(ENGINE_GRACE_S) or ENGINE_GRACE_S)
        while not end.passed:
            kill(self._processes())
            # what was only just started can't be told from the engine's own yet; what forks may have got ahead
            if self.wait(end.within(ENGINE_GRACE_S / PASSES) or 0) and not self._processes():
                return
        if left := self._processes():
            pids = " ".join(map(str, left))
            still = f"its processes can't be ended (is the container paused?); let it go on, then: kill -9 {pids}"
            self.problem = f"{self.problem}; {still}" if self.problem else still

    def _processes(self) -> list[int]:
        with suppress(CgroupError):
            return [pid for pid in members(self._engine.cgroup(self._container)) if self._is_ours(pid)]
        return []

    def _is_ours(self, pid: int) -> bool:
        with suppress(OSError):
            return f"{_TRIAL_VARIABLE}={self._mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        return False
