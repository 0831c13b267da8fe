"""`spawner-limits check`: every mistake in a policy, what it comes to, and what in it is most likely meant else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spawner_limits.cli import host, output
from spawner_limits.cli.policy_file import read
from spawner_limits.errors import PolicyError
from spawner_limits.limits import FIELDS, tell
from spawner_limits.policy import messages
from spawner_limits.policy.lint import placed, review

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from spawner_limits.policy.capacity import Machine
    from spawner_limits.policy.lint import Caution, Review, Summary
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
    version = host.cgroup_version() if memory is None and cores is None else None
    try:
        policy, data = read(file)
        found = review(policy, machine, now=datetime.now(UTC), version=version)
    except PolicyError as error:
        if json:
            output.show_json(_mistakes(file, error))
        raise
    found = replace(found, cautions=placed(found.cautions, data.decode("utf-8-sig")))
    if json:
        output.show_json(_as_object(policy, machine, found))
    else:
        output.show(*_told(policy, machine, found))
    raise typer.Exit(1 if strict and found.cautions else 0)


# -- for people ----------------------------------------------------------------------------------------------------


def _told(policy: Policy, machine: Machine, found: Review) -> Iterator[RenderableType]:
    count = len(found.cautions)
    warnings = "no warnings" if not count else "1 warning" if count == 1 else f"{count} warnings"
    yield output.heading(f"{policy.file} can be used; {warnings}")
    yield ""
    yield output.rows([*_rows(found.summary, policy, machine)], _LABEL)
    if count:
        yield ""
        yield from _warnings(policy.file, found.cautions)


def _rows(summary: Summary, policy: Policy, machine: Machine) -> Iterator[tuple[str, str]]:
    yield "Users", output.names(summary.users)
    yield "Groups", output.names(summary.groups)
    yield "Sizes", output.names(summary.sizes)
    label = "At most"
    for field, most in summary.loosest.items():
        yield label, f"{FIELDS[field].words} {tell(field, most.value)}, from {most.rule} (line {most.line})"
        label = ""
    cores = "1 core" if machine.cores == 1 else f"{machine.cores} cores"
    yield "Host", f"{tell('mem_limit', machine.memory_bytes)}, {cores}; {_counted(summary, policy)}"
    yield "SHA-256", summary.sha256


def _counted(summary: Summary, policy: Policy) -> str:
    if policy.host is None:
        return "nothing is counted there (no section host)"
    amounts = [f"{amount.tell(amount.capacity)} of {amount.resource}" for amount in summary.room]
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
    mistakes = [
        {
            "file": mistake.file,
            "line": mistake.line,
            "column": mistake.column,
            "path": mistake.path,
            "message": mistake.message,
        }
        for mistake in error.problems
    ]
    return {"file": str(file), "valid": False, "mistakes": mistakes}


def _as_object(policy: Policy, machine: Machine, found: Review) -> dict[str, Any]:
    summary = found.summary
    return {
        "file": policy.file,
        "valid": True,
        "sha256": summary.sha256,
        "users": len(summary.users),
        "groups": list(summary.groups),
        "sizes": list(summary.sizes),
        "at_most": {
            output.KEYS[field]: {**output.known(most.value), "rule": most.rule, "line": most.line}
            for field, most in summary.loosest.items()
        },
        "host": _host(summary, policy, machine),
        "warnings": [
            {
                "kind": caution.kind,
                "file": policy.file,
                "line": caution.line,
                "column": caution.column,
                "path": messages.dotted(caution.path),
                "message": caution.message,
            }
            for caution in found.cautions
        ],
    }


def _host(summary: Summary, policy: Policy, machine: Machine) -> dict[str, Any]:
    room = {amount.resource: amount.capacity for amount in summary.room}
    reason = "no section host" if policy.host is None else "unlimited"
    return {
        "memory_bytes": machine.memory_bytes,
        "cores": machine.cores,
        "memory_for_servers_bytes": int(room["memory"]) if "memory" in room else None,
        "memory_for_servers_reason": None if "memory" in room else reason,
        "cpu_for_servers_cores": room.get("CPU"),
        "cpu_for_servers_reason": None if "CPU" in room else reason,
    }
