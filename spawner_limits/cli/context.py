"""What `ps`, `plan` and `apply` share: the engine, its host, the records, and what the policy gives each server now."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spawner_limits.cli import hub as hubs
from spawner_limits.clients.hub_api import answers
from spawner_limits.errors import UnreachableError
from spawner_limits.lifecycle.ownership import policy_files
from spawner_limits.lifecycle.plan import entitle
from spawner_limits.policy.model import user_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from spawner_limits.clients.engine import Server
    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.policy.model import Policy

Users = Annotated[list[str] | None, typer.Argument(metavar="[USER]...", help="Only their servers.")]
File = Annotated[Path, typer.Option("--file", help="The policy.")]
Under = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Servers started under that policy file; else those under --file.")
]
POLICY = Path("limits.yaml")
_SCOPES = "list:users and read:users:groups"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What the policy gives, for people in the groups that the hub says."""

    policy: Policy
    groups: Mapping[str, tuple[str, ...]] | None
    """`user_key` → groups; `None`: no hub was asked"""

    def entitle(self, server: Server, in_force: Entitlement | None) -> Entitlement:
        """What a server may use now."""
        groups = None if self.groups is None else self.groups.get(user_key(server.user))
        return entitle(self.policy, server, in_force, groups, now=datetime.now(UTC))


def rules(policy: Policy, url: str) -> Rules:
    """`policy`, with everybody's groups by the hub at `url`; where none answers, that is told. UnreachableError."""
    if not os.environ.get(hubs.TOKEN):
        typer.echo(f"spawner-limits: no token in {hubs.TOKEN}, so groups are those of each server's start", err=True)
        return Rules(policy=policy, groups=None)
    if not answers(url):
        raise UnreachableError(f"no hub answers at {url}, which says who is in which group; without {hubs.TOKEN} those "
                               "of each server's start are taken")  # fmt: skip
    people = hubs.connect(url, scopes=_SCOPES).active()
    return Rules(policy=policy, groups={user_key(user.name): user.groups for user in people if user.groups is not None})


def divided(found: Iterable[Server], file: Path) -> tuple[tuple[Server, ...], tuple[Server, ...]]:
    """Servers that were started under a policy file, and those under another one: of another hub on the same engine.

    A container that does not say is of the first, where it is found to be unknown.
    """
    wanted = file.resolve()
    ours: list[Server] = []
    others: list[Server] = []
    for server in found:
        files = [Path(name) for name in policy_files(server)]
        is_ours = not files or any(not name.is_absolute() or name.resolve() == wanted for name in files)
        (ours if is_ours else others).append(server)
    return tuple(ours), tuple(others)


def tell_others(others: Sequence[Server]) -> None:
    """Say which servers are left alone."""
    if others:
        files = ", ".join(sorted({name for server in others for name in policy_files(server)}))
        count = "1 server was" if len(others) == 1 else f"{len(others)} servers were"
        typer.echo(
            f"spawner-limits: {count} started under another policy file and left alone; --under {files}", err=True
        )
