"""`Attestation`: between a server's start and the hand-over to its user, the Linux kernel is asked for its limits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits.clients.engine import GoneError
from spawner_limits.kernel.cgroups import CgroupError
from spawner_limits.kernel.host import meminfo
from spawner_limits.lifecycle.attest import attest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.clients.engine import Server
    from spawner_limits.engines.enforcement import Expectation
    from spawner_limits.lifecycle.attest import Difference
    from spawner_limits.spawners.docker import LimitedDockerSpawner
    from spawner_limits.spawners.hub_state import HubState

_ELSEWHERE = "The hub must see the cgroups of the engine's host: run it there, with the host's /sys/fs/cgroup and PIDs."
_NO_ROOT = (
    "If its start script needs root or a capability, docs/hardening.md, under cap_drop, says how an image gets it."
)
_BOOT = {
    "memory.memsw.": "Boot the host with swapaccount=1, or leave memswap_limit to best_effort.",
    "memory.swap.": "Boot the host with swapaccount=1, or leave memswap_limit to best_effort.",
    "memory.": "Boot the host with cgroup_enable=memory.",
    "": "Give the engine's unit Delegate=yes, so that its cgroups have this controller.",
}
"""how a file that is not there begins → what brings it"""
_TIDY_S = 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The container ran no longer when it was looked at."""

    exit_code: int | None
    """`None`: it is gone with its container, as with DockerSpawner's `remove`"""

    def __str__(self) -> str:
        how = "and is gone" if self.exit_code is None else f"(exit code {self.exit_code})"
        return f"The server's container ended as soon as it was started {how}"


def attested(state: HubState, container: str, expect: Sequence[Expectation]) -> tuple[Difference, ...] | Ended:
    """Where the Linux kernel shows something else than is expected. Errors: CgroupError, OSError, the engine's."""
    server = _running(state, container)
    if isinstance(server, Ended):
        return server
    try:
        return attest(expect, state.snapshots.of(server), swap_bytes=meminfo()["SwapTotal"])
    except (CgroupError, OSError):
        if isinstance(ended := _running(state, container), Ended):  # between the two looks
            return ended
        raise


def _running(state: HubState, container: str) -> Server | Ended:
    try:
        server = state.engine.inspect(container)
    except GoneError:
        return Ended(exit_code=None)
    return server if server.runs else Ended(exit_code=server.exit_code)


class Attestation:
    """Of one spawner's server, at each start."""

    def __init__(self, spawner: LimitedDockerSpawner) -> None:
        self._spawner = spawner

    async def attest(self, expect: Sequence[Expectation]) -> None:
        """Compare what the Linux kernel shows with what was asked for. SpawnException where it differs."""
        spawner = self._spawner
        begin = time.monotonic()
        try:
            found = await spawner.state.threads.run(attested, spawner.state, spawner.container_id, expect)
        except (CgroupError, OSError) as error:
            await self._end_at_once()
            raise spawner.refusal(f"The server's limits can't be read: {error}", reason="attest", status_code=500,
                                  remedy=_ELSEWHERE) from error  # fmt: skip
        if isinstance(found, Ended):
            remedy = _NO_ROOT if spawner.harden and found.exit_code else ""
            raise spawner.refusal(str(found), reason="ended", status_code=500, remedy=remedy)
        await self._refuse_differences(found)
        await self._keep(found, time.monotonic() - begin)

    async def _refuse_differences(self, found: Sequence[Difference]) -> None:
        spawner = self._spawner
        best_effort = spawner.policy.best_effort if spawner.policy is not None else frozenset()
        if wrong := [difference for difference in found if difference.field not in best_effort]:
            await self._end_at_once()
            fact = f"The Linux kernel does not show the server's limits: {'; '.join(map(str, wrong))}"
            raise spawner.refusal(fact, reason="attest", status_code=500, remedy=remedy(wrong))
        for difference in found:
            spawner.tell(f"{difference}; the policy lets the server start without it")

    async def _end_at_once(self) -> None:
        """End a container whose limits are not in force; the hub's own stop gives it ten seconds more."""
        await self._spawner.state.threads.run(self._spawner.state.engine.kill, self._spawner.container_id)

    async def _keep(self, found: Sequence[Difference], seconds: float) -> None:
        spawner, state = self._spawner, self._spawner.state
        details = {"seconds": round(seconds, 6), "differences": [str(difference) for difference in found]}
        try:
            record = await state.threads.run(lambda: state.records.append(spawner.container_id, "attested", **details))
            await _forget_the_old(state)
        except OSError as error:
            spawner.log.warning("That the limits of %s are in force can't be kept: %s", spawner.log_name, error)
            return
        spawner.tell(f"Attested at {record.at.astimezone():%H:%M:%S}: the Linux kernel shows every limit")
        spawner.log.info("The limits of %s are attested, in %.1f ms", spawner.log_name, seconds * 1000)


def remedy(wrong: Sequence[Difference]) -> str:
    """What brings the files that are not there; empty where all could be read."""
    missing = (difference.file for difference in wrong if difference.found is None)
    found = (next(text for start, text in _BOOT.items() if file.startswith(start)) for file in missing)
    return " ".join(dict.fromkeys(found))


async def _forget_the_old(state: HubState) -> None:
    """Now and then, what is kept of containers that are long gone."""
    if time.monotonic() >= state.tidy_at:
        state.tidy_at = time.monotonic() + _TIDY_S
        await state.threads.run(state.records.forget, lambda: [container["Id"] for container in state.engine.listed()])
