"""`apply`: bring running servers to what the policy gives, and read back whether it is so.

Nothing is removed or restarted here. Whoever applies holds a lock on the container's record, and looks again once he
has it: of two at the same time the second sees what the first has done.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spawner_limits.clients.docker import THREADS
from spawner_limits.clients.engine import GoneError, RefusedError
from spawner_limits.kernel.cgroups import CgroupError
from spawner_limits.lifecycle.in_force import in_force
from spawner_limits.lifecycle.plan import Plan, changes, differing, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from spawner_limits.clients.engine import Server
    from spawner_limits.lifecycle.attest import Difference
    from spawner_limits.lifecycle.node import Node
    from spawner_limits.policy.entitlement import Entitlement

    Entitle = Callable[[Server, Entitlement | None], Entitlement]


_ENDED = "the server has ended meanwhile"
_BEFORE_CAUSE = re.compile(r"^Cannot update container \w+: (runc did not terminate successfully: exit status \d+: )?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What came of one server's plan."""

    plan: Plan
    """as it was when it was done"""
    updates: tuple[Mapping[str, Any], ...] = ()
    """what the engine was asked for, part by part, in the words of its API"""
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


def plans(found: Iterable[Server], node: Node, entitle: Entitle) -> tuple[Plan, ...]:
    """The plan of each server that runs."""
    running = [server for server in found if server.runs]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="spawner-limits-plan") as pool:
        return tuple(pool.map(lambda server: plan_of(server, node, entitle), running))


def plan_of(server: Server, node: Node, entitle: Entitle) -> Plan:
    """What is to change on one server; a plan with a `problem` where that can't be known."""
    if server.entitlement is None:
        return Plan(server=server, entitlement=None, problem=server.problem)
    try:
        entitlement = entitle(server, in_force(server, node.records))
        return plan(server, entitlement, node.snapshots.of(server), node.host)
    except (CgroupError, OSError) as error:
        return Plan(server=server, entitlement=None, problem=str(error))


def apply_all(node: Node, plans: Iterable[Plan], *, force: bool = False) -> tuple[Applied, ...]:
    """Do all that drift, side by side; one that fails holds up no other. UnreachableError."""
    drifting = [made for made in plans if made.drifts]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="spawner-limits-apply") as pool:
        return tuple(pool.map(lambda made: apply(node, made, force=force), drifting))


def apply(node: Node, made: Plan, *, force: bool = False) -> Applied:
    """Bring one server to what its plan's entitlement gives; `force`: also where that may kill what runs in it.

    UnreachableError, RefusedError: the engine did not say what the server has.
    """
    if made.entitlement is None:
        return Applied(plan=made)
    try:
        with node.records.alone(made.server.id):
            fresh = node.engine.inspect(made.server.id)
            if not fresh.runs:
                return Applied(plan=made, problem=_ENDED)
            again = plan(fresh, made.entitlement, node.snapshots.of(fresh), node.host)
            return _do(node, again, changes(again, force=force))
    except GoneError:
        return Applied(plan=made, problem=_ENDED)
    except (CgroupError, OSError) as error:
        return Applied(plan=made, problem=str(error))


def _do(node: Node, made: Plan, parts: Sequence[Mapping[str, Any]]) -> Applied:
    if not parts or made.enforcement is None or made.entitlement is None:
        return Applied(plan=made, left=tuple(found for step in made.steps for found in step.differences))
    refusals = _update(node, made.server.id, parts)
    after = node.engine.inspect(made.server.id)
    left = differing(made.enforcement, after, node.snapshots.of(after), node.host)
    node.records.append(
        made.server.id,
        "applied",
        entitlement=made.entitlement.to_json(),
        told=[*parts],
        refused=[*refusals],
        left=[str(difference) for difference in left],
    )
    return Applied(plan=made, updates=tuple(parts), refusals=refusals, left=left)


def _update(node: Node, server: str, parts: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Ask the engine for all at one go; where it refuses, part by part, so that it does what it can. Its refusals."""
    if _refusal(node, server, {key: value for part in parts for key, value in part.items()}) is None:
        return ()
    return tuple(words for part in parts if (words := _refusal(node, server, part)) is not None)


def _refusal(node: Node, server: str, asked: Mapping[str, Any]) -> str | None:
    try:
        node.engine.update(server, asked)
    except RefusedError as error:
        return error.words
    return None


def short(answer: str) -> str:
    """An engine's answer without what comes before the cause: the container, and the runtime's exit."""
    return _BEFORE_CAUSE.sub("", " ".join(answer.split())).removesuffix(": unknown").strip()
