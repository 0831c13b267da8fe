"""What the verbs write to stdout: tables and texts of at most the terminal's width, or JSON. Decides nothing."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spawner_limits.errors import UsageError
from spawner_limits.limits import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from spawner_limits.limits import Value

SCHEMA_VERSION = 1
KEYS: Mapping[str, str] = {**{name: field.json_key for name, field in FIELDS.items()}, "count": "count"}
"""field → its key in JSON, which carries the base unit"""
_GAP = 2
"""blanks between columns"""


def show(*parts: RenderableType) -> None:
    """Write what people read; lines are broken at the terminal's width, or at 80 columns."""
    with stdout():
        sys.stdout.writelines(lines(*parts))


def lines(*parts: RenderableType) -> Iterator[str]:
    """The lines of what people read, as `show` writes them."""
    console = Console(highlight=False)
    with console.capture() as drawn:
        for part in parts:
            console.print(part)
    # rich fills its columns with blanks
    return (f"{line.rstrip()}\n" for line in drawn.get().splitlines())


def show_lines(lines: Iterable[Text]) -> None:
    """Write lines as they are, however long: a policy file's own."""
    with stdout():
        console = Console(highlight=False)
        for line in lines:
            console.print(line, soft_wrap=True)


def show_json(members: Mapping[str, Any]) -> None:
    """Write what programs read."""
    with stdout():
        print(json.dumps({"schema_version": SCHEMA_VERSION, **members}, indent=2, allow_nan=False))  # noqa: T201


@contextmanager
def stdout(what: str = "result") -> Iterator[None]:
    """What is written in the block goes out at its end. UsageError where it can't."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # or the interpreter would try once more at its end, and complain in words of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UsageError(f"the {what} can't be written to stdout: {error.strerror}") from error


def known(value: Value | None) -> dict[str, Any]:
    """A limit for JSON: `null` has its reason."""
    return {"value": value, "reason": "unlimited" if value is None else None}


def heading(text: str) -> Text:
    """A line above a part."""
    return Text(text, style="bold")


def indented(text: str, style: str = "", *, by: int = 2) -> Padding:
    """A text that keeps its place when it is broken."""
    return Padding(Text(text, style=style, overflow="fold"), (0, 0, 0, by))


def rows(cells: Sequence[Sequence[str]], *widths: int, head: Sequence[str] = ()) -> Table:
    """Columns: `widths` of all but the last, which takes the rest."""
    table = Table.grid(padding=(0, _GAP, 0, 0))
    for width in widths:
        table.add_column(width=width, overflow="fold")
    table.add_column(overflow="fold")
    if head:
        table.add_row(*(Text(cell, style="dim") for cell in head))
    for first, *rest in cells:
        table.add_row(Text(first, style="bold"), *map(Text, rest))
    return table


def names(all_of_them: Sequence[str], *, most: int = 5) -> str:
    """`3: alice, bob, carol`; `none`; of many, the first ones."""
    if not all_of_them:
        return "none"
    more = len(all_of_them) - most
    return f"{len(all_of_them)}: {', '.join(all_of_them[:most])}" + (f" and {more} more" if more > 0 else "")
