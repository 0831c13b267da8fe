"""`spawner-limits check`: every mistake in a policy, what it comes to, and what in it is most likely meant else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spawner_limits.cli import host, output
from spawner_limits.engines import docker
from spawner_limits.errors import PolicyError
from spawner_limits.limits import FIELDS, tell
from spawner_limits.policy import messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from spawner_limits.policy.capacity import Machine
    from spawner_limits.policy.lint import Caution, LintResult, Summary
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
        policy, found = _linted(file, machine, is_here=memory is None and cores is None)
    except PolicyError as error:
        if json:
            output.show_json(_mistakes(file, error))
        raise
    if json:
        output.show_json(_as_object(policy, machine, found))
    else:
        output.show(*_told(policy, machine, found))
    raise typer.Exit(1 if strict and found.cautions else 0)


def _linted(file: Path, machine: Machine, *, is_here: bool) -> tuple[Policy, LintResult]:
    """The policy and what it comes to, the cautions with their places. PolicyError."""
    from spawner_limits.cli.policy_file import read  # noqa: PLC0415  here and below: YAML, which --help need not wait for
    from spawner_limits.policy.lint import lint, placed  # noqa: PLC0415

    policy, data = read(file)
    refusal = partial(docker.refusal, version=host.cgroup_version() if is_here else None)
    found = lint(policy, machine, now=datetime.now(UTC), refusal=refusal)
    return policy, replace(found, cautions=placed(found.cautions, data.decode("utf-8-sig")))


# -- for people ----------------------------------------------------------------------------------------------------


def _told(policy: Policy, machine: Machine, found: LintResult) -> Iterator[RenderableType]:
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
    yield "Host", f"{tell('mem_limit', machine.memory_bytes)}, {_cores(machine.cores)}; {_counted(summary, policy)}"
    yield "SHA-256", summary.sha256


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"


def _counted(summary: Summary, policy: Policy) -> str:
    if policy.host is None:
        return "nothing is counted there (no section host)"
    told = [f"{one.tell(one.capacity)} of {one.resource}" for one in summary.room]
    return f"servers may hold {' and '.join(told)}" if told else "nothing is counted there"


def _warnings(file: str, cautions: tuple[Caution, ...]) -> Iterator[RenderableType]:
    shown: Counter[str] = Counter()
    for one in cautions:
        shown[one.kind] += 1
        if shown[one.kind] <= _OF_A_KIND:
            yield output.heading(f"{file}:{one.line}:{one.column}: {messages.dotted(one.path)}")
            yield output.indented(one.message)
    more = sum(max(0, count - _OF_A_KIND) for count in shown.values())
    if more:
        yield f"and {more} more of these kinds; --json has all"


# -- for programs --------------------------------------------------------------------------------------------------


def _mistakes(file: Path, error: PolicyError) -> dict[str, Any]:
    told = [
        {"file": one.file, "line": one.line, "column": one.column, "path": one.path, "message": one.message}
        for one in error.problems
    ]
    return {"file": str(file), "valid": False, "mistakes": told}


def _as_object(policy: Policy, machine: Machine, found: LintResult) -> dict[str, Any]:
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
                "kind": one.kind,
                "file": policy.file,
                "line": one.line,
                "column": one.column,
                "path": messages.dotted(one.path),
                "message": one.message,
            }
            for one in found.cautions
        ],
    }


def _host(summary: Summary, policy: Policy, machine: Machine) -> dict[str, Any]:
    room = {one.resource: one.capacity for one in summary.room}
    reason = "no section host" if policy.host is None else "unlimited"
    return {
        "memory_bytes": machine.memory_bytes,
        "cores": machine.cores,
        "memory_for_servers_bytes": int(room["memory"]) if "memory" in room else None,
        "memory_for_servers_reason": None if "memory" in room else reason,
        "cpu_for_servers_cores": room.get("CPU"),
        "cpu_for_servers_reason": None if "CPU" in room else reason,
    }
