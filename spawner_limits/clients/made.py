"""`Made`: what runs made on an engine and have not removed yet, so that a later one can, by these names alone.

A label can't tell: it comes along with an image. One file a thing, made before it and named after it, with 128 random
bits. Whoever made it holds a lock on its file until it ends, which tells the living from the dead also across PID
namespaces. The directory must be its owner's alone: what somebody else named there would be removed as ours.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from spawner_limits.engines import labels
from spawner_limits.state_folder import VARIABLE, state_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Kind = Literal["container", "cgroup"]
_NAME = re.compile(rf"({labels.TRIAL_NAME}[0-9a-f]{{32}})\.(container|cgroup)", re.ASCII)
_DIRECTORY = "trials"
REMEDY = (
    f"give {VARIABLE} a directory of your own, and look for what is left with docker ps -a --filter "
    f"name={labels.TRIAL_NAME}"
)
"""where nothing can be noted"""
_MOST = 1 << 10
"""bytes that are read of a file"""
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def new_name() -> str:
    """For a container or a cgroup of ours; nobody else can have it."""
    return f"{labels.TRIAL_NAME}{secrets.token_hex(16)}"


class UnusableError(Exception):
    """The directory can't be used: why, and what to do."""


@dataclass(kw_only=True, slots=True)
class Note:
    """One thing that was made, or is about to be; its file is locked."""

    name: str
    kind: Kind
    _made: Made = field(repr=False)
    _handle: int = field(repr=False)

    def forget(self) -> None:
        """It has been removed."""
        with suppress(UnusableError), self._made.directory() as directory, suppress(FileNotFoundError):
            os.unlink(f"{self.name}.{self.kind}", dir_fd=directory)
        self.close()

    def close(self) -> None:
        """Leave it to a later run."""
        os.close(self._handle)


class Made:
    """What runs of this account made, and noted in a directory."""

    def __init__(self, path: Path) -> None:
        """`path`: of the directory, which the first note makes, and the one that it is in."""
        self._path = path

    @contextmanager
    def directory(self) -> Iterator[int]:
        """Its descriptor. UnusableError: it can't be made, or others could write into it."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = _opened(self._path.parent)
            try:
                with suppress(FileExistsError):
                    os.mkdir(self._path.name, 0o700, dir_fd=handle)
                own = _opened(self._path, self._path.name, handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise UnusableError(f"{self._path} can't be used ({error.strerror})") from error
        try:
            yield own
        finally:
            os.close(own)

    def note(self, name: str, kind: Kind, engine: str) -> Note:
        """Note what is about to be made. UnusableError. `engine`: its id, by `docker info`."""
        with self.directory() as directory:
            # under another name until it is locked and whole: a sweep must not take it for a dead run's
            draft = f".{name}.{kind}"
            handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                os.write(handle, f"{engine}\n".encode())
                os.rename(draft, f"{name}.{kind}", src_dir_fd=directory, dst_dir_fd=directory)
            except OSError as error:
                os.close(handle)
                raise UnusableError(f"{self._path} can't be written ({error.strerror})") from error
        return Note(name=name, kind=kind, _made=self, _handle=handle)

    def left(self, engine: str) -> tuple[Note, ...]:
        """What runs that are dead made on this engine, containers first. UnusableError."""
        with self.directory() as directory:
            entries = os.listdir(directory)  # noqa: PTH208  of a descriptor
            notes = [note for entry in entries if (note := self._dead(entry, engine, directory)) is not None]
        return tuple(sorted(notes, key=lambda note: note.kind == "cgroup"))

    def _dead(self, entry: str, engine: str, directory: int) -> Note | None:
        named = _NAME.fullmatch(entry)
        if named is None:
            return None
        try:
            handle = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except OSError:  # removed just now, or no file of ours
            return None
        try:
            # not locked but where it is this engine's: who sweeps another one at this moment must not take it for alive
            is_left = os.read(handle, _MOST).decode(errors="replace").strip() == engine
            if is_left:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its run lives
            is_left = False
        if not is_left:
            os.close(handle)
            return None
        kind: Kind = "container" if named[2] == "container" else "cgroup"
        return Note(name=named[1], kind=kind, _made=self, _handle=handle)


def usual() -> Made:
    """Beside the records of containers."""
    return Made(state_folder() / _DIRECTORY)


def _opened(path: Path, name: str | None = None, parent: int | None = None) -> int:
    """The descriptor of a directory that is ours alone. UnusableError, OSError."""
    handle = os.open(path if name is None else name, _OPEN_DIRECTORY, dir_fd=parent)
    found = os.fstat(handle)
    if found.st_uid == os.geteuid() and not found.st_mode & _OTHERS:
        return handle
    os.close(handle)
    why = "others may write there" if found.st_uid == os.geteuid() else f"it belongs to the user id {found.st_uid}"
    raise UnusableError(f"{path} can't be used ({why})")
