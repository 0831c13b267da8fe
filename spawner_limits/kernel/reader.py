"""`Reader`: one container's counters and limits, read through descriptors that stay open. Decides nothing.

A cgroup file is made anew by each read at offset 0, so one descriptor serves for the container's whole life; once the
cgroup is removed it answers ENODEV. Opening each file each time costs about ten times as much.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from spawner_limits.kernel import v1, v2
from spawner_limits.kernel.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from spawner_limits.kernel.cgroups import Cgroup
    from spawner_limits.kernel.counter_file import CounterFile

TABLES = {1: v1, 2: v2}
_MOST = 1 << 16  # bytes; the longest file, memory.stat, has some 3 KiB
_GONE = "its cgroup is gone: the container has ended"
_NO_CONTROLLER = "this Linux kernel does not have it, or the controller is not enabled for this cgroup"
_CLOSED = "the reader is closed"


class _UnreadError(Exception):
    """A counter or limit that could not be read; its text says why."""


class Reader:
    """Reads one container's cgroups, as often as it is asked to; close it, or use it in a `with` statement."""

    def __init__(self, cgroup: Cgroup, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Open the files. One that can't be opened is in the `unread` of every snapshot. `clock` gives nanoseconds."""
        self._versions = cgroup.versions
        self._clock = clock
        self._files: dict[Path, _File] = {}
        self._counters = {
            name: tuple((self._file(cgroup.directories[source.controller] / source.file), source) for source in sources)
            for name, sources in _counters(cgroup)
        }
        self._limits = {
            name: self._file(cgroup.directories[controller] / name)
            for controller, version in cgroup.versions.items()
            for name in TABLES[version].LIMITS.get(controller, ())
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; a snapshot that is read later has nothing but reasons."""
        for file in self._files.values():
            file.close()

    def read(self) -> Snapshot:
        """The counters, now. Raises nothing: a counter that can't be read is `None`, and `unread` says why."""
        return self._snapshot({}, {})

    def read_limits(self) -> Snapshot:
        """The counters and the text of each limit file, now. What can't be read is in `unread`, with the reason."""
        limits: dict[str, str] = {}
        unread: dict[str, str] = {}
        for name, file in self._limits.items():
            try:
                limits[name] = file.read().decode(errors="replace").strip()
            except _UnreadError as error:
                unread[name] = str(error)
        return self._snapshot(limits, unread)

    def _snapshot(self, limits: Mapping[str, str], unread: dict[str, str]) -> Snapshot:
        counters: dict[str, int] = {}
        texts: dict[_File, bytes] = {}
        now = self._clock()  # beside the first counter, CPU usage: rates are made of these two
        delay = 0
        for name, sources in self._counters.items():
            try:
                counters[name] = sum([_number(file, source, texts) for file, source in sources])
            except _UnreadError as error:
                unread[name] = str(error)
            if name == "cpu_usage_ns":
                delay = self._clock() - now
        return Snapshot(
            monotonic_ns=now, versions=self._versions, cpu_delay_ns=delay, limits=limits, unread=unread, **counters
        )

    def _file(self, path: Path) -> _File:
        """The open file, one for all that is read from it: on v2 the cpuacct directory is the cpu one."""
        if path not in self._files:
            self._files[path] = _File.open(path)
        return self._files[path]


@dataclass(eq=False, slots=True)  # compared and hashed by identity, which a sample's cost allows
class _File:
    """A cgroup file, open, or the reason why it is not."""

    path: Path
    descriptor: int | None
    reason: str

    @classmethod
    def open(cls, path: Path) -> Self:
        """The file at `path`; it raises nothing, `read` does."""
        try:
            return cls(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC), _CLOSED)
        except OSError as error:
            return cls(path, None, _reason(path, error))

    def read(self) -> bytes:
        """The whole text, made anew by the Linux kernel. _UnreadError says why there is none."""
        if self.descriptor is None:
            raise _UnreadError(self.reason)
        try:
            return os.pread(self.descriptor, _MOST, 0)
        except OSError as error:
            raise _UnreadError(_reason(self.path, error)) from error

    def close(self) -> None:
        """Give the descriptor back, once."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _number(file: _File, source: CounterFile, texts: dict[_File, bytes]) -> int:
    """One number of a file that is read once for all its counters."""
    if (text := texts.get(file)) is None:
        text = texts[file] = file.read()
    try:
        return source.number(text)
    except ValueError as error:
        raise _UnreadError(f"{source.file}: {error}") from error


def _counters(cgroup: Cgroup) -> list[tuple[str, tuple[CounterFile, ...]]]:
    """Each counter with its numbers, by the version that its controller is on."""
    return [
        (name, TABLES[cgroup.versions[sources[0].controller]].COUNTERS[name]) for name, sources in v1.COUNTERS.items()
    ]


def _reason(path: Path, error: OSError) -> str:
    """Why a file can't be read, for people."""
    if error.errno == errno.ENODEV or not path.parent.is_dir():
        return f"{path.name}: {_GONE}"
    if error.errno == errno.ENOENT:
        hint = v1.ABSENT.get(path.name) or v2.ABSENT.get(path.name) or _NO_CONTROLLER
        return f"{path.name} is not in {path.parent}: {hint}"
    return f"{path.name} in {path.parent}: {error.strerror}"
