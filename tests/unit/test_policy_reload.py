"""Which policy counts: the file's as it is, the last good one while it has mistakes, none where there never was one."""

from __future__ import annotations

import os
import threading

import pytest

from spawner_limits.policy.reload import PolicyFile

GOOD = "version: 1\ndefaults: {{mem_limit: {size}, cpu_limit: 1, pids_limit: 100}}\n"
BAD = "version: 1\ndefaults: {mem_limt: 1G}\n"


def gives(state):
    """The memory of everybody, as the policy in force says; `None`: there is none."""
    return None if state.policy is None else state.policy.defaults.values["mem_limit"].value >> 20


@pytest.fixture
def path(tmp_path):
    """A policy file that gives 512 MiB."""
    file = tmp_path / "limits.yaml"
    file.write_text(GOOD.format(size="512M"))
    return file


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    """One that was only made is stale, and has no policy."""
    policy_file = PolicyFile(tmp_path / "limits.yaml")
    assert policy_file.is_stale()
    assert policy_file.state.policy is None
    assert not policy_file.state.is_current


def test_a_file_that_did_not_change_is_not_read_again(path):
    """One `stat` tells."""
    reads = []
    policy_file = PolicyFile(path, read=reads.append)
    for _ in range(3):
        policy_file.refresh()
    assert reads == [path]
    assert not policy_file.is_stale()


def change(path):
    path.write_text(GOOD.format(size="768M"))


def replace(path):
    new = path.with_suffix(".new")
    new.write_text(GOOD.format(size="768M"))
    stat = path.stat()
    os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as `cp --preserve` leaves it
    new.replace(path)


def swap_link(path):
    """As Kubernetes changes a ConfigMap."""
    first, second = path.with_name("first"), path.with_name("second")
    path.rename(first)
    path.symlink_to(first)
    second.write_text(GOOD.format(size="768M"))
    path.unlink()
    path.symlink_to(second)


CHANGES = {"written": change, "replaced by one of the same size and time": replace, "another link": swap_link}


@pytest.mark.parametrize("make", CHANGES.values(), ids=CHANGES)
def test_a_changed_file_counts(path, make):
    """However it was changed."""
    policy_file = PolicyFile(path)
    assert gives(policy_file.refresh()) == 512
    make(path)
    assert policy_file.is_stale()
    assert gives(policy_file.refresh()) == 768
    assert policy_file.state.is_current


BROKEN = {
    "a mistake": lambda path: path.write_text(BAD),
    "cut short": lambda path: path.write_text("version: ["),
    "empty": lambda path: path.write_text(""),
    "gone": lambda path: path.unlink(),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_changes_nothing(path, damage):
    """It is refused whole: the last good policy stays, and the state says what is wrong, where."""
    policy_file = PolicyFile(path)
    policy_file.refresh()
    damage(path)
    state = policy_file.refresh()
    assert gives(state) == 512
    assert not state.is_current
    assert str(state.problems[0]).startswith(f"{path}:")
    assert policy_file.refresh() is state  # it is not read again and again
    if path.is_dir():
        path.rmdir()
    change(path)
    assert (gives(policy_file.refresh()), policy_file.state.problems) == (768, ())


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_without_any_good_policy_there_is_none(path, damage):
    """And the first good one counts."""
    damage(path)
    policy_file = PolicyFile(path)
    state = policy_file.refresh()
    assert state.policy is None
    assert str(state.problems[0]).startswith(f"{path}:")
    if path.is_dir():
        path.rmdir()
    change(path)
    assert gives(policy_file.refresh()) == 768


def test_what_is_wrong_is_said(path):
    """With the place of the mistake."""
    path.write_text(BAD)
    assert (
        str(PolicyFile(path).refresh().problems[-1])
        == f'{path}:2:12: defaults.mem_limt: unknown key; did you mean "mem_limit"?'
    )


def test_a_file_that_changes_while_it_is_read_is_read_again(path):
    """What was written after the look counts the next time."""
    calls = []

    def read(file):
        calls.append(file)
        if len(calls) == 1:
            path.write_text("longer than before" * 9)

    policy_file = PolicyFile(path, read=read)
    policy_file.refresh()
    assert policy_file.is_stale()


def test_many_threads_read_it_once(path):
    """They wait for each other."""
    reads, ready = [], threading.Barrier(8)
    policy_file = PolicyFile(path, read=reads.append)

    def refresh():
        ready.wait()
        policy_file.refresh()

    threads = [threading.Thread(target=refresh) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reads == [path]
