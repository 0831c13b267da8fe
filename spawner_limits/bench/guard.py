"""`Guard`: looks where a container's processes are, beside the counters of its cgroups.

A limit binds who is in its cgroup. What has left it is bound by nothing, and no counter of the cgroup tells; so the
processes are followed: those that the cgroups list, those in the container's PID namespace, and all who were once seen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spawner_limits.kernel import processes
from spawner_limits.kernel.cgroups import Whereabouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from spawner_limits.kernel.cgroups import Cgroup
    from spawner_limits.kernel.snapshot import Snapshot

_NS = 1_000_000_000
LIST_S = 0.1
"""from one look at the cgroups' own lists to the next, at least"""
WHOLE_S = 0.5
"""from one look at all processes to the next, at least"""
_SETTLES_S = 0.02
"""in which a process that only joins the container is there"""


class Guard:
    """Of one container, for one press."""

    def __init__(self, cgroup: Cgroup, first: int, pause: Callable[[float], object]) -> None:
        """`cgroup`: the container's, found. `first`: its first process. `pause`: waits so many seconds."""
        self._cgroup, self._pause, self._whereabouts = cgroup, pause, Whereabouts(cgroup)
        own = processes.namespace(first)
        self._namespace = None if own == processes.namespace(1) else own
        """`None` where it shares the host's, in which everybody is"""
        self._listed_ns = self._looked_ns = 0
        self._known: dict[str, int] = {}
        self.strays: dict[str, str] = {}
        """controller → the cgroup that a process of the container was found in, where it was not the container's"""

    def look(self, snapshot: Snapshot) -> Snapshot:
        """Look, if it is time, and add to the snapshot what it has no file for."""
        now = snapshot.monotonic_ns
        if now - self._listed_ns < LIST_S * _NS:
            return snapshot
        self._listed_ns = now
        self._remember(processes.members(self._cgroup))
        if now - self._looked_ns < WHOLE_S * _NS:
            return snapshot
        self._looked_ns = now
        if self._namespace is not None:
            self._remember(processes.inhabitants(self._namespace))
        self._follow()
        return replace(snapshot, runnable=processes.runnable(self._known.values()))

    def _remember(self, pids: frozenset[int]) -> None:
        new = pids.difference(self._known.values())
        self._known |= {identity: pid for pid in new if (identity := processes.identity(pid))}

    def _follow(self) -> None:
        """Look where all are who were seen; what has ended need not be looked for again."""
        self._known = {known: pid for known, pid in self._known.items() if processes.identity(pid) == known}
        for pid in self._known.values():
            if processes.stray(self._whereabouts, pid):
                self._pause(_SETTLES_S)
                self.strays |= processes.stray(self._whereabouts, pid)
