"""Run a trial: press in a container, read the Linux kernel's counters from outside all the while, and judge."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from spawner_limits import __version__, interrupt
from spawner_limits.bench import presses
from spawner_limits.bench.contest import contest
from spawner_limits.bench.guard import Guard
from spawner_limits.bench.host import host_of
from spawner_limits.clients.engine import GoneError
from spawner_limits.clients.own_commands import Command
from spawner_limits.deadline import Deadline, OvertimeError
from spawner_limits.engines import labels
from spawner_limits.engines.docker import translate
from spawner_limits.errors import UsageError
from spawner_limits.kernel.reader import Reader
from spawner_limits.kernel.sampler import INTERVAL_S, Sampler, Source
from spawner_limits.lifecycle import records
from spawner_limits.lifecycle.in_force import last_applied
from spawner_limits.limits import FIELDS, Limits, tell
from spawner_limits.policy.entitlement import Entitlement
from spawner_limits.proof.evidence import Evidence, Load, Origin, Outcome, Report, Trial
from spawner_limits.proof.judge import judge
from spawner_limits.report import words
from spawner_limits.spawners import notebook
from spawner_limits.verify.load import EXECUTED, LONGEST, called, complaint, execution, promises, said
from spawner_limits.verify.whose import replaced, server_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from spawner_limits.clients.hub_api import Hub
    from spawner_limits.clients.own_containers import Container, Engine
    from spawner_limits.engines.enforcement import Enforcement
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Contest

MARGIN_S = 120
"""how much longer than its load a container of ours lives, should nobody be left to remove it"""
ENDED = "the container ended before its load did"
_NO_LOAD = Load(command=(), exit_code=None, oom_killed=None)
_MOST_SHARES = 262_144
"""that the Linux kernel takes"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """Whom a trial tells what happens."""

    say: Callable[[str], None]
    """a sentence, now and then"""
    sample: Callable[[str, Limits, Sequence[Snapshot]], None]
    """the subject, its limits, and all snapshots so far, ten times a second"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Subject:
    """What is pressed: its name, what it was promised, and whether its container has those limits."""

    name: str
    limits: Limits
    origins: tuple[Origin, ...]
    enforcement: Enforcement
    control: bool = False
    """promised these limits, and given none of them"""

    @property
    def called(self) -> str:
        """Whose usage a line shows."""
        return f"control ({self.name})" if self.control else self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Prover:
    """Runs trials on one engine; each ends after `seconds`, whatever hangs."""

    engine: Engine
    seconds: int
    watch: Watch

    def verify_users(self, hub: Hub, users: Sequence[str], *, control: bool) -> Report:
        """Press on the servers of `users`, one after the other, each started through the hub where it does not run.

        With `control`, the first one's load runs once more in a container of the same image without limits.
        """
        started = _now()
        asked = hub.until(Deadline.after(self.seconds))
        for user in users:
            asked.model(user)  # a name that is wrong is said before anything starts
        trials: list[Trial] = []
        for user in users:
            self.watch.say(f"{user}: starting the server through the hub")
            with self._timed() as timed:
                bound = hub.until(timed.engine.deadline)
                with bound.server(user, lambda line: self.watch.say(f"  {line}")):
                    container = server_of(timed.engine, bound, user)
                    trial = timed._server(user, container)  # noqa: SLF001  of this class
                    why = replaced(bound, user, container)
                    trials.append(_unknown(trial, why) if why else trial)
            if control and len(trials) == 1:
                trials.append(self._control(trials[0], container.image, ()))
        return self._report(started, trials)

    def verify_image(self, image: str, limits: Limits, command: Sequence[str], *, control: bool) -> Report:
        """Press on a container of `image` with `command`, or with the notebook when it is empty.

        Errors: UsageError for an image that is missing, or limits that the engine can't hold.
        """
        started = _now()
        enforcement = self._translate(limits)
        if enforcement.cannot:
            raise UsageError("; ".join(f"{field}: {why}" for field, why in enforcement.cannot.items()))
        given = ((expected.field, tell(expected.field, expected.value)) for expected in enforcement.expect)
        origins = tuple(Origin(field=field, value=value, rule="the command line") for field, value in given)
        subject = _Subject(name=image, limits=limits, origins=origins, enforcement=enforcement)
        trials = [self._own_container(image, subject, command, enforcement.ask)]
        if control:
            trials.append(self._control(trials[0], image, command))
        return self._report(started, trials)

    def _translate(self, limits: Limits) -> Enforcement:
        return translate(
            limits,
            version=self.engine.cgroup_version,
            page_size_bytes=os.sysconf("SC_PAGE_SIZE"),
            driver=self.engine.cgroup_driver,
        )

    def _report(self, started: str, trials: Sequence[Trial]) -> Report:
        return Report(trials=tuple(trials), host=host_of(self.engine), started=started, version=__version__)

    # -- containers ----------------------------------------------------------------------------------------------

    def _server(self, user: str, container: Container) -> Trial:
        """A trial in a user's server, by what is in force there when it begins, and still when it ends."""
        entitlement = in_force(container)
        origins = tuple(
            Origin(field=name, value=tell(name, grant.value), rule=grant.origin)
            for name, grant in entitlement.grants.items()
            if name in FIELDS
        )
        enforcement = self._translate(entitlement.limits)
        subject = _Subject(name=user, limits=entitlement.limits, origins=origins, enforcement=enforcement)
        path = container.labels.get(labels.NOTEBOOK)
        if path is None:
            trial = self._idle_trial(
                container, subject, "the hub copies no notebook into this server (copy_notebook is off)"
            )
        else:
            trial = self._trial(container, subject, execution(path))
        if in_force(container).limits == entitlement.limits:
            return trial
        return _unknown(trial, "its limits were changed while it was pressed; press again")

    def _own_container(
        self, image: str, subject: _Subject, command: Sequence[str], host_config: Mapping[str, Any]
    ) -> Trial:
        environment = promises(subject.limits)
        seconds = self.seconds + MARGIN_S
        with (
            self._timed() as timed,
            timed.engine.trial_container(
                image, host_config=host_config, environment=environment, seconds=seconds
            ) as container,
        ):
            if command:
                return timed._trial(container, subject, command)  # noqa: SLF001  of this class
            place = notebook.Place()
            notebook.copy(timed.engine.docker, container.id, place, notebook.packaged())
            return timed._trial(container, subject, execution(str(place.notebook)))  # noqa: SLF001  of this class

    @contextmanager
    def _timed(self) -> Iterator[Prover]:
        """The same prover for the time of one trial, all of which is to end in time."""
        with self.engine.until(Deadline.after(self.seconds)) as engine:
            yield replace(self, engine=engine)

    def _control(self, trial: Trial, image: str, command: Sequence[str]) -> Trial:
        """The same load, promised the same limits, in a container that has none of them."""
        limits = Limits(**{expected.field: expected.value for expected in trial.expect})  # type: ignore[arg-type]  # fields
        subject = _Subject(
            name=trial.subject, limits=limits, origins=trial.limits, enforcement=self._translate(limits), control=True
        )
        self.watch.say(f"{trial.subject}: control, the same load in a container without these limits")
        # whatever the load, the host must survive it
        caps = {"mem_limit": trial.evidence.host.memory_bytes // 2, "pids_limit": 8192}
        if limits.cpu_shares is not None:
            # any shares but those that were promised: without any it would have 1024, which may be the same
            promised = limits.cpu_shares
            caps["cpu_shares"] = min(2 * promised, _MOST_SHARES) if promised < _MOST_SHARES else promised // 2
        return self._own_container(image, subject, command, caps)

    # -- one trial -----------------------------------------------------------------------------------------------

    def _trial(self, container: Container, subject: _Subject, command: Sequence[str]) -> Trial:
        self.watch.say(f"{subject.called}: pressing with {words.line(shlex.join(called(command)))[:LONGEST]}")
        with Reader(self.engine.cgroup(container)) as reader:
            first = self._press(container, reader, subject, command)
            contest = None if first.load.problem == ENDED else self._contest(container, subject)
            evidence = replace(first, contest=contest)
            trial = _judged(subject, evidence)
            # in a control the notebook finds limits broken, and fails, as it must
            if called(command) != EXECUTED or not (subject.control or evidence.load.exit_code == 0):
                return trial
            return self._pressed_again(container, reader, subject, trial)

    def _press(self, container: Container, reader: Reader, subject: _Subject, command: Sequence[str]) -> Evidence:
        """One load, to its end or its time, and what was read meanwhile."""
        (running,), evidence = self._followed(container, reader, subject, [command], self.seconds)
        return replace(evidence, load=self._load(container, command, running))

    def _own_press(self, container: Container, reader: Reader, subject: _Subject, press: presses.Press) -> Evidence:
        """A load of our own, which need not end by itself."""
        commands = [press.command] * press.count
        (first, *_), evidence = self._followed(container, reader, subject, commands, press.seconds)
        return replace(evidence, load=Load(command=press.called, exit_code=first.exit_code, oom_killed=None))

    def _followed(
        self, container: Container, reader: Reader, subject: _Subject, commands: Sequence[Sequence[str]], seconds: float
    ) -> tuple[list[Command], Evidence]:
        """Loads side by side, and what was read from before they began until after they were ended."""
        guard = Guard(self.engine.cgroup(container), container.pid, interrupt.pause)
        loads: list[Command] = []

        def wait(for_s: float) -> None:
            for load in loads:
                if load.running:
                    load.wait(for_s)
                    break
            interrupt.check()

        def over() -> bool:
            return self.engine.deadline.passed or not any(load.running for load in loads)

        sampler = Sampler(sources=[Source(reader=reader, look=guard.look)], pause=wait)
        taken = [*sampler.limits()]
        try:
            loads += [Command(self.engine, container, command) for command in commands]
            for (snapshot,) in sampler.follow(seconds=seconds, over=over):
                taken.append(snapshot)
                self.watch.sample(subject.called, subject.limits, taken)
            for load in loads:
                if load.running:
                    load.problem = f"the load did not end within {self.seconds} s and was ended"
        finally:
            for load in loads:
                load.stop()
        interrupt.pause(INTERVAL_S)
        taken += sampler.limits()
        return loads, self._evidence(taken, _NO_LOAD, guard)

    def _pressed_again(self, container: Container, reader: Reader, subject: _Subject, trial: Trial) -> Trial:
        """Press by loads of our own what the notebook does not press, and again what others kept from being pressed.

        Each press is judged by itself, and the last one counts; what was judged otherwise than UNKNOWN is never pressed
        again.
        """
        for attempt in range(1, presses.TRIES + 1):
            wanted = presses.wanted(trial, attempt)
            if not wanted or self.engine.deadline.passed:
                break
            for press in wanted:
                self.watch.say(f"{subject.name}: {press.words}")
                trial = self._with(trial, press, self._own_press(container, reader, subject, press), attempt + 1)
        return trial

    def _with(self, trial: Trial, press: presses.Press, evidence: Evidence, count: int) -> Trial:
        """The trial, with the verdicts of one more press in place of those that were UNKNOWN."""
        expect = [expected for expected in trial.expect if expected.field in press.fields]
        new = {verdict.field: replace(verdict, presses=count) for verdict in judge(expect, evidence)}
        verdicts = (new.get(old.field, old) if presses.is_open(trial, old) else old for old in trial.verdicts)
        return replace(trial, verdicts=tuple(verdicts))

    def _evidence(self, taken: Sequence[Snapshot], load: Load, guard: Guard) -> Evidence:
        return Evidence(
            snapshots=tuple(taken),
            load=load,
            host=host_of(self.engine),
            page_size_bytes=os.sysconf("SC_PAGE_SIZE"),
            strays=dict(guard.strays),
        )

    def _load(self, container: Container, command: Sequence[str], running: Command) -> Load:
        state = self._state(container)
        problem = running.problem if state["Running"] else ENDED
        if problem is None and running.exit_code:
            last = complaint(running.stdout, running.stderr)
            problem = f"the load ended with exit code {running.exit_code}" + (f": {last}" if last else "")
        return Load(
            command=called(command),
            exit_code=running.exit_code,
            oom_killed=state["OOMKilled"],
            said=said(running.stdout),
            problem=problem,
        )

    def _state(self, container: Container) -> Mapping[str, Any]:
        """What the engine says of the container's state; it may be gone, and forgotten."""
        try:
            state: Mapping[str, Any] = self.engine.docker.inspected(container.id)["State"]
        except GoneError:
            return {"Running": False, "OOMKilled": None}
        return state

    def _contest(self, container: Container, subject: _Subject) -> Contest | None:
        if "cpu_shares" not in subject.enforcement.ask:
            return None
        self.watch.say(f"{subject.name}: contending with a sibling for one CPU")
        try:
            return contest(self.engine, container, subject.limits)
        except OvertimeError as error:
            self.watch.say(f"{subject.name}: {error}")
            return None

    def _idle_trial(self, container: Container, subject: _Subject, problem: str) -> Trial:
        """A trial without a load: the limits are read, and no more."""
        self.watch.say(f"{subject.name}: {problem}")
        cgroup = self.engine.cgroup(container)
        guard = Guard(cgroup, container.pid, interrupt.pause)
        with Reader(cgroup) as reader:
            load = replace(_NO_LOAD, problem=problem)
            return _judged(subject, self._evidence([guard.look(reader.read_limits())], load, guard))


def in_force(container: Container) -> Entitlement:
    """What a user's server may use now: what was applied to it last, else what it was started with."""
    return last_applied(container.id, records.usual()) or Entitlement.from_json(container.labels[labels.ENTITLEMENT])


def _judged(subject: _Subject, evidence: Evidence) -> Trial:
    expect = subject.enforcement.expect
    return Trial(
        subject=subject.name,
        limits=subject.origins,
        expect=expect,
        evidence=evidence,
        verdicts=judge(expect, evidence),
        control=subject.control,
    )


def _unknown(trial: Trial, why: str) -> Trial:
    """The trial, where what was pressed was another container in the end, or under other limits."""
    unknown = partial(replace, outcome=Outcome.UNKNOWN, under_load=Outcome.UNKNOWN, reason=why)
    return replace(trial, verdicts=tuple(map(unknown, trial.verdicts)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
