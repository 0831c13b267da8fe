"""Why a server ended: from what was seen to a cause, and from there to what people read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from spawner_limits.lifecycle.exit_reason import OomKill, ServerContainer, ServerExit, cause, count_of, oom_line
from spawner_limits.units import GIB, MIB

DIED = datetime(2026, 11, 22, 20, 2, 11, tzinfo=UTC)
CET = timezone(timedelta(hours=1), "CET")
NOW = datetime(2026, 11, 22, 23, 0, tzinfo=CET)


def ago(seconds):
    """So long before the end."""
    return DIED - timedelta(seconds=seconds)


OOM, KILL, TERM = "oom_at", 9, 15
CAUSES = {
    # exit code, seconds from the last OOM kill to the end, signals asked of the engine → cause
    "the OOM killer took the first process": (137, 0.1, set(), "oom"),
    "it took a while to be freed": (137, 2.9, set(), "oom"),
    "the end was heard before the kill": (137, -0.2, set(), "oom"),
    "gone with its exit code, just after a kill": (None, 0.5, set(), "oom"),
    "SIGKILL from outside": (137, None, set(), "killed"),
    "SIGKILL long after a child was killed": (137, 60, set(), "killed"),
    "docker kill": (137, None, {KILL}, "killed"),
    "docker kill just after a child was killed": (137, 2, {KILL}, "killed"),
    "docker kill before the kill of a child was noted": (137, -0.1, {KILL}, "killed"),
    "docker rm -f, without an exit code, just after a child was killed": (None, 0.5, {KILL}, "vanished"),
    "docker stop before the kill of a child was noted": (143, 0.1, {TERM}, "stopped"),
    "killed for memory while it was being stopped": (137, 0.1, {TERM}, "oom"),
    "docker stop": (143, None, {TERM}, "stopped"),
    "docker stop of who does not listen": (137, None, {TERM, KILL}, "stopped"),
    "docker stop, and an exit in order": (0, None, {TERM}, "stopped"),
    "docker stop just after a child was killed": (137, 1, {TERM, KILL}, "stopped"),
    "SIGTERM from inside": (143, None, set(), "signal"),
    "a crash": (139, None, set(), "signal"),
    "exit 0": (0, None, set(), "exited"),
    "exit 3": (3, None, set(), "exited"),
    "exit 3 just after a child was killed": (3, 0.5, set(), "exited"),
    "exit 255": (255, None, set(), "exited"),
    "vanished": (None, None, set(), "vanished"),
    "vanished long after a child was killed": (None, 600, set(), "vanished"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_causes(name):
    """137 alone says nothing, and an OOM kill that the server outlived neither, whenever it is noted."""
    code, oom, asked, wanted = CAUSES[name]
    oom_at = None if oom is None else ago(oom)
    assert cause(exit_code=code, died_at=DIED, oom_at=oom_at, asked=asked) == wanted


def end(why="oom", code=137, **given):
    """An end at 21:02 in Central Europe."""
    return ServerExit(**{"at": DIED, "cause": why, "exit_code": code, **given})


LIMIT = {"limit_bytes": 2 * GIB, "rule": "group students"}
LESS, AGAIN = "load less data at once, or ask Ann for more.", "if that happens once more, ask Ann."
TEXTS = {
    "limit and rule": (end(**LIMIT), "21:02 CET: it reached its memory limit of 2.00 GiB (rule: group students)", LESS),
    "a limit that was changed": (
        end(limit_bytes=2 * GIB), "21:02 CET: it reached its memory limit of 2.00 GiB", LESS,
    ),
    "on another day": (end(at=DIED - timedelta(days=1)), "2026-11-21 21:02 CET: it reached its memory limit", LESS),
    "all servers together": (
        end(**LIMIT, whose="above"), "21:02 CET: all servers on this machine together had used up its memory", LESS,
    ),
    "SIGKILL": (
        end("killed"), "21:02 CET: somebody or something ended it (SIGKILL), and not for its memory", AGAIN,
    ),
    "SIGTERM": (
        end("stopped", 143), "21:02 CET: an administrator stopped it, or the container engine was stopped", AGAIN,
    ),
    "a hub that was killed": (
        end("interrupted", None), "21:02 CET: the hub was restarted while it was starting", AGAIN,
    ),
    "another signal": (end("signal", 139), "21:02 CET: it was ended by SIGSEGV", AGAIN),
    "exit 3": (end("exited", 3), "21:02 CET: it ended by itself, with exit code 3", AGAIN),
    "vanished": (
        end("vanished", None),
        "21:02 CET: its container was removed, or lost when the container engine was restarted",
        AGAIN,
    ),
}  # fmt: skip
REMEDIES = {LESS: "When you start it again, ", AGAIN: "You can start it again; "}


@pytest.mark.parametrize("name", TEXTS)
def test_what_its_user_reads(name):
    """Fact, cause, remedy."""
    told, why, remedy = TEXTS[name]
    wanted = f"Your server was stopped at {why}. {REMEDIES[remedy]}{remedy}"
    assert told.for_user("Ann", now=NOW) == wanted


def test_nobody_is_surprised():
    """By a server that its user has ended in JupyterLab."""
    assert end("exited", 0).for_user("Ann", now=NOW) is None


def test_without_a_contact():
    """Somebody is named all the same."""
    assert end().for_user(None, now=NOW).endswith("or ask the administrator of this hub for more.")


WORDS = {
    "out of memory: the OOM killer took tini at its memory limit of 2.00 GiB (rule: group students)": end(
        **LIMIT, process="tini"
    ),
    "out of memory: the OOM killer took it at its memory limit": end(),
    "out of memory: the OOM killer took it as the whole host had no memory left": end(**LIMIT, whose="host"),
    "it was stopped through the engine": end("stopped", 143),
    "SIGKILL, and not by the OOM killer": end("killed"),
    "ended by SIGSEGV": end("signal", 139),
    "ended by signal 63": end("signal", 128 + 63),
    "it ended by itself with exit code 3": end("exited", 3),
    "its container is gone, and nobody saw it end: it was removed, or the engine lost it": end("vanished", None),
    "the hub ended while it was starting it": end("interrupted", None),
}


@pytest.mark.parametrize("wanted", WORDS)
def test_what_the_administrator_reads(wanted):
    """In the hub's log, after DockerSpawner's own words."""
    assert WORDS[wanted].words == wanted


@pytest.mark.parametrize("name", TEXTS)
def test_it_is_kept_over_a_restart(name):
    """What was written is read back equal."""
    assert ServerExit.read(TEXTS[name][0].details) == TEXTS[name][0]


def test_what_is_no_end_is_none():
    """As in the state of another version."""
    good = end(**LIMIT).details
    bad = ({"at": 5}, {"at": "soon"}, {"cause": "boredom"}, {"at": "2026-11-22T20:02:11"})
    assert [ServerExit.read(one) for one in (None, [], {}, "x", *(good | one for one in bad))] == [None] * 8
    assert ServerExit.read(good | {"user": "sam"}) == end(**LIMIT)


SAM = ServerContainer(container="3b" * 32, user="sam", limit_bytes=288 * MIB, rule="group students")
KILL_ = OomKill(at=DIED, server=SAM, process="python3", pid=77, rss_bytes=180 * MIB, whose="own")


def test_one_kill_in_the_log():
    """Who, what, how much, at which limit by which rule, and what became of the server."""
    assert oom_line(KILL_) == (
        "Out of memory in the server of sam: the OOM killer took python3 (pid 77), which held 180 MiB, at its memory "
        "limit of 288 MiB (rule: group students); the server goes on"
    )
    named = replace(KILL_, server=replace(SAM, server="gpu"), count=3, server_died=True, whose="above")
    assert oom_line(named) == (
        "Out of memory in the server of sam:gpu: the OOM killer took 3 processes, the last of them python3 (pid 77), "
        "which held 180 MiB, at the limit of a cgroup above it, that of all servers together; the server ended by it"
    )
    assert oom_line(OomKill(at=DIED, server=ServerContainer(container="3b" * 32, user="sam"))) == (
        "Out of memory in the server of sam: the OOM killer took a process whose name is not known, at its memory "
        "limit; the server goes on"
    )


def test_one_kill_on_record():
    """What is not known is not there."""
    assert replace(KILL_, rss_bytes=None).details == {
        "count": 1, "process": "python3", "pid": 77, "whose": "own", "server_died": False,
        "user": "sam", "server": "", "limit_bytes": 288 * MIB, "rule": "group students",
    }  # fmt: skip
    assert [count_of(one) for one in (KILL_.details, {"count": 3}, {}, {"count": True}, {"count": "x"})] == [
        1,
        3,
        1,
        1,
        1,
    ]
