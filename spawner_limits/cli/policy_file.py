"""A policy file, read as one with the bytes that it was read from, and written as one: whole, or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits.errors import UsageError
from spawner_limits.policy.parse import load, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spawner_limits.policy.model import Policy


def read(path: Path) -> tuple[Policy, bytes]:
    """The policy and its bytes. PolicyError."""
    policy = load(path)
    data = content(path)
    if hashlib.sha256(data).hexdigest() != policy.sha256:  # written to in between
        policy = parse(data, policy.file)
    return policy, data


def content(path: Path) -> bytes:
    """The bytes of a file. UsageError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from error


def replace(path: Path, old: bytes, new: bytes) -> None:
    """Put `new` in the place of a file's content, if that is still `old`: readers see the one or the other.

    Mode, owner and access list stay; of a symbolic link, the file that it leads to is replaced. UsageError: the file
    has changed, or its directory can't be written to; nothing is changed then.
    """
    target = path.resolve()
    try:
        with _alone(target.parent):
            _replace(target, old, new, name=str(path))
    except OSError as error:
        raise UsageError(f"{path}: can't be written: {error.strerror} ({target.parent}); nothing is changed") from error


def _replace(target: Path, old: bytes, new: bytes, *, name: str) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(new)
            _make_like(handle, temporary, target)
            stream.flush()
            os.fsync(handle)
        if target.read_bytes() != old:
            raise UsageError(f"{name}: it has changed since it was read, so nothing is changed; try again")
        Path(temporary).replace(target)
    finally:
        with suppress(FileNotFoundError):  # it has its new name
            Path(temporary).unlink()


def _make_like(handle: int, temporary: str, target: Path) -> None:
    """Give a file the owner, the mode and the access list of another; OSError where this account may not."""
    wanted, found = target.stat(), os.fstat(handle)
    if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
        os.fchown(handle, wanted.st_uid, wanted.st_gid)
    shutil.copystat(target, temporary)
    os.utime(handle)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One of us at a time: of two that read the same file, the second finds it changed. Then have it kept on disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
        os.fsync(handle)
    finally:
        os.close(handle)
