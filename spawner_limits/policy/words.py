"""How a message shows what it found: texts quoted and cut, paths with dots, the nearest known key."""

from __future__ import annotations

import difflib
from functools import lru_cache

_MAX_SHOWN = 60


def shown(text: str) -> str:
    """A text from the file for a message: in quotes, on one line, without what a terminal would obey."""
    cut = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
    return f'"{cut if cut.isprintable() else cut.encode("unicode_escape").decode("ascii")}"'


def dotted(path: tuple[str, ...]) -> str:
    """`groups.research.mem_limit`; a key that would not read as one step is quoted: `users."a.b".mem_limit`."""
    return ".".join(key if _is_one_step(key) else shown(key) for key in path)


def _is_one_step(key: str) -> bool:
    return 0 < len(key) <= _MAX_SHOWN and key.isprintable() and not set(key) & set(' ."')


@lru_cache(maxsize=1_000)  # one slip of a script that writes the file is there for every user
def nearest(key: str, known: tuple[str, ...]) -> str:
    """What to write in place of an unknown key: the nearest known one, else all that there are."""
    near = difflib.get_close_matches(key.lower(), known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"expected one of {', '.join(known)}"
