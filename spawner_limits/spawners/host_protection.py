"""`HostProtection`: what is around a server on its host: the parent cgroup with its caps, and the network.

None of it is one of the user's limits, so what can't be had is said in the hub's log, once, and refuses no spawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits.errors import LimitsError
from spawner_limits.kernel.cgroups import find
from spawner_limits.lifecycle.cgroup_parent import CgroupParent, caps, look, most_processes, named
from spawner_limits.spawners.network import is_open

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from spawner_limits.clients.docker import DockerEngine
    from spawner_limits.lifecycle.cgroup_parent import Caps
    from spawner_limits.spawners.docker import LimitedDockerSpawner


class HostProtection:
    """Of one spawner's server; its `CgroupParent` is shared with all others."""

    def __init__(self, spawner: LimitedDockerSpawner) -> None:
        self._spawner = spawner
        self._is_ours = True

    async def option(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """What to put into the host config of a container, beside `theirs`, the administrator's."""
        self._is_ours = "cgroup_parent" not in theirs
        name = await self._name() if self._is_ours else ""
        return {"cgroup_parent": name} if name else {}

    async def hold(self) -> None:
        """Cap the parent cgroup, before a server is started in it."""
        spawner, state = self._spawner, self._spawner.state
        name = await self._name()
        # a slice is systemd's, and a remote engine's host is not this one
        if not (name and self._is_ours and state.engine.is_here and state.engine.info().cgroup_driver == "cgroupfs"):
            return
        parent = state.cgroup_parents.setdefault(name, CgroupParent(name))
        cores = spawner.entitlement.limits.cpu_limit if spawner.entitlement is not None else None
        try:
            wanted = await self._caps()
            state.warn(await state.threads.run(lambda: parent.hold(wanted, cores=cores)))
        except (OSError, TimeoutError) as error:
            state.warn([f"the cgroup {name} above all servers can't be capped: {error!r}; docs/hardening.md has more"])

    async def look(self) -> None:
        """Look at what is around the started container; what was found in order is not looked at again."""
        spawner, state = self._spawner, self._spawner.state
        if not await self._name():
            return
        wanted = await self._caps()
        key = (spawner.cgroup_parent, spawner.network_name, wanted)
        if key in state.protected:
            return
        try:
            problems = await state.threads.run(_around, state.engine, spawner.container_id, wanted)
        except (OSError, LimitsError) as error:
            # the engine's host is elsewhere, or this process is in a narrower namespace
            problems = (f"whether the cgroup above all servers is capped can't be seen from here: {error}",)
        state.warn(problems)
        if not problems:
            state.protected.add(key)

    async def _name(self) -> str:
        info = await self._spawner.state.threads.run(self._spawner.state.engine.info)
        return named(self._spawner.cgroup_parent, info.cgroup_driver)

    async def _caps(self) -> Caps:
        policy = self._spawner.policy
        machine = await self._spawner.state.admission.machine()
        return caps(policy.host if policy is not None else None, machine, most_processes())


def _around(engine: DockerEngine, container: str, wanted: Caps) -> tuple[str, ...]:
    """What is wrong there, for the log."""
    server = engine.inspect(container)
    if not server.runs:
        return ()
    above = look(find(engine.process(server.id), container_id=server.id), wanted)
    names = (network["Name"] for network in engine.networks_of(container) if is_open(network))
    remedy = "put them on that of users_network(), as docs/hardening.md says"
    return (*above, *(f"on the network {name} servers reach one another; {remedy}" for name in names))
