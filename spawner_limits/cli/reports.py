"""Where a report goes: to stdout and to files, found writable before the minutes of pressing, not after."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from spawner_limits.cli import output
from spawner_limits.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import RenderableType

R = TypeVar("R")
"""a report"""

PANEL = "Output"
"""of the options in --help"""


def targets(*, json: str | None, html: str | None, junit: str | None) -> dict[str, str]:
    """Form → its file, or `-` for stdout. UsageError for one that could not be written."""
    given = {name: target for name, target in (("json", json), ("html", html), ("junit", junit)) if target is not None}
    for name, target in given.items():
        if target != "-" and (not Path(target).resolve().parent.is_dir() or Path(target).is_dir()):
            raise UsageError(f"--{name} {target}: not a file in a directory that exists")
    if list(given.values()).count("-") > 1:
        raise UsageError("only one of --json, --html and --junit can go to stdout")
    return given


def write(
    report: R,
    wanted: Mapping[str, str],
    *,
    table: Callable[[R], RenderableType],
    renderers: Mapping[str, Callable[[R], str]],
) -> None:
    """The table on stdout, unless another form goes there, and each form that is wanted. UsageError where it can't."""
    with output.stdout("report"):
        if "-" not in wanted.values():
            sys.stdout.writelines(output.lines(table(report)))
        for name, target in wanted.items():
            _put(name, target, renderers[name](report))


def _put(name: str, target: str, text: str) -> None:
    if target == "-":
        sys.stdout.write(text.rstrip("\n") + "\n")
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--{name} {target}: {error.strerror}") from error
