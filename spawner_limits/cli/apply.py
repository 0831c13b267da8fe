"""`spawner-limits apply`: bring running servers to what the policy gives now, and read back whether it is so."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from spawner_limits.cli import context, output
from spawner_limits.cli import hub as hubs
from spawner_limits.cli import plan as plans
from spawner_limits.cli.policy_file import content
from spawner_limits.errors import UsageError
from spawner_limits.lifecycle.apply import apply_all, short
from spawner_limits.lifecycle.plan import Effect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from spawner_limits.lifecycle.apply import Applied
    from spawner_limits.policy.model import Policy


def apply(  # noqa: PLR0913, PLR0917  the command's options are its interface
    users: context.Users = None,
    file: context.File = context.POLICY,
    under: context.Under = None,
    hub: hubs.Address = hubs.DEFAULT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, as `plan` does.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Lower memory also below what is in use: the Linux kernel may kill.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before something may be killed.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Change the limits of running servers to what the policy gives them now. Nothing is restarted or removed.

    What needs a restart, and memory that is in use, stays as it is and is told.
    Exit code: 0 every server has what the policy gives, 1 one has not, 2 usage, 4 engine or hub not reachable.
    """
    if dry_run:
        plans.plan(users, file, under, hub, json)
    policy, node, found = plans.made(file, under, hub, users)
    if force:
        _agree(found, yes=yes, asks=not json)
    done = apply_all(node, found, force=force)
    if json:
        output.show_json({"policy_sha256": policy.sha256, "servers": [_as_object(applied) for applied in done]})
    else:
        output.show(*_told(done, len(found)))
    changed = _has_changed(file, policy)
    raise typer.Exit(int(changed or not all(applied.holds for applied in done)))


def _agree(found: Sequence[Any], *, yes: bool, asks: bool) -> None:
    """Say what may die, and go on only if that may be."""
    stuck = {
        planned.server.whose: step.why
        for planned in found
        for step in planned.steps
        if step.effect is Effect.IMPOSSIBLE
    }
    if stuck:
        reasons = "; ".join(f"{name}: {why}" for name, why in stuck.items())
        hubs.agree(f"Processes of these may be killed by the Linux kernel: {reasons}", yes=yes, asks=asks)


def _has_changed(file: Path, policy: Policy) -> bool:
    """Whether the policy is another one by now; then what was done may be of yesterday, and that is told."""
    try:
        is_same = hashlib.sha256(content(file)).hexdigest() == policy.sha256
    except UsageError:
        is_same = False
    if not is_same:
        typer.echo(f"spawner-limits: {file} has changed meanwhile; run apply again", err=True)
    return not is_same


# -- for people ----------------------------------------------------------------------------------------------------


def _told(done: Sequence[Applied], count: int) -> Iterator[RenderableType]:
    if not done:
        yield Text(f"{'1 server runs' if count == 1 else f'{count} servers run'}, and nothing was to be changed"
                   if count else "no server runs on this machine")  # fmt: skip
    for applied in done:
        outcome = "HELD" if applied.holds else "not as the policy says"
        yield output.heading(f"{applied.plan.server.whose}: {outcome}")
        yield from (output.indented(line) for line in _lines(applied))


def _lines(applied: Applied) -> Iterator[str]:
    left = {difference.field for difference in applied.left}
    for step in applied.plan.steps:
        if step.field not in left:
            yield f"{step.field} is {step.wanted} (it was {step.actual})"
        else:
            yield f"{step.field} is still {step.actual}, the policy gives {step.wanted}" + (
                f": {step.why}" if step.why else ""
            )
    yield from (f"the engine refused: {short(answer)}" for answer in applied.refusals)
    yield from filter(None, (applied.plan.problem, applied.problem))


# -- for programs --------------------------------------------------------------------------------------------------


def _as_object(applied: Applied) -> dict[str, Any]:
    return {
        **plans.as_object(applied.plan),
        "holds": applied.holds,
        "told": [dict(part) for part in applied.updates],
        "refused": list(applied.refusals),
        "left": [
            {"field": left.field, "file": left.file, "found": left.found, "expected": list(left.expected)}
            for left in applied.left
        ],
        "problem": applied.problem or applied.plan.problem or None,
    }
