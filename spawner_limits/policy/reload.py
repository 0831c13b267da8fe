"""`PolicyFile`: which policy counts now. A file that changed is read anew; one with mistakes changes nothing.

It blocks while it reads; whoever may not block calls `refresh` in a thread.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from spawner_limits.errors import PolicyError
from spawner_limits.policy.parse import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from spawner_limits.errors import Problem
    from spawner_limits.policy.model import Policy, Rule

    Stamp: TypeAlias = tuple[int, int, int, int] | None

_BIT = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What is known of the policy at one moment; other rooms show it."""

    policy: Policy | None
    """the last one that could be used; `None`: there was none yet"""
    problems: tuple[Problem, ...] = ()
    """what is wrong with the file as it is now; empty: `policy` is what it says"""

    @property
    def is_current(self) -> bool:
        """Whether the policy that counts is what the file says."""
        return self.policy is not None and not self.problems


class PolicyFile:
    """A policy file, and what of it counts now. One for all spawners of a hub; may be used from several threads."""

    def __init__(self, path: Path, *, read: Callable[[Path], Policy] = load) -> None:
        """Nothing is read yet. `read` raises PolicyError."""
        self.path = path
        self.state = State(policy=None)
        self._read = read
        self._stamp: Stamp = None
        self._was_read = False
        self._lock = threading.Lock()

    def is_stale(self) -> bool:
        """Whether the file is not what it was when it was read last. One `stat`: cheap enough for each spawn.

        inotify misses changes on bind mounts and ConfigMaps; a stat does not.
        """
        return not self._was_read or self._look() != self._stamp

    def refresh(self) -> State:
        """Read the file if it changed; the last good policy stays where it can't be used."""
        with self._lock:
            if self.is_stale():
                # looked at before it is read: what is written in between is seen the next time
                stamp = self._look()
                before, self.state = self.state.policy, self._judged()
                self._stamp, self._was_read = stamp, True
                rules = [] if before is None or before is self.state.policy else [*before.users.values()]
                del before
                _let_go(rules)
        return self.state

    def _judged(self) -> State:
        try:
            return State(policy=self._read(self.path))
        except PolicyError as error:
            return State(policy=self.state.policy, problems=error.problems)

    def _look(self) -> Stamp:
        try:
            stat = self.path.stat()
        except OSError:
            return None  # `load` says what is wrong
        # the change time too: a file may be replaced by one of the same size, time and inode (cp --preserve)
        return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino


def _let_go(rules: list[Rule]) -> None:
    """Free a large policy bit by bit: at one go it would hold up all other threads for 0.05 s."""
    while rules:
        del rules[-_BIT:]
