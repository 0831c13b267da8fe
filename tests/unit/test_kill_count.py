"""Three witnesses of the same kills: each kill counts once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from spawner_limits.kernel.kmsg import LoggedKill
from spawner_limits.lifecycle.kill_count import KillCount

KILL = LoggedKill(container="3b" * 32, process="python3", pid=77, whose="own")
BEGIN = datetime(2026, 11, 22, 21, tzinfo=UTC)

STORIES = {
    # (second, witness, counter) …, kills in all, second of the last one
    "nothing": ([(0, "count", 0), (1, "count", 0)], 0, None),
    "the counter alone": ([(0, "count", 0), (1, "count", 2)], 2, 1),
    "the log alone": ([(0, "log", 0), (1, "log", 0)], 2, 1),
    "the event alone": ([(0, "event", 0)], 1, 0),
    "events alone, far apart": ([(0, "event", 0), (9, "event", 0)], 2, 9),
    "the same kill in the log, then an event, then the counter": (
        [(0, "count", 0), (0.5, "log", 0), (0.51, "event", 0), (1, "count", 1)], 1, 0.5,
    ),
    "the same kill as an event, then in the counter": ([(0, "count", 0), (0.5, "event", 0), (1, "count", 1)], 1, 1),
    "the same kill in the counter, then as an event": ([(0, "count", 0), (1, "count", 1), (1.2, "event", 0)], 1, 1),
    "the log leaves lines out": ([(0, "count", 0), (0.5, "log", 0), (1, "count", 40)], 40, 1),
    "the counter does not see a cgroup below": ([(0, "count", 0), (0.5, "log", 0), (1, "count", 0)], 1, 0.5),
    "an event without a kill": ([(0, "count", 0), (0.5, "event", 0), (3, "count", 0), (9, "end", 0)], 0, None),
    "an event, and the counter is gone": ([(0, "count", 0), (0.5, "event", 0), (0.6, "end", 0)], 1, 0.5),
    "a kill and an event of it, and the counter is gone": (
        [(0, "count", 0), (0.5, "log", 0), (0.6, "event", 0), (0.7, "end", 0)], 1, 0.5,
    ),
    "an old event, told again when looking back": (
        [(0, "count", 0), (1, "log", 0), (2, "count", 1), (12, "log", 0), (12, "count", 2), (1, "event", 0),
         (13, "end", 0)], 2, 12,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_each_kill_counts_once(name):
    """The counter is the truth for how many; an event counts where nobody else knows of a kill near it."""
    story, kills, last = STORIES[name]
    tally = KillCount()
    for second, witness, counter in story:
        at = BEGIN + timedelta(seconds=second)
        match witness:
            case "count":
                tally.count(counter, at)
            case "log":
                tally.log(KILL, at)
            case "event":
                tally.event(at)
            case "end":
                tally.end()
    assert (tally.kills, tally.at) == (kills, None if last is None else BEGIN + timedelta(seconds=last))


def test_what_was_told_is_not_told_again():
    """Nor what was told before the hub was restarted."""
    tally = KillCount()
    tally.resume(3)
    tally.count(4, BEGIN)
    assert (tally.unreported, tally.report(), tally.report()) == (1, 1, 0)
    tally.log(KILL, BEGIN)
    assert tally.report() == 0
    tally.count(6, BEGIN)
    assert tally.report() == 2


def test_what_is_on_record_is_spared():
    """Where one looks back at a container that nobody watched."""
    tally = KillCount()
    tally.event(BEGIN)
    tally.spare(3)
    assert (tally.kills, tally.unreported) == (1, 0)
    tally.event(BEGIN + timedelta(seconds=9))
    assert tally.unreported == 1
