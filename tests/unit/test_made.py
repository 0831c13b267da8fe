"""What killed runs left, by the notes that they made; whoever looks at one engine's is in nobody's way at another's."""

from __future__ import annotations

import fcntl

import pytest

from spawner_limits.clients.made import Made, new_name


@pytest.fixture
def made(tmp_path):
    """Notes of this account."""
    return Made(tmp_path / "state" / "trials")


def test_what_a_living_run_made_is_not_left(made):
    """It holds the lock on its note, until it has removed the thing or has ended."""
    note = made.note(new_name(), "container", "an engine")
    assert made.left("an engine") == ()
    note.close()
    (left,) = made.left("an engine")
    assert (left.name, left.kind) == (note.name, "container")
    left.forget()
    assert made.left("an engine") == ()


def test_containers_are_left_before_the_cgroups_that_they_are_in(made):
    """Which can't be removed before."""
    for kind in ("cgroup", "container"):
        made.note(new_name(), kind, "an engine").close()
    left = made.left("an engine")
    assert [note.kind for note in left] == ["container", "cgroup"]
    for note in left:
        note.close()


def test_who_sweeps_another_engine_does_not_hold_the_note_for_a_moment(made, monkeypatch):
    """Else what is left there would be taken for a living run's, and stay."""
    made.note(new_name(), "container", "an engine").close()
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lambda *_: pytest.fail("locked"))
        assert made.left("another engine") == ()
    (left,) = made.left("an engine")
    left.forget()
