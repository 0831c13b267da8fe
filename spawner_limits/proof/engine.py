"""The Docker engine as a proof needs it: containers of our own, commands inside, and what the engine says of itself.

Every container that is made here is noted by its name first (`made`), ends by itself, and is removed.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import uuid
from contextlib import closing, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import docker.errors
import requests
from docker.utils import kwargs_from_env
from docker.utils.socket import STDOUT, frames_iter

import docker
from spawner_limits.deadline import GRACE_S, Deadline, OvertimeError
from spawner_limits.engines import labels
from spawner_limits.errors import LimitsError, UnreachableError, UsageError
from spawner_limits.kernel.processes import identity, members
from spawner_limits.kernel.where import Cgroup, CgroupError, cgroup_mounts, find
from spawner_limits.proof import made
from spawner_limits.proof.evidence import Host
from spawner_limits.proof.interrupt import check, pause, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from spawner_limits.engines.base import CgroupVersion
    from spawner_limits.proof.made import Kind, Made, Note

_STOPPED_ANSWERING = (requests.RequestException, docker.errors.DockerException)
_TRIAL_VARIABLE = "SPAWNER_LIMITS_TRIAL"
_PATIENCE_S = 60
_ANSWER_S = 10
"""an engine that takes longer over a ping is taken for gone"""
_GRACE_S = 10
"""for what the engine is doing already: an end that it must notice, a removal"""
_EVIDENCE_S = GRACE_S / 2
"""after a deadline: for what ends a load, and for what is still asked of the engine; the rest is for removing"""
_KEPT_BYTES = 1 << 18
"""of each stream of a load, the end; a load may print without end"""
_PASSES = 50
_NOTICE_S = 5


class RefusedError(UsageError):
    """The engine makes no such container (`at` "create"), or can't start it ("start"); its words are in the text."""

    def __init__(self, text: str, at: Literal["create", "start"]) -> None:
        super().__init__(text)
        self.at = at


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """A running container, found."""

    id: str
    name: str
    pid: int
    image: str
    image_id: str
    cgroup_parent: str
    labels: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    """what the engine said when it made a container of ours; of others it is not known"""


class _Client(docker.APIClient):
    """Docker's, no call of which waits for longer than until a deadline."""

    def __init__(self, deadline: Deadline, version: str = "auto") -> None:
        self._deadline = deadline
        super().__init__(**kwargs_from_env(), version=version, timeout=_PATIENCE_S)

    def request(self, method: Any, url: Any, *, timeout: Any = None, **more: Any) -> Any:  # type: ignore[override]
        """As the SDK's. OvertimeError where the deadline is what it was not waited for."""
        within = self._deadline.within(timeout)
        try:
            return super().request(method, url, timeout=within, **more)
        except requests.RequestException as error:
            if self._deadline.passed:
                path = str(url).removeprefix(str(self.base_url))
                raise self._deadline.overtime(f"what the Docker engine was asked for ({method} {path})") from error
            raise


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


class Engine:
    """One Docker engine on this machine."""

    def __init__(self, *, connect_by: Deadline | None = None, made_by_us: Made | None = None) -> None:
        """Connect. UnreachableError when no engine answers, by then. `made_by_us`: where is noted what is made here."""
        self.deadline = Deadline()
        self._made = made_by_us or made.usual()
        try:
            with closing(_Client(connect_by or self.deadline)) as client:
                self._info: dict[str, Any] = client.info()
            self.client: docker.APIClient = _Client(self.deadline, version=str(client.api_version))
        except (*_STOPPED_ANSWERING, OvertimeError) as error:
            raise unreachable(error) from error

    @contextmanager
    def until(self, deadline: Deadline) -> Iterator[Engine]:
        """The same engine for the time of the block, asked for nothing that would end long after `deadline`.

        Up to half of `GRACE_S` after it, it still ends a load and answers; in the other half containers are removed.
        """
        with self._asked_until(deadline.later(_EVIDENCE_S)) as bound:
            bound.deadline = deadline
            yield bound

    @contextmanager
    def _asked_until(self, deadline: Deadline) -> Iterator[Engine]:
        bound = copy(self)
        try:
            bound.client = _Client(deadline, version=str(self.client.api_version))
        except _STOPPED_ANSWERING as error:
            raise unreachable(error) from error
        try:
            yield bound
        finally:
            bound.client.close()

    @property
    def cgroup_version(self) -> CgroupVersion:
        """Version of cgroups that the engine uses for containers."""
        return 2 if str(self._info.get("CgroupVersion", "1")) == "2" else 1

    @property
    def cgroup_driver(self) -> str:
        """Who makes the containers' cgroups: "cgroupfs", "systemd" or "none"."""
        return str(self._info.get("CgroupDriver", "?"))

    @property
    def info(self) -> Mapping[str, Any]:
        """What `docker info` said when we connected."""
        return self._info

    def host(self) -> Host:
        """The machine and its engine, for the report."""
        version, driver = self._info.get("ServerVersion", "?"), self.cgroup_driver
        return Host(
            cores=os.cpu_count() or 1,
            memory_bytes=_meminfo("MemTotal"),
            swap_bytes=_meminfo("SwapTotal"),
            kernel=platform.release(),
            engine=f"Docker {version}, cgroup v{self.cgroup_version}, {driver} driver",
        )

    def inspect(self, container: str) -> Container:
        """A running container. UsageError when it does not run."""
        try:
            found = self.client.inspect_container(container)
        except docker.errors.NotFound as error:
            raise UsageError(f"container {container} does not run (it has ended)") from error
        if not found["State"]["Pid"]:
            raise UsageError(f"container {found['Name'].lstrip('/')} does not run ({found['State']['Status']})")
        return Container(
            id=found["Id"],
            name=found["Name"].lstrip("/"),
            pid=found["State"]["Pid"],
            image=found["Config"]["Image"],
            image_id=found["Image"],
            cgroup_parent=found["HostConfig"].get("CgroupParent") or "",
            labels=found["Config"]["Labels"] or {},
        )

    def cgroup(self, container: Container) -> Cgroup:
        """The container's cgroups. CgroupError when they can't be found from here."""
        return find(container.pid, container_id=container.id)

    # -- containers of our own -----------------------------------------------------------------------------------

    def require_image(self, image: str) -> None:
        """UsageError when the image is not on this machine."""
        try:
            self.client.inspect_image(image)  # type: ignore[no-untyped-call]
        except docker.errors.ImageNotFound as error:
            raise _no_image(image) from error

    @contextmanager
    def trial_container(
        self,
        image: str,
        *,
        host_config: Mapping[str, Any],
        environment: Mapping[str, str],
        seconds: int,
        command: Sequence[str] = (),
    ) -> Iterator[Container]:
        """A container of our own, removed at the end, whatever happens.

        Without a `command` it only waits, to run others in, and is gone once it ends. A `command` is its first process,
        and what the engine says of its end can be read; it must wait for something before it may end.

        Errors: UsageError for an image that is missing or a host config that the engine refuses.
        """
        name, note, is_sure = made.new_name(), None, False
        own = {"init": True, "auto_remove": True} if not command else {}
        cgroup: Cgroup | None = None
        try:
            with uninterrupted():
                note = self._note(name, "container")
                # a container that waits ends by itself should nobody be left to remove it
                warnings = self._create(
                    name, image, command or ("sleep", str(seconds)), {**own, **host_config}, environment
                )
                is_sure = True
            self._start(name, image)
            container, cgroup = self._started(name, image)
            check()
            yield replace(container, warnings=warnings)
        finally:
            with uninterrupted():
                self._end(name, cgroup)
                if note is not None:
                    # an engine that did not answer may yet make it
                    (note.forget if is_sure else note.close)()

    def _note(self, name: str, kind: Kind) -> Note | None:
        """`None` where nothing can be noted, which `sweep` has said."""
        try:
            return self._made.note(name, kind, self._id)
        except made.UnusableError:
            return None

    @property
    def _id(self) -> str:
        return str(self._info.get("ID") or "")

    def _create(
        self,
        name: str,
        image: str,
        command: Sequence[str],
        host_config: Mapping[str, Any],
        environment: Mapping[str, str],
    ) -> tuple[str, ...]:
        """Create a container; what the engine warned of."""
        try:
            made = self.client.create_container(
                image,
                command=list(command),
                entrypoint=[],
                environment=dict(environment),
                name=name,
                labels={labels.TRIAL: identity(os.getpid())},
                host_config=self.client.create_host_config(**host_config),
            )
            return tuple(made.get("Warnings") or ())
        except docker.errors.ImageNotFound as error:
            raise _no_image(image) from error
        except docker.errors.APIError as error:
            raise RefusedError(f"Docker refuses a container with these limits: {_plain(error)}", "create") from error

    def _start(self, name: str, image: str) -> None:
        try:
            self.client.start(name)
        except docker.errors.APIError as error:
            raise RefusedError(f"Docker can't start a container of {image}: {_plain(error)}", "start") from error

    def _started(self, name: str, image: str) -> tuple[Container, Cgroup]:
        container = self._alive(name, image)
        try:
            return container, self.cgroup(container)
        except CgroupError:
            # ended, or out of our sight? of an end the engine hears later than the Linux kernel, on a busy host seconds
            end = Deadline.after(_NOTICE_S)
            while not (end.passed or identity(container.pid)):
                pause(_GRACE_S / _PASSES)
                self._alive(name, image)
            raise

    def _alive(self, name: str, image: str) -> Container:
        try:
            return self.inspect(name)
        except UsageError as error:
            raise UsageError(f"a container of {image} ended at once; the image needs a sleep that waits") from error

    def _end(self, name: str, cgroup: Cgroup | None) -> None:
        """Remove a container; should the engine be gone, end its processes without it."""
        with self._asked_until(self.deadline.later(GRACE_S)) as engine:
            try:
                engine._ping()  # noqa: SLF001  of this class
                engine._remove(name)  # noqa: SLF001
            except UnreachableError:
                if cgroup is not None:
                    kill(members(cgroup))
                raise

    def _ping(self) -> None:
        """UnreachableError when the engine does not answer soon; the client's own patience is for real work."""
        try:
            self.client.get(f"{self.client.base_url}/_ping", timeout=_ANSWER_S).raise_for_status()
        except (requests.RequestException, OvertimeError) as error:
            raise unreachable(error) from error

    def _remove(self, name: str) -> None:
        try:
            self.client.remove_container(name, force=True, v=True)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            if error.status_code != requests.codes.conflict:
                raise LimitsError(f"Docker can't remove the container {name}: {_plain(error)}") from error
            self._await_removal(name)
        except OvertimeError as error:
            raise _not_removed(name) from error
        except requests.RequestException as error:
            raise unreachable(error) from error

    def _await_removal(self, name: str) -> None:
        """Somebody else is removing it: the engine itself after its end, or the next `verify`."""
        try:
            self.client.wait(name, timeout=_GRACE_S, condition="removed")
        except docker.errors.NotFound:
            return
        except (requests.RequestException, OvertimeError) as error:
            raise _not_removed(name) from error

    @contextmanager
    def trial_cgroup(self) -> Iterator[str]:
        """The name of a cgroup of our own, which the engine makes for containers; removed at the end."""
        name = made.new_name()
        note = self._note(name, "cgroup")
        try:
            yield name
        finally:
            if _remove_cgroups(name) and note is not None:
                note.forget()

    def sweep(self, say: Callable[[str], None] = _say) -> None:
        """Remove what an earlier run made that was ended without a chance to clean up, by the names that it noted.

        Where no such notes can be kept, that is said.
        """
        try:
            left = self._made.left(self._id)
        except made.UnusableError as error:
            say(f"spawner-limits: what a killed run leaves can't be found: {error}; {made.REMEDY}")
            return
        for note in left:
            if note.kind == "container":
                self._remove(note.name)
                note.forget()
            elif _remove_cgroups(note.name):
                note.forget()
            else:
                note.close()


@contextmanager
def reachable() -> Iterator[None]:
    """UnreachableError for whatever the block found the engine not to do, and did not see coming."""
    try:
        yield
    except docker.errors.APIError as error:
        raise UnreachableError(f"the Docker engine refused what it had to do: {_plain(error)}") from error
    except _STOPPED_ANSWERING as error:
        raise unreachable(error) from error


def unreachable(error: BaseException) -> UnreachableError:
    """The engine does not answer, said to a person."""
    return UnreachableError(f"the Docker engine does not answer ({_plain(error)}); start it with docker/engine.sh")


def _not_removed(name: str) -> LimitsError:
    return LimitsError(
        f"Docker does not get the container {name} removed; look at docker ps -a, and remove it: docker rm -f {name}"
    )


def _no_image(image: str) -> UsageError:
    return UsageError(f"no image {image} on this machine; build it with docker/build.sh, or pull it with docker pull")


def _plain(error: BaseException) -> str:
    return str(getattr(error, "explanation", None) or error).strip().rstrip(".")


def _meminfo(key: str) -> int:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return int(lines[key].split()[0]) * 1024


def kill(pids: Iterable[int]) -> None:
    """End processes at once; those that are gone already are fine."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _keep(kept: bytearray, new: bytes | None) -> None:
    kept += new or b""
    del kept[:-_KEPT_BYTES]


def _remove_cgroups(name: str) -> bool:
    """Remove a cgroup that the engine made for containers of ours, and left: it is empty by now, or soon."""
    # of that very name; as systemd's slice it can have no dashes
    names = (name, f"{name.replace('-', '_')}.slice")
    for _ in range(_PASSES):
        left = [path for mount in cgroup_mounts() for one in names if (path := mount / one).is_dir()]
        for path in left:
            with suppress(OSError):
                path.rmdir()
        if not left:
            return True
        pause(_GRACE_S / _PASSES)
    return False


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
            raise UsageError(f"container {container.name} can't run {command[0]}: {_plain(error)}") from error
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            stream: Any = self._engine.client.exec_start(self._exec, socket=True)
            try:
                for kind, text in frames_iter(stream, tty=False):  # type: ignore[no-untyped-call]
                    _keep(self._stdout if kind == STDOUT else self._stderr, text)
            finally:
                # left to the garbage collector, it complains that it is closed already (Python 3.14)
                stream._response.close()  # noqa: SLF001
                stream.close()
            self.exit_code = self._engine.client.exec_inspect(self._exec)["ExitCode"]
        except docker.errors.NotFound:  # gone with its container: nobody knows its exit code any more
            return
        except OvertimeError as error:
            self.problem = str(error)
        except (*_STOPPED_ANSWERING, OSError) as error:
            self.problem = f"the engine stopped answering: {_plain(error)}"

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

        What can't be ended in time, such as in a container that somebody paused, is told in `problem`.
        """
        end = Deadline.after(self._engine.deadline.later(_EVIDENCE_S).within(_GRACE_S) or _GRACE_S)
        while not end.passed:
            kill(self._processes())
            # what was only just started can't be told from the engine's own yet; what forks may have got ahead
            if self.wait(end.within(_GRACE_S / _PASSES) or 0) and not self._processes():
                return
        if left := self._processes():
            pids = " ".join(map(str, left))
            told = f"its processes can't be ended (is the container paused?); let it go on, then: kill -9 {pids}"
            self.problem = f"{self.problem}; {told}" if self.problem else told

    def _processes(self) -> list[int]:
        with suppress(CgroupError):
            return [pid for pid in members(self._engine.cgroup(self._container)) if self._is_ours(pid)]
        return []

    def _is_ours(self, pid: int) -> bool:
        with suppress(OSError):
            return f"{_TRIAL_VARIABLE}={self._mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        return False
