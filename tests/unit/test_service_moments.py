"""When running servers must be looked at anew, and when whoever does not answer is asked again."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest

from spawner_limits.policy.expiry import next_end
from spawner_limits.policy.parse import parse
from spawner_limits.service.keeper import Backoff, PolicyPeriod

DEFAULTS = {"mem_limit": "1G", "cpu_limit": "1", "pids_limit": "100"}
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def policy(**sections):
    """A policy with these sections."""
    return parse(json.dumps({"version": 1, "defaults": DEFAULTS, **sections}).encode(), "limits.yaml")


def until(text, **more):
    return {"mem_limit": "2G", "until": text, **more}


ENDS = {
    "no rule ends": (policy(users={"ann": {"mem_limit": "2G"}}), None),
    "a user's rule": (policy(users={"ann": until("2026-11-22T13:00Z")}), NOON.replace(hour=13)),
    "a group's rule": (policy(groups={"a": until("2026-11-22T13:00Z")}), NOON.replace(hour=13)),
    "a date, to its end": (policy(users={"ann": until("2026-11-22")}), NOON.replace(day=23, hour=0)),
    "another zone": (policy(users={"ann": until("2026-11-22T13:00+00:30")}), NOON.replace(minute=30)),
    "a temporary grant": (
        policy(users={"ann": {"mem_limit": "2G", "temporarily": until("2026-11-22T13:00Z")}}),
        NOON.replace(hour=13),
    ),
    "a temporary grant before its rule's end": (
        policy(users={"ann": until("2026-11-22T14:00Z", temporarily=until("2026-11-22T13:00Z"))}),
        NOON.replace(hour=13),
    ),
    "a temporary grant of a group": (
        policy(groups={"a": {"mem_limit": "2G", "temporarily": until("2026-11-22T13:00Z")}}),
        NOON.replace(hour=13),
    ),
    "the first of many": (
        policy(users={f"u{hour}": until(f"2026-11-22T{hour}:00Z") for hour in (16, 14, 15)}, groups={}),
        NOON.replace(hour=14),
    ),
    "one that is past does not count": (
        policy(users={"ann": until("2001-01-01"), "bob": until("2026-11-22T13:00Z")}),
        NOON.replace(hour=13),
    ),
    "all are past": (policy(users={"ann": until("2001-01-01")}), None),
    "this very moment is past": (policy(users={"ann": until("2026-11-22T12:00Z")}), None),
    "one second on": (policy(users={"ann": until("2026-11-22T12:00:01Z")}), NOON + timedelta(seconds=1)),
}


@pytest.mark.parametrize(("given", "end"), ENDS.values(), ids=ENDS)
def test_the_next_moment_at_which_a_rule_ends(given, end):
    """Of all rules, also the temporary ones; what has ended already is no moment any more."""
    assert next_end(given, NOON) == end


GIVEN = policy(users={"ann": until("2026-11-22T13:00Z"), "bob": until("2026-11-22T15:00Z")})
HOURS = {
    "nothing has happened": (0, GIVEN, False),
    "just before": (0.999, GIVEN, False),
    "the moment": (1, GIVEN, True),
    "a clock that jumps over it": (2, GIVEN, True),
    "a clock that jumps over several": (24 * 365, GIVEN, True),
    "a clock that is set back": (-1, GIVEN, True),
    "another policy": (0, policy(), True),
}


@pytest.mark.parametrize(("hours", "now_given", "over"), HOURS.values(), ids=HOURS)
def test_when_all_servers_are_looked_at_anew(hours, now_given, over):
    """When the file is another, or the wall clock is beyond the next end, or before where it was."""
    assert PolicyPeriod.begun(GIVEN, NOON).is_over(now_given, NOON + timedelta(hours=hours)) is over


def test_an_end_that_was_jumped_back_over_comes_again():
    """A clock that is set back to before an end meets that end a second time."""
    era = PolicyPeriod.begun(GIVEN, NOON + timedelta(hours=2))
    assert era.until == NOON.replace(hour=15)
    assert era.is_over(GIVEN, NOON)
    assert PolicyPeriod.begun(GIVEN, NOON).until == NOON.replace(hour=13)


def test_who_does_not_answer_is_asked_ever_more_seldom_and_it_is_said_once(caplog):
    """After 0.5 s, 1 s, 2 s, and at last each 30 s; once it answers, at once again."""
    seconds = [0.0]
    patience = Backoff(whom="the hub", clock=lambda: seconds[0])
    pauses = []
    with caplog.at_level(logging.INFO, "spawner-limits"):
        for _ in range(9):
            patience.failed("refused")
            begun = seconds[0]
            while not patience.may_ask:
                seconds[0] += 0.5
            pauses.append(seconds[0] - begun)
        patience.answered()
        patience.answered()
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert patience.may_ask
    assert [record.getMessage() for record in caplog.records] == [
        "the hub does not answer, and will be asked again: refused",
        "the hub answers again",
    ]
