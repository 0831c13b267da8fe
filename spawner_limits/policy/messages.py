"""How a message shows what it found: texts quoted and cut, paths with dots, the nearest known key."""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_SHOWN = 60
_MAX_LISTED = 20
_MAX_COMPARED = 200
"""names that are compared for the nearest: each takes some microseconds"""


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
    found = near(key, known[:_MAX_COMPARED], least=0.6)
    return f"did you mean {shown(found)}?" if found else one_of(known)


def one_of(known: Sequence[str]) -> str:
    """`expected one of a, b, c`; of more than 20 the first, as nobody reads on."""
    told = ", ".join(name if _is_one_step(name) else shown(name) for name in known[:_MAX_LISTED])
    more = len(known) - _MAX_LISTED
    return f"expected one of {told}" + (f" … ({more} more)" if more > 0 else "")


def near(key: str, known: tuple[str, ...], *, least: float = 0.8) -> str | None:
    """The known key that is nearest to `key`, if their likeness is at least `least` of 1."""
    return next(iter(difflib.get_close_matches(key[:_MAX_SHOWN].lower(), known, n=1, cutoff=least)), None)
