"""`Enforcement`: what an engine is told, what the Linux kernel must then show, and what this engine can't hold.

Every field of the limits is in `ask` and `expect`, or in `cannot`: none is dropped in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.limits import Value

CgroupVersion = Literal[1, 2]


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelFile:
    """One cgroup file, and the texts any of which is right in it."""

    controller: str
    name: str
    accept: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What the Linux kernel must show for one field. No files: that cgroup version has none for it."""

    field: str
    value: Value | None
    """`None`: the policy says "unlimited" where the engine has a default of its own"""
    v1: tuple[KernelFile, ...]
    v2: tuple[KernelFile, ...]

    def files(self, version: CgroupVersion) -> tuple[KernelFile, ...]:
        """The files that carry the field on that version of cgroups."""
        return self.v1 if version == 1 else self.v2


@dataclass(frozen=True, kw_only=True, slots=True)
class Enforcement:
    """One server's limits in one engine's terms."""

    ask: Mapping[str, Any]
    """what the engine is told, in its own names"""
    expect: tuple[Expectation, ...]
    cannot: Mapping[str, str]
    """field → why this engine can't hold it"""
