"""Files in a container, through Docker's archive API: what is read may be led astray, so it is bounded.

A volume may belong to a running server, whose user writes to it meanwhile: what is read is read from the stream up to a
bound, whatever size is told.
"""

from __future__ import annotations

import io
import tarfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from docker.utils import decode_json_header

from spawner_limits.clients.docker import translated
from spawner_limits.clients.engine import GoneError
from spawner_limits.errors import LimitsError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import PurePosixPath

    from spawner_limits.clients.docker import DockerEngine

_HEADERS_BYTES = 16 << 10
"""of a tar before a file's content, at most: the engine adds to the 512 bytes what does not fit, such as a long name"""
_CHUNK_BYTES = 64 << 10
_MODE = 0o644


class CutShortError(LimitsError):
    """What is there can't be read to its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A directory in a container, and whom the files there are to belong to."""

    directory: PurePosixPath
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class File:
    """What is at a path in a container."""

    content: bytes | None = field(repr=False)
    """`None`: not a plain file, or an oversized one"""
    mtime: str = ""
    """as the engine writes it"""
    is_oversized: bool = False


def read(engine: DockerEngine, container: str, path: PurePosixPath, most_bytes: int) -> File | None:
    """What is at `path`, if it is no larger than `most_bytes`; `None`: nothing.

    The engine tells a size before it opens the file, which may be another one by then, or have grown.
    Errors: CutShortError; UnreachableError, RefusedError.
    """
    try:
        with translated():
            stream, stat = engine.api.get_archive(container, str(path), _CHUNK_BYTES)
            # types-docker does not know that it is a generator, over an open HTTP response
            with closing(cast("Generator[bytes]", stream)) as chunks:
                archive = _beginning(chunks, most_bytes + _HEADERS_BYTES)
    except GoneError:
        return None
    try:
        return _only_member(archive, most_bytes, stat["mtime"])
    except tarfile.TarError as error:
        raise CutShortError(f"{path} was cut short while it was read ({error})") from error


def _beginning(chunks: Iterable[bytes], most_bytes: int) -> bytes:
    read = bytearray()
    for chunk in chunks:
        read += chunk
        if len(read) >= most_bytes:
            break
    return bytes(read)


def _only_member(archive: bytes, most_bytes: int, mtime: str) -> File:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        member = tar.next()
        if member is None or not member.isreg():
            return File(None)
        if member.size > most_bytes:
            return File(None, is_oversized=True)
        content = tar.extractfile(member)
        return File(None if content is None else content.read(), mtime)


def stat(engine: DockerEngine, container: str, path: PurePosixPath) -> Mapping[str, Any] | None:
    """What the engine says of `path`; `None`: nothing is there. The SDK has no call for it. Errors as `read`."""
    api: Any = engine.api
    url, params = api._url("/containers/{0}/archive", container), {"path": str(path)}  # noqa: SLF001
    with translated():
        answer = api.head(url, params=params, timeout=api.timeout)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        api._raise_for_status(answer)  # noqa: SLF001
    stat: Mapping[str, Any] = decode_json_header(answer.headers["X-Docker-Container-Path-Stat"])
    return stat


def put(engine: DockerEngine, container: str, place: Place, contents: Mapping[str, bytes]) -> None:
    """Write into the directory; where it does not exist, make it, and no more of its parents than are missing.

    Errors: UnreachableError, RefusedError (a read-only root), GoneError (no such container).
    """
    for base in (place.directory, *place.directory.parents):
        try:
            with translated():
                engine.api.put_archive(container, str(base), _tar(place, place.directory.relative_to(base), contents))
        except GoneError:
            # what is there all the same is a link of the user's that leads nowhere: not ours to replace
            if base == base.parent or stat(engine, container, base) is not None:
                raise
        else:
            return


def _tar(place: Place, below: PurePosixPath, contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        now = int(time.time())  # one for all: a file that is as old as its record is still ours
        for folder in reversed([below, *below.parents][:-1]):
            tar.addfile(_entry(place, folder, now, type=tarfile.DIRTYPE, mode=0o755))
        for name, content in contents.items():
            tar.addfile(_entry(place, below / name, now, size=len(content), mode=_MODE), io.BytesIO(content))
    return buffer.getvalue()


def _entry(place: Place, path: PurePosixPath, mtime: int, **attributes: Any) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(str(path))
    # left unset, they would be root's and of 1970
    entry.uid, entry.gid, entry.mtime = place.uid, place.gid, mtime
    for name, value in attributes.items():
        setattr(entry, name, value)
    return entry
