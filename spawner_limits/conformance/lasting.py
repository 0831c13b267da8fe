"""Cases 62 to 64: limits that were changed, after a restart, in a pause, and below what runs already."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spawner_limits import interrupt
from spawner_limits.clients.engine import RefusedError
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.change import Change, change, in_force
from spawner_limits.conformance.setting import NOTHING, Setting, hold, made, rewrite, shown
from spawner_limits.conformance.trial import Subject
from spawner_limits.conformance.update import (
    EXCEEDS_MIB,
    LIFTED,
    LOAD_S,
    SETTLED_S,
    begun,
    exceeding,
    processes,
    update_case,
)
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import KILLED, claim, ended, exactly, judged, rose, unpressed
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.trial import Bench
    from spawner_limits.proof.evidence import Verdict

_REFUSED_S = 0.5
"""so long a load that can start no process tries to"""
_PIDS = 24
_FEW = Limits(pids_limit=10)
_BEFORE = Setting(asked=Limits(mem_limit=96 * MIB, memswap_limit=96 * MIB, cpu_limit=1.0, pids_limit=128))
_AFTER = Limits(mem_limit=48 * MIB, memswap_limit=48 * MIB, pids_limit=_PIDS)


# -- 62, 64: what lasts --------------------------------------------------------------------------------------------

FORKS, STATE = "forks", "state of the paused container"


@contextmanager
def _asked_of_the_engine(what: str) -> Iterator[None]:
    """CannotError for what the engine refuses."""
    try:
        yield
    except RefusedError as error:
        raise CannotError(f"the engine can't {what} a container: {error.words}") from error


def _pressed(subject: Subject, changed: Change, **more: Any) -> Change:
    """Limits that were changed, pressed after something else had happened to the container."""
    memory = exceeding(subject, **more)
    forks = subject.press("forks", 2 * _PIDS, 0.5, seconds=LOAD_S)
    return replace(changed, seen=replace(memory, parts={FORKS: forks}))


def _restarted(bench: Bench, really: Limits = NOTHING) -> Change:
    with made(bench, _BEFORE) as subject:
        changed = change(subject, _AFTER)
        with _asked_of_the_engine("restart"):
            bench.engine.docker.restart(subject.container.id)
        # another first process, and so another cgroup
        with Subject(bench, bench.engine.inspect(subject.container.id)) as again:
            rewrite(again, really)
            return _pressed(again, changed)


def _paused(bench: Bench, really: Limits = NOTHING) -> Change:
    with made(bench, _BEFORE) as subject:
        with _asked_of_the_engine("pause"), bench.engine.docker.paused(subject.container.id):
            changed = change(subject, _AFTER)
            frozen = _frozen(subject)
        rewrite(subject, really)
        return _pressed(subject, changed, texts={STATE: frozen})


def _frozen(subject: Subject) -> str:
    if subject.bench.version == 1:
        return subject.read("freezer.state") or "not read"
    return "FROZEN" if "frozen 1" in (subject.read("cgroup.events") or "") else "THAWED"


def as_before(changed: Change) -> list[Verdict]:
    """The change is in force, in a pause too; so is the CPU quota, which no update named, and another case presses."""
    paused = [exactly(state, "FROZEN", text) for state, text in changed.seen.texts.items()]
    return [*in_force(changed), *paused, *shown(_BEFORE.asked, "cpu_limit")(changed.seen)]


def lasts(changed: Change) -> list[Verdict]:
    """The limits of the update hold under load."""
    memory = (hold(_AFTER, "mem_limit"), ended(KILLED, what=f"a load of {EXCEEDS_MIB} MiB"))
    return [*judged(memory, changed.seen), *hold(_AFTER, "pids_limit")(changed.seen.parts[FORKS])]


# -- 63: fewer processes than there are ----------------------------------------------------------------------------


def _fewer(bench: Bench, really: Limits = NOTHING) -> Change:
    """A limit of processes that is lowered below what runs, while a load tries to start one more."""
    with made(bench, Setting(asked=Limits(pids_limit=4 * _PIDS))) as subject:
        load = subject.probe("forks", _PIDS, LOAD_S)
        begun(load, "got")
        ran = _standing(subject)
        changed = change(subject, _FEW)
        rewrite(subject, really)
        taken = subject.follow(load, seconds=_REFUSED_S)
        ran_on = len(ran & processes(subject))
        return replace(changed, seen=subject.seen(taken, load.exit_code), ran=len(ran), ran_on=ran_on)


def _standing(subject: Subject) -> frozenset[int]:
    """Processes that are there twice: the one that is started now and then is not among them."""
    first = processes(subject)
    interrupt.pause(SETTLED_S)
    return first & processes(subject)


def all_run_on(changed: Change) -> Verdict:
    """None was killed."""
    ran, ran_on, few = changed.ran, changed.ran_on, _FEW.pids_limit or 0
    holds, files = (
        ran_on == ran if ran > few else None,
        (f"cgroup.procs: {ran} processes before, {ran_on} of them after",),
    )
    return claim("processes that ran on", f"all {ran}, more than {few}", str(ran_on), holds, files=files)


def forks_refused(changed: Change) -> Verdict:
    """No new one started."""
    series = changed.seen.series
    refused = series.risen("pids_max_events")
    files = (f"pids.events max: {series.first('pids_max_events')} → {series.last('pids_max_events')}",)
    return rose("forks refused after the update", refused, files=files, figures={"refused_forks": refused})


# -- the list ------------------------------------------------------------------------------------------------------

CASES: tuple[AnyCase, ...] = (
    update_case(
        number=62,
        title="limits that were changed survive a restart of the container",
        expected="memory and processes of the update hold under load, the CPU quota is as before",
        press=_restarted,
        control=lambda bench: _restarted(bench, LIFTED),
        claims=(unpressed(as_before), lasts),
    ),
    update_case(
        number=63,
        title="fewer processes than there are: none is killed, and no new one starts",
        expected="all run on; forks are refused",
        press=_fewer,
        control=lambda bench: _fewer(bench, Limits(pids_limit=256)),
        claims=(unpressed(in_force), all_run_on, forks_refused),
    ),
    update_case(
        number=64,
        title="the update of a paused container is in force when it goes on",
        expected="it stays paused; memory and processes of the update hold under load afterwards",
        press=_paused,
        control=lambda bench: _paused(bench, LIFTED),
        claims=(unpressed(as_before), lasts),
    ),
)
