"""`spawner-limits explain`: what a user's server gets and from which line, what the engine is told, what must show."""

from __future__ import annotations

import json as text
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.padding import Padding

from spawner_limits.cli import host, output
from spawner_limits.engines import docker, kube, swarm
from spawner_limits.engines.enforcement import shares_told
from spawner_limits.errors import RequestError, UsageError
from spawner_limits.limits import FIELDS, tell
from spawner_limits.policy import keys, messages
from spawner_limits.policy.model import group_key, user_key
from spawner_limits.policy.parse import load
from spawner_limits.policy.resolve import resolve
from spawner_limits.policy.user_options import Request
from spawner_limits.spawners import thread_env

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import RenderableType

    from spawner_limits.engines.enforcement import CgroupVersion, Enforcement, Share
    from spawner_limits.policy.entitlement import Entitlement, Grant
    from spawner_limits.policy.model import Policy

_RESOURCE, _LIMIT, _FILE = 14, 13, 30
_NEAR = 1_000
"""among so many users the nearest name is looked for"""
_AT = (
    'expected a date such as "2026-12-31" (its beginning in UTC), or a time with a zone such as '
    '"2026-12-31T18:00+01:00"'
)
_DATE = len("2026-12-31")


class EngineName(StrEnum):
    """What runs the servers."""

    DOCKER = "docker"
    SWARM = "swarm"
    KUBE = "kube"


_TRANSLATE: Mapping[EngineName, Callable[..., Enforcement]] = {
    EngineName.DOCKER: docker.translate,
    EngineName.SWARM: swarm.translate,
    EngineName.KUBE: kube.translate,
}
_TOLD = {
    EngineName.DOCKER: "Docker is told (extra_host_config)",
    EngineName.SWARM: "Swarm is told (Resources of the task template)",
    EngineName.KUBE: "Kubernetes is told (resources of the container)",
}
_CANNOT = {
    EngineName.DOCKER: "Docker can't hold",
    EngineName.SWARM: "Swarm can't hold",
    EngineName.KUBE: "Kubernetes can't hold",
}


def explain(  # noqa: PLR0913, PLR0917  the command's options are its interface
    user: Annotated[str, typer.Argument(help="Whose server; without a rule of their own, they get the others'.")],
    groups: Annotated[
        list[str] | None, typer.Option("--group", metavar="GROUP", help="A group that the user is in; may be repeated.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="The size that is picked at the spawn.")] = None,
    server: Annotated[str, typer.Option(help="The name of a named server.")] = "",
    engine: Annotated[EngineName, typer.Option(help="What runs the servers.")] = EngineName.DOCKER,
    file: Annotated[Path, typer.Option(help="The policy.")] = Path("limits.yaml"),
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="What counts then: 2026-12-31, 2026-12-31T18:00+01:00.")
    ] = None,
    cgroup: Annotated[
        int | None, typer.Option(min=1, max=2, help="The Linux kernel's version of cgroups; else this machine's.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Say what a server of a user gets and which line of the policy gave it; then what the engine is told for it.

    Last, what the Linux kernel's files must show once the server runs. The hub's groups are not asked for: give them.
    """
    for option, name in (("USER", user), *(("--group", group) for group in groups or ())):
        if not name or not name.isprintable() or name != name.strip():
            raise UsageError(f"{option}: found {messages.shown(name)}; expected a name, without blanks around it")
    now = datetime.now(UTC) if at is None else _moment(at)
    policy = load(file)
    version = cast("CgroupVersion", cgroup) if cgroup is not None else host.cgroup_version() or 2
    asked = _Asked(user=user, groups=tuple(groups or ()), server=server, size=size, now=now)
    case = _Case(policy, asked, engine, version)
    if json:
        output.show_json(_as_object(case))
    else:
        output.show(*_told(case))


def _moment(given: str) -> datetime:
    try:
        until = keys.read_until(given)
    except ValueError:
        raise UsageError(f"--at: found {messages.shown(given)}; {_AT}") from None
    # as an `until`, a date counts to its end
    return until - timedelta(days=1) if len(given) == _DATE else until


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """Whose server, and when."""

    user: str
    groups: tuple[str, ...]
    server: str
    size: str | None
    now: datetime


class _Case:
    """One server's entitlement, and what it becomes on one engine."""

    def __init__(self, policy: Policy, asked: _Asked, engine: EngineName, version: CgroupVersion) -> None:
        """UsageError where that size may not be picked."""
        self.policy, self.now, self.engine, self.version = policy, asked.now, engine, version
        self.entitlement = _entitlement(policy, asked)
        self.has_own_rule = user_key(asked.user) in policy.users
        self.strangers = tuple(dict.fromkeys(group for group in asked.groups if group_key(group) not in policy.groups))
        self.enforcement = _TRANSLATE[engine](self.entitlement.limits, version=version)
        self.shares = _shares(self.enforcement, version)


def _entitlement(policy: Policy, asked: _Asked) -> Entitlement:
    who = (policy, asked.user, asked.groups, asked.server)
    try:
        return resolve(*who, now=asked.now, request=Request(size=asked.size))
    except RequestError:
        sizes = resolve(*who, now=asked.now).sizes
    expected = messages.nearest(str(asked.size), sizes) if sizes else "the policy lets them pick none"
    raise UsageError(f"--size: found {messages.shown(str(asked.size))}; {expected}")


def _shares(enforcement: Enforcement, version: CgroupVersion) -> tuple[Share, ...]:
    values = (expected.value for expected in enforcement.expect if expected.field == "cpu_shares")
    asked = next((value for value in values if value is not None), None)
    return () if asked is None else shares_told(int(asked), version)


# -- for people ----------------------------------------------------------------------------------------------------


def _told(case: _Case) -> Iterator[RenderableType]:
    entitlement = case.entitlement
    yield output.heading(_who(case))
    for note in _notes(case):
        yield output.indented(note)
    yield ""
    limits = [
        (FIELDS[field].words, tell(field, grant.value), _origin(field, grant))
        for field, grant in entitlement.grants.items()
    ]
    yield output.rows(limits, _RESOURCE, _LIMIT, head=("Resource", "Limit", "From"))
    if entitlement.sizes:
        sizes = (f"{name} (this one)" if name == entitlement.size else name for name in entitlement.sizes)
        yield ""
        yield f"Sizes that may be picked: {', '.join(sizes)}"
    if entitlement.servers:
        yield ""
        yield output.heading("All servers of this user together")
        yield output.rows([*_servers(entitlement)], _RESOURCE, _LIMIT)
    yield ""
    yield f"Thread hints: {_hinted(entitlement)}"
    yield from _told_of_engine(case)


def _who(case: _Case) -> str:
    entitlement = case.entitlement
    server = f", server {messages.shown(entitlement.server)}" if entitlement.server else ""
    names = entitlement.groups
    groups = f", in {'group' if len(names) == 1 else 'groups'} {', '.join(names)}" if names else ""
    return f"{entitlement.user}{server}{groups}: at {keys.show_until(case.now)}, by {case.policy.file}"


def _notes(case: _Case) -> Iterator[str]:
    """What is most likely a slip, and is none to `resolve`."""
    user, users, groups = case.entitlement.user, case.policy.users, case.policy.groups
    if not case.has_own_rule:
        yield f"no rule of their own for {user}{_near(user, tuple(users))}"
    for name in case.strangers:
        yield f"no rule for group {name}{_near(name, tuple(groups))}"


def _near(name: str, known: tuple[str, ...]) -> str:
    found = messages.near(name, known, least=0.6) if len(known) <= _NEAR else None
    return f'; did you mean "{found}"?' if found else ""


def _servers(entitlement: Entitlement) -> Iterator[tuple[str, str, str]]:
    for key, grant in entitlement.servers.items():
        value = "unlimited" if grant.value is None else keys.SERVERS[key].tell(grant.value)
        yield keys.SERVERS[key].words, value, _origin(key, grant)


def _origin(field: str, grant: Grant) -> str:
    origin = f"as {FIELDS[grant.follows].words}: {grant.origin}" if grant.follows else grant.origin
    return f"{origin}, from {tell(field, grant.clamped_from)}" if grant.clamped_by else origin


def _hinted(entitlement: Entitlement) -> str:
    by = f", from {entitlement.hints.origin}" if entitlement.hints is not None else ""
    if not entitlement.thread_hints:
        return f"none{by}"
    count = thread_env.threads(entitlement.limits)
    return f"none, as CPU is not limited{by}" if count is None else f"{count}{by}"


def _told_of_engine(case: _Case) -> Iterator[RenderableType]:
    yield ""
    yield output.heading(_TOLD[case.engine])
    for depth, line in _yaml(case.enforcement.ask):
        yield output.indented(f"{line}{_remark(case, line)}", by=2 + 2 * depth)
    yield ""
    yield output.heading(f"The Linux kernel must show (cgroup v{case.version})")
    yield Padding(output.rows([*_files(case)], _FILE), (0, 0, 0, 2))
    yield from _told_of_shares(case)
    if case.enforcement.cannot:
        yield ""
        yield output.heading(_CANNOT[case.engine])
        for field, reason in case.enforcement.cannot.items():
            then = "best_effort: it starts without" if field in case.policy.best_effort else "so the spawn is refused"
            yield output.indented(f"{field}: {reason} ({then})")


def _remark(case: _Case, line: str) -> str:
    """What an odd byte is for, as a comment in YAML."""
    if case.engine is not EngineName.DOCKER or not line.startswith("memswap_limit:"):
        return ""
    allows_none = docker.allows_no_swap(docker.host_config(case.enforcement.ask))
    return "  # a byte above mem_limit: no swap, for good" if allows_none else ""


def _told_of_shares(case: _Case) -> Iterator[RenderableType]:
    """What the weight really means: on cgroup v2 the number in the policy does not say it."""
    if not case.shares:
        return
    yield ""
    yield output.heading(f"{case.entitlement.limits.cpu_shares} CPU shares, beside one busy server that has none")
    for share in case.shares:
        weights = f"weight {share.weight} to {share.ordinary}" + (f" ({share.runtime})" if share.runtime else "")
        yield output.indented(f"{share.part:.1%} of a CPU that both want: {weights}")


def _yaml(asked: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[int, str]]:
    """An ask as YAML would have it: depth and line."""
    for key, value in asked.items():
        if isinstance(value, dict) and value:
            yield depth, f"{key}:"
            yield from _yaml(value, depth + 1)
        else:
            yield depth, f"{key}: {text.dumps(value)}"


def _files(case: _Case) -> Iterator[tuple[str, str]]:
    """Each file once, though two fields may be in it."""
    shown: dict[str, str] = {}
    for expected in case.enforcement.expect:
        for file in expected.files(case.version):
            shown.setdefault(file.name, " or ".join(dict.fromkeys(file.accept)))
    yield from shown.items()


# -- for programs --------------------------------------------------------------------------------------------------


def _as_object(case: _Case) -> dict[str, Any]:
    entitlement, enforcement = case.entitlement, case.enforcement
    return {
        "user": entitlement.user,
        "server": entitlement.server,
        "at": case.now.isoformat(),
        "policy": {"file": case.policy.file, "sha256": entitlement.policy_sha256},
        "own_rule": case.has_own_rule,
        "groups": list(entitlement.groups),
        "groups_without_rule": list(case.strangers),
        "limits": {output.KEYS[field]: _grant(grant) for field, grant in entitlement.grants.items()},
        "servers": {output.KEYS[key]: _grant(grant) for key, grant in entitlement.servers.items()},
        "sizes": list(entitlement.sizes),
        "size": entitlement.size,
        keys.HINTS: _hints(entitlement),
        "engine": case.engine.value,
        "ask": enforcement.ask,
        "cgroup_version": case.version,
        "expect": [
            {
                "field": expected.field,
                "files": [
                    {"controller": file.controller, "name": file.name, "accept": list(dict.fromkeys(file.accept))}
                    for file in expected.files(case.version)
                ],
            }
            for expected in enforcement.expect
        ],
        "cpu_shares_beside_one_without": [
            {
                "runtime": share.runtime,
                "weight": share.weight,
                "ordinary_weight": share.ordinary,
                "share": round(share.part, 4),
            }
            for share in case.shares
        ],
        "cannot": {
            field: {"reason": reason, "best_effort": field in case.policy.best_effort}
            for field, reason in enforcement.cannot.items()
        },
    }


def _hints(entitlement: Entitlement) -> dict[str, Any]:
    by = entitlement.hints
    return {
        "given": entitlement.thread_hints,
        "rule": None if by is None else by.rule,
        "file": None if by is None else by.file,
        "line": None if by is None else by.line,
        "until": None if by is None or by.until is None else by.until.isoformat(),
        "environment": thread_env.environment(entitlement),
    }


def _grant(grant: Grant) -> dict[str, Any]:
    return {
        **output.known(grant.value),
        "rule": grant.rule,
        "file": grant.file,
        "line": grant.line,
        "follows": grant.follows,
        "until": None if grant.until is None else grant.until.isoformat(),
        "lowered_by": grant.clamped_by,
        "lowered_from": grant.clamped_from,
    }
