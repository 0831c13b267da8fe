"""`spawner-limits set`: change one rule in the policy file, keep all else in it, and write only what can be used."""

from __future__ import annotations

import difflib
import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from spawner_limits.cli import output
from spawner_limits.cli.policy_file import content, read, replace
from spawner_limits.errors import PolicyError, UsageError
from spawner_limits.policy import keys, messages
from spawner_limits.policy.parse import parse
from spawner_limits.policy.set_rule import Target, change, read_values, shadows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from spawner_limits.policy.model import Policy
    from spawner_limits.policy.set_rule import Values

_FOR = re.compile(r"([1-9][0-9]{0,3})([mhd])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
_RUNNING = {
    False: "Servers that run keep what they have.",
    True: "Servers that run are changed by the Hub service, if it runs (auto_apply).",
}
_CONTEXT = 2
"""lines around a change"""


def set_(  # noqa: PLR0913, PLR0917  the command's options are its interface
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="user:NAME, group:NAME, size:NAME, defaults or ceiling.")
    ],
    fields: Annotated[
        list[str], typer.Argument(metavar="FIELD=VALUE...", help="Such as mem_limit=4G, servers.count=2.")
    ],
    span: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="For so long only: 30m, 2h, 3d. Of users and groups.")
    ] = None,
    file: Annotated[Path, typer.Option(help="The policy.")] = Path("limits.yaml"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Change a rule in the policy file; comments and layout stay, and only a policy that can be used is written.

    It counts at the next spawn; servers that run keep what they have, unless the policy has auto_apply.
    """
    now = datetime.now(UTC)
    rule = Target.read(target)
    change = _Change(file, rule, read_values(rule, fields), now=now, until=None if span is None else _until(span, now))
    written = change.is_change and not dry_run
    if written:
        replace(file, change.old, change.new)
    if json:
        output.show_json(_as_object(change, target, written=written))
    else:
        output.show_lines(Text(line, style=_COLOURS.get(line[:1], "")) for line in change.diff)
        output.show(*_told(change, written=written))


def _until(span: str, now: datetime) -> datetime:
    """The end of a span, on the full minute after it."""
    found = _FOR.fullmatch(span)
    if found is None:
        raise UsageError(f"--for: found {messages.shown(span)}; expected a time such as 30m, 2h or 3d")
    end = now + timedelta(**{_UNITS[found[2]]: int(found[1])})
    return end if end == end.replace(second=0, microsecond=0) else end.replace(second=0, microsecond=0) + _MINUTE


_MINUTE = timedelta(minutes=1)


class _Change:
    """A policy file before and after."""

    def __init__(self, file: Path, target: Target, values: Values, *, now: datetime, until: datetime | None) -> None:
        """Read the file, and judge what it would become. PolicyError, UsageError."""
        policy, self.old = _read(file, needed=until is not None)
        self.file, self.until = str(file), until
        text = _decoded(self.old, self.file)
        self.new = change(text, policy, target, values, file=self.file, now=now, until=until).encode()
        changed = _judged(self.new, self.file, was_sound=policy is not None)
        self.notes = shadows(changed, target, values, now=now, until=until)
        self.auto_apply = changed.auto_apply

    @property
    def is_change(self) -> bool:
        """Whether the file would become another one."""
        return self.old != self.new

    @property
    def diff(self) -> list[str]:
        """The lines of a unified diff."""
        before, after = (data.decode("utf-8-sig").splitlines() for data in (self.old, self.new))
        return [*difflib.unified_diff(before, after, self.file, self.file, n=_CONTEXT, lineterm="")]


def _read(file: Path, *, needed: bool) -> tuple[Policy | None, bytes]:
    """The policy and its bytes; a policy that can't be used may be what this change mends, unless it is `needed`."""
    try:
        return read(file)
    except PolicyError as error:
        if needed or any(mistake.line is None for mistake in error.problems):
            raise
        return None, content(file)


def _decoded(data: bytes, file: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        parse(data, file)  # says where
        raise


def _judged(data: bytes, file: str, *, was_sound: bool) -> Policy:
    try:
        return parse(data, file)
    except PolicyError:
        fact = (
            "this change would make mistakes" if was_sound else "the file has mistakes that this change does not mend"
        )
        typer.echo(f"spawner-limits: {fact}, so nothing is written:", err=True)
        raise


# -- for people ----------------------------------------------------------------------------------------------------


def _told(change: _Change, *, written: bool) -> Iterator[RenderableType]:
    if not change.is_change:
        yield Text(f"{change.file}: says so already; nothing to change")
    elif not written:
        yield Text(f"\n{change.file}: not written (--dry-run)", style="bold")
    else:
        until = "" if change.until is None else f", until {keys.show_until(change.until)}"
        yield Text(f"\n{change.file}: written; it counts at the next spawn{until}", style="bold")
        yield Text(_RUNNING[change.auto_apply])
    for note in change.notes:
        yield Text(f"But {note}.")


# -- for programs --------------------------------------------------------------------------------------------------


def _as_object(change: _Change, target: str, *, written: bool) -> dict[str, Any]:
    return {
        "file": change.file,
        "target": target,
        "changed": change.is_change,
        "written": written,
        "counts_from": "next spawn",
        "until": None if change.until is None else change.until.isoformat(),
        "until_reason": "for good" if change.until is None else None,
        "sha256_before": hashlib.sha256(change.old).hexdigest(),
        "sha256_after": hashlib.sha256(change.new).hexdigest(),
        "diff": change.diff,
        "notes": list(change.notes),
    }
