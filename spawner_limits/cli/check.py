"""`spawner-limits check`: every mistake in a policy, what it comes to, and what in it is most likely meant else."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spawner_limits.cli import host, output
from spawner_limits.cli.policy_file import read
from spawner_limits.engines import docker
from spawner_limits.errors import PolicyError
from spawner_limits.limits import FIELDS, tell
from spawner_limits.policy import keys, messages
from spawner_limits.policy.capacity import room
from spawner_limits.policy.lint import lint, loosest, placed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType

    from spawner_limits.policy.capacity import Allocatable, Machine
    from spawner_limits.policy.lint import Caution, Loosest
    from spawner_limits.policy.model import Policy

_OF_A_KIND = 20
"""so many warnings of one kind are shown; JSON has all"""
_LABEL = 12


def check(
    file: Annotated[Path, typer.Argument(help="The policy.")] = Path("limits.yaml"),
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Judge it for a host with that much memory, not for this one.")
    ] = None,
    cores: Annotated[
        int | None, typer.Option(min=1, max=8192, metavar="N", help="Judge it for a host with so many cores.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 if there are warnings.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Say what is wrong with a policy, what it comes to, and what in it is probably a mistake. Needs no engine.

    Exit code: 0 it can be used, 1 with --strict: there are warnings, 2 it can't be used.
    """
    machine = host.machine(memory, cores)
    try:
        checked = _checked(file, machine, is_here=memory is None and cores is None)
    except PolicyError as error:
        if json:
            output.show_json(_mistakes(file, error))
        raise
    if json:
        output.show_json(_as_object(checked))
    else:
        output.show(*_lines(checked))
    raise typer.Exit(1 if strict and checked.cautions else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Checked:
    """A policy that can be used, and what it comes to."""

    policy: Policy
    machine: Machine
    cautions: tuple[Caution, ...]
    loosest: Mapping[str, Loosest]
    """for each field that everybody has a limit of"""
    room: tuple[Allocatable, ...]
    """what is counted on the host, and how much of it there is for servers"""


def _checked(file: Path, machine: Machine, *, is_here: bool) -> _Checked:
    """PolicyError."""
    policy, data = read(file)
    now = datetime.now(UTC)
    refusal = partial(docker.refusal, version=host.cgroup_version() if is_here else None)
    return _Checked(
        policy=policy,
        machine=machine,
        cautions=placed(lint(policy, machine, now=now, refusal=refusal), data.decode("utf-8-sig")),
        loosest={field: loosest(policy, field, now) for field in keys.REQUIRED},
        room=room(policy.host, machine, ()),
    )


# -- for people ----------------------------------------------------------------------------------------------------


def _lines(checked: _Checked) -> Iterator[RenderableType]:
    file, count = checked.policy.file, len(checked.cautions)
    warnings = "no warnings" if not count else "1 warning" if count == 1 else f"{count} warnings"
    yield output.heading(f"{file} can be used; {warnings}")
    yield ""
    yield output.rows([*_rows(checked)], _LABEL)
    if count:
        yield ""
        yield from _warnings(file, checked.cautions)


def _rows(checked: _Checked) -> Iterator[tuple[str, str]]:
    policy, machine = checked.policy, checked.machine
    yield "Users", output.names(tuple(rule.own_name for rule in policy.users.values()))
    yield "Groups", output.names(tuple(rule.own_name for rule in policy.groups.values()))
    yield "Sizes", output.names(tuple(policy.sizes))
    label = "At most"
    for field, most in checked.loosest.items():
        yield label, f"{FIELDS[field].words} {tell(field, most.value)}, from {most.rule} (line {most.line})"
        label = ""
    yield "Host", f"{tell('mem_limit', machine.memory_bytes)}, {_cores(machine.cores)}; {_counted(checked)}"
    yield "SHA-256", policy.sha256


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"


def _counted(checked: _Checked) -> str:
    if checked.policy.host is None:
        return "nothing is counted there (no section host)"
    amounts = [f"{amount.tell(amount.capacity)} of {amount.resource}" for amount in checked.room]
    return f"servers may hold {' and '.join(amounts)}" if amounts else "nothing is counted there"


def _warnings(file: str, cautions: tuple[Caution, ...]) -> Iterator[RenderableType]:
    shown: Counter[str] = Counter()
    for caution in cautions:
        shown[caution.kind] += 1
        if shown[caution.kind] <= _OF_A_KIND:
            yield output.heading(f"{file}:{caution.line}:{caution.column}: {messages.dotted(caution.path)}")
            yield output.indented(caution.message)
    more = sum(max(0, count - _OF_A_KIND) for count in shown.values())
    if more:
        yield f"and {more} more of these kinds; --json has all"


# -- for programs --------------------------------------------------------------------------------------------------


def _mistakes(file: Path, error: PolicyError) -> dict[str, Any]:
    return {"file": str(file), "valid": False, "mistakes": [asdict(problem) for problem in error.problems]}


def _as_object(checked: _Checked) -> dict[str, Any]:
    policy = checked.policy
    return {
        "file": policy.file,
        "valid": True,
        "sha256": policy.sha256,
        "users": len(policy.users),
        "groups": [rule.own_name for rule in policy.groups.values()],
        "sizes": list(policy.sizes),
        "at_most": {
            output.KEYS[field]: {**output.known(most.value), "rule": most.rule, "line": most.line}
            for field, most in checked.loosest.items()
        },
        "host": _host(checked),
        "warnings": [
            {
                "kind": caution.kind,
                "file": policy.file,
                "line": caution.line,
                "column": caution.column,
                "path": messages.dotted(caution.path),
                "message": caution.message,
            }
            for caution in checked.cautions
        ],
    }


def _host(checked: _Checked) -> dict[str, Any]:
    capacity = {amount.resource: amount.capacity for amount in checked.room}
    reason = "no section host" if checked.policy.host is None else "unlimited"
    return {
        "memory_bytes": checked.machine.memory_bytes,
        "cores": checked.machine.cores,
        "memory_for_servers_bytes": int(capacity["memory"]) if "memory" in capacity else None,
        "memory_for_servers_reason": None if "memory" in capacity else reason,
        "cpu_for_servers_cores": capacity.get("CPU"),
        "cpu_for_servers_reason": None if "CPU" in capacity else reason,
    }
