"""The notebook in real containers: there when a server starts, and nothing of a user's is ever overwritten.

Nor does the hub come to harm by what a user has in its place.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import subprocess
import sys
import tarfile
import time
from contextlib import ExitStack, suppress
from dataclasses import fields
from functools import partial
from pathlib import PurePosixPath

import pytest
from docker.errors import NotFound
from docker.types import Mount

from spawner_limits.clients.archives import CutShortError
from spawner_limits.clients.docker import DockerEngine
from spawner_limits.clients.engine import GoneError, RefusedError
from spawner_limits.spawners import notebook
from spawner_limits.spawners.notebook import NAME, RECORD, Copied, HiddenError, Place
from tests.conftest import MINIMAL

DATA = "mnist_2k_500.npz"
OLD = {NAME: b'{"cells": ["old"]}', DATA: b"old data"}
NEW = {NAME: b'{"cells": ["new"]}', DATA: b"new data"}
EDITED = b'{"cells": ["mine"]}'
WORK = "/home/jovyan/work"
DIRECTORY = {"type": tarfile.DIRTYPE, "mode": 0o755}


@pytest.fixture
def undo():
    """What is to be undone after the test, the last first, however it ends."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def create(client, undo):
    """Makes containers that wait once they are started."""
    return partial(make_container, client, undo)


@pytest.fixture
def create_volume(client, undo):
    """Makes volumes; what it gives back mounts one at ~/work."""
    return partial(make_volume, client, undo)


def make_container(client, undo, *, user=None, command=("sleep", "600"), **host):
    """A container of the minimal image, not started."""
    config = client.create_host_config(network_mode="none", **host)
    name = f"test-notebook-{secrets.token_hex(4)}"
    made = client.create_container(MINIMAL, list(command), name=name, user=user, host_config=config)["Id"]
    undo.callback(remove, client, made)
    return made


def make_volume(client, undo, **options):
    """A volume at ~/work, as `binds`."""
    name = f"test-notebook-{secrets.token_hex(4)}"
    client.create_volume(name, driver_opts=options)
    undo.callback(client.remove_volume, name)
    return {name: {"bind": WORK, "mode": "rw"}}


@pytest.fixture(scope="module")
def shared(client):
    """One running container for many tests, each of which has a directory of its own in it."""
    with ExitStack() as undo:
        container = make_container(client, undo)
        client.start(container)
        yield container


@pytest.fixture
def corner(client, shared):
    """A directory of its own for one test in the shared container."""
    name = secrets.token_hex(4)
    put(client, shared, f"/home/jovyan/{name}", **DIRECTORY)
    return Place(directory=PurePosixPath("/home/jovyan", name))


def remove(client, container):
    """Remove a container, whatever it is doing, unless a test has done so."""
    with suppress(NotFound):
        client.remove_container(container, force=True, v=True)


def run(client, container, command, user="1000:100"):
    """Run a shell command in a running container; give back what it wrote."""
    made = client.exec_create(container, ["sh", "-ec", command], user=user)["Id"]
    said = client.exec_start(made).decode()
    assert (said, client.exec_inspect(made)["ExitCode"]) == (said, 0)
    return said


def put(client, container, path, content=b"", **attributes):
    """Put an entry at `path`: jovyan's, of 1970, unless `attributes` say otherwise."""
    put_all(client, container, PurePosixPath(path).parent, {PurePosixPath(path).name: (content, attributes)})


def put_all(client, container, directory, entries):
    """Put entries into a directory: name → (content, attributes)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, (content, attributes) in entries.items():
            entry = tarfile.TarInfo(name)
            for attribute, value in ({"uid": 1000, "gid": 100, "size": len(content)} | attributes).items():
                setattr(entry, attribute, value)
            tar.addfile(entry, io.BytesIO(content))
    client.put_archive(container, str(directory), buffer.getvalue())


def copy(client, *what):
    """The hub's own."""
    return notebook.copy(DockerEngine.over(client), *what)


def look(client, container, path):
    """All that is at `path` and below: name → (kind, mode, uid, gid, mtime, link, content)."""
    stream, _ = client.get_archive(container, str(path))
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        return {
            # Docker puts the kind into the mode as well
            one.name: (one.type, one.mode & 0o7777, one.uid, one.gid, one.mtime, one.linkname)
            + ((tar.extractfile(one).read(),) if one.isreg() else ())
            for one in tar
        }


def contents(client, container, directory=WORK):
    """The plain files in a directory, but for the record: name → content."""
    found = look(client, container, directory)
    files = {PurePosixPath(name).name: one[-1] for name, one in found.items() if one[0] == tarfile.REGTYPE}
    files.pop(RECORD, None)
    return files


def record(client, container, directory=WORK):
    """What the record says."""
    return json.loads(look(client, container, f"{directory}/{RECORD}")[RECORD][-1])


def digests(files):
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


CURRENT = Copied(current=(NAME, DATA))
KEPT = Copied(kept=(NAME,), current=(DATA,))


# -- a container of its own --------------------------------------------------------------------------------------------


def test_a_fresh_container_has_it_when_it_starts(client, create):
    """All files are there, jovyan's, readable, of now, byte for byte as this package carries them."""
    packaged, container, before = notebook.packaged(), create(), int(time.time())
    copied = copy(client, container, Place(), packaged)
    after = time.time()
    client.start(container)
    names = (NAME, DATA, "MNIST-LICENSE.md")
    assert copied == Copied(written=names)
    assert str(copied) == "mnist.ipynb, mnist_2k_500.npz, MNIST-LICENSE.md copied"
    seen = [
        line.split() for line in run(client, container, f"cd {WORK}; stat -c '%n %F %u %g %a %Y' $(ls -A)").splitlines()
    ]
    assert [line[:-1] for line in seen] == [
        [name, "regular", "file", "1000", "100", "644"] for name in sorted((*names, RECORD))
    ]
    assert all(before <= int(line[-1]) <= after for line in seen)
    sums = run(client, container, f"cd {WORK}; sha256sum {' '.join(names)}").split()
    assert dict(zip(sums[1::2], sums[::2], strict=True)) == digests(packaged)
    assert record(client, container) == digests(packaged)
    assert len(look(client, container, f"{WORK}/{RECORD}")[RECORD][-1]) < notebook.RECORD_BYTES


def test_twice_in_a_row(client, create):
    """What is there already is not written again: the files keep their time."""
    container = create()
    copy(client, container, Place(), NEW)
    for name, content in NEW.items():
        put(client, container, f"{WORK}/{name}", content, mtime=1)
    copied = copy(client, container, Place(), NEW)
    assert (copied, str(copied)) == (Copied(current=(NAME, DATA)), "mnist.ipynb, mnist_2k_500.npz already there")
    assert {look(client, container, f"{WORK}/{name}")[name][4] for name in NEW} == {1}


# -- a volume that outlives its containers -----------------------------------------------------------------------------

OURS, MINE, DELETED = b"from the package of today", b"mine", object()
BEFORE = b"from an older package"

# name → what an older container copied · what the user made of it · what is done with it · what it is · the next time
LIVES = {
    "nobody was here": (None, None, "written", OURS, "current"),
    "as we left it": (OURS, None, "current", OURS, "current"),
    "only old": (BEFORE, None, "replaced", OURS, "current"),
    "edited": (OURS, MINE, "kept", MINE, "kept"),
    "old and edited": (BEFORE, MINE, "kept", MINE, "kept"),
    "old, and brought up to date by the user": (BEFORE, OURS, "current", OURS, "current"),
    "there before us": (None, MINE, "kept", MINE, "kept"),
    "deleted": (OURS, DELETED, "written", OURS, "current"),
    "old and deleted": (BEFORE, DELETED, "written", OURS, "current"),
    "cut short": (OURS, OURS[:9], "written", OURS, "current"),
    "emptied": (OURS, b"", "written", OURS, "current"),
    "a byte longer": (OURS, OURS + b"\n", "kept", OURS + b"\n", "kept"),
    "old and cut short": (BEFORE, BEFORE[:9], "kept", BEFORE[:9], "kept"),
}


@pytest.fixture(scope="module")
def lived(client):
    """A volume in four containers, one after the other: what was done with each file, what it is, and the next time."""
    with ExitStack() as undo:
        volume = make_volume(client, undo)

        def live(work):
            container = make_container(client, undo, binds=volume)
            result = work(container)
            remove(client, container)
            return result

        def user(container):
            client.start(container)
            made = {name: (life[1], {}) for name, life in LIVES.items() if isinstance(life[1], bytes)}
            put_all(client, container, WORK, made)
            gone = " ".join(f"'{name}'" for name, life in LIVES.items() if life[1] is DELETED)
            run(client, container, f"cd {WORK}; rm {gone}")

        first = {name: life[0] for name, life in LIVES.items() if life[0] is not None}
        now = dict.fromkeys(LIVES, OURS)
        live(lambda container: copy(client, container, Place(), first))
        live(user)
        copied, files = live(
            lambda container: (
                copy(client, container, Place(), now),
                contents(client, container),
            )
        )
        again = live(lambda container: copy(client, container, Place(), now))
        yield {name: (fate(copied, name), files[name], fate(again, name)) for name in LIVES}


def fate(copied, name):
    """What became of a file."""
    return " and ".join(field.name for field in fields(Copied) if name in getattr(copied, field.name))


@pytest.mark.parametrize("name", LIVES)
def test_a_volume_that_outlives_its_containers(lived, name):
    """What the user changed is kept, now and the next time; what is only old is replaced; what is gone comes back."""
    assert lived[name] == LIVES[name][2:]


def test_an_edited_copy_that_is_edited_back(client, shared, corner):
    """A copy that the user made again what it was is only old, however often it was kept before."""
    copy(client, shared, corner, OLD)
    put(client, shared, corner.notebook, EDITED)
    assert copy(client, shared, corner, NEW) == Copied(kept=(NAME,), replaced=(DATA,))
    put(client, shared, corner.notebook, OLD[NAME])
    assert copy(client, shared, corner, NEW) == Copied(replaced=(NAME,), current=(DATA,))


def test_a_new_container_of_a_bare_image_is_not_looked_through(client, create):
    """It has all at once; what the first one had to be looked through for is remembered."""
    bare = set()
    first, second = create(), create()
    assert copy(client, first, Place(), NEW, bare) == Copied(written=(NAME, DATA))
    assert bare == {(client.inspect_image(MINIMAL)["Id"], Place())}
    assert copy(client, second, Place(), OLD, bare) == Copied(written=(NAME, DATA))
    assert (contents(client, second), record(client, second)) == (OLD, digests(OLD))


def test_only_new_containers_without_mounts_are_not_looked_through(client, create, create_volume):
    """Wherever the mount is, a user's file may be in it; so it may in a container that has run."""
    bare = {(client.inspect_image(MINIMAL)["Id"], Place())}
    mounted, started = create(binds=create_volume()), create()
    client.start(started)
    for container in (mounted, started):
        put(client, container, f"{WORK}/{NAME}", EDITED)
        assert copy(client, container, Place(), NEW, bare) == Copied(kept=(NAME,), written=(DATA,))


def test_an_image_that_has_one_of_them_is_not_bare(client, create):
    """Nor one with a record: whose they are must be looked at each time."""
    for name in (NAME, RECORD):
        bare, container = set(), create()
        put(client, container, f"{WORK}/{name}", EDITED)
        copy(client, container, Place(), NEW, bare)
        assert bare == set()


AGES = {"as old as its record": (0, CURRENT), "younger than its record": (1, KEPT)}


@pytest.mark.parametrize(("seconds", "copied"), AGES.values(), ids=AGES)
def test_a_copy_that_is_as_old_as_its_record_is_not_read(client, shared, corner, seconds, copied):
    """Reading takes the engine long. Who gives a file the record's time loses nothing: it is left alone."""
    copy(client, shared, corner, NEW)
    mine = NEW[NAME].replace(b"new", b"own")
    mtime = look(client, shared, corner.directory / RECORD)[RECORD][4] + seconds
    put(client, shared, corner.notebook, mine, mtime=mtime)
    assert copy(client, shared, corner, NEW) == copied
    assert contents(client, shared, corner.directory) == NEW | {NAME: mine}


def test_old_copies_whose_record_is_gone(client, shared, corner):
    """Without the record nobody knows whose they are, so they are kept."""
    copy(client, shared, corner, OLD)
    run(client, shared, f"rm {corner.directory / RECORD}")
    assert copy(client, shared, corner, NEW) == Copied(kept=(NAME, DATA))
    assert contents(client, shared, corner.directory) == OLD


def test_a_record_that_is_gone_is_made_anew(client, shared, corner):
    """While they are byte for byte ours, copies are known again, and the next package replaces them."""
    copy(client, shared, corner, OLD)
    run(client, shared, f"rm {corner.directory / RECORD}")
    assert copy(client, shared, corner, OLD) == CURRENT
    assert record(client, shared, corner.directory) == digests(OLD)
    assert copy(client, shared, corner, NEW) == Copied(replaced=(NAME, DATA))


# -- what else may be where the notebook goes --------------------------------------------------------------------------

OBSTACLES = {
    "a file of the user's": (EDITED, {}),
    "one that is not text": (bytes(range(256)), {}),
    "a directory": (b"", DIRECTORY),
    "a symlink to a file that matters": (b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
    "a symlink to nowhere": (b"", {"type": tarfile.SYMTYPE, "linkname": "nowhere"}),
    "a FIFO": (b"", {"type": tarfile.FIFOTYPE}),
    "a device": (b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}),
    "a file too large to be ours": (bytes(65537), {}),
    "a file of 64 KiB": (bytes(65536), {}),
    "a file that nobody may read": (EDITED, {"mode": 0o000}),
    "a file of root's": (EDITED, {"uid": 0, "gid": 0, "mode": 0o600}),
}


@pytest.fixture(scope="module")
def obstructed(client, shared):
    """All of these in one directory: what was done with each, now and the next time, and whether it is as it was."""
    place, files = Place(directory=PurePosixPath("/home/jovyan/obstructed")), dict.fromkeys(OBSTACLES, OURS)
    put(client, shared, place.directory, **DIRECTORY)
    put_all(client, shared, place.directory, OBSTACLES)
    before = look(client, shared, place.directory)
    copied, again = (copy(client, shared, place, {**files, "beside": OURS}) for _ in range(2))
    after = look(client, shared, place.directory)
    seen = {name: after[f"obstructed/{name}"] == before[f"obstructed/{name}"] for name in OBSTACLES}
    beside = after["obstructed/beside"][-1] == OURS
    return {name: (fate(copied, name), fate(again, name), same) for name, same in (seen | {"beside": beside}).items()}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_is_in_the_way_stays(obstructed, name):
    """Whatever else has the name of a file of ours is kept as it is, now and the next time."""
    left = "oversized" if "too large" in name else "kept"
    assert obstructed[name] == (left, left, True)


def test_what_is_in_the_way_stops_nothing_else(obstructed):
    """The rest is copied."""
    assert obstructed["beside"] == ("written", "current", True)


def test_what_is_in_a_directory_of_that_name_stays(client, shared, corner):
    """A directory that is called mnist.ipynb is not emptied."""
    put(client, shared, corner.notebook, **DIRECTORY)
    put(client, shared, corner.notebook / "mine.txt", b"mine")
    copy(client, shared, corner, NEW)
    assert contents(client, shared, corner.notebook) == {"mine.txt": b"mine"}


@pytest.mark.parametrize("kind", ["a directory", "a file too large to be ours"])
def test_a_container_starts_after_what_was_not_read(client, create, kind):
    """The engine locks a container while it sends a file; one that is not read to its end holds nothing up."""
    container, (content, attributes) = create(), OBSTACLES[kind]
    put(client, container, Place().notebook, content, **attributes)
    copy(client, container, Place(), NEW)
    before = time.monotonic()
    client.start(container)
    assert time.monotonic() - before < 10


def test_a_socket_stays(client, shared, corner):
    """A socket, which no archive can carry, is kept as well."""
    bind = f'import socket; socket.socket(socket.AF_UNIX).bind("{corner.notebook}")'
    run(client, shared, f"python3 -c '{bind}'")
    assert copy(client, shared, corner, NEW) == Copied(kept=(NAME,), written=(DATA,))
    assert run(client, shared, f"stat -c %F {corner.notebook}") == "socket\n"


@pytest.mark.parametrize(
    "attributes", [{"mode": 0o000}, {"uid": 0, "gid": 0, "mode": 0o600}], ids=["mode 000", "root's"]
)
def test_an_old_copy_with_other_rights_is_replaced(client, shared, corner, attributes):
    """An old copy of ours whose rights were changed becomes one that jovyan can read and write."""
    copy(client, shared, corner, OLD)
    put(client, shared, corner.notebook, OLD[NAME], **attributes)
    assert copy(client, shared, corner, NEW) == Copied(replaced=(NAME, DATA))
    kind, mode, uid, gid, _, _, content = look(client, shared, corner.notebook)[NAME]
    assert (kind, mode, uid, gid, content) == (tarfile.REGTYPE, 0o644, 1000, 100, NEW[NAME])


# -- a record that can't be trusted ------------------------------------------------------------------------------------

RECORDS = {
    "empty": (b"", {}),
    "not JSON": (b"{", {}),
    "not UTF-8": (b"\xff\xfe\x00", {}),
    "a list": (b'["mnist.ipynb"]', {}),
    "null": (b"null", {}),
    "nested deeper than Python reads": (b"[" * 4096, {}),
    "digests that are none": (b'{"mnist.ipynb": {"sha256": null}}', {}),
    "lone surrogates": (rb'{"\ud800": "\udfff"}', {}),
    "unreadable": (b"{}", {"mode": 0o000, "uid": 0}),
    "a directory": (b"", DIRECTORY),
    "a symlink to a file that matters": (b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
    "a FIFO": (b"", {"type": tarfile.FIFOTYPE}),
}


@pytest.mark.parametrize(("content", "attributes"), RECORDS.values(), ids=RECORDS)
def test_a_record_that_can_not_be_trusted(client, shared, corner, content, attributes):
    """Whatever the record is, the user's notebook is kept and the rest is copied."""
    put_all(client, shared, corner.directory, {NAME: (EDITED, {}), RECORD: (content, attributes)})
    assert copy(client, shared, corner, NEW) == Copied(kept=(NAME,), written=(DATA,))
    assert copy(client, shared, corner, NEW) == KEPT
    assert contents(client, shared, corner.directory) == NEW | {NAME: EDITED}


def test_a_record_that_is_a_symlink(client, shared, corner):
    """Neither it nor what it leads to is written to."""
    before = look(client, shared, "/etc/passwd")
    put(client, shared, corner.directory / RECORD, type=tarfile.SYMTYPE, linkname="/etc/passwd")
    assert copy(client, shared, corner, NEW) == Copied(written=(NAME, DATA))
    assert look(client, shared, "/etc/passwd") == before
    assert look(client, shared, corner.directory / RECORD)[RECORD][-1] == "/etc/passwd"


def test_a_record_that_says_more(client, shared, corner):
    """What a record says of other files goes: it can't grow until it is too large."""
    put(client, shared, corner.directory / RECORD, b'{"other.ipynb": "00"}')
    copy(client, shared, corner, NEW)
    assert record(client, shared, corner.directory) == digests(NEW)


def test_a_record_of_4_kib(client, shared, corner):
    """It counts."""
    copy(client, shared, corner, OLD)
    put(client, shared, corner.directory / RECORD, json.dumps(digests(OLD)).encode().ljust(4096))
    assert copy(client, shared, corner, NEW) == Copied(replaced=(NAME, DATA))
    assert record(client, shared, corner.directory) == digests(NEW)


def test_a_record_that_is_larger(client, shared, corner):
    """It is left alone, as are all files that are not byte for byte ours."""
    larger = json.dumps(digests(OLD)).encode().ljust(4097)
    copy(client, shared, corner, OLD)
    put(client, shared, corner.directory / RECORD, larger)
    copied = copy(client, shared, corner, NEW)
    assert copied == Copied(kept=(NAME, DATA), oversized=(RECORD,))
    kept = "mnist.ipynb, mnist_2k_500.npz kept as the user has it"
    assert str(copied) == f"{kept}; .spawner-limits.json left alone: too large to be ours"
    assert look(client, shared, corner.directory / RECORD)[RECORD][-1] == larger


def test_what_is_in_a_directory_in_the_records_place_stays(client, shared, corner):
    """The engine would remove a directory to write the record; then rather no record."""
    put(client, shared, corner.directory / RECORD, **DIRECTORY)
    put(client, shared, corner.directory / RECORD / "mine.txt", b"mine")
    assert copy(client, shared, corner, OLD) == Copied(written=(NAME, DATA))
    assert contents(client, shared, corner.directory) == OLD | {"mine.txt": b"mine"}
    # without a record they might be the user's
    assert copy(client, shared, corner, NEW) == Copied(kept=(NAME, DATA))


# -- other places ------------------------------------------------------------------------------------------------------

# name → a directory that is there · those that are missing below it
PLACES = {
    "nothing is missing": ("/home/jovyan", ()),
    "one directory is missing": ("/home/jovyan", ("/home/jovyan/notebooks",)),
    "three are missing": ("/srv", ("/srv/a", "/srv/a/b", "/srv/a/b/c")),
    "spaces": ("/home/jovyan", ("/home/jovyan/my work", "/home/jovyan/my work/and more")),
    "not ASCII, and what a URL would misread": (
        "/home/jovyan",
        ("/home/jovyan/Übung 一", "/home/jovyan/Übung 一/100%?#&+"),
    ),
}


@pytest.mark.parametrize(("there", "missing"), PLACES.values(), ids=PLACES)
def test_other_places(client, create, there, missing):
    """Missing directories are made, jovyan's; those that were there keep their owner and their rights."""
    container, place = create(), Place(directory=PurePosixPath((there, *missing)[-1]))
    before = look(client, container, there)[PurePosixPath(there).name]
    assert copy(client, container, place, NEW) == Copied(written=(NAME, DATA))
    assert copy(client, container, place, NEW) == CURRENT
    parent = PurePosixPath(there).parent
    found = {str(parent / name): (one[:4], one[-1]) for name, one in look(client, container, there).items()}
    assert found[there][0] == before[:4]
    assert {path: found[path][0] for path in missing} == dict.fromkeys(missing, (tarfile.DIRTYPE, 0o755, 1000, 100))
    assert found[str(place.notebook)] == ((tarfile.REGTYPE, 0o644, 1000, 100), NEW[NAME])
    client.start(container)
    run(client, container, f"test -f '{place.notebook}'")


def test_another_owner(client, create):
    """Files and the directories that are made belong to whom the place says."""
    container = create()
    notebook.copy(
        DockerEngine.over(client), container, Place(directory=PurePosixPath("/srv/data"), uid=1234, gid=5678), NEW
    )
    owners = {one[2:4] for one in look(client, container, "/srv/data").values()}
    assert owners == {(1234, 5678)}


# -- where nothing can be copied ---------------------------------------------------------------------------------------


def test_a_read_only_root(client, create):
    """Docker's own error says it."""
    container = create(read_only=True)
    with pytest.raises(RefusedError) as caught:
        copy(client, container, Place(), NEW)
    assert caught.value.words == "container rootfs is marked read-only"


def test_a_volume_under_a_read_only_root(client, create, create_volume):
    """A read-only root is no obstacle where ~/work is a volume that can be written to."""
    container = create(read_only=True, binds=create_volume())
    assert copy(client, container, Place(), NEW) == Copied(written=(NAME, DATA))
    client.start(container)
    run(client, container, f"test -f {Place().notebook}")


def test_a_read_only_volume(client, create, create_volume):
    """A volume that is mounted read-only is not written to: Docker's own error says it."""
    container = create(binds={name: bind | {"mode": "ro"} for name, bind in create_volume().items()})
    with pytest.raises(RefusedError) as caught:
        copy(client, container, Place(), NEW)
    assert caught.value.words == "mounted volume is marked read-only"


LINKS = {
    "a symlink to nowhere": ({"type": tarfile.SYMTYPE, "linkname": "/mnt/share"}, GoneError),
    "a symlink to itself": ({"type": tarfile.SYMTYPE, "linkname": "work2"}, RefusedError),
    "a file": ({}, RefusedError),
}


@pytest.mark.parametrize(("attributes", "error"), LINKS.values(), ids=LINKS)
def test_a_target_that_is_no_directory(client, create, attributes, error):
    """Whatever the user has in the directory's place stays, and Docker's own error says that there is none."""
    container, target = create(), "/home/jovyan/work2"
    put(client, container, target, **attributes)
    before = look(client, container, "/home/jovyan")
    with pytest.raises(error):
        copy(client, container, Place(directory=PurePosixPath(target)), NEW)
    assert look(client, container, "/home/jovyan")["jovyan/work2"] == before["jovyan/work2"]


def test_a_symlink_to_a_directory(client, create):
    """~/work may be a symlink to a directory: it stays one, and the notebook is in the directory."""
    container = create()
    put(client, container, "/home/jovyan/link", type=tarfile.SYMTYPE, linkname="/srv")
    copy(client, container, Place(directory=PurePosixPath("/home/jovyan/link")), NEW)
    assert (contents(client, container, "/srv"), record(client, container, "/srv")) == (NEW, digests(NEW))
    assert look(client, container, "/home/jovyan/link")["link"][0] == tarfile.SYMTYPE


def test_a_container_that_is_gone(client, create):
    """Docker's own error says it."""
    container = create()
    client.remove_container(container)
    with pytest.raises(GoneError) as caught:
        copy(client, container, Place(), NEW)
    assert caught.value.words == f"No such container: {container}"


def test_a_full_volume(client, create, create_volume):
    """A copy that a full volume cut short is an error, and is written anew once there is room: it is not the user's."""
    volume = create_volume(type="tmpfs", device="tmpfs", o="size=1m,uid=1000,gid=100")
    container, packaged = create(binds=volume), notebook.packaged()
    client.start(container)
    run(client, container, f"head -c 900K /dev/zero > {WORK}/large")
    with pytest.raises(RefusedError, match="no space left on device"):
        copy(client, container, Place(), packaged)
    run(client, container, f"rm {WORK}/large")
    copy(client, container, Place(), packaged)
    assert (contents(client, container), record(client, container)) == (packaged, digests(packaged))


HIDDEN = {
    "at the directory": ({"tmpfs": {WORK: ""}}, WORK),
    "above it": ({"tmpfs": {"/home/jovyan": ""}}, "/home/jovyan"),
    "as one mount of several": ({"mounts": [Mount(WORK, None, type="tmpfs")]}, WORK),
}


@pytest.mark.parametrize(("host", "mount"), HIDDEN.values(), ids=HIDDEN)
def test_a_tmpfs_over_it(client, create, host, mount):
    """The engine would copy, and the running container have nothing: that is said before, from what it will mount."""
    container = create(**host)
    with pytest.raises(HiddenError) as caught:
        copy(client, container, Place(), NEW)
    assert str(caught.value) == f"the tmpfs that is mounted at {mount} would hide it"


def test_a_tmpfs_beside_or_below_a_volume(client, create, create_volume):
    """It hides nothing: the innermost mount is what a file goes to."""
    container = create(binds=create_volume(), tmpfs={"/home/jovyan": "", f"{WORK}/scratch": "", "/tmp": ""})
    assert copy(client, container, Place(), NEW) == Copied(written=(NAME, DATA))
    client.start(container)
    run(client, container, f"test -f {Place().notebook}")


# -- a user who means harm ---------------------------------------------------------------------------------------------

# copies so many times, as the hub would at starts; tells each outcome once, and how far the memory at its most rose
COPIES = """
import re, sys
from spawner_limits.clients.archives import CutShortError
from spawner_limits.clients.docker import DockerEngine
from spawner_limits.spawners import notebook

def most_kib():
    # not ru_maxrss, in which the parent's memory at the fork counts
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

engine, container, times = DockerEngine(), sys.argv[1], int(sys.argv[2])
contents = notebook.packaged()
notebook.read(engine, container, notebook.Place().directory / "nothing", 1)
before, outcomes = most_kib(), set()
for _ in range(times):
    try:
        outcomes.add(str(notebook.copy(engine, container, notebook.Place(), contents)))
    except CutShortError as error:
        outcomes.add(str(error))
print(most_kib() - before)
print(*sorted(outcomes), sep="\\n")
"""
LEAST_KIB = 4 << 10
"""what a copy may take: twice the largest file of ours, a tar of all of them, and the client's own"""


def copies(container, times=1):
    """In a process of its own: the KiB that its memory rose by, and the different outcomes."""
    script = [sys.executable, "-c", COPIES, container, str(times)]
    rise, *outcomes = subprocess.check_output(script, text=True, timeout=300).splitlines()
    return int(rise), outcomes


def test_a_record_of_13_mib(client, create, create_volume):
    """It costs the hub next to nothing, and the server its notebook's renewal at most."""
    volume = create_volume()
    container = create(binds=volume)
    many = json.dumps({f"{number:032x}": "0" * 64 for number in range(130_000)}).encode()
    assert len(many) > 13_000_000
    put(client, container, f"{WORK}/{RECORD}", many)
    rise, outcomes = copies(container)
    files = "mnist.ipynb, mnist_2k_500.npz, MNIST-LICENSE.md"
    assert outcomes == [f"{files} copied; {RECORD} left alone: too large to be ours"]
    assert rise < LEAST_KIB
    client.start(container)


SPARSE = """
cd {work}
for size in 8T 4T 1T 100G; do truncate -s $size {name} 2>/dev/null && break; done
test $(stat -c %s {name}) -gt 100000000000
"""


@pytest.mark.parametrize("name", [NAME, RECORD])
def test_a_sparse_file_of_terabytes(client, create, create_volume, name):
    """It is not read, and the server starts at once: the engine sends no more to a reader that has gone."""
    volume = create_volume()
    running, next_one = create(binds=volume), create(binds=volume)
    client.start(running)
    run(client, running, SPARSE.format(work=WORK, name=name))
    before = time.monotonic()
    rise, outcomes = copies(next_one)
    client.start(next_one)
    assert f"{name} left alone: too large to be ours" in outcomes[0]
    assert rise < LEAST_KIB
    assert time.monotonic() - before < 30


# the name is always there: now a small file, now one of a terabyte
SWAPS = f"""
import os
os.chdir("{WORK}")
for name, size in (("small", 60_000), ("large", 10**12)):
    os.truncate(os.open(name, os.O_CREAT | os.O_WRONLY), size)
while True:
    for name in ("small", "large"):
        os.link(name, "swap")
        os.rename("swap", "{NAME}")
"""
SHRINKS = f"""
import os
file = os.open("{WORK}/{NAME}", os.O_CREAT | os.O_RDWR)
while True:
    os.ftruncate(file, 65_536)
    os.ftruncate(file, 0)
"""


def test_names_that_are_swapped_while_they_are_read(client, create, create_volume):
    """Whatever size the engine told, no more is read than a file of ours can have."""
    volume = create_volume()
    running, next_one = create(binds=volume, command=["python3", "-c", SWAPS]), create(binds=volume)
    client.start(running)
    rise, outcomes = copies(next_one, 60)
    assert {said for said in outcomes if "mnist.ipynb left alone: too large to be ours" in said}
    assert {said for said in outcomes if "mnist.ipynb kept as the user has it" in said}
    assert rise < LEAST_KIB
    client.start(next_one)


def test_a_file_that_shrinks_while_it_is_read(client, create, create_volume):
    """What the engine could not send to its end is one kind of error, by which no start fails."""
    volume = create_volume()
    running, next_one = create(binds=volume, command=["python3", "-c", SHRINKS]), create(binds=volume)
    client.start(running)
    with pytest.raises(CutShortError) as caught:
        read_often(client, next_one, 300)  # one in eight is cut short, here
    assert str(caught.value) == f"{WORK}/{NAME} was cut short while it was read (unexpected end of data)"
    client.start(next_one)


def read_often(client, container, times):
    """Read the notebook, again and again."""
    for _ in range(times):
        notebook.read(DockerEngine.over(client), container, Place().notebook, 65_536)
