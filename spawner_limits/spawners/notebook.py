"""Copy the stress notebook and its data into a container through the Docker API, between its creation and its start.

A file that the user has changed is never overwritten. One that only is old is replaced: a record beside it says what
was copied last, so that the two can be told apart. Both may lie in a volume that a running server writes to: what is
read is read from the stream up to a bound, whatever size is told, and no program of the container is run.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import docker.errors
from docker.utils import decode_json_header

from spawner_limits.errors import LimitsError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from docker import APIClient

NAME = "mnist.ipynb"
RECORD = ".spawner-limits.json"
"""file name → sha256 of what was copied last"""
RECORD_BYTES = 4 << 10
"""of a record, at most: it is read at each start"""
_WORK = PurePosixPath("/home/jovyan/work")
_LARGEST_BYTES = 64 << 10
"""of an older copy of ours, at most, where today's is smaller"""
_HEADERS_BYTES = 16 << 10
"""of a tar before a file's content, at most: the engine adds to the 512 bytes what does not fit, such as a long name"""
_CHUNK_BYTES = 64 << 10
_MODE = 0o644
_PLAIN_BITS = 27
"""of Go's FileMode; one above them is set for what is no plain file"""


class CopyError(LimitsError):
    """Nothing can be copied: what is there can't be read to its end, or a mount would hide it."""


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
    oversized: tuple[str, ...] = ()
    """too large to be ours, so left alone; the record may be among them"""

    def __str__(self) -> str:
        told = (
            (self.written, "copied"),
            (self.replaced, "replaced by a newer copy"),
            (self.kept, "kept as the user has it"),
            (self.current, "already there"),
            (self.oversized, "left alone: too large to be ours"),
        )
        return "; ".join(f"{', '.join(names)} {what}" for names, what in told if names)


Bare: TypeAlias = tuple[str, Place]
"""the id of an image, and where none of our files is in it"""


def packaged() -> dict[str, bytes]:
    """The notebook and its data as this package carries them: name → content."""
    folder = files("spawner_limits") / "notebook"
    return {name: (folder / name).read_bytes() for name in (NAME, "mnist_2k_500.npz", "MNIST-LICENSE.md")}


def copy(
    client: APIClient, container: str, place: Place, contents: Mapping[str, bytes], bare: set[Bare] | None = None
) -> Copied:
    """Put `contents` into the container's `place`, sparing what its user changed.

    `bare`: what is known, and will be, of images that have none of these files: new containers of theirs need not be
    looked through, if nothing is mounted in them.

    Errors: docker.errors.APIError (a read-only root, no such container), requests.RequestException (engine gone),
    CopyError.
    """
    found = client.inspect_container(container)
    if (mount := _tmpfs_over(found, place.directory)) is not None:
        raise CopyError(f"the tmpfs that is mounted at {mount} would hide it")
    new = _new(found, place) if bare is not None else None
    if bare is not None and new in bare:
        put(client, container, place, _recorded(contents, _digests_of(contents)))
        return Copied(written=tuple(contents))
    copied, is_recorded = _spared(client, container, place, contents)
    if bare is not None and new is not None and not is_recorded and copied.written == tuple(contents):
        bare.add(new)
    return copied


def _tmpfs_over(found: Mapping[str, Any], directory: PurePosixPath) -> str | None:
    """Where the tmpfs is mounted that `directory` is in; `None`: it is in none.

    The engine mounts it only in the running container: what the archive API writes there is never seen.
    """
    mounts = {one["Destination"]: one["Type"] for one in found["Mounts"]}
    mounts |= dict.fromkeys(found["HostConfig"].get("Tmpfs") or (), "tmpfs")
    over = [one for one in mounts if directory.is_relative_to(one)]
    inmost = max(over, key=lambda one: len(PurePosixPath(one).parts), default=None)
    return inmost if inmost is not None and mounts[inmost] == "tmpfs" else None


def _new(found: Mapping[str, Any], place: Place) -> Bare | None:
    """What a container was made from, while there is nothing else in it; `None`: there may be."""
    was_started = found["State"]["Status"] != "created"
    # wherever they are: a link of the image may lead into one
    return None if was_started or found["Mounts"] else (found["Image"], place)


def _spared(client: APIClient, container: str, place: Place, contents: Mapping[str, bytes]) -> tuple[Copied, bool]:
    """As `copy`; and whether there was a record."""
    found = read(client, container, place.directory / RECORD, RECORD_BYTES)
    record = {name: digest for name, digest in _digests(found).items() if name in contents}
    fates = {
        name: "current"
        if _is_untouched(client, container, place.directory / name, content, found, record.get(name))
        else _fate(read(client, container, place.directory / name, _most(content)), content, record.get(name))
        for name, content in contents.items()
    }
    writes = {name: contents[name] for name, fate in fates.items() if fate in ("written", "replaced")}
    ours = _digests_of({name: contents[name] for name, fate in fates.items() if fate not in ("kept", "oversized")})
    # a directory or a link in the record's place is the user's, and the engine would remove it
    if ours.items() - record.items() and (found is None or found.content is not None):
        writes = _recorded(writes, record | ours)
    if writes:
        put(client, container, place, writes)
    if found is not None and found.is_oversized:
        fates[RECORD] = "oversized"
    copied = Copied(**{fate: tuple(name for name in fates if fates[name] == fate) for fate in set(fates.values())})
    return copied, found is not None


def _most(content: bytes) -> int:
    return max(len(content), _LARGEST_BYTES)


def _recorded(writes: Mapping[str, bytes], digests: Mapping[str, str]) -> dict[str, bytes]:
    return {**writes, RECORD: json.dumps(digests).encode()}


def _digests_of(contents: Mapping[str, bytes]) -> dict[str, str]:
    return {name: _sha256(content) for name, content in contents.items()}


def _is_untouched(  # noqa: PLR0913, PLR0917  what is known of one file
    client: APIClient, container: str, path: PurePosixPath, content: bytes, record: File | None, copied: str | None
) -> bool:
    """Whether a file that is to be there is as old as its record. Reading one takes Docker 20.10 50 ms, this 3 ms."""
    if record is None or copied != _sha256(content):
        return False
    stat = _stat(client, container, path)
    return (
        stat is not None
        and not stat["mode"] >> _PLAIN_BITS
        and ((stat["size"], stat["mtime"]) == (len(content), record.mtime))
    )


def _stat(client: APIClient, container: str, path: PurePosixPath) -> Mapping[str, Any] | None:
    """What the engine says of `path`; `None`: nothing is there. The SDK has no call for it. Errors as `copy`."""
    api: Any = client
    answer = api.head(api._url("/containers/{0}/archive", container), params={"path": str(path)}, timeout=api.timeout)  # noqa: SLF001
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return None
    api._raise_for_status(answer)  # noqa: SLF001
    stat: Mapping[str, Any] = decode_json_header(answer.headers["X-Docker-Container-Path-Stat"])
    return stat


def _fate(there: File | None, content: bytes, copied: str | None) -> str:
    """What is to become of a file that is `there`, of which the copy with the digest `copied` was the last of ours."""
    if there is None:
        return "written"
    if there.content == content:
        return "current"
    if there.content is None:
        return "oversized" if there.is_oversized else "kept"
    if content.startswith(there.content):  # cut short, as on a full volume: nothing in it is the user's
        return "written"
    return "replaced" if _sha256(there.content) == copied else "kept"


@dataclass(frozen=True, slots=True)
class File:
    """What is at a path in a container."""

    content: bytes | None = field(repr=False)
    """`None`: not a plain file, or an oversized one"""
    mtime: str = ""
    """as the engine writes it"""
    is_oversized: bool = False


def read(client: APIClient, container: str, path: PurePosixPath, most_bytes: int) -> File | None:
    """What is at `path`, if it is no larger than `most_bytes`; `None`: nothing. Errors as `copy`.

    The engine tells a size before it opens the file, which may be another one by then, or have grown.
    """
    try:
        stream, stat = client.get_archive(container, str(path), _CHUNK_BYTES)
    except docker.errors.NotFound:
        return None
    # types-docker does not know that it is a generator, over an open HTTP response
    with closing(cast("Generator[bytes]", stream)) as chunks:
        archive = _beginning(chunks, most_bytes + _HEADERS_BYTES)
    try:
        return _only_member(archive, most_bytes, stat["mtime"])
    except tarfile.TarError as error:
        raise CopyError(f"{path} was cut short while it was read ({error})") from error


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
            if base == base.parent or _stat(client, container, base) is not None:
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


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
