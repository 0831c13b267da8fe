"""Run a trial: press in a container, read the Linux kernel's counters from outside all the while, and judge."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import docker.errors

from spawner_limits import __version__
from spawner_limits.engines import labels
from spawner_limits.engines.docker import translate
from spawner_limits.errors import UsageError
from spawner_limits.kernel.reader import Reader
from spawner_limits.kernel.where import CgroupError, strays
from spawner_limits.limits import FIELDS, Limits, tell
from spawner_limits.policy.entitlement import Entitlement
from spawner_limits.proof import interrupt
from spawner_limits.proof.burn import burner
from spawner_limits.proof.contest import contest
from spawner_limits.proof.engine import Command, identity, processes
from spawner_limits.proof.evidence import Evidence, Load, Origin, Outcome, Report, Trial
from spawner_limits.proof.judge import judge
from spawner_limits.proof.report import words
from spawner_limits.spawners import notebook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spawner_limits.engines.base import Enforcement
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.kernel.where import Cgroup
    from spawner_limits.live.hub import Hub
    from spawner_limits.proof.engine import Container, Engine
    from spawner_limits.proof.evidence import Contest

INTERVAL_S = 0.1
GUARDED = 10
"""so many samples from one look at where the processes are to the next"""
MARGIN_S = 120
"""how much longer than its load a container of ours lives, should nobody be left to remove it"""
ENDED = "the container ended before its load did"
CPU_TRIES = 2
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # IPython's tracebacks have them, wherever they go
CPU_PRESS_S = 10
_LINES, _LONGEST = 40, 400
EXECUTED = ("jupyter", "nbconvert", "--execute", notebook.NAME)
"""what the notebook's execution is called in reports"""

# the executed copy goes to a directory of its own: a user's notebook stays as it is
_EXECUTE = """
[ -f "$1" ] || { echo "the notebook was not copied: $1 is not in the container; the hub's log says why" >&2; exit 1; }
d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
cd "$(dirname "$1")" || exit 1
MNIST_EVIDENCE="$d/evidence" jupyter nbconvert --to notebook --execute --output-dir "$d" "$(basename "$1")"
code=$?
cat "$d/evidence" 2>/dev/null
exit $code
"""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Prover:
    """Runs trials on one engine; no load runs longer than `seconds`."""

    engine: Engine
    seconds: int
    watch: Watch

    def verify_users(self, hub: Hub, users: Sequence[str], *, control: bool) -> Report:
        """Press on the servers of `users`, one after the other, each started through the hub where it does not run.

        With `control`, the first one's load runs once more in a container of the same image without limits.
        """
        started = _now()
        for user in users:
            hub.model(user)  # a name that is wrong is said before anything starts
        trials: list[Trial] = []
        for user in users:
            self.watch.say(f"{user}: starting the server through the hub")
            with hub.server(user, lambda line: self.watch.say(f"  {line}")):
                container = self.engine.server_of(user)
                trials.append(self._server(user, container))
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
        given = ((one.field, tell(one.field, one.value)) for one in enforcement.expect)
        origins = tuple(Origin(field=field, value=value, rule="the command line") for field, value in given)
        subject = _Subject(name=image, limits=limits, origins=origins, enforcement=enforcement)
        trials = [self._own_container(image, subject, command, enforcement.ask)]
        if control:
            trials.append(self._control(trials[0], image, command))
        return self._report(started, trials)

    def _translate(self, limits: Limits) -> Enforcement:
        return translate(limits, version=self.engine.cgroup_version, page_size_bytes=os.sysconf("SC_PAGE_SIZE"))

    def _report(self, started: str, trials: Sequence[Trial]) -> Report:
        return Report(trials=tuple(trials), host=self.engine.host(), started=started, version=__version__)

    # -- containers ----------------------------------------------------------------------------------------------

    def _server(self, user: str, container: Container) -> Trial:
        """A trial in a user's server, by what its own labels say."""
        entitlement = Entitlement.from_json(container.labels[labels.ENTITLEMENT])
        subject = _Subject(
            name=user,
            limits=entitlement.limits,
            origins=_origins(entitlement),
            enforcement=self._translate(entitlement.limits),
        )
        path = container.labels.get(labels.NOTEBOOK)
        if path is None:
            problem = "the hub copies no notebook into this server (copy_notebook is off)"
            return self._idle_trial(container, subject, problem)
        return self._trial(container, subject, _execution(path))

    def _own_container(
        self, image: str, subject: _Subject, command: Sequence[str], host_config: Mapping[str, Any]
    ) -> Trial:
        environment = _promises(subject.limits)
        seconds = self.seconds + MARGIN_S
        with self.engine.trial_container(
            image, host_config=host_config, environment=environment, seconds=seconds
        ) as container:
            if command:
                return self._trial(container, subject, command)
            place = notebook.Place()
            notebook.copy(self.engine.client, container.id, place, notebook.packaged())
            return self._trial(container, subject, _execution(str(place.notebook)))

    def _control(self, trial: Trial, image: str, command: Sequence[str]) -> Trial:
        """The same load, promised the same limits, in a container that has none of them."""
        limits = Limits(**{one.field: one.value for one in trial.expect})  # type: ignore[arg-type]  # fields, one by one
        name, enforcement = f"control ({trial.subject})", self._translate(limits)
        subject = _Subject(name=name, limits=limits, origins=trial.limits, enforcement=enforcement)
        self.watch.say(f"{trial.subject}: control, the same load in a container without these limits")
        # whatever the load, the host must survive it
        caps = {"mem_limit": trial.evidence.host.memory_bytes // 2, "pids_limit": 8192}
        return replace(self._own_container(image, subject, command, caps), control=True, subject=trial.subject)

    # -- one trial -----------------------------------------------------------------------------------------------

    def _trial(self, container: Container, subject: _Subject, command: Sequence[str]) -> Trial:
        self.watch.say(f"{subject.name}: pressing with {words.line(shlex.join(_called(command)))[:_LONGEST]}")
        cgroup = self.engine.cgroup(container)
        with Reader(cgroup) as reader:
            snapshots = [reader.read_limits()]
            running = Command(self.engine, container, command)
            guard = Guard(cgroup)
            try:
                self._follow(running, reader, snapshots, subject, guard)
            finally:
                running.stop()
            if _called(command) == EXECUTED and running.exit_code == 0:
                self._press_cpu_again(container, subject, reader, snapshots, guard)
            interrupt.pause(INTERVAL_S)
            snapshots.append(reader.read_limits())
        load = self._load(container, command, running)
        contest = None if load.problem == ENDED else self._contest(container, subject)
        return self._judged(subject, snapshots, load, contest, guard.strays)

    def _follow(
        self, running: Command, reader: Reader, snapshots: list[Snapshot], subject: _Subject, guard: Guard
    ) -> None:
        """Take a snapshot ten times a second until the load ends, or its time."""
        tick = started = time.monotonic()
        while not running.wait(max(0.0, tick - time.monotonic())):
            interrupt.check()
            tick += INTERVAL_S
            snapshots.append(reader.read())
            guard.look()
            self.watch.sample(subject.name, subject.limits, snapshots)
            if time.monotonic() - started > self.seconds:
                running.problem = f"the load did not end within {self.seconds} s and was ended"
                return

    def _press_cpu_again(
        self, container: Container, subject: _Subject, reader: Reader, snapshots: list[Snapshot], guard: Guard
    ) -> None:
        """Repeat the notebook's press on CPU where others disturbed it; what was judged otherwise is never repeated."""
        for _ in range(CPU_TRIES):
            if not self._cpu_was_disturbed(subject, snapshots):
                return
            self.watch.say(f"{subject.name}: others disturbed the press on CPU; pressing again")
            busy = math.ceil(subject.limits.cpu_limit or 0) + 1
            loads = [burner(self.engine, container, CPU_PRESS_S) for _ in range(busy)]
            try:
                self._follow(loads[0], reader, snapshots, subject, guard)
            finally:
                for load in loads:
                    load.stop()

    def _cpu_was_disturbed(self, subject: _Subject, snapshots: Sequence[Snapshot]) -> bool:
        expect = [one for one in subject.enforcement.expect if one.field == "cpu_limit"]
        load = Load(command=(), exit_code=None, oom_killed=None)
        found = judge(expect, Evidence(snapshots=tuple(snapshots), load=load, host=self.engine.host()))
        return any(one.outcome is Outcome.UNKNOWN for one in found) and (
            (subject.limits.cpu_limit or 0) < self.engine.host().cores
        )

    def _load(self, container: Container, command: Sequence[str], running: Command) -> Load:
        record = self._record(container)
        problem = running.problem if record["Running"] else ENDED
        if problem is None and running.exit_code:
            said = _COLOURS.sub("", running.stderr or running.stdout).strip().splitlines()
            problem = f"the load ended with exit code {running.exit_code}" + (f": {said[-1].strip()}" if said else "")
        return Load(
            command=_called(command),
            exit_code=running.exit_code,
            oom_killed=record["OOMKilled"],
            said=_said(running.stdout),
            problem=problem,
        )

    def _record(self, container: Container) -> Mapping[str, Any]:
        """What the engine says of the container's state; it may be gone, and forgotten."""
        try:
            state: Mapping[str, Any] = self.engine.client.inspect_container(container.id)["State"]
        except docker.errors.NotFound:
            return {"Running": False, "OOMKilled": None}
        return state

    def _contest(self, container: Container, subject: _Subject) -> Contest | None:
        if "cpu_shares" not in subject.enforcement.ask:
            return None
        self.watch.say(f"{subject.name}: contending with a sibling for one CPU")
        return contest(self.engine, container, subject.limits)

    def _idle_trial(self, container: Container, subject: _Subject, problem: str) -> Trial:
        """A trial without a load: the limits are read, and no more."""
        self.watch.say(f"{subject.name}: {problem}")
        with Reader(self.engine.cgroup(container)) as reader:
            load = Load(command=(), exit_code=None, oom_killed=None, problem=problem)
            return self._judged(subject, [reader.read_limits()], load, None, {})

    def _judged(
        self,
        subject: _Subject,
        snapshots: Sequence[Snapshot],
        load: Load,
        contest: Contest | None,
        strays: Mapping[str, str],
    ) -> Trial:
        evidence = Evidence(
            snapshots=tuple(snapshots),
            load=load,
            host=self.engine.host(),
            page_size_bytes=os.sysconf("SC_PAGE_SIZE"),
            contest=contest,
            strays=strays,
        )
        return Trial(
            subject=subject.name,
            limits=subject.origins,
            expect=subject.enforcement.expect,
            evidence=evidence,
            verdicts=judge(subject.enforcement.expect, evidence),
        )


class Guard:
    """Looks now and then whether what was in the container's cgroups still is."""

    def __init__(self, cgroup: Cgroup) -> None:
        """`cgroup`: the container's, found."""
        self._cgroup, self._looks = cgroup, 0
        self._known: dict[str, int] = {}
        self.strays: dict[str, str] = {}

    def look(self) -> None:
        """Look, at the first call and every tenth after it."""
        if self._looks % GUARDED == 0:
            self._known |= {identity(pid): pid for pid in processes(self._cgroup)}
            # what has ended need not be looked for again: a load may start thousands
            self._known = {one: pid for one, pid in self._known.items() if self._lives(one, pid)}
        self._looks += 1

    def _lives(self, one: str, pid: int) -> bool:
        """Whether it does, and has its number still; where it went is kept."""
        try:
            found = strays(self._cgroup, pid)
        except CgroupError:
            return False
        if identity(pid) != one:
            return False
        self.strays |= found
        return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _execution(path: str) -> tuple[str, ...]:
    return ("sh", "-c", _EXECUTE, "sh", path)


def _called(command: Sequence[str]) -> tuple[str, ...]:
    """A command as people know it."""
    return EXECUTED if _EXECUTE in command else tuple(command)


def _said(stdout: str) -> tuple[str, ...]:
    """The sentences in what a load printed: of the notebook's records the sentence, of others the line."""
    return tuple(map(_sentence, stdout.strip().splitlines()[-_LINES:]))


def _sentence(line: str) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        return line[:_LONGEST]
    return str(record["say"] if isinstance(record, dict) and "say" in record else line)[:_LONGEST]


def _promises(limits: Limits) -> dict[str, str]:
    """What the hub would tell the server of its limits."""
    given = {"MEM_LIMIT": limits.mem_limit, "CPU_LIMIT": limits.cpu_limit, "PIDS_LIMIT": limits.pids_limit}
    return {name: str(value) for name, value in given.items() if value is not None}


def _origins(entitlement: Entitlement) -> tuple[Origin, ...]:
    return tuple(
        Origin(field=name, value=tell(name, grant.value), rule=grant.origin)
        for name, grant in entitlement.grants.items()
        if name in FIELDS
    )
