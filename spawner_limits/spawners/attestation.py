"""`attest_server`: between a server's start and the hand-over to its user, the Linux kernel is asked for its limits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from spawner_limits.clients.engine import GoneError
from spawner_limits.kernel.cgroups import CgroupError
from spawner_limits.kernel.host import meminfo
from spawner_limits.lifecycle.attest import attest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.clients.docker import DockerEngine
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


class EndedError(Exception):
    """The container ran no longer when it was looked at."""

    def __init__(self, exit_code: int | None) -> None:
        """`exit_code`: `None` where it is gone with its container, as with DockerSpawner's `remove`."""
        self.exit_code = exit_code
        how = "and is gone" if exit_code is None else f"(exit code {exit_code})"
        super().__init__(f"The server's container ended as soon as it was started {how}")


async def attest_server(spawner: LimitedDockerSpawner, expect: Sequence[Expectation]) -> None:
    """Compare what the Linux kernel shows with what was asked for. SpawnException where it differs.

    A container whose limits are not in force is ended at once; the hub's own stop would give it ten seconds more.
    """
    state, container = spawner.state, spawner.container_id
    begin = time.monotonic()
    try:
        found = await state.threads.run(_differences, state, container, expect)
    except EndedError as error:
        remedy = _NO_ROOT if spawner.harden and error.exit_code else ""
        raise spawner.refusal(str(error), reason="ended", status_code=500, remedy=remedy) from error
    except (CgroupError, OSError) as error:
        await state.threads.run(state.engine.kill, container)
        raise spawner.refusal(f"The server's limits can't be read: {error}", reason="attest", status_code=500,
                              remedy=_ELSEWHERE) from error  # fmt: skip
    best_effort = spawner.policy.best_effort if spawner.policy is not None else frozenset()
    if wrong := [difference for difference in found if difference.field not in best_effort]:
        await state.threads.run(state.engine.kill, container)
        fact = f"The Linux kernel does not show the server's limits: {'; '.join(map(str, wrong))}"
        raise spawner.refusal(fact, reason="attest", status_code=500, remedy=_remedy(wrong))
    for difference in found:
        spawner.tell(f"{difference}; the policy lets the server start without it")
    await _keep(spawner, found, time.monotonic() - begin)


def _differences(state: HubState, container: str, expect: Sequence[Expectation]) -> tuple[Difference, ...]:
    """Where the Linux kernel shows something else than is expected. EndedError, CgroupError, OSError, the engine's."""
    server = _running(state.engine, container)
    try:
        return attest(expect, state.snapshots.of(server), swap_bytes=meminfo()["SwapTotal"])
    except (CgroupError, OSError):
        _running(state.engine, container)  # or it ended between the two looks
        raise


def _running(engine: DockerEngine, container: str) -> Server:
    try:
        server = engine.inspect(container)
    except GoneError as error:
        raise EndedError(exit_code=None) from error
    if not server.runs:
        raise EndedError(server.exit_code)
    return server


def _remedy(wrong: Sequence[Difference]) -> str:
    """What brings the files that are not there; empty where all could be read."""
    missing = (difference.file for difference in wrong if difference.found is None)
    found = (next(text for start, text in _BOOT.items() if file.startswith(start)) for file in missing)
    return " ".join(dict.fromkeys(found))


async def _keep(spawner: LimitedDockerSpawner, found: Sequence[Difference], seconds: float) -> None:
    """Record it; now and then, forget what is kept of containers that are long gone."""
    state = spawner.state
    details = {"seconds": round(seconds, 6), "differences": [str(difference) for difference in found]}
    try:
        record = await state.threads.run(lambda: state.records.append(spawner.container_id, "attested", **details))
        if time.monotonic() >= state.tidy_at:
            state.tidy_at = time.monotonic() + _TIDY_S
            await state.threads.run(state.records.forget, lambda: [each["Id"] for each in state.engine.listed()])
    except OSError as error:
        spawner.log.warning("That the limits of %s are in force can't be kept: %s", spawner.log_name, error)
        return
    spawner.tell(f"Attested at {record.at.astimezone():%H:%M:%S}: the Linux kernel shows every limit")
    spawner.log.info("The limits of %s are attested, in %.1f ms", spawner.log_name, seconds * 1000)
