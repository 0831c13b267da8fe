"""The list of cases for the terminal, of which none was run. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group as Parts
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spawner_limits.conformance.case import Group
from spawner_limits.conformance.report import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

    from spawner_limits.conformance.case import AnyCase

_NUMBER, _QUICK = 2, 5


def listing(cases: Iterable[AnyCase]) -> RenderableType:
    """By group: number, title, whether `--quick` runs it, and below what is expected on either version of cgroups."""
    every = list(cases)
    parts: list[RenderableType] = [Text(_count(every))]
    for group in Group:
        rows = [part for one in every if one.group is group for part in _case(one)]
        parts += [Text(""), Text(f"{group.words} (--only {group})", style="bold"), *rows] if rows else []
    return Parts(*parts)


def _count(cases: Iterable[AnyCase]) -> str:
    every = list(cases)
    return f"{words.counted(len(every), 'case')}, of which --quick runs {sum(one.quick for one in every)}"


def _case(case: AnyCase) -> Iterator[RenderableType]:
    row = Table.grid(padding=(0, 1, 0, 0), expand=True)
    row.add_column(width=_NUMBER, justify="right", no_wrap=True)
    row.add_column(ratio=1, overflow="fold")
    row.add_column(width=_QUICK, no_wrap=True)
    row.add_row(str(case.number), Text(case.title, style="bold"), Text("quick" if case.quick else "", style="dim"))
    yield row
    for told in _expected(case):
        yield Padding(Text(told), (0, 0, 0, 3))


def _expected(case: AnyCase) -> Iterator[str]:
    if case.only is not None:
        yield f"cgroup v{case.only} only: {case.expects(case.only)}"
    elif case.expected_v2 and case.expected_v2 != case.expected:
        yield f"cgroup v1: {case.expected}"
        yield f"cgroup v2: {case.expected_v2}"
    else:
        yield f"cgroup v1 and v2: {case.expected}"
