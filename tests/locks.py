"""The lock files, read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """One package in a lock file."""

    version: str
    applies: bool
    """whether its marker holds on this machine"""
    hashes: tuple[str, ...]
    """of all its files in the index: `sha256:…`"""
    text: str
    """as it stands there"""


def read(path: str) -> dict[str, list[Locked]]:
    """What a lock file says of each package, by its normalized name; `path` from the project's root."""
    text = re.sub("^ *#.*\n", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: dict[str, list[Locked]] = {}
    for entry in re.split(r"\n(?=\S)", text.strip()):
        words = Requirement(re.split(r" \\\n", entry)[0])
        ((_, version),) = ((one.operator, one.version) for one in words.specifier)
        found.setdefault(canonicalize_name(words.name), []).append(
            Locked(
                version=version,
                applies=words.marker is None or words.marker.evaluate(),
                hashes=tuple(re.findall(r"--hash=(\S+)", entry)),
                text=entry,
            )
        )
    return found


def versions(path: str) -> dict[str, str]:
    """Name → version of what a lock file installs on this machine."""
    return {name: one.version for name, entries in read(path).items() for one in entries if one.applies}
