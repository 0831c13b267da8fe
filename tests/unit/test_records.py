"""What is kept of a container: a line an event, written by many, read by anybody who may."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from spawner_limits.lifecycle.records import Records, usual
from spawner_limits.state_folder import VARIABLE

ONE, TWO = "a" * 64, "b" * 64


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "kept")


def test_what_was_kept_is_read_in_order(records):
    """With its moment and its details; another container's are not among them."""
    before = datetime.now(UTC)
    records.append(ONE, "attested", seconds=0.004)
    records.append(TWO, "oom", process="python3")
    records.append(ONE, "applied", left=["mem_limit: …"])
    assert [(one.event, one.details) for one in records.of(ONE)] == [
        ("attested", {"seconds": 0.004}),
        ("applied", {"left": ["mem_limit: …"]}),
    ]
    assert before <= records.of(ONE)[0].at <= datetime.now(UTC)


def test_nothing_is_known_of_a_stranger(records):
    """No file, and no directory."""
    assert records.of(ONE) == ()
    records.forget(list)
    assert not records.directory.exists()


LINES = {
    "cut short": b'{"at":"2026-11-22T09:00:00+00:00","event":"oo',
    "no moment": b'{"event":"oom"}',
    "no zone": b'{"at":"2026-11-22T09:00:00","event":"oom"}',
    "no event of ours": b'{"at":"2026-11-22T09:00:00+00:00","event":"party"}',
    "a list": b"[1]",
    "a number": b"7",
    "not text": b"\xff\xfe",
    "nested without end": b"[" * 100_000,
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_that_is_none_is_left_out(records, line):
    """What is before and after it is read all the same."""
    records.append(ONE, "attested")
    with (records.directory / f"{ONE}.jsonl").open("ab") as stream:
        stream.write(line + b"\n")
    records.append(ONE, "oom")
    assert [one.event for one in records.of(ONE)] == ["attested", "oom"]


def test_a_file_of_any_length_is_read_from_its_end(records):
    """A container whose processes die by the thousand fills no memory."""
    for _ in range(30):
        records.append(ONE, "oom", process="x" * 50_000)
    assert 10 < len(records.of(ONE)) < 30


def test_many_write_at_once(records):
    """Each line whole."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: records.append(ONE, "oom", number=number, more="y" * 2000), range(200)))
    assert sorted(one.details["number"] for one in records.of(ONE)) == list(range(200))


def test_one_at_a_time(records):
    """The second waits until the first has done."""
    seen = []
    inside = threading.Event()

    def second():
        inside.wait()
        with records.alone(ONE):
            seen.append("second")

    other = threading.Thread(target=second)
    other.start()
    with records.alone(ONE):
        inside.set()
        other.join(0.2)
        seen.append("first")
    other.join()
    assert seen == ["first", "second"]


def test_those_that_are_long_gone_are_forgotten(records):
    """Their locks too; not what is new, nor what is of a container that is there. Who is there is asked only then."""
    for container in (ONE, TWO):
        records.append(container, "attested")
        with records.alone(container):
            pass
    asked = []

    def living():
        asked.append(1)
        return [TWO]

    records.forget(living, now=time.time() + 6 * 24 * 3600)
    assert (len(list(records.directory.iterdir())), asked) == (4, [])
    records.forget(living, now=time.time() + 8 * 24 * 3600)
    assert sorted(path.name for path in records.directory.iterdir()) == [f"{TWO}.jsonl", f"{TWO}.lock"]
    assert asked == [1]


def test_only_their_owner_may_look(records):
    """They name users and what they ran."""
    records.append(ONE, "oom")
    assert records.directory.stat().st_mode & 0o777 == 0o700
    assert (records.directory / f"{ONE}.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path):
    """The caller says what that means."""
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        Records(tmp_path / "file" / "kept").append(ONE, "oom")


def test_where_they_are(tmp_path, monkeypatch):
    """The variable, else root's place, or one of this account's own."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert usual().directory == tmp_path
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/4711")
    own = f"/run/user/4711/spawner-limits-{os.geteuid()}"
    assert str(usual().directory) == ("/run/spawner-limits" if os.geteuid() == 0 else own)
