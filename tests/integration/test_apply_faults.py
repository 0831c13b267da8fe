"""What goes wrong while limits are read and changed: others do it too, the policy changes, a cgroup goes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from docker.utils import kwargs_from_env

import docker
from spawner_limits.kernel.cgroups import find
from spawner_limits.kernel.reader import Reader
from spawner_limits.lifecycle import apply, plan
from spawner_limits.lifecycle.in_force import last_applied
from spawner_limits.state_folder import VARIABLE
from spawner_limits.units import MIB
from tests.conftest import COMMAND
from tests.integration.conftest import eventually
from tests.integration.test_apply_live import BEFORE, site
from tests.kernel_files import memory_limit_bytes, quota_us

__all__ = ["site"]
ONE = BEFORE.replace("256M", "300M").replace("0.5", "1").replace("100", "120")
OTHER = BEFORE.replace("256M", "220M").replace("0.5", "0.25").replace("100", "80")
SHOWN = {"one": (300 * MIB, 100_000, 120), "other": (220 * MIB, 25_000, 80)}
VANISHED = re.compile(
    r"there is no process with the PID \d+: |PID \d+ is in the cgroup /, which is not named after the container |"
    r"no cgroup.procs below \S+ lists PID \d+ in |.*: its cgroup is gone: the container has ended"
)
"""what is said of a container that ended while it was looked at"""


def limits(site, container):
    """Memory, quota and processes, by the Linux kernel."""
    shown = site.shown(container)
    return memory_limit_bytes(shown), quota_us(shown), int(shown.limits["pids.max"])


def test_two_at_once_with_different_policies(site):
    """Both have planned before either has changed anything. One after the other then does all of it, and reads it back.

    So each server has what one of them gives, and nothing of the other; and what each says was so when it said it.
    """
    containers = [site.start(server=name) for name in ("a", "b", "c")]
    files = {name: site.folder / f"{name}.yaml" for name in SHOWN}
    for name, rule in (("one", ONE), ("other", OTHER)):
        files[name].write_text(f"version: 1\ndefaults:\n{rule}")

    with ExitStack() as held:
        for container in containers:
            held.enter_context(site.records.alone(container))
        begun = [applying(site, "--json", "--file", files[name], "--under", site.file) for name in files]
        eventually(lambda: all(waiting(one.pid) == len(containers) for one in begun))
    for one in begun:
        told = json.loads(one.communicate(timeout=60)[0])["servers"]
        assert (one.returncode, [server["holds"] for server in told]) == (0, [True] * len(containers))
    for container in containers:
        applied = [one for one in site.records.of(container) if one.event == "applied"]
        given = last_applied(container, site.records).limits
        assert len(applied) == len(begun)
        assert limits(site, container) == (given.mem_limit, given.cpu_limit * 100_000, given.pids_limit)
        assert limits(site, container) in SHOWN.values()


def applying(site, *options):
    """`apply`, begun."""
    environment = {**os.environ, "JUPYTERHUB_API_TOKEN": "", VARIABLE: str(site.records.directory)}
    return subprocess.Popen(
        [COMMAND, "apply", site.user, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def waiting(pid):
    """How many locks a process waits for: "1: -> FLOCK  ADVISORY  WRITE 4711 00:1b:815 0 EOF"."""
    lines = map(str.split, Path("/proc/locks").read_text().splitlines())
    return sum(line[1] == "->" and line[5] == str(pid) for line in lines)


REPLACED = {"another policy": OTHER, "a broken one": "  mem_limit: [\n"}


@pytest.mark.parametrize("rule", REPLACED.values(), ids=REPLACED)
def test_the_policy_file_is_replaced_meanwhile(site, rule):
    """What was begun is done; that it may be of yesterday is said, with exit code 1; the next one does the rest."""
    container = site.start()
    site.rule(ONE)
    with site.records.alone(container):
        process = applying(site, "--file", site.file)
        eventually(lambda: waiting(process.pid))
        site.rule(rule)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{site.user}: HELD" in stdout
    assert f"{site.file} has changed meanwhile; run apply again" in stderr
    assert limits(site, container) == SHOWN["one"]
    site.rule(OTHER)
    assert site.run("apply").returncode == 0
    assert limits(site, container) == SHOWN["other"]


def test_a_cgroup_that_goes_while_it_is_read(site):
    """Between the opening of its files and their reading: nothing is known of it, each file says why."""
    container = site.start()
    server = site.node.engine.inspect(container)
    with Reader(find(site.node.engine.process(server.id), container_id=server.id)) as reader:
        site.client.kill(container)
        eventually(lambda: reader.read().memory_current_bytes is None)
        shown = reader.read_limits()
    made = plan.plan(server, server.entitlement, shown, site.node.host)
    assert (made.steps, made.exit_code, plan.changes(made)) == ((), 3, ())
    assert VANISHED.match(made.problem)


def test_containers_that_are_killed_while_they_are_looked_at(site):
    """Looked at as often as can be: known, or UNKNOWN with a reason; never a wrong figure, never a traceback."""
    container = site.start()
    problems, count = set(), 0
    with killed_again_and_again(container):
        end = time.monotonic() + 5
        while time.monotonic() < end:
            for server in (one for one in site.node.engine.servers(users=[site.user]) if one.runs):
                for _ in range(5):
                    made = apply.plan_of(server, site.node, lambda _, given: given)
                    assert made.steps == ()
                    problems |= {made.problem} - {""}
                    count += 1
        ran = [site.run(verb, "--json") for verb in ("ps", "plan", "ps", "plan")]
    assert count > 20
    assert problems
    assert [one for one in problems if not VANISHED.match(one)] == []
    for one in ran:
        told = [server["problem"] for server in json.loads(one.stdout)["servers"] if server["problem"]]
        assert one.returncode == (3 if told else 0), one
        assert all(map(VANISHED.match, told)), told


@contextmanager
def killed_again_and_again(container):
    """In a thread of its own."""
    ending = threading.Event()

    def kill():
        with closing(docker.APIClient(**kwargs_from_env(), version="auto")) as client:
            while not ending.is_set():
                client.restart(container, timeout=0)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


@pytest.mark.alone  # the first look must come in time
def test_a_grant_ends_between_two_looks(site):
    """The moment passes with no change of the file: then what was granted is drift, and `apply` takes it back."""
    until = datetime.now(UTC) + timedelta(seconds=6)
    grant = f"users:\n  {site.user}: {{temporarily: {{pids_limit: 120, until: '{until:%Y-%m-%dT%H:%M:%S}+00:00'}}}}\n"
    site.file.write_text(f"version: 1\ndefaults:\n{BEFORE}{grant}")
    container = site.start()
    assert limits(site, container)[2] == 120
    assert site.run("plan").returncode == 0
    assert datetime.now(UTC) < until
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()))
    assert site.run("plan").returncode == 1
    assert site.run("apply").returncode == 0
    assert limits(site, container)[2] == 100
