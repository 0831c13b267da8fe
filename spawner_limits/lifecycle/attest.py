"""`attest`: what was asked for, against what the Linux kernel shows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spawner_limits.engines.enforcement import CgroupVersion, Expectation
    from spawner_limits.kernel.snapshot import Snapshot

_SWAP = "memswap_limit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One file that does not say what it should."""

    field: str
    file: str
    expected: tuple[str, ...]
    """any of these would be right"""
    found: str | None
    """`None`: it could not be read"""
    reason: str = ""
    """why not"""

    def __str__(self) -> str:
        """`mem_limit: memory.max is max, expected 268435456`."""
        wanted = " or ".join(map(repr, self.expected)) if "" in self.expected else " or ".join(self.expected)
        if self.found is None:
            return f"{self.field}: {self.file} can't be read ({self.reason}), expected {wanted}"
        return f"{self.field}: {self.file} is {self.found or 'empty'}, expected {wanted}"


def attest(expect: Iterable[Expectation], shown: Snapshot, *, swap_bytes: int) -> tuple[Difference, ...]:
    """Where the Linux kernel shows something else than is expected; empty: every limit is in force.

    `swap_bytes`: of the host. Without any, a Linux kernel that does not account swap has nothing that it should limit.
    """
    found = (difference for expectation in expect for difference in _differences(expectation, shown))
    return tuple(
        difference for difference in found if swap_bytes or difference.field != _SWAP or difference.found is not None
    )


def _differences(expectation: Expectation, shown: Snapshot) -> Iterator[Difference]:
    for file in expectation.files(version_of(expectation, shown)):
        found = shown.limits.get(file.name)
        if found not in file.accept:
            why = shown.unread.get(file.name, "it was not read") if found is None else ""
            yield Difference(field=expectation.field, file=file.name, expected=file.accept, found=found, reason=why)


def version_of(expectation: Expectation, shown: Snapshot) -> CgroupVersion:
    """The version of cgroups that carries the field there: on a hybrid host the controllers are not all on one."""
    files = (*expectation.v1, *expectation.v2)
    return next((shown.versions[one.controller] for one in files if one.controller in shown.versions), 1)
