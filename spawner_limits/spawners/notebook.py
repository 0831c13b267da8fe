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
from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

import docker.errors
from docker.utils import decode_json_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from docker import APIClient

NAME = "mnist.ipynb"
RECORD = ".spawner-limits.json"
"""file name → sha256 of what was copied last"""
_WORK = PurePosixPath("/home/jovyan/work")
_LARGEST_BYTES = 16 << 20  # above this it is not ours, and not worth reading
_MODE = 0o644
_PLAIN_BITS = 27
"""of Go's FileMode; one above them is set for what is no plain file"""


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

    Errors: docker.errors.APIError (a read-only root, no such container), requests.RequestException (engine gone).
    """
    new = _new(client, container, place) if bare is not None else None
    if bare is not None and new in bare:
        put(client, container, place, _recorded(contents, _digests_of(contents)))
        return Copied(written=tuple(contents))
    copied, is_recorded = _spared(client, container, place, contents)
    if bare is not None and new is not None and not is_recorded and copied.written == tuple(contents):
        bare.add(new)
    return copied


def _new(client: APIClient, container: str, place: Place) -> Bare | None:
    """What a container was made from, while there is nothing else in it; `None`: there may be."""
    found = client.inspect_container(container)
    was_started = found["State"]["Status"] != "created"
    # wherever they are: a link of the image may lead into one
    return None if was_started or found["Mounts"] else (found["Image"], place)


def _spared(client: APIClient, container: str, place: Place, contents: Mapping[str, bytes]) -> tuple[Copied, bool]:
    """As `copy`; and whether there was a record."""
    found = read(client, container, place.directory / RECORD)
    record = _digests(found)
    fates = {
        name: "current"
        if _is_untouched(client, container, place.directory / name, content, found, record.get(name))
        else _fate(read(client, container, place.directory / name), content, record.get(name))
        for name, content in contents.items()
    }
    writes = {name: contents[name] for name, fate in fates.items() if fate in ("written", "replaced")}
    ours = _digests_of({name: contents[name] for name, fate in fates.items() if fate != "kept"})
    # a directory or a link in the record's place is the user's, and the engine would remove it
    if ours.items() - record.items() and (found is None or found.content is not None):
        writes = _recorded(writes, record | ours)
    if writes:
        put(client, container, place, writes)
    copied = Copied(**{fate: tuple(name for name in fates if fates[name] == fate) for fate in set(fates.values())})
    return copied, found is not None


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
        return "kept"
    if content.startswith(there.content):  # cut short, as on a full volume: nothing in it is the user's
        return "written"
    return "replaced" if _sha256(there.content) == copied else "kept"


@dataclass(frozen=True, slots=True)
class File:
    """What is at a path in a container."""

    content: bytes | None = field(repr=False)
    """`None`: not a plain file, or one too large to be ours"""
    mtime: str = ""
    """as the engine writes it"""


def read(client: APIClient, container: str, path: PurePosixPath) -> File | None:
    """What is at `path`; `None`: nothing. Errors as `copy`."""
    try:
        stream, stat = client.get_archive(container, str(path))
    except docker.errors.NotFound:
        return None
    if stat["size"] > _LARGEST_BYTES or stat["mode"] >> _PLAIN_BITS:
        _close(stream)
        return File(None)
    return File(_only_member(stream), stat["mtime"])


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


def present(client: APIClient, container: str, path: str) -> bool | None:
    """Whether a running container sees the file at `path`; `None` where it has no `test` to ask with.

    The archive API can't tell: under a tmpfs mount it finds a file that the container does not have.
    """
    command = client.exec_create(container, ["test", "-f", path])["Id"]
    client.exec_start(command)
    return {0: True, 1: False}.get(client.exec_inspect(command)["ExitCode"])
