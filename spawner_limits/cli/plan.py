"""`spawner-limits plan`: what each running server has, what the policy gives it now, and what a change would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from spawner_limits.cli import context, output
from spawner_limits.cli import hub as hubs
from spawner_limits.lifecycle import apply
from spawner_limits.lifecycle.node import Node
from spawner_limits.policy.parse import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from spawner_limits.lifecycle.plan import Change, Plan
    from spawner_limits.policy.model import Policy

_WIDTHS = (14, 12, 18)
_HEAD = ("Limit", "Policy", "Now", "Change")


def plan(
    users: context.Users = None,
    file: context.File = context.POLICY,
    under: context.Under = None,
    hub: hubs.Address = hubs.DEFAULT,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Compare each running server with the policy as it is now, and say what `apply` would do.

    A change is live, needs a restart of the server, or is impossible now: more is in use than the new limit.
    Exit code: 0 no drift, 1 drift, 2 usage, or an invalid policy, 3 a server's limits can't be known, 4 engine or hub
    not reachable.
    """
    policy, _, plans = made(file, under, hub, users)
    if json:
        output.show_json({"policy_sha256": policy.sha256, "servers": [as_object(plan) for plan in plans]})
    else:
        output.show(*told(plans))
    raise typer.Exit(exit_code(plan.exit_code for plan in plans))


def exit_code(codes: Iterable[int]) -> int:
    """Of all servers: that something is wrong counts more than that something is not known."""
    found = set(codes)
    return next((code for code in (1, 3) if code in found), 0)


def made(
    file: Path, under: Path | None, hub: str, users: Sequence[str] | None
) -> tuple[Policy, Node, tuple[Plan, ...]]:
    """The policy, the node, and the plans of its hub's servers, or of some users. PolicyError, UnreachableError."""
    policy = load(file)
    rules, node = context.rules(policy, hub), Node.here()
    found = [server for server in node.engine.servers(users=users or ()) if server.runs]
    ours, others = context.divided(found, under or file)
    context.tell_others(others)
    return policy, node, apply.plans(ours, node, rules.entitle)


# -- for people ----------------------------------------------------------------------------------------------------


def told(plans: Sequence[Plan]) -> Iterator[RenderableType]:
    """All plans: first the line that matters, then those that drift."""
    drifting = [plan for plan in plans if plan.drifts]
    if not plans:
        yield Text("no server runs on this machine")
    else:
        count = "1 server runs" if len(plans) == 1 else f"{len(plans)} servers run"
        yield output.heading(f"{count}; {len(drifting) or 'none'} otherwise than the policy says")
    for plan in drifting:
        yield ""
        yield output.heading(plan.server.whose)
        if plan.problem:
            yield output.indented(plan.problem)
        if plan.steps:
            cells = [
                (step.field, step.wanted, step.actual, ": ".join(filter(None, (step.effect.value, step.why))))
                for step in plan.steps
            ]
            yield output.rows(cells, *_WIDTHS, head=_HEAD)


# -- for programs --------------------------------------------------------------------------------------------------


def as_object(plan: Plan) -> dict[str, Any]:
    """One plan."""
    grants = plan.entitlement.grants if plan.entitlement is not None else {}
    return {
        "user": plan.server.user,
        "server": plan.server.server,
        "container": plan.server.name,
        "container_id": plan.server.id,
        "drift": plan.drifts,
        "problem": plan.problem or None,
        "policy": {
            output.KEYS[name]: {**output.known(grant.value), "rule": grant.rule} for name, grant in grants.items()
        },
        "steps": [step_object(step) for step in plan.steps],
    }


def step_object(step: Change) -> dict[str, Any]:
    """One limit that is not as it should be."""
    return {
        "field": step.field,
        "has": step.actual,
        "expected": step.wanted,
        "how": step.effect.value,
        "why": step.why or None,
        "files": [
            {
                "file": difference.file,
                "found": difference.found,
                "expected": list(difference.expected),
                "reason": difference.reason or None,
            }
            for difference in step.differences
        ],
    }
