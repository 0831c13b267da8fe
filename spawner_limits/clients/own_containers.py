"""The Docker engine as a proof needs it: containers of our own, commands inside, and what the engine says of itself.

Every container that is made here is noted by its name first (`made`), ends by itself, and is removed.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import docker.errors
import requests
from docker.utils import kwargs_from_env

import docker
from spawner_limits.clients import engine as docker_engine
from spawner_limits.clients import made
from spawner_limits.clients.docker import DockerEngine, engine_info, plain, translated, unreachable
from spawner_limits.deadline import GRACE_S, Deadline, OvertimeError
from spawner_limits.engines import labels
from spawner_limits.errors import LimitsError, UnreachableError, UsageError
from spawner_limits.interrupt import check, pause, uninterrupted
from spawner_limits.kernel.cgroups import Cgroup, CgroupError, cgroup_mounts, find
from spawner_limits.kernel.processes import identity, is_asleep, members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from spawner_limits.clients.made import Kind, Made, Note
    from spawner_limits.engines.enforcement import CgroupVersion

STOPPED_ANSWERING = (requests.RequestException, docker.errors.DockerException)
_PATIENCE_S = 60
_ANSWER_S = 10
"""an engine that takes longer over a ping is taken for gone"""
ENGINE_GRACE_S = 10
"""for what the engine is doing already: an end that it must notice, a removal"""
EVIDENCE_S = GRACE_S / 2
"""after a deadline: for what ends a load, and for what is still asked of the engine; the rest is for removing"""
PASSES = 50
_NOTICE_S = 5
"""for what an engine hears late, or a process does late, on a busy host"""
_LOOK_S = 0.02


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
                self._facts = engine_info(self._info)
            self.client: docker.APIClient = _Client(self.deadline, version=str(client.api_version))
        except (*STOPPED_ANSWERING, OvertimeError) as error:
            raise unreachable(error) from error

    @contextmanager
    def until(self, deadline: Deadline) -> Iterator[Engine]:
        """The same engine for the time of the block, asked for nothing that would end long after `deadline`.

        Up to half of `GRACE_S` after it, it still ends a load and answers; in the other half containers are removed.
        """
        with self._asked_until(deadline.later(EVIDENCE_S)) as bound:
            bound.deadline = deadline
            yield bound

    @contextmanager
    def _asked_until(self, deadline: Deadline) -> Iterator[Engine]:
        bound = copy(self)
        try:
            bound.client = _Client(deadline, version=str(self.client.api_version))
        except STOPPED_ANSWERING as error:
            raise unreachable(error) from error
        try:
            yield bound
        finally:
            bound.client.close()

    @property
    def docker(self) -> DockerEngine:
        """The same engine, behind the port."""
        return DockerEngine.over(self.client)

    @property
    def cgroup_version(self) -> CgroupVersion:
        """Version of cgroups that the engine uses for containers."""
        return self._facts.cgroup_version

    @property
    def cgroup_driver(self) -> str:
        """Who makes the containers' cgroups: "cgroupfs", "systemd" or "none"."""
        return self._facts.cgroup_driver

    @property
    def info(self) -> Mapping[str, Any]:
        """What `docker info` said when we connected."""
        return self._info

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
        own = {} if command else {"init": True, "auto_remove": True}
        cgroup: Cgroup | None = None
        try:
            with uninterrupted():
                note = self._note(name, "container")
                # a container that waits ends by itself should nobody be left to remove it
                warnings = self._create(
                    name, image, command or ("sleep", str(seconds)), {**own, **host_config}, environment
                )
                is_sure = True
            container, cgroup = self._started(name, image)
            if not command:
                self._await_sleep(container, cgroup)
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
            return self._made.note(name, kind, self._facts.id)
        except made.UnusableError:
            return None

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
            created = self.client.create_container(
                image,
                command=list(command),
                entrypoint=[],
                environment=dict(environment),
                name=name,
                labels={labels.TRIAL: identity(os.getpid())},
                host_config=self.client.create_host_config(**host_config),
            )
            return tuple(created.get("Warnings") or ())
        except docker.errors.ImageNotFound as error:
            raise _no_image(image) from error
        except docker.errors.APIError as error:
            raise RefusedError(f"Docker refuses a container with these limits: {plain(error)}", "create") from error

    def _started(self, name: str, image: str) -> tuple[Container, Cgroup]:
        try:
            self.client.start(name)
        except docker.errors.APIError as error:
            raise RefusedError(f"Docker can't start a container of {image}: {plain(error)}", "start") from error
        container = self._alive(name, image)
        try:
            return container, self.cgroup(container)
        except CgroupError:
            # ended, or out of our sight? of an end the engine hears later than the Linux kernel, on a busy host seconds
            end = Deadline.after(_NOTICE_S)
            while not (end.passed or identity(container.pid)):
                pause(ENGINE_GRACE_S / PASSES)
                self._alive(name, image)
            raise

    def _await_sleep(self, container: Container, cgroup: Cgroup) -> None:
        """Go on once something waits below its first process; an image's `sleep` may be none. UsageError."""
        end = Deadline.after(_NOTICE_S)
        while not (end.passed or is_asleep(members(cgroup) - {container.pid})):
            pause(_LOOK_S)
            self._alive(container.name, container.image)

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
                raise LimitsError(f"Docker can't remove the container {name}: {plain(error)}") from error
            self._await_removal(name)
        except OvertimeError as error:
            raise _not_removed(name) from error
        except requests.RequestException as error:
            raise unreachable(error) from error

    def _await_removal(self, name: str) -> None:
        """Somebody else is removing it: the engine itself after its end, or the next `verify`."""
        try:
            self.client.wait(name, timeout=ENGINE_GRACE_S, condition="removed")
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
            left = self._made.left(self._facts.id)
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
        with translated():
            yield
    except docker_engine.RefusedError as error:
        raise UnreachableError(f"the Docker engine refused what it had to do: {error.words}") from error


def _not_removed(name: str) -> LimitsError:
    return LimitsError(
        f"Docker does not get the container {name} removed; look at docker ps -a, and remove it: docker rm -f {name}"
    )


def _no_image(image: str) -> UsageError:
    return UsageError(f"no image {image} on this machine; build it with docker/build.sh, or pull it with docker pull")


def kill(pids: Iterable[int]) -> None:
    """End processes at once; those that are gone already are fine."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _remove_cgroups(name: str) -> bool:
    """Remove a cgroup that the engine made for containers of ours, and left: it is empty by now, or soon."""
    # of that very name; as systemd's slice it can have no dashes
    names = (name, f"{name.replace('-', '_')}.slice")
    for _ in range(PASSES):
        left = [path for mount in cgroup_mounts() for each in names if (path := mount / each).is_dir()]
        for path in left:
            with suppress(OSError):
                path.rmdir()
        if not left:
            return True
        pause(ENGINE_GRACE_S / PASSES)
    return False
