"""What a container gets beside its limits, so that whoever is in it harms nobody else: hardening, and a capped parent.

What the administrator's own `extra_host_config` says, wins. None of it is one of the user's limits, so what can't be
had is told in the hub's log, once, and refuses no spawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import docker.errors
import requests
from traitlets import Bool, HasTraits, Unicode

from spawner_limits.errors import LimitsError
from spawner_limits.kernel.cgroups import find
from spawner_limits.lifecycle.cgroup_parent import Caps, Parent, caps, look, most_processes, named
from spawner_limits.spawners.setup import is_open
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from docker import APIClient

_NO_NEW_PRIVILEGES = "no-new-privileges"
_SHM_BYTES = 64 * MIB
"""Docker's own default, which a daemon's configuration can raise"""
_REACHES_OUT = {
    "privileged": (True, "has every capability and every device of the host, and can lift its own limits"),
    "pid_mode": ("host", "sees and can signal the host's processes"),
    "ipc_mode": ("host", "shares the host's /dev/shm, which no limit of the server counts"),
    "network_mode": ("host", "reaches whatever listens on the host's loopback, such as the proxy's API"),
    "userns_mode": ("host", "has the host's user ids"),
}
"""option of a host config → the value that undoes the hardening, and what the server can do with it"""


def hardening(theirs: Mapping[str, Any], mem_limit: int | None) -> dict[str, Any]:
    """What to put into a host config beside `theirs`, the administrator's; no key of theirs, but `security_opt` joined.

    `mem_limit` in bytes: what is in /dev/shm counts as the container's memory, so that half of it is the most.
    """
    ours = {
        "security_opt": [_NO_NEW_PRIVILEGES],
        "cap_drop": ["ALL"],
        "shm_size": _SHM_BYTES if mem_limit is None else min(_SHM_BYTES, mem_limit // 2),
    }
    added = {key: value for key, value in ours.items() if key not in theirs}
    options = theirs.get("security_opt")
    if options and not any(str(one).startswith(_NO_NEW_PRIVILEGES) for one in options):
        added["security_opt"] = [*options, _NO_NEW_PRIVILEGES]
    return added


def loosened(theirs: Mapping[str, Any]) -> tuple[str, ...]:
    """What the administrator's host config says in place of the hardening, for the log."""
    own = {key: theirs[key] for key in hardening({}, None) if key in theirs and key not in hardening(theirs, None)}
    reaches = ((key, *row) for key, row in _REACHES_OUT.items())
    return (
        *(
            f"extra_host_config has {key} {value!r}, which counts instead of the hardening's"
            for key, value in own.items()
        ),
        *(
            f"extra_host_config has {key} {value!r}: a server {does}"
            for key, value, does in reaches
            if theirs.get(key) == value
        ),
    )


class HardeningMixin(HasTraits):  # type: ignore[misc]  # traitlets is not typed
    """Hardens a Docker spawner's containers, and puts them below one cgroup. To be mixed in before LimitsMixin."""

    harden = Bool(
        default_value=True,
        config=True,
        help="Give each container no new privileges, no capabilities and a small /dev/shm; extra_host_config wins.",
    )
    cgroup_parent = Unicode(
        "spawner-limits",
        config=True,
        help="The cgroup above all servers, capped by the policy's `host`; a slice under systemd. Empty: Docker's own.",
    )

    parents: ClassVar[dict[tuple[str, str], Parent]] = {}
    """by the engine's address and the cgroup's name"""
    _warned: ClassVar[set[str]] = set()
    _looked: ClassVar[set[tuple[str, str, Caps]]] = set()
    _parent_is_ours = True

    async def hardened(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """What to put into the host config of a container that is created, beside the administrator's."""
        added = {}
        if self.harden:
            self._warn(loosened(theirs))
            added = hardening(theirs, self._limit("mem_limit"))
        self._parent_is_ours = "cgroup_parent" not in theirs
        if self._parent_is_ours and (name := await self._parent_name()):
            added["cgroup_parent"] = name
        return added

    async def hold_parent(self) -> None:
        """Cap the cgroup above all servers, before one is started in it."""
        name = await self._parent_name()
        if not name or not self._parent_is_ours or not self._may_write():
            return
        parent = self.parents.setdefault((self.client.base_url, name), Parent(name))
        cores = self._limit("cpu_limit")
        try:
            wanted = await self._caps()
            self._warn(await self.aside.run(lambda _: parent.hold(wanted, cores=cores)))
        except (OSError, TimeoutError) as error:
            self._warn([f"the cgroup {name} above all servers can't be capped: {error!r}; docs/hardening.md has more"])

    async def look_after_start(self) -> None:
        """Look at what is around the started container: the cgroup above it, and its network."""
        if not await self._parent_name():
            return
        wanted = await self._caps()
        key = (self.cgroup_parent, self.network_name, wanted)
        if key in self._looked:
            return
        try:
            problems = await self.aside.run(_around, self.container_id, wanted)
        except (docker.errors.APIError, requests.RequestException, OSError, LimitsError) as error:
            # the engine's host is elsewhere, or this process is in a narrower namespace
            problems = (f"whether the cgroup above all servers is capped can't be seen from here: {error}",)
        self._warn(problems)
        if not problems:
            self._looked.add(key)

    async def _parent_name(self) -> str:
        info = await self.aside.run(lambda _: self.aside.info)
        return named(self.cgroup_parent, str(info.get("CgroupDriver", "")))

    def _may_write(self) -> bool:
        # a slice is systemd's, and a remote engine's host is not this one
        here = str(self.client.base_url).startswith("http+docker:")
        return here and self.aside.info.get("CgroupDriver") == "cgroupfs"

    async def _caps(self) -> Caps:
        machine = await self.aside.places.machine()
        return caps(self.policy.host if self.policy is not None else None, machine, most_processes())

    def _limit(self, field: str) -> Any:
        return getattr(self.entitlement.limits, field) if self.entitlement is not None else None

    def _warn(self, problems: Iterable[str]) -> None:
        """Each in the hub's log, once: they hold for every server."""
        for problem in problems:
            if problem not in self._warned:
                self._warned.add(problem)
                self.log.warning("Protection of the host: %s", problem)


def _around(client: APIClient, container: str, wanted: Caps) -> tuple[str, ...]:
    found = client.inspect_container(container)
    if not found["State"]["Running"]:
        return ()
    above = look(find(found["State"]["Pid"], container_id=found["Id"]), wanted)
    networks = map(client.inspect_network, found["NetworkSettings"]["Networks"])
    return (*above, *(_open(one) for one in networks if is_open(one)))


def _open(network: Mapping[str, Any]) -> str:
    told = f"on the network {network['Name']} servers reach one another"
    return f"{told}; put them on that of users_network(), as docs/hardening.md says"
