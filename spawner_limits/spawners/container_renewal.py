"""`renew_kept_container`: a container that is started again (`remove = False`) gets today's limits, or a new name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spawner_limits.clients.engine import RefusedError
from spawner_limits.kernel.host import host_facts
from spawner_limits.lifecycle.kept_container import renewal
from spawner_limits.lifecycle.plan import enforce

if TYPE_CHECKING:
    from spawner_limits.clients.docker import DockerEngine
    from spawner_limits.lifecycle.kept_container import Renewal
    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.spawners.docker import LimitedDockerSpawner


async def renew_kept_container(spawner: LimitedDockerSpawner, entitlement: Entitlement) -> None:
    """Bring the spawner's container, if one is kept, to what its server may use today.

    What can't be changed gets another name: DockerSpawner makes a new container then. Errors of the engine, OSError.
    """
    state = spawner.state
    found = None if spawner.remove else await spawner.get_object()
    if found is None:
        return
    container = found["Id"]
    due = await state.threads.run(_renewed, state.engine, container, entitlement)
    if due.cannot:
        await _rename(spawner, container, due.cannot)
    elif due.update:
        details = {"entitlement": entitlement.to_json(), "told": [due.update], "refused": [], "left": []}
        await state.threads.run(lambda: state.records.append(container, "applied", **details))
        spawner.tell(f"The server's container was kept with other limits, and is changed: {'; '.join(due.changes)}")
        spawner.log.info("The kept container of %s is changed: %s", spawner.log_name, "; ".join(due.changes))


def _renewed(engine: DockerEngine, container: str, entitlement: Entitlement) -> Renewal:
    """Change the container; what was changed, or why it can't be."""
    asked = engine.inspect(container).asked
    due = renewal(enforce(entitlement, host_facts(engine.info().cgroup_version), asked), asked)
    if due.update:
        try:
            engine.update(container, due.update)
        except RefusedError as error:
            return replace(due, cannot=error.words)
    return due


async def _rename(spawner: LimitedDockerSpawner, container: str, why: str) -> None:
    """Nothing in it is lost: it is stopped, and gets another name; volumes that have names go to the new one."""
    engine, name = spawner.state.engine, f"{spawner.container_name}-kept-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    await spawner.state.threads.run_inside(_stop_and_rename, engine, container, name)
    spawner.tell(
        f"The server's old container can't be given today's limits ({why}), so there is a new one. Files outside "
        f"of named volumes are still in the old one, {name}: ask an administrator to copy them (docker cp)"
    )
    text = "The old container of %s can't be given its limits (%s); it is kept as %s"
    spawner.log.warning(text, spawner.log_name, why, name)


def _stop_and_rename(engine: DockerEngine, container: str, name: str) -> None:
    engine.stop(container)
    engine.rename(container, name)
