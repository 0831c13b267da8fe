"""The list: every case of every group, by number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits.conformance import (
    bounds,
    capability,
    cpu,
    cpu_edges,
    identity,
    lasting,
    memory,
    oom,
    share,
    sockets,
    soft,
    swap,
    update,
)

if TYPE_CHECKING:
    from spawner_limits.conformance.case import AnyCase

_MODULES = (capability, identity, cpu, cpu_edges, share, memory, oom, sockets, soft, swap, bounds, update, lasting)

CASES: tuple[AnyCase, ...] = tuple(
    sorted((one for module in _MODULES for one in module.CASES), key=lambda one: one.number)
)

# a list with a hole in it, or with a number that means two things, would be run and believed
assert [one.number for one in CASES] == list(range(1, len(CASES) + 1)), "each case has a number of its own"  # noqa: S101
