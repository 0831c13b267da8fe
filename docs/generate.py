"""Write the tables in docs/ that are made from the code. `python docs/generate.py`; a test holds them true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits.engines.docker import TABLE
from spawner_limits.limits import FIELDS, tell

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fields() -> str:
    """Every key of a rule, what it counts, and its bounds."""
    rows = (
        (
            f"`{field.name}`",
            field.unit,
            "–" if field.minimum is None else tell(field.name, field.minimum),
            "–" if field.maximum is None else tell(field.name, field.maximum),
            "yes" if field.unlimited else "no",
        )
        for field in FIELDS.values()
    )
    return _table(("key", "counts", "least", "most", "may be `unlimited`"), rows)


def docker() -> str:
    """What each field becomes in Docker, and which files of the Linux kernel must show it."""
    rows = (
        (f"`{row.field}`", _code(row.option), _code(row.inspect), _code(*row.v1), _code(*row.v2), row.note or "–")
        for row in TABLE
    )
    return _table(("policy", "`extra_host_config`", "`docker inspect`", "cgroup v1", "cgroup v2", "note"), rows)


TABLES = {"fields": fields, "docker": docker}


def generated(text: str) -> str:
    """`text` with every marked table made anew."""
    return _BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}\n{block[3]}", text)


def _code(*words: str | None) -> str:
    return ", ".join(f"`{word}`" for word in words if word) or "–"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    for page in HERE.glob("*.md"):
        page.write_text(generated(page.read_text(encoding="utf-8")), encoding="utf-8")
