"""An evening on a real hub: ten people, policies that change, OOM kills, restarts of the hub and of its engine.

What is true afterwards is asked of the commands that an administrator has, and of the hub's pages.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from spawner_limits.lifecycle.records import Records
from spawner_limits.units import MIB
from tests.conftest import spawner_limits
from tests.e2e.conftest import eventually
from tests.e2e.faulty_hub import faulty_hub
from tests.e2e.test_oom_told import hog, take_the_server

POLICY = """\
version: 1
contact: help@example.org
defaults: {{mem_limit: {defaults}, cpu_limit: {cores}, pids_limit: 200}}
groups:
  students: {{mem_limit: {students}}}
"""
KEPT = ("ann", "ben", "cat", "dan", "eva", "fay", "gil")
"""whose containers are kept at their end"""
GOING = ("hal", "ida", "joe")
PEOPLE = (*KEPT, *GOING)
GROUPS = {"kept": list(KEPT), "students": ["ann", "ben", "hal"]}
AT_ONCE = 4
# each thing that happens is in another test, too: this is all of it together
pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def engine(own_engine):
    """An engine of its own, whose containers outlive it."""
    with own_engine.used():
        own_engine.start("--live-restore")
        yield own_engine
        own_engine.stop()


@pytest.fixture(scope="module")
def hub(engine, tmp_path_factory):
    """A hub for ten."""
    del engine  # it is in the environment
    policy = POLICY.format(defaults="256M", students="272M", cores="1")
    with faulty_hub(tmp_path_factory.mktemp("evening"), policy, users=PEOPLE, groups=GROUPS) as running:
        running.records = Records(running.policy.parent / "records")
        yield running


class Evening:
    """What happens, with the time; and what was seen of it."""

    def __init__(self, hub, engine):
        self.hub, self.engine = hub, engine
        self._begin = time.monotonic()
        self.kills = {}
        """user → how many OOM kills there were"""

    def say(self, what):
        """Into the timeline, which `pytest -s` shows."""
        print(f"{time.monotonic() - self._begin:6.1f} s  {what}", file=sys.stderr)  # noqa: T201

    def start(self, *users):
        """Some at a time, as people come."""
        with ThreadPoolExecutor(AT_ONCE) as aside:
            list(aside.map(self.hub.runs, users))
        self.say(f"{len(users)} servers were started: {', '.join(users)}")

    def run(self, verb, *options):
        """A command, by the groups of each server's start; what it said in JSON."""
        file = () if verb == "ps" else ("--file", self.hub.policy)
        ran = spawner_limits(verb, *file, "--json", *options, JUPYTERHUB_API_TOKEN="")
        assert "Traceback" not in ran.stderr
        return ran.returncode, json.loads(ran.stdout)["servers"]

    def change_policy(self, **given):
        """And apply it: `plan` shows it, `apply` does it, and then there is none to do."""
        self.hub.policy.write_text(POLICY.format(**given))
        code, drift = self.run("plan")
        assert (code, sum(one["drift"] for one in drift)) == (1, len(PEOPLE))
        code, done = self.run("apply")
        assert (code, [one["holds"] for one in done]) == (0, [True] * len(PEOPLE))
        assert self.run("plan")[0] == 0
        self.say(f"the policy was changed, and applied to {len(done)} servers: {given}")

    def hog(self, *users):
        """Have a process of each take too much, at once."""

        def one(user):
            with closing(self.engine.connect()) as client:
                hog(client, self.hub.container(user))

        with ThreadPoolExecutor(len(users)) as aside:
            list(aside.map(one, users))
        for user in users:
            self.seen(user)
            self.say(f"{user}: a process was killed for memory; the server goes on")

    def take(self, user):
        """Have a server itself be killed for memory."""
        with closing(self.engine.connect()) as client:
            take_the_server(client, self.hub.container(user))
        eventually(lambda: not self.hub.known(user))
        self.seen(user)
        assert "it reached its memory limit of" in self.hub.page(user)
        self.say(f"{user}: the server was killed for memory, and the hub's page says so")

    def seen(self, user):
        """Wait until the log has it."""
        self.kills[user] = self.kills.get(user, 0) + 1
        told = f"Out of memory in the server of {user}: "
        eventually(lambda: self.hub.said().count(told) >= self.kills[user])

    def restart_hub(self, how):
        """Its servers go on."""
        before = self.pids()
        self.hub.end(how)
        self.hub.launch()
        assert self.pids() == before
        for user in PEOPLE:
            eventually(lambda user=user: "" in self.hub.known(user))
        self.say(f"the hub was restarted ({how.name}), and knows all of them")

    def restart_engine(self):
        """Those that are kept go on; an engine before 24.0.8 ends the others, and the hub says so."""
        before = self.pids()
        self.engine.stop()
        self.engine.start("--live-restore")
        goes_on = PEOPLE if self.engine.version >= (24, 0, 8) else KEPT
        ended = [user for user in PEOPLE if user not in goes_on]
        for user in ended:
            eventually(lambda user=user: not self.hub.known(user))
            assert "Your server was stopped at" in self.hub.page(user)
            assert f"The server of {user} ended: SIGKILL, and not by the OOM killer" in self.hub.said()
        assert self.pids() == {user: before[user] for user in goes_on}
        self.say(f"the engine was restarted: {len(goes_on)} servers went on, {len(ended)} ended, and their users know")
        if ended:
            self.start(*ended)

    def pids(self):
        """User → first process, of the servers that run."""
        found = {user: self.hub.container(user) for user in PEOPLE}
        return {user: one["State"]["Pid"] for user, one in found.items() if one and one["State"]["Running"]}


def test_an_evening(hub, engine):
    """Ten people have what the policy gives them, whatever happens, and know what happened."""
    evening = Evening(hub, engine)
    evening.start(*PEOPLE)
    evening.change_policy(defaults="272M", students="288M", cores="0.8")
    evening.hog("ann")
    evening.take("ben")
    evening.start("ben")
    evening.restart_hub(signal.SIGTERM)
    evening.hog("cat", "hal")
    evening.restart_engine()
    evening.change_policy(defaults="264M", students="296M", cores="1")
    evening.restart_hub(signal.SIGKILL)
    evening.hog("dan")
    audit(evening, engine)


def audit(evening, engine):
    """No drift, all attested, each kill on record with the process's name, nothing left over, and no traceback."""
    hub = evening.hub
    code, plans = evening.run("plan")
    assert (code, {one["user"]: one["drift"] for one in plans}) == (0, dict.fromkeys(PEOPLE, False))
    code, rows = evening.run("ps")
    found = {one["user"]: one for one in rows}
    assert (code, found.keys()) == (0, set(PEOPLE))
    assert [user for user, one in found.items() if not one["attested"] or one["drift"] or one["problem"]] == []
    memory = {user: one["limits"]["mem_limit_bytes"]["value"] // MIB for user, one in found.items()}
    assert memory == {user: 296 if user in GROUPS["students"] else 264 for user in PEOPLE}
    kills = [
        (one.details["user"], one.details["process"], one.details["count"])
        for path in hub.records.directory.glob("*.jsonl")
        for one in hub.records.of(path.stem)
        if one.event == "oom"
    ]
    counted = {user: sum(count for whose, _, count in kills if whose == user) for user, _, _ in kills}
    # who takes too much may go down together with a server that is killed
    assert counted == {**evening.kills, "ben": max(counted["ben"], 1)}
    assert {process for _, process, _ in kills} <= {"python3", "jupyterhub-sing"}, kills
    with closing(engine.connect()) as client:
        left = client.containers(all=True)
    assert {one["Names"][0] for one in left} == {f"/{hub.prefix}-{user}" for user in PEOPLE}
    assert "Traceback" not in hub.said()
    assert "The orphan" not in hub.said()
    evening.say(f"audit: {len(plans)} servers without drift, all attested; {len(kills)} kills on record: {kills}")
