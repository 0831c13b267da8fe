"""Copy the stress notebook and its data into a container through the Docker API, between its creation and its start.

A file that the user has changed is never overwritten. One that only is old is replaced: a record beside it says what
was copied last, so that the two can be told apart. Both may lie in a volume that a running server writes to: what is
read is read from the stream up to a bound, whatever size is told, and no program of the container is run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

from spawner_limits.clients import archives
from spawner_limits.clients.archives import CutShortError, put, read, stat
from spawner_limits.errors import LimitsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.clients.archives import File
    from spawner_limits.clients.docker import DockerEngine

NAME = "mnist.ipynb"
RECORD = ".spawner-limits.json"
"""file name → sha256 of what was copied last"""
RECORD_BYTES = 4 << 10
"""of a record, at most: it is read at each start"""
_WORK = PurePosixPath("/home/jovyan/work")
_LARGEST_BYTES = 64 << 10
"""of an older copy of ours, at most, where today's is smaller"""
_PLAIN_BITS = 27
"""of Go's FileMode; one above them is set for what is no plain file"""


class HiddenError(LimitsError):
    """Nothing is copied: a mount would hide it."""


NOT_COPIED = (HiddenError, CutShortError)
"""beside the engine's errors"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place(archives.Place):
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
        groups = (
            (self.written, "copied"),
            (self.replaced, "replaced by a newer copy"),
            (self.kept, "kept as the user has it"),
            (self.current, "already there"),
            (self.oversized, "left alone: too large to be ours"),
        )
        return "; ".join(f"{', '.join(names)} {what}" for names, what in groups if names)


Bare: TypeAlias = tuple[str, Place]
"""the id of an image, and where none of our files is in it"""


def packaged() -> dict[str, bytes]:
    """The notebook and its data as this package carries them: name → content."""
    folder = files("spawner_limits") / "notebook"
    return {name: (folder / name).read_bytes() for name in (NAME, "mnist_2k_500.npz", "MNIST-LICENSE.md")}


def copy(
    engine: DockerEngine, container: str, place: Place, contents: Mapping[str, bytes], bare: set[Bare] | None = None
) -> Copied:
    """Put `contents` into the container's `place`, sparing what its user changed.

    `bare`: what is known, and will be, of images that have none of these files: new containers of theirs need not be
    looked through, if nothing is mounted in them.

    Errors: HiddenError, CutShortError; RefusedError (a read-only root, no such container), UnreachableError.
    """
    found = engine.inspected(container)
    if (mount := _tmpfs_over(found, place.directory)) is not None:
        raise HiddenError(f"the tmpfs that is mounted at {mount} would hide it")
    new = _new(found, place) if bare is not None else None
    if bare is not None and new in bare:
        put(engine, container, place, _recorded(contents, _digests_of(contents)))
        return Copied(written=tuple(contents))
    copied, is_recorded = _spared(engine, container, place, contents)
    if bare is not None and new is not None and not is_recorded and copied.written == tuple(contents):
        bare.add(new)
    return copied


def _tmpfs_over(found: Mapping[str, Any], directory: PurePosixPath) -> str | None:
    """Where the tmpfs is mounted that `directory` is in; `None`: it is in none.

    The engine mounts it only in the running container: what the archive API writes there is never seen.
    """
    mounts = {mount["Destination"]: mount["Type"] for mount in found["Mounts"]}
    mounts |= dict.fromkeys(found["HostConfig"].get("Tmpfs") or (), "tmpfs")
    over = [target for target in mounts if directory.is_relative_to(target)]
    inmost = max(over, key=lambda target: len(PurePosixPath(target).parts), default=None)
    return inmost if inmost is not None and mounts[inmost] == "tmpfs" else None


def _new(found: Mapping[str, Any], place: Place) -> Bare | None:
    """What a container was made from, while there is nothing else in it; `None`: there may be."""
    was_started = found["State"]["Status"] != "created"
    # wherever they are: a link of the image may lead into one
    return None if was_started or found["Mounts"] else (found["Image"], place)


def _spared(engine: DockerEngine, container: str, place: Place, contents: Mapping[str, bytes]) -> tuple[Copied, bool]:
    """As `copy`; and whether there was a record."""
    found = read(engine, container, place.directory / RECORD, RECORD_BYTES)
    record = {name: digest for name, digest in _digests(found).items() if name in contents}
    fates = {
        name: "current"
        if _is_untouched(engine, container, place.directory / name, content, found, record.get(name))
        else _fate(read(engine, container, place.directory / name, _most(content)), content, record.get(name))
        for name, content in contents.items()
    }
    writes = {name: contents[name] for name, fate in fates.items() if fate in ("written", "replaced")}
    ours = _digests_of({name: contents[name] for name, fate in fates.items() if fate not in ("kept", "oversized")})
    # a directory or a link in the record's place is the user's, and the engine would remove it
    if ours.items() - record.items() and (found is None or found.content is not None):
        writes = _recorded(writes, record | ours)
    if writes:
        put(engine, container, place, writes)
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
    engine: DockerEngine, container: str, path: PurePosixPath, content: bytes, record: File | None, copied: str | None
) -> bool:
    """Whether a file that is to be there is as old as its record. Reading one takes Docker 20.10 50 ms, this 3 ms."""
    if record is None or copied != _sha256(content):
        return False
    found = stat(engine, container, path)
    return (
        found is not None
        and not found["mode"] >> _PLAIN_BITS
        and ((found["size"], found["mtime"]) == (len(content), record.mtime))
    )


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


def _digests(found: File | None) -> dict[str, str]:
    """File name → digest, from the record that was found; without a usable one, every file is taken for the user's."""
    if found is None or found.content is None:
        return {}
    try:
        record = json.loads(found.content)
    except (ValueError, RecursionError):  # the latter where it is nested deep enough
        return {}
    return {str(name): str(digest) for name, digest in record.items()} if isinstance(record, dict) else {}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
