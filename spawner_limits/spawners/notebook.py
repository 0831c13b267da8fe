"""Copy the stress notebook and its data into a container through the Docker API, between its creation and its start.

A file that the user has changed is never overwritten. One that only is old is replaced: a record beside it says what
was copied last, so that the two can be told apart.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import docker.errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from docker import APIClient

NAME = "mnist.ipynb"
RECORD = ".spawner-limits.json"
"""file name → sha256 of what was copied last"""
_WORK = PurePosixPath("/home/jovyan/work")
_LARGEST_BYTES = 16 << 20  # above this it is not ours, and not worth reading
_MODE = 0o644


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the notebook goes, and whom it belongs to. The defaults are docker-stacks' images' and ours."""

    directory: PurePosixPath = _WORK
    uid: int = 1000
    gid: int = 100

    @property
    def notebook(self) -> PurePosixPath:
        """The notebook's path in the container."""
        return self.directory / NAME


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """What became of each file: names, by what was done."""

    written: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    """changed by the user, so left alone"""
    current: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = (
            (self.written, "copied"),
            (self.replaced, "replaced by a newer copy"),
            (self.kept, "kept as the user has it"),
            (self.current, "already there"),
        )
        return "; ".join(f"{', '.join(names)} {what}" for names, what in told if names)


def packaged() -> dict[str, bytes]:
    """The notebook and its data as this package carries them: name → content."""
    folder = files("spawner_limits") / "notebook"
    return {name: (folder / name).read_bytes() for name in (NAME, "mnist_2k_500.npz", "MNIST-LICENSE.md")}


def copy(client: APIClient, container: str, place: Place, contents: Mapping[str, bytes]) -> Copied:
    """Put `contents` into the container's `place`, sparing what its user changed.

    Errors: docker.errors.APIError (a read-only root, no such container), requests.RequestException (engine gone).
    """
    found = read(client, container, place.directory / RECORD)
    record = _digests(found)
    fates = {
        name: _fate(read(client, container, place.directory / name), content, record.get(name))
        for name, content in contents.items()
    }
    writes = {name: contents[name] for name, fate in fates.items() if fate in ("written", "replaced")}
    ours = {name: _sha256(contents[name]) for name, fate in fates.items() if fate != "kept"}
    # a directory or a link in the record's place is the user's, and the engine would remove it
    if ours.items() - record.items() and (found is None or found.content is not None):
        writes[RECORD] = json.dumps(record | ours).encode()
    if writes:
        put(client, container, place, writes)
    return Copied(**{fate: tuple(name for name in fates if fates[name] == fate) for fate in set(fates.values())})


def _fate(there: File | None, content: bytes, copied: str | None) -> str:
    """What is to become of a file that is `there`, of which the copy with the digest `copied` was the last of ours."""
    if there is None:
        return "written"
    if there.content == content:
        return "current"
    if there.content is None:
        return "kept"
    if content.startswith(there.content):  # cut short, as on a full volume: nothing in it is the user's
        return "written"
    return "replaced" if _sha256(there.content) == copied else "kept"


@dataclass(frozen=True, slots=True)
class File:
    """What is at a path in a container."""

    content: bytes | None = field(repr=False)
    """`None`: not a plain file, or one too large to be ours"""


def read(client: APIClient, container: str, path: PurePosixPath) -> File | None:
    """What is at `path`; `None`: nothing. Errors as `copy`."""
    try:
        stream, stat = client.get_archive(container, str(path))
    except docker.errors.NotFound:
        return None
    if stat["size"] > _LARGEST_BYTES or stat["mode"] >> 27:  # the upper bits of Go's FileMode: not a plain file
        _close(stream)
        return File(None)
    return File(_only_member(stream))


def _only_member(stream: Iterable[bytes]) -> bytes | None:
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        member = tar.next()
        content = tar.extractfile(member) if member is not None and member.isreg() else None
        return None if content is None else content.read()


def _close(stream: Any) -> None:
    # docker-py hands out a generator over an open HTTP response
    stream.close()


def _digests(found: File | None) -> dict[str, str]:
    """File name → digest, from the record that was found; without a usable one, every file is taken for the user's."""
    if found is None or found.content is None:
        return {}
    try:
        record = json.loads(found.content)
    except (ValueError, RecursionError):  # the latter where it is nested deep enough
        return {}
    return {str(name): str(digest) for name, digest in record.items()} if isinstance(record, dict) else {}


def put(client: APIClient, container: str, place: Place, contents: Mapping[str, bytes]) -> None:
    """Write into the directory; where it does not exist, make it, and no more of its parents than are missing.

    Errors as `copy`.
    """
    for base in (place.directory, *place.directory.parents):
        try:
            client.put_archive(container, str(base), _tar(place, place.directory.relative_to(base), contents))
        except docker.errors.NotFound:
            # what is there all the same is a link of the user's that leads nowhere: not ours to replace
            if base == base.parent or read(client, container, base) is not None:
                raise
        else:
            return


def _tar(place: Place, below: PurePosixPath, contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in reversed([below, *below.parents][:-1]):
            tar.addfile(_entry(place, folder, type=tarfile.DIRTYPE, mode=0o755))
        for name, content in contents.items():
            tar.addfile(_entry(place, below / name, size=len(content), mode=_MODE), io.BytesIO(content))
    return buffer.getvalue()


def _entry(place: Place, path: PurePosixPath, **attributes: Any) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(str(path))
    # left unset, they would be root's and of 1970
    entry.uid, entry.gid, entry.mtime = place.uid, place.gid, int(time.time())
    for name, value in attributes.items():
        setattr(entry, name, value)
    return entry


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def present(client: APIClient, container: str, path: str) -> bool | None:
    """Whether a running container sees the file at `path`; `None` where it has no `test` to ask with.

    The archive API can't tell: under a tmpfs mount it finds a file that the container does not have.
    """
    command = client.exec_create(container, ["test", "-f", path])["Id"]
    client.exec_start(command)
    return {0: True, 1: False}.get(client.exec_inspect(command)["ExitCode"])
