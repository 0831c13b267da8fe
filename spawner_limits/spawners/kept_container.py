"""`KeptContainer`: one that is started again (`remove = False`) is brought to today's limits before, or put aside."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spawner_limits.clients.engine import RefusedError
from spawner_limits.kernel.host import host_facts
from spawner_limits.lifecycle.kept_container import renewal
from spawner_limits.lifecycle.plan import enforce

if TYPE_CHECKING:
    from spawner_limits.clients.docker import DockerEngine
    from spawner_limits.clients.engine import Server
    from spawner_limits.lifecycle.kept_container import Renewal
    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.spawners.docker import LimitedDockerSpawner


class KeptContainer:
    """Of one spawner's server."""

    def __init__(self, spawner: LimitedDockerSpawner) -> None:
        self._spawner = spawner

    async def bring_to(self, entitlement: Entitlement) -> None:
        """Bring the container that is there, if one is kept, to what its server may use today."""
        spawner, state = self._spawner, self._spawner.state
        found = None if spawner.remove else await spawner.get_object()
        if found is None:
            return
        server, due = await state.threads.run(_due, state.engine, found["Id"], entitlement)
        refused = await state.threads.run(_refusal, state.engine, server, due)
        if refused:
            await self._rename(server, refused)
        elif due.update:
            await self._keep(server, entitlement, due)

    async def _keep(self, server: Server, entitlement: Entitlement, due: Renewal) -> None:
        spawner, state = self._spawner, self._spawner.state
        details = {"entitlement": entitlement.to_json(), "told": [due.update], "refused": [], "left": []}
        await state.threads.run(lambda: state.records.append(server.id, "applied", **details))
        spawner.tell(f"The server's container was kept with other limits, and is changed: {'; '.join(due.changes)}")
        spawner.log.info("The kept container of %s is changed: %s", spawner.log_name, "; ".join(due.changes))

    async def _rename(self, server: Server, why: str) -> None:
        """Nothing in it is lost: it is stopped, and gets another name; volumes that have names go to the new one."""
        spawner, state = self._spawner, self._spawner.state
        name = f"{spawner.container_name}-kept-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        await state.threads.run_inside(_stop_and_rename, state.engine, server.id, name)
        spawner.tell(
            f"The server's old container can't be given today's limits ({why}), so there is a new one. Files outside "
            f"of named volumes are still in the old one, {name}: ask an administrator to copy them (docker cp)"
        )
        text = "The old container of %s can't be given its limits (%s); it is kept as %s"
        spawner.log.warning(text, spawner.log_name, why, name)


def _due(engine: DockerEngine, container: str, entitlement: Entitlement) -> tuple[Server, Renewal]:
    server = engine.inspect(container)
    return server, renewal(enforce(entitlement, host_facts(engine.info().cgroup_version), server.asked), server.asked)


def _refusal(engine: DockerEngine, server: Server, due: Renewal) -> str:
    """Why the container can't be changed; empty: it has been, or need not be."""
    if due.cannot or not due.update:
        return due.cannot
    try:
        engine.update(server.id, due.update)
    except RefusedError as error:
        return error.words
    return ""


def _stop_and_rename(engine: DockerEngine, container: str, name: str) -> None:
    engine.stop(container)
    engine.rename(container, name)
