"""The Hub service: brings running servers to the policy in force when it changes, or a grant ends.

`python -m spawner_limits.service.keeper` is it, as `setup(c, …, service=True)` has the hub run it. It looks each half
second, and works only when there is something to do: a changed file, a moment that has passed, a server that has
started meanwhile. It serves the servers that were started under its policy file, and no others on the engine.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from spawner_limits.clients.docker import THREADS, DockerEngine
from spawner_limits.clients.engine import GoneError, RefusedError
from spawner_limits.clients.hub_api import Hub, StrangerError
from spawner_limits.engines import labels
from spawner_limits.errors import LimitsError, UnreachableError, UsageError
from spawner_limits.lifecycle.apply import Applied, apply, plan_of
from spawner_limits.lifecycle.hub_service import POLICY_VARIABLE
from spawner_limits.lifecycle.node import Node
from spawner_limits.lifecycle.ownership import policy_files
from spawner_limits.lifecycle.plan import entitle
from spawner_limits.lifecycle.records import usual
from spawner_limits.policy.expiry import next_end
from spawner_limits.policy.model import user_key
from spawner_limits.policy.reload import PolicyFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.clients.engine import Server
    from spawner_limits.lifecycle.records import Records
    from spawner_limits.policy.model import Policy

Clock: TypeAlias = Callable[[], float]
"""seconds, that only ever grow"""
Summary: TypeAlias = tuple[bool, tuple[tuple[str, str], ...]]
"""whether it holds, and what each field is to be"""

LOOK_S = 0.5
RETRY_S = 30.0
_LONGEST_PAUSE_S = 30.0
_HUB_S = 3
_STOP_S = 0.8
"""after which an engine that does not answer holds up the end no longer"""
_SETTLED = timedelta(seconds=1)
"""how long a container must have run: before that, its spawner is reading back what it asked for"""
_LIVE = ("running", "paused")

log = logging.getLogger("spawner-limits")


@dataclass(kw_only=True, slots=True)
class Backoff:
    """Whom to ask again when: ever more seldom, and said once."""

    whom: str
    clock: Clock = time.monotonic
    _pause: float = 0.0
    _again: float = 0.0

    @property
    def may_ask(self) -> bool:
        """Whether it is time to ask again."""
        return self.clock() >= self._again

    def failed(self, why: object) -> None:
        """There was no answer."""
        if not self._pause:
            log.warning("%s does not answer, and will be asked again: %s", self.whom, why)
        self._pause = min(max(2 * self._pause, LOOK_S), _LONGEST_PAUSE_S)
        self._again = self.clock() + self._pause

    def answered(self) -> None:
        """There was one."""
        if self._pause:
            log.warning("%s answers again", self.whom)
        self._pause = self._again = 0.0


class Groups:
    """Who is in which groups: by the hub, or as it said last."""

    def __init__(self, url: str, token: str, *, clock: Clock = time.monotonic) -> None:
        """Nothing is asked yet."""
        self._url, self._token = url, token
        self._known: dict[str, tuple[str, ...]] = {}
        self._backoff = Backoff(whom=f"the hub at {url}", clock=clock)

    def refresh(self) -> None:
        """Ask the hub, if it may be asked again. StrangerError when it does not know us."""
        if not self._backoff.may_ask:
            return
        try:
            people = Hub(self._url, self._token, timeout_s=_HUB_S).active()
        except StrangerError:
            raise
        except LimitsError as error:
            self._backoff.failed(error)
        else:
            self._backoff.answered()
            self._known |= {user_key(person.name): person.groups for person in people if person.groups is not None}

    def of(self, user: str) -> tuple[str, ...] | None:
        """The groups of a user; `None`: the hub never said."""
        return self._known.get(user_key(user))


@dataclass(kw_only=True, slots=True)
class PolicyPeriod:
    """Between two moments at which everybody's limits may change; the wall clock may jump over either, and back."""

    sha256: str
    since: datetime
    until: datetime | None

    def is_over(self, policy: Policy, now: datetime) -> bool:
        """Whether all servers must be looked at anew."""
        ended = self.until is not None and now >= self.until
        return ended or now < self.since or policy.sha256 != self.sha256

    @classmethod
    def begun(cls, policy: Policy, now: datetime) -> PolicyPeriod:
        """The one that `now` is in."""
        return cls(sha256=policy.sha256, since=now, until=next_end(policy, now))


@dataclass(kw_only=True)
class Service:
    """Brings servers to the policy, round by round."""

    standing: PolicyFile
    groups: Groups
    records: Records
    engine: DockerEngine = field(default_factory=DockerEngine)
    clock: Clock = time.monotonic
    ending: threading.Event = field(default_factory=threading.Event)
    """set: no further server is begun with"""
    _period: PolicyPeriod | None = None
    _due: dict[str, float] = field(default_factory=dict)
    """container → when it is looked at again, by the clock; the infinite: in the next period"""
    _logged: dict[str, Summary] = field(default_factory=dict)
    """container → what was logged of it last"""

    def __post_init__(self) -> None:
        """Ask nobody yet."""
        self._backoff = Backoff(whom="the Docker engine", clock=self.clock)

    @cached_property
    def node(self) -> Node:
        """The engine's host. UnreachableError."""
        return Node.here(self.engine, self.records)

    def round(self, now: datetime) -> tuple[Applied, ...]:
        """Do what there is to do at the moment `now`, and say what was done. StrangerError as `Groups.refresh`."""
        policy = self._policy()
        if policy is None or not policy.auto_apply or not self._backoff.may_ask:
            return ()
        if self._period is None or self._period.is_over(policy, now):
            self._period = PolicyPeriod.begun(policy, now)
            self._due.clear()
        try:
            done = self._bring(policy, now)
        except StrangerError:  # the hub's, and no matter of the engine
            raise
        except (UnreachableError, RefusedError) as error:
            self._backoff.failed(error.__cause__ or error)  # whose words say whom they are about
            return ()
        self._backoff.answered()
        return done

    def _policy(self) -> Policy | None:
        if self.standing.is_stale():
            state = self.standing.refresh()
            for problem in state.problems:
                log.error("the policy can't be used, so running servers keep what they have: %s", problem)
            if state.is_current and state.policy is not None:
                applies = "is applied to running servers" if state.policy.auto_apply else "has no auto_apply: true"
                log.info("the policy %s (sha256 %.12s) %s", state.policy.file, state.policy.sha256, applies)
        return self.standing.state.policy

    def _bring(self, policy: Policy, now: datetime) -> tuple[Applied, ...]:
        waiting = self._waiting()
        if not waiting:
            return ()
        self.groups.refresh()
        with ThreadPoolExecutor(THREADS, thread_name_prefix="spawner-limits-service") as pool:
            found = pool.map(lambda container: self._bring_one(container, policy, now), waiting)
            return tuple(done for done in found if done is not None)

    def _waiting(self) -> list[str]:
        """The running containers that are to be looked at."""
        live = [found["Id"] for found in self.engine.listed(label=labels.ENTITLEMENT, status=list(_LIVE))]
        for known in (self._due, self._logged):
            for container in known.keys() - live:
                del known[container]
        at = self.clock()
        return [container for container in live if self._due.get(container, at) <= at]

    def _bring_one(self, container: str, policy: Policy, now: datetime) -> Applied | None:
        """Bring one server to the policy; `None` where there was nothing to do. Errors of the engine."""
        if self.ending.is_set():
            return None
        try:
            server = self.engine.inspect(container)
        except GoneError:
            return None
        if server.started is not None and timedelta(0) <= datetime.now(UTC) - server.started < _SETTLED:
            return None
        done = self._applied(server, policy, now) if is_under(policy, server) else None
        self._settle(server, done)
        return done

    def _applied(self, server: Server, policy: Policy, now: datetime) -> Applied | None:
        groups = self.groups.of(server.user)
        made = plan_of(server, self.node, lambda server, given: entitle(policy, server, given, groups, now=now))
        try:
            return apply(self.node, made) if made.drifts else None
        except RefusedError as error:  # of this server; the others go on
            return Applied(plan=made, problem=error.words)

    def _settle(self, server: Server, done: Applied | None) -> None:
        """Say what came of it, once, and when it is to be tried again."""
        self._due[server.id] = float("inf") if done is None or done.holds else self.clock() + RETRY_S
        if done is None:
            self._logged.pop(server.id, None)
        elif self._logged.get(server.id) != summary(done):
            self._logged[server.id] = summary(done)
            log.log(logging.INFO if done.holds else logging.WARNING, "%s", tell(done))


def is_under(policy: Policy, server: Server) -> bool:
    """Whether a server was started under that file; another hub's servers are under another one."""
    return policy.file in policy_files(server)


def summary(done: Applied) -> Summary:
    """What is new about an outcome: not how much memory is in use, which changes all the time."""
    return done.holds, tuple((step.field, step.wanted) for step in done.plan.steps)


def tell(done: Applied) -> str:
    """One line on what came of one server."""
    made = done.plan
    steps = "; ".join(f"{step.field} {step.actual} → {step.wanted}" for step in made.steps)
    what = f"{made.server.whose} ({made.server.name}): {steps or made.problem or done.problem}"
    if done.holds:
        return f"{what}: applied"
    obstacles = (*(step.why for step in made.steps), *done.refusals, done.problem)
    return f"{what}: not in force: {'; '.join(dict.fromkeys(filter(None, obstacles)))}"


# -- as a process --------------------------------------------------------------------------------------------------


def run(
    service: Service, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), parent: Callable[[], int] = os.getppid
) -> None:
    """Round after round, until `service.ending` is set, or a hub that came after ours has started its own service.

    `parent`: the id of the process that is above this one now. StrangerError when our own hub does not know us.
    """
    ours = parent()
    while not service.ending.is_set():
        try:
            service.round(now())
        except StrangerError:
            if parent() == ours:
                raise
            log.warning("the hub that started this service has gone, and the one there now has its own")
            return
        service.ending.wait(LOOK_S)


def main(environment: Mapping[str, str] = os.environ) -> None:
    """As the hub runs it. LimitsError."""
    wanted = (POLICY_VARIABLE, "JUPYTERHUB_API_URL", "JUPYTERHUB_API_TOKEN")
    if missing := [name for name in wanted if not environment.get(name)]:
        raise UsageError(
            f"no {', '.join(missing)} in the environment; setup(c, policy_file, service=True) has it given"
        )
    path, url, token = (environment[name] for name in wanted)
    service = Service(standing=PolicyFile(Path(path)), groups=Groups(url, token), records=usual())
    signal.signal(signal.SIGTERM, lambda *_: _end(service))
    run(service)


def _end(service: Service) -> None:
    service.ending.set()
    # an engine that does not answer shall not hold up the hub's own end; what was begun is seen by the next service
    hurry = threading.Timer(_STOP_S, os._exit, (0,))
    hurry.daemon = True
    hurry.start()


if __name__ == "__main__":
    logging.basicConfig(format="[%(levelname).1s %(asctime)s spawner-limits] %(message)s", level=logging.INFO)
    try:
        main()
    except LimitsError as error:
        log.critical("%s", error)
        sys.exit(error.exit_code)
