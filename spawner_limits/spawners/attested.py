"""`AttestedMixin`: between a container's start and the hand-over to its user, the Linux kernel is asked for its limits.

And before a kept container is started again, it is brought to today's limits. It asks the engine beside DockerSpawner.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import docker.errors
from traitlets import Bool, HasTraits

from spawner_limits.kernel.cgroups import CgroupError
from spawner_limits.lifecycle import host, servers
from spawner_limits.lifecycle.apply import update
from spawner_limits.lifecycle.attest import attest
from spawner_limits.lifecycle.kept_container import renewal
from spawner_limits.lifecycle.plan import enforce
from spawner_limits.lifecycle.records import Records, usual

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker import APIClient
    from spawner_limits.engines.enforcement import Enforcement, Expectation
    from spawner_limits.lifecycle.attest import Difference
    from spawner_limits.lifecycle.kept_container import Renewal
    from spawner_limits.policy.entitlement import Entitlement

_ELSEWHERE = (
    "The hub must see the cgroups of the engine's host; where it can't, c.LimitedDockerSpawner.attest = False starts "
    "servers whose limits nobody has read."
)

_TIDY_S = 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    """The container ran no longer when it was looked at."""

    exit_code: int | None
    """`None`: it is gone with its container, as with DockerSpawner's `remove`"""

    def __str__(self) -> str:
        how = "and is gone" if self.exit_code is None else f"(exit code {self.exit_code})"
        return f"The server's container ended as soon as it was started {how}"


class AttestedMixin(HasTraits):  # type: ignore[misc]  # traitlets is not typed
    """To be mixed in before DockerSpawner, beside `LimitsMixin`."""

    attest = Bool(
        default_value=True,
        config=True,
        help="Read each limit from the Linux kernel before a server is handed to its user; one that is not as the "
        "policy says refuses the spawn. The hub must run on the engine's host.",
    )
    records: ClassVar[Records] = usual()
    """what happened to each container's limits"""
    _tidy_at: ClassVar[float] = 0.0
    """by the monotonic clock"""

    # -- at each start -------------------------------------------------------------------------------------------

    async def attest_limits(self) -> None:
        """Compare what the Linux kernel shows with what was asked for. SpawnException where it differs."""
        if not self.attest:
            return
        begin = time.monotonic()
        try:
            found = await self.aside.run(_attested, self.container_id, self._enforced().expect)
        except (CgroupError, OSError) as error:
            await self._end_at_once()
            raise self.refusal(f"The server's limits can't be read: {error}", reason="attest", status_code=500,
                               remedy=_ELSEWHERE) from error  # fmt: skip
        if isinstance(found, _Ended):
            raise self.refusal(str(found), reason="ended", status_code=500)
        await self._refuse_differences(found)
        await self._keep_attestation(found, time.monotonic() - begin)

    async def _refuse_differences(self, found: Sequence[Difference]) -> None:
        best_effort = self.policy.best_effort if self.policy is not None else frozenset()
        if wrong := [one for one in found if one.field not in best_effort]:
            await self._end_at_once()
            fact = f"The Linux kernel does not show the server's limits: {'; '.join(map(str, wrong))}"
            raise self.refusal(fact, reason="attest", status_code=500)
        for one in found:
            self.tell(f"{one}; the policy lets the server start without it")

    async def _keep_attestation(self, found: Sequence[Difference], seconds: float) -> None:
        told = {"seconds": round(seconds, 6), "differences": [str(one) for one in found]}
        try:
            record = await self.aside.run(lambda _: self.records.append(self.container_id, "attested", **told))
            await self._forget_the_old()
        except OSError as error:
            self.log.warning("That the limits of %s are in force can't be kept: %s", self._log_name, error)
            return
        self.tell(f"Attested at {record.at.astimezone():%H:%M:%S}: the Linux kernel shows every limit")
        self.log.info("The limits of %s are attested, in %.1f ms", self._log_name, seconds * 1000)

    async def _forget_the_old(self) -> None:
        """Now and then, what is kept of containers that are long gone."""
        if time.monotonic() >= AttestedMixin._tidy_at:
            AttestedMixin._tidy_at = time.monotonic() + _TIDY_S
            await self.aside.run(lambda client: self.records.forget(lambda: _containers(client)))

    async def _end_at_once(self) -> None:
        """End a container whose limits are not in force; the hub's own stop gives it ten seconds more."""
        await self.aside.run(_kill, self.container_id)

    # -- a container that was kept -------------------------------------------------------------------------------

    async def renew_old_container(self) -> None:
        """Bring a container that is started again to today's limits, or put it aside (`remove = False`)."""
        found = None if self.remove else await self.get_object()
        if found is None or self.entitlement is None:
            return
        due = await self.aside.run(self._due, found["HostConfig"], self.entitlement)
        refused = await self.aside.run(_told, found["Id"], due)
        if refused:
            await self._put_aside(found, refused)
        elif due.told:
            await self._keep_renewal(found["Id"], due)

    def _due(self, _client: APIClient, asked: dict[str, Any], entitlement: Entitlement) -> Renewal:
        wanted: Enforcement = enforce(entitlement, host.machine(self.aside.cgroup_version), asked)
        return renewal(wanted, asked)

    async def _keep_renewal(self, container: str, due: Renewal) -> None:
        entitlement = self.entitlement.to_json() if self.entitlement is not None else None
        kept = {"entitlement": entitlement, "told": [due.told], "refused": [], "left": []}
        await self.aside.run(lambda _: self.records.append(container, "applied", **kept))
        self.tell(f"The server's container was kept with other limits, and is changed: {'; '.join(due.changes)}")
        self.log.info("The kept container of %s is changed: %s", self._log_name, "; ".join(due.changes))

    async def _put_aside(self, found: dict[str, Any], why: str) -> None:
        """Nothing in it is lost: it is stopped, and gets another name; volumes that have names go to the new one."""
        name = f"{self.container_name}-kept-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        await self.aside.run_inside(_rename, found["Id"], name)
        self.tell(
            f"The server's old container can't be given today's limits ({why}), so there is a new one. Files outside "
            f"of named volumes are still in the old one, {name}: ask an administrator to copy them (docker cp)"
        )
        told = "The old container of %s can't be given its limits (%s); it is kept as %s"
        self.log.warning(told, self._log_name, why, name)


def _attested(client: APIClient, container: str, expect: Sequence[Expectation]) -> tuple[Difference, ...] | _Ended:
    pid = _first_process(client, container)
    if isinstance(pid, _Ended):
        return pid
    try:
        return attest(expect, servers.read(pid, container), swap_bytes=host.swap_bytes())
    except (CgroupError, OSError):
        if isinstance(ended := _first_process(client, container), _Ended):  # between the two looks
            return ended
        raise


def _first_process(client: APIClient, container: str) -> int | _Ended:
    """Its process id."""
    try:
        state = client.inspect_container(container)["State"]
    except docker.errors.NotFound:
        return _Ended(exit_code=None)
    return int(state["Pid"]) or _Ended(exit_code=state["ExitCode"])


def _containers(client: APIClient) -> list[str]:
    return [one["Id"] for one in client.containers(all=True)]


def _kill(client: APIClient, container: str) -> None:
    try:
        client.kill(container)
    except docker.errors.APIError as error:
        if error.status_code not in {404, 409}:  # gone, or not running: that is what was wanted
            raise


def _told(client: APIClient, container: str, due: Renewal) -> str:
    """Why the container can't be changed; empty: it has been, or need not be."""
    return due.cannot or (update(client, container, due.told) if due.told else None) or ""


def _rename(client: APIClient, container: str, name: str) -> None:
    client.stop(container)
    client.rename(container, name)
