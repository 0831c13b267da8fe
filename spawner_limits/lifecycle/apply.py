"""`apply`: bring running servers to what the policy gives, and read back whether it is so.

Nothing is removed or restarted here. Whoever applies holds a lock on the container's record, and looks again once he
has it: of two at the same time the second sees what the first has done.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import docker.errors

from spawner_limits.kernel.cgroups import CgroupError
from spawner_limits.lifecycle import servers
from spawner_limits.lifecycle.plan import Plan, changes, differing, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from docker import APIClient
    from spawner_limits.lifecycle.attest import Difference
    from spawner_limits.lifecycle.plan import Machine
    from spawner_limits.lifecycle.records import Records
    from spawner_limits.lifecycle.servers import Server
    from spawner_limits.policy.entitlement import Entitlement

    Entitle = Callable[[Server, Entitlement | None], Entitlement]


_ENDED = "the server has ended meanwhile"
_BEFORE_CAUSE = re.compile(r"^Cannot update container \w+: (runc did not terminate successfully: exit status \d+: )?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What came of one server's plan."""

    plan: Plan
    """as it was when it was done"""
    told: tuple[Mapping[str, Any], ...] = ()
    """what the engine was told, part by part, in the words of its API"""
    refusals: tuple[str, ...] = ()
    """what it answered, where it did not do it"""
    left: tuple[Difference, ...] = ()
    """what the Linux kernel still shows otherwise, or what may not stay"""
    problem: str = ""
    """why it is not known what the kernel shows: the server ended, its files can't be read"""

    @property
    def holds(self) -> bool:
        """Whether the Linux kernel now shows what the policy gives."""
        return not (self.plan.problem or self.left or self.problem)


def plans(found: Iterable[Server], records: Records, entitle: Entitle, machine: Machine) -> tuple[Plan, ...]:
    """The plan of each server that runs."""
    running = [one for one in found if one.runs]
    with ThreadPoolExecutor(servers.THREADS, thread_name_prefix="spawner-limits-plan") as pool:
        return tuple(pool.map(lambda one: plan_of(one, records, entitle, machine), running))


def plan_of(server: Server, records: Records, entitle: Entitle, machine: Machine) -> Plan:
    """What is to change on one server; a plan with a `problem` where that can't be known."""
    if server.entitlement is None:
        return Plan(server=server, entitlement=None, problem=server.problem)
    try:
        entitlement = entitle(server, servers.in_force(server, records))
        return plan(server, entitlement, servers.reading(server), machine)
    except (CgroupError, OSError) as error:
        return Plan(server=server, entitlement=None, problem=str(error))


def apply_all(
    client: APIClient, plans: Iterable[Plan], records: Records, machine: Machine, *, force: bool = False
) -> tuple[Applied, ...]:
    """Do all that drift, side by side; one that fails holds up no other."""
    with ThreadPoolExecutor(servers.THREADS, thread_name_prefix="spawner-limits-apply") as pool:
        return tuple(
            pool.map(
                lambda one: apply(client, one, records, machine, force=force), [one for one in plans if one.drifts]
            )
        )


def apply(client: APIClient, made: Plan, records: Records, machine: Machine, *, force: bool = False) -> Applied:
    """Bring one server to what its plan's entitlement gives; `force`: also where that may kill what runs in it."""
    if made.entitlement is None:
        return Applied(plan=made)
    try:
        with records.alone(made.server.id):
            fresh = servers.server(client.inspect_container(made.server.id))
            if not fresh.runs:
                return Applied(plan=made, problem=_ENDED)
            again = plan(fresh, made.entitlement, servers.reading(fresh), machine)
            return _do(client, again, changes(again, force=force), records, machine)
    except docker.errors.NotFound:
        return Applied(plan=made, problem=_ENDED)
    except (CgroupError, OSError) as error:
        return Applied(plan=made, problem=str(error))


def _do(
    client: APIClient, made: Plan, told: Sequence[Mapping[str, Any]], records: Records, machine: Machine
) -> Applied:
    if not told:
        return Applied(plan=made, left=tuple(one for step in made.steps for one in step.differences))
    refusals = _tell(client, made.server.id, told)
    done = Applied(plan=made, told=tuple(told), refusals=refusals, left=_left(client, made, machine))
    _keep(done, records)
    return done


def _tell(client: APIClient, container: str, parts: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Tell the engine all at one go; where it refuses, part by part, so that it does what it can. Its refusals."""
    if update(client, container, {key: value for part in parts for key, value in part.items()}) is None:
        return ()
    return tuple(answer for part in parts if (answer := update(client, container, part)) is not None)


def _keep(done: Applied, records: Records) -> None:
    entitlement = done.plan.entitlement
    records.append(
        done.plan.server.id,
        "applied",
        entitlement=entitlement.to_json() if entitlement is not None else None,
        told=[*done.told],
        refused=[*done.refusals],
        left=[str(one) for one in done.left],
    )


def _left(client: APIClient, made: Plan, machine: Machine) -> tuple[Difference, ...]:
    if made.enforcement is None:
        return ()
    after = servers.server(client.inspect_container(made.server.id))
    return differing(made.enforcement, after, servers.reading(made.server), machine)


def short(answer: str) -> str:
    """An engine's answer without what comes before the cause: the container, and the runtime's exit."""
    return _BEFORE_CAUSE.sub("", " ".join(answer.split())).removesuffix(": unknown").strip()


def update(client: APIClient, container: str, told: Mapping[str, Any]) -> str | None:
    """`docker update` in the words of the API; the engine's answer where it refuses, `None` when it did it.

    The SDK's own has no `PidsLimit`, and drops zeros. Errors: docker.errors.NotFound, requests.RequestException.
    """
    api: Any = client
    try:
        api._raise_for_status(api._post_json(api._url("/containers/{0}/update", container), data=dict(told)))  # noqa: SLF001
    except docker.errors.NotFound:
        raise
    except docker.errors.APIError as error:
        return str(error.explanation or error)
    return None
