"""`Records`: what happened to each container's limits, kept beside the engine for whoever looks later.

One file a container, a line of JSON an event, only ever appended to: the hub, its service and the commands all write,
and each line is written at one go. The directory is on a tmpfs, as containers' lives end with the host's uptime.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from spawner_limits.state_folder import state_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

Event = Literal["attested", "oom", "applied", "ended"]
_EVENTS = frozenset(get_args(Event))
_SUFFIX = ".jsonl"
_LOCK = ".lock"
_KEPT_S = 7 * 24 * 3600
_MOST = 1 << 20
"""bytes that are read of a file: its end; a container that dies thousands of times shall not fill memory"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One thing that happened."""

    at: datetime
    """in UTC"""
    event: Event
    details: Mapping[str, Any] = field(default_factory=dict)
    """what JSON can carry; by the event"""


class Records:
    """The records of one engine's containers."""

    def __init__(self, directory: Path) -> None:
        """Nothing is made yet: the first record makes the directory, for its owner alone."""
        self.directory = directory

    def append(self, container: str, event: Event, **details: Any) -> Record:
        """Keep one event of the container with that whole id, as of now. OSError where it can't be written."""
        record = Record(at=datetime.now(UTC), event=event, details=details)
        line = json.dumps({"at": record.at.isoformat(), "event": event, **details}, separators=(",", ":"))
        with self._opened(f"{container}{_SUFFIX}", os.O_WRONLY | os.O_APPEND) as handle:
            # at one go: others append too
            os.write(handle, f"{line}\n".encode())
        return record

    def of(self, container: str) -> tuple[Record, ...]:
        """What is known of a container, from the oldest on; lines that are none are left out. OSError."""
        try:
            with (self.directory / f"{container}{_SUFFIX}").open("rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - _MOST))
                lines = stream.read(_MOST).splitlines()
        except FileNotFoundError:
            return ()
        return tuple(record for line in lines if (record := _record(line)) is not None)

    def forget(self, living: Callable[[], Collection[str]], *, now: float | None = None) -> None:
        """Remove what nobody has added to for a week, unless its container is there still.

        `living`: the whole ids of all containers; asked only where there is such a file. `now`: seconds since 1970.
        """
        before = (time.time() if now is None else now) - _KEPT_S
        files = (path for suffix in (_SUFFIX, _LOCK) for path in self.directory.glob(f"*{suffix}"))
        old = [path for path in files if _changed(path) < before]
        known = frozenset(living()) if old else frozenset()
        for path in old:
            if path.stem not in known:
                path.unlink(missing_ok=True)

    @contextmanager
    def alone(self, container: str) -> Iterator[None]:
        """Let one at a time change a container; the lock goes with whoever held it. OSError."""
        with self._opened(f"{container}{_LOCK}", os.O_RDWR) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _opened(self, name: str, flags: int) -> Iterator[int]:
        """The descriptor of a file, which is made where it is not there, for its owner alone."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.directory / name, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield handle
        finally:
            os.close(handle)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # somebody else has removed it
        return float("inf")


def _record(line: bytes) -> Record | None:
    try:
        details = json.loads(line)
        at, event = datetime.fromisoformat(details.pop("at")), details.pop("event")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # cut short, or not ours
        return None
    return Record(at=at, event=event, details=details) if event in _EVENTS and at.tzinfo is not None else None


def usual() -> Records:
    """Where this account keeps them."""
    return Records(state_folder())
