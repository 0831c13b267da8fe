"""`DockerEngine`: the Docker engine behind the port `EngineClient`, and what else is asked of this engine alone."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import docker.errors
import requests
from docker.utils import kwargs_from_env

import docker
from spawner_limits.clients.engine import (
    GRACE_S,
    EngineInfo,
    GoneError,
    RefusedError,
    Server,
    SlowError,
    entitlement_of,
)
from spawner_limits.engines import labels
from spawner_limits.engines.docker import CONFLICTS, INSPECT
from spawner_limits.errors import UnreachableError
from spawner_limits.kernel.cgroups import find
from spawner_limits.kernel.reader import Reader
from spawner_limits.policy.model import user_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.kernel.snapshot import Snapshot

THREADS = 8
_TIMEOUT_S = 20
_REMOVED_S = 30
"""for the engine to remove what is to go with its end"""
_FRACTION = 6
"""digits of a second that Python keeps; engines write nine"""
_ASKED = (*INSPECT.values(), *CONFLICTS.values())


@contextmanager
def translated() -> Iterator[None]:
    """What the SDK raises in the block, in the port's errors."""
    try:
        yield
    except docker.errors.NotFound as error:
        raise GoneError(plain(error), error.status_code) from error
    except docker.errors.APIError as error:
        raise RefusedError(plain(error), error.status_code) from error
    except requests.Timeout as error:
        raise SlowError(f"the Docker engine does not answer in time ({plain(error)})") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise unreachable(error) from error


def unreachable(error: BaseException) -> UnreachableError:
    """The engine does not answer, said to a person."""
    return UnreachableError(f"the Docker engine does not answer ({plain(error)}); start it with docker/engine.sh")


def plain(error: BaseException) -> str:
    """The engine's words, without what the SDK has around them."""
    return str(getattr(error, "explanation", None) or error).strip().rstrip(".")


def from_environment(timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
    """The arguments of `docker.APIClient` for the engine that the environment names: DOCKER_HOST and its like."""
    return {"version": "auto", "timeout": timeout_s, **kwargs_from_env()}


class DockerEngine:
    """One Docker engine; connects at first use, and is safe to use from several threads."""

    def __init__(self, arguments: Mapping[str, Any] | None = None) -> None:
        """`arguments`: of `docker.APIClient`; `None`: as the environment has them."""
        self._arguments = from_environment() if arguments is None else {"timeout": _TIMEOUT_S, **arguments}
        self._pids: dict[str, int] = {}
        """container → its first process, as it was inspected last"""

    @classmethod
    def over(cls, api: docker.APIClient) -> DockerEngine:
        """The engine that a client of the SDK is connected to."""
        engine = cls({})
        engine.api = api
        return engine

    @cached_property
    def api(self) -> docker.APIClient:
        """The SDK's client, for this room. UnreachableError."""
        return self.connect()

    def connect(self) -> docker.APIClient:
        """Another one, for one thread alone. UnreachableError."""
        with translated():
            return docker.APIClient(**self._arguments)

    def close(self) -> None:
        """Let go of its connections."""
        if "api" in vars(self):
            self.api.close()

    @property
    def address(self) -> str:
        """Where the engine is asked. UnreachableError."""
        return str(self.api.base_url)

    @property
    def is_here(self) -> bool:
        """Whether it is asked over a socket of this host. UnreachableError."""
        return self.address.startswith("http+docker:")

    # -- the port ------------------------------------------------------------------------------------------------

    @cached_property
    def _info(self) -> Mapping[str, Any]:
        with translated():
            found: dict[str, Any] = self.api.info()
        return found

    def info(self) -> EngineInfo:
        """As the port's."""
        return engine_info(self._info)

    def servers(self, *, users: Iterable[str] = ()) -> tuple[Server, ...]:
        """As the port's: all containers with our labels."""
        keys = {user_key(user) for user in users}
        wanted = [
            found["Id"]
            for found in self.listed(label=labels.USER)
            if not keys or user_key(found["Labels"][labels.USER]) in keys
        ]
        return tuple(sorted(self._inspected(wanted), key=lambda server: (server.user, server.server, server.name)))

    def servers_of(self, hub: str, *, before: float) -> tuple[Server, ...]:
        """All that say a hub made them, `before` a moment in seconds since 1970, by the engine's clock."""
        listed = self.listed(label=f"{labels.HUB}={hub}")
        return tuple(self._inspected(found["Id"] for found in listed if found["Created"] <= before))

    def _inspected(self, containers: Iterable[str]) -> Iterator[Server]:
        with ThreadPoolExecutor(THREADS, thread_name_prefix="spawner-limits-look") as pool:
            return (server for server in pool.map(self._still_there, containers) if server is not None)

    def _still_there(self, container: str) -> Server | None:
        with suppress(GoneError):  # since it was listed
            return self.inspect(container)
        return None

    def inspect(self, server: str) -> Server:
        """As the port's; `server`: the container's id or name."""
        found = self.inspected(server)
        self._pids[found["Id"]] = found["State"]["Pid"]
        return server_of(found)

    def update(self, server: str, asked: Mapping[str, Any]) -> None:
        """As the port's: `docker update`. The SDK's own has no `PidsLimit`, and drops zeros."""
        api: Any = self.api
        with translated():
            api._raise_for_status(api._post_json(api._url("/containers/{0}/update", server), data=dict(asked)))  # noqa: SLF001

    def stop(self, server: str) -> None:
        """As the port's; where the engine removes it at its end, also until that is done."""
        with translated():
            self.api.stop(server, timeout=GRACE_S)

    def wait_removed(self, server: str) -> None:
        """Wait until the engine has removed a container that it is removing; fine where it is gone. RefusedError."""
        with suppress(GoneError), translated():
            self.api.wait(server, timeout=_REMOVED_S, condition="removed")

    def kill(self, server: str) -> None:
        """As the port's."""
        with suppress(GoneError):
            try:
                with translated():
                    self.api.kill(server)
            except RefusedError as error:
                if error.status != HTTPStatus.CONFLICT:  # it does not run: that is what was wanted
                    raise

    def remove(self, server: str) -> None:
        """As the port's, with the volumes that have no name, as the engine itself does at a container's end."""
        with translated():
            self.api.remove_container(server, v=True)

    # -- Docker alone --------------------------------------------------------------------------------------------

    def process(self, container: str) -> int:
        """The id of a container's first process on its host; 0: it does not run. GoneError."""
        if not self._pids.get(container):
            self.inspect(container)
        return self._pids[container]

    def rename(self, container: str, name: str) -> None:
        """Give a container another name. GoneError."""
        with translated():
            self.api.rename(container, name)

    def image(self, image: str) -> Mapping[str, Any]:
        """The configuration that an image gives its containers. GoneError."""
        with translated():
            found: dict[str, Any] = self.api.inspect_image(image)  # type: ignore[no-untyped-call]
        return found.get("Config") or {}

    def variables(self, image: str) -> frozenset[str]:
        """The environment variables that an image sets itself. GoneError."""
        return variables_of(self.image(image))

    def signal(self, container: str, name: str) -> None:
        """Send a signal to a container's first process. GoneError, RefusedError where it does not run."""
        with translated():
            self.api.kill(container, signal=name)

    def restart(self, container: str) -> None:
        """End a container's processes at once, and start it again. GoneError."""
        with translated():
            self.api.restart(container, timeout=0)

    @contextmanager
    def paused(self, container: str) -> Iterator[None]:
        """A container whose processes stand still for the time of the block. GoneError, RefusedError."""
        with translated():
            self.api.pause(container)
        try:
            yield
        finally:
            with translated():
                self.api.unpause(container)

    def stats(self, container: str) -> Mapping[str, Any]:
        """One sample of `docker stats`, as the API has it. GoneError, RefusedError."""
        with translated():
            found: dict[str, Any] = self.api.stats(container, stream=False)
        return found

    def stats_stream(self, container: str) -> Iterator[Mapping[str, Any]]:
        """A sample each second, until nobody asks for the next. GoneError; it ends with the container."""
        api: Any = self.api
        # the SDK's own generator leaves the answer to Python's finalizer, which complains on stderr
        url = api._url("/containers/{0}/stats", container)  # noqa: SLF001
        with translated(), closing(api._get(url, params={"stream": True}, stream=True)) as answer:  # noqa: SLF001
            for line in answer.iter_lines():
                yield json.loads(line)

    def networks_of(self, container: str) -> tuple[Mapping[str, Any], ...]:
        """What the engine tells of each network that a container is on. GoneError."""
        names = self.inspected(container)["NetworkSettings"]["Networks"]
        with translated():
            return tuple(map(self.api.inspect_network, names))

    def network(self, name: str) -> Mapping[str, Any] | None:
        """The oldest network of that name: an engine may have several, made at the same moment."""
        with translated():
            # the filter finds parts of names too
            found = [network for network in self.api.networks(names=[name]) if network["Name"] == name]
        return min(found, key=lambda network: (network["Created"], network["Id"]), default=None)

    def make_network(self, name: str, options: Mapping[str, str]) -> Mapping[str, Any] | None:
        """Make a bridge; the network of that name that then counts, which somebody else may have made meanwhile."""
        own: str | None = None
        try:
            with translated():
                made = self.api.create_network(name, driver="bridge", options=dict(options), check_duplicate=True)
                own = made["Id"]
        except RefusedError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
        oldest = self.network(name)
        if oldest is not None and own not in {None, oldest["Id"]}:
            with translated():
                self.api.remove_network(own)
        return oldest

    def listed(self, **filters: Any) -> list[dict[str, Any]]:
        """All containers that the filters leave, as `docker ps -a` lists them."""
        with translated():
            found: list[dict[str, Any]] = self.api.containers(all=True, filters=filters)
        return found

    def inspected(self, container: str) -> Mapping[str, Any]:
        """All that the engine says of a container. GoneError."""
        with translated():
            found: dict[str, Any] = self.api.inspect_container(container)
        return found

    @cached_property
    def runtime(self) -> str:
        """What makes the engine's containers, and its version: "runc 1.3.6"; empty where the engine does not say."""
        name = str(self._info.get("DefaultRuntime", ""))
        with translated():
            parts = self.api.version().get("Components") or ()
        return next((f"{name} {part['Version']}" for part in parts if part["Name"] == name), "")


def variables_of(config: Mapping[str, Any] | None) -> frozenset[str]:
    """The names of the environment variables that an image's configuration sets."""
    return frozenset(text.partition("=")[0] for text in (config or {}).get("Env") or ())


def engine_info(found: Mapping[str, Any]) -> EngineInfo:
    """What `docker info` said, as a value."""
    version: CgroupVersion = 2 if str(found.get("CgroupVersion", "1")) == "2" else 1
    return EngineInfo(
        # not the ID alone: until Docker 23 it was /etc/docker/key.json's, one for all engines of a host
        id=f"{found.get('ID') or ''} {found.get('DockerRootDir') or ''}".strip(),
        version=str(found.get("ServerVersion", "?")),
        cgroup_version=version,
        cgroup_driver=str(found.get("CgroupDriver", "")),
        memory_bytes=int(found["MemTotal"]),
        cores=int(found["NCPU"]),
    )


def server_of(found: Mapping[str, Any]) -> Server:
    """What `docker inspect` said of a container, as a value."""
    state, config, given = found["State"], found["HostConfig"], found["Config"]["Labels"] or {}
    entitlement, problem = entitlement_of(given)
    return Server(
        id=found["Id"],
        name=found["Name"].removeprefix("/"),
        user=given.get(labels.USER, ""),
        server=given.get(labels.SERVER, ""),
        image=found["Config"]["Image"],
        networks=tuple(sorted(found["NetworkSettings"].get("Networks") or {})),
        state=state["Status"],
        runs=state["Pid"] > 0,
        started=moment(state["StartedAt"]) if state["Pid"] else None,
        exit_code=None if state["Pid"] else state["ExitCode"],
        goes=bool(config.get("AutoRemove")),
        containers=(found["Id"],),
        labels=given,
        asked={key: config[key] for key in _ASKED if key in config},
        entitlement=entitlement,
        problem=problem,
    )


def moment(text: str) -> datetime:
    """`2026-11-22T09:00:00.123456789Z`, with or without so many digits, as a moment."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:_FRACTION]:0<{_FRACTION}}+00:00")


class LocalSnapshots:
    """The Linux kernel's files of containers on this host."""

    def __init__(self, engine: DockerEngine) -> None:
        """`engine`: of this host."""
        self._engine = engine

    def of(self, server: Server) -> Snapshot:
        """As the port's. CgroupError also where the engine is on another host."""
        with Reader(find(self._engine.process(server.id), container_id=server.id)) as reader:
            return reader.read_limits()
