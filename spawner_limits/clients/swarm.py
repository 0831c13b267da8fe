"""`SwarmReader`: services of a Docker Swarm behind the port `EngineReader`. It only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spawner_limits.clients.docker import DockerEngine, moment, translated
from spawner_limits.clients.engine import Server, entitlement_of
from spawner_limits.engines import labels
from spawner_limits.policy.model import user_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from spawner_limits.clients.engine import EngineInfo

_RUNS = "running"


class SwarmReader:
    """The Swarm of which one Docker engine is a manager."""

    def __init__(self, arguments: Mapping[str, Any] | None = None) -> None:
        """`arguments`: of `docker.APIClient` for the manager; `None`: as the environment has them."""
        self._manager = DockerEngine(arguments)

    def close(self) -> None:
        """Let go of its connections."""
        self._manager.close()

    def info(self) -> EngineInfo:
        """As the port's: the manager and its host; other nodes may have other ones."""
        return self._manager.info()

    def servers(self, *, users: Iterable[str] = ()) -> tuple[Server, ...]:
        """As the port's: all services with our labels."""
        keys = {user_key(user) for user in users}
        api: Any = self._manager.api
        with translated():
            found = [
                (service, self._last_task(service["ID"])) for service in api.services(filters={"label": labels.USER})
            ]
        servers = (server_of(service, task) for service, task in found)
        wanted = (server for server in servers if not keys or user_key(server.user) in keys)
        return tuple(sorted(wanted, key=lambda server: (server.user, server.server, server.name)))

    def inspect(self, server: str) -> Server:
        """As the port's; `server`: the service's id or name. GoneError."""
        api: Any = self._manager.api
        with translated():
            service = api.inspect_service(server)
            return server_of(service, self._last_task(service["ID"]))

    def _last_task(self, service: str) -> Mapping[str, Any] | None:
        api: Any = self._manager.api
        tasks: list[dict[str, Any]] = api.tasks(filters={"service": service})
        return max(tasks, key=lambda task: (task["CreatedAt"], task["ID"]), default=None)


def server_of(service: Mapping[str, Any], task: Mapping[str, Any] | None) -> Server:
    """What the manager says of a service and of its newest task, as a value; `None`: it has none yet."""
    spec = service["Spec"]
    template, given = spec["TaskTemplate"], spec.get("Labels") or {}
    status: Mapping[str, Any] = task["Status"] if task is not None else {"State": "new"}
    container: Mapping[str, Any] = status.get("ContainerStatus") or {}
    runs = status["State"] == _RUNS
    entitlement, problem = entitlement_of(given)
    return Server(
        id=service["ID"],
        name=spec["Name"],
        user=given.get(labels.USER, ""),
        server=given.get(labels.SERVER, ""),
        # a manager that reaches a registry adds the digest
        image=template["ContainerSpec"]["Image"].partition("@")[0],
        networks=tuple(sorted(network["Target"] for network in template.get("Networks") or ())),
        state=status["State"],
        runs=runs,
        started=moment(status["Timestamp"]) if runs else None,
        exit_code=None if runs else container.get("ExitCode"),
        goes=False,
        node=str(task.get("NodeID", "")) if task is not None else "",
        containers=(container["ContainerID"],) if container.get("ContainerID") else (),
        labels=given,
        asked=template.get("Resources") or {},
        entitlement=entitlement,
        problem=problem,
    )
