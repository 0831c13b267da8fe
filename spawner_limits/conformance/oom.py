"""Cases 34 to 38 and 41: whom the OOM killer ends, and how that is told from any other end.

Exit code 137 is any SIGKILL, and the engine's flag has several meanings: what decides is the kernel's own count.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits.clients.own_containers import kill
from spawner_limits.conformance.loads import (
    FREE,
    HOG,
    HOG_MIB,
    LIMITED,
    LONG_S,
    REMEDY,
    SAMPLE_S,
    WAITER,
    await_waiter,
    climb_case,
    memory_case,
    pressed,
    ran,
    under,
    waiting,
    worked,
)
from spawner_limits.conformance.seen import of
from spawner_limits.conformance.setting import Setting, made, rewrite
from spawner_limits.conformance.trial import probe
from spawner_limits.kernel.sampler import FAST_S
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import KILLED, claim, ended, measured, no_oom_kill, oom_kills
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from spawner_limits.clients.own_commands import Command
    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.proof.evidence import Verdict

_PARENT = Limits(mem_limit=128 * MIB)
"""of two containers together: above either's limit"""
_NEIGHBOUR_MIB = 16
_ENDED = "dev/shm/ended"
_NOTICE_S = 1.0
"""for the engine to tell us of an end"""


def lives_on(seen: Seen) -> Verdict:
    """The container runs on."""
    files = [f"docker inspect: State.Running {str(seen.alive).lower()}"]
    return claim("the container", "runs on", "runs on" if seen.alive else "has ended", seen.alive, files=files)


# -- 34: the first process ---------------------------------------------------------------------------------------


def _first(bench: Bench, setting: Setting) -> Seen:
    """Its cgroup vanishes with it, so it is read until then, as often as can be."""
    with made(bench, setting, probe("hog", HOG_MIB)) as subject:
        before = subject.reader.read_limits()
        subject.go()
        taken = subject.follow(seconds=LONG_S, every_s=FAST_S, until=lambda snapshot: snapshot.oom_kill != 0)
        code = worked(subject.await_end(), "it is the container's first process")
        return subject.seen([before, *taken], code, alive=False)


def caught(seen: Seen) -> Verdict:
    """As `oom_kills`; UNKNOWN where the count may have risen between the last sample and the end of the cgroup."""
    found = oom_kills()(seen)
    if not found.figures["oom_kills"] and seen.exit_code == KILLED and seen.snapshots[-1].oom_kill is None:
        return claim(found.field, found.limit, "its cgroup was gone before the count could be read", None)
    return found


# -- 35: a child -------------------------------------------------------------------------------------------------


def _child(bench: Bench, setting: Setting) -> Seen:
    with made(bench, setting, probe("fork_hog", HOG_MIB)) as subject:
        before = subject.reader.read_limits()
        subject.go()
        taken = subject.follow(
            seconds=LONG_S,
            every_s=SAMPLE_S,
            until=lambda snapshot: snapshot.oom_kill is None or _told(subject) is not None,
        )
        if (code := _told(subject)) is None:  # the first process is gone, or the load hangs
            worked(subject.await_end(seconds=3.0), "it is the first process, and has a child that takes memory")
            return subject.seen([before, *taken], alive=False)
        worked(code, "it is the first process's child")
        return subject.seen([before, *taken], code, alive=subject.alive)


def _told(subject: Subject) -> int | None:
    """The child's exit code, as its parent has written it down."""
    with suppress(OSError):
        return int(Path(f"/proc/{subject.container.pid}/root/{_ENDED}").read_text(encoding="ascii"))
    return None


# -- 37: all of them ---------------------------------------------------------------------------------------------


def _together(bench: Bench, setting: Setting) -> Seen:
    """A first process that takes nothing, and a hog; `memory.events` of the cgroup above outlives them."""
    with bench.parent() as parent, made(bench, under(parent, setting), WAITER) as subject:
        subject.go()
        await_waiter(subject.container.pid)
        file = subject.path("memory.events", above=1)
        load = HOG(subject)
        load.wait(LONG_S)
        text = file.read_text(encoding="ascii")
        code = subject.await_end(seconds=3.0)
        if code is None:
            pressed(load)
        return subject.seen([], code, texts={"memory.events": text})


def waiter_killed(seen: Seen) -> Verdict:
    """Also who took nothing was killed."""
    code, events = seen.exit_code, ", ".join((seen.texts["memory.events"] or "").splitlines())
    told = "lives" if code is None else f"exit {code}"
    files = [f"memory.events of the cgroup above: {events}"]
    return claim("the first process, which took nothing", f"exit {KILLED}", told, code == KILLED, files=files)


def group_killed(seen: Seen) -> Verdict:
    """The kernel says that it was by this."""
    count = seen.counts("memory.events").get("oom_group_kill")
    return measured("memory.events oom_group_kill", "+1", count, lambda rise: rise > 0, tell="+{}".format)


# -- 38: another kill --------------------------------------------------------------------------------------------


def _killed_by_us(subject: Subject) -> Command:
    load, pid = waiting(subject)
    kill([pid])
    return load


# -- 41: the neighbours ------------------------------------------------------------------------------------------


def _neighbours(bench: Bench, setting: Setting) -> Seen:
    """Two containers under one cgroup with a limit: one takes memory, the other has some."""
    with (
        bench.parent() as parent,
        made(bench, under(parent, LIMITED)) as other,
        made(bench, under(parent, setting)) as hog,
    ):
        rewrite(other, _PARENT, above=1)
        before = {subject: subject.reader.read_limits() for subject in (other, hog)}
        # the OOM killer would take this one first, if it were its turn to be asked
        kept = other.probe("hog", _NEIGHBOUR_MIB, 4, 4 * LONG_S, "first")
        other.follow(kept, seconds=LONG_S, every_s=SAMPLE_S, until=lambda _: str(_NEIGHBOUR_MIB) in kept.stdout.split())
        if not kept.running:
            pressed(kept)
        load = HOG(hog)
        taken = hog.follow(load, seconds=LONG_S, every_s=SAMPLE_S)
        kept.wait(_NOTICE_S)
        code = pressed(load)
        after, alive = other.reader.read_limits(), other.alive and kept.running
        next_door = other.seen([before[other], after], kept.exit_code, alive=alive)
        return hog.seen([before[hog], *taken], code, parts={"next door": next_door})


def neighbour_lives(seen: Seen) -> Verdict:
    """The process that would go first runs on."""
    told = "runs on" if seen.alive else f"has ended, exit {seen.exit_code}"
    return claim("the neighbour's process", "runs on", told, seen.alive)


# -- the list ----------------------------------------------------------------------------------------------------

_TELL = (
    "the engine or its runtime loses exit codes or OOM counts; look at the kernel's log (dmesg) for 'Memory cgroup out "
    "of memory', and take a newer containerd"
)
_GROUP = Setting(asked=LIMITED.asked, behind={"memory.oom.group": "1"})

CASES: tuple[AnyCase, ...] = (
    memory_case(
        number=34,
        title="a first process that meets the limit ends its container with 137",
        expected="exit 137, oom_kill in memory.oom_control +1",
        expected_v2="exit 137, oom_kill in memory.events +1",
        press=lambda bench: _first(bench, LIMITED),
        control=lambda bench: _first(bench, FREE),
        claims=(ended(KILLED, what="the first process"), caught),
        remedy=f"{REMEDY}; {_TELL}",
    ),
    memory_case(
        number=35,
        title="a child that meets the limit dies alone",
        expected="the child 137, oom_kill +1, the container runs on",
        press=lambda bench: _child(bench, LIMITED),
        control=lambda bench: _child(bench, FREE),
        claims=(ended(KILLED, what="the child"), oom_kills(), lives_on),
        remedy=f"a Jupyter kernel's death may take its server along here: look at memory.oom.group (v2); {REMEDY}",
    ),
    climb_case(
        number=36,
        title="what docker exec has started dies alone",
        expected="docker exec ends with 137, the container runs on",
        claims=(ended(KILLED, what="the docker exec"), lives_on),
        remedy=f"{REMEDY}; {_TELL}",
    ),
    memory_case(
        number=37,
        title="with memory.oom.group all processes die together",
        expected="cgroup v1 has none",
        expected_v2="the first process, which took nothing: exit 137; oom_group_kill +1",
        press=lambda bench: _together(bench, _GROUP),
        control=lambda bench: _together(bench, LIMITED),
        control_words="the same load without memory.oom.group",
        claims=(waiter_killed, group_killed),
        remedy="don't write memory.oom.group on this host; Docker leaves it at 0",
        only=2,
    ),
    memory_case(
        number=38,
        title="a kill that is not by the limit is not taken for one",
        expected="exit 137, oom_kill in memory.oom_control +0",
        expected_v2="exit 137, oom_kill in memory.events +0",
        press=lambda bench: ran(bench, LIMITED, _killed_by_us),
        control=lambda bench: ran(bench, LIMITED, HOG),
        control_words="a kill by the limit",
        claims=(ended(KILLED), no_oom_kill()),
        remedy="something else in the container meets its limit: give it more memory",
    ),
    memory_case(
        number=41,
        title="one container's OOM kill leaves its neighbour alone",
        expected="the load 137; next door oom_kill +0, and the process that would go first runs on",
        press=lambda bench: _neighbours(bench, LIMITED),
        control=lambda bench: _neighbours(bench, FREE),
        control_words="without a limit of its own, beside the neighbour under one cgroup's limit",
        claims=(ended(KILLED), of("next door", no_oom_kill(what="next door"), neighbour_lives)),
        remedy="limit each container, not only a cgroup_parent of several: under that they die for one another",
    ),
)
