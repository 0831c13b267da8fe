"""`OUT_OF_MEMORY.md`: what is in it, and whose it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from spawner_limits.live.ends import Oom, Owned
from spawner_limits.spawners.notice import entries_of, entry, page
from spawner_limits.units import MIB

CET = timezone(timedelta(hours=1), "CET")
NOW = datetime(2026, 11, 22, 23, 0, tzinfo=CET)
SAM = Owned(container="3b" * 32, user="sam", limit_bytes=288 * MIB, rule="group students")


def oom(**given):
    """A kill at 21:02 in Central Europe."""
    return Oom(**{"at": datetime(2026, 11, 22, 20, 2, 11, tzinfo=UTC), "server": SAM, **given})


def test_a_line():
    """When, which process, how much, at which limit by which rule."""
    at, limit = "- 2026-11-22 21:02:11 CET: ", ", at its memory limit of 288 MiB (rule: group students)"
    assert entry(oom(process="py`3", rss_bytes=180 * MIB), NOW) == f"{at}`py3` was ended, which held 180 MiB{limit}"
    assert entry(oom(), NOW) == f"{at}a process was ended{limit}"
    assert entry(oom(count=3), NOW) == f"{at}3 processes were ended, the last of them a process{limit}"


def test_it_is_known_again():
    """With its lines, the last kill first; and no more than twenty of them."""
    lines = [f"- {number}" for number in range(30)]
    assert entries_of(page(lines, "Ann")) == tuple(lines[:20])
    assert "or ask Ann for more" in page(lines, "Ann")


def test_what_was_changed_is_the_users():
    """As is any other file of that name."""
    ours = page(["- one"], None)
    assert [
        entries_of(text) for text in (ours + "mine", ours.replace("one", "two"), "", "# Out of memory\n", ours[1:])
    ] == [None] * 5
    assert entries_of(ours) == ("- one",)
