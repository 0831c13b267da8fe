"""Limits of running containers, changed on a real engine: told, read back from the Linux kernel, and reported."""

from __future__ import annotations

import json
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime

import docker.errors
import pytest

from spawner_limits.clients.docker import DockerEngine
from spawner_limits.engines import labels
from spawner_limits.engines.docker import translate
from spawner_limits.lifecycle import apply, plan
from spawner_limits.lifecycle.in_force import last_applied
from spawner_limits.lifecycle.node import Node
from spawner_limits.lifecycle.records import Records
from spawner_limits.policy.parse import load
from spawner_limits.policy.resolve import resolve
from spawner_limits.state_folder import VARIABLE
from spawner_limits.units import MIB
from tests import kernel_files
from tests.conftest import MINIMAL, kernel, spawner_limits
from tests.integration.conftest import eventually
from tests.kernel_files import memory_limit_bytes

pytestmark = pytest.mark.v2
HOLD = "import sys, time; held = bytearray(int(sys.argv[1]) << 20); print('held', flush=True); time.sleep(600)"
BEFORE = "  mem_limit: 256M\n  cpu_limit: 0.5\n  pids_limit: 100\n"


class Site:
    """A policy file, records and servers of a test's own."""

    def __init__(self, client, folder):
        self.client, self.folder = client, folder
        self.file, self.records = folder / "limits.yaml", Records(folder / "records")
        self.user = f"test-apply-{uuid.uuid4().hex[:8]}"
        self.node = Node.here(DockerEngine.over(client), self.records)
        self.made = []
        self.rule(BEFORE)

    def rule(self, defaults):
        """Change the policy."""
        self.file.write_text(f"version: 1\ndefaults:\n{defaults}")

    def start(self, mib=10, server=""):
        """A server as the spawner would start it, which holds so much memory."""
        entitlement = resolve(load(self.file), self.user, (), server, now=datetime.now(UTC))
        given = {
            labels.USER: self.user,
            labels.SERVER: server,
            labels.POLICY: entitlement.policy_sha256,
            labels.ENTITLEMENT: entitlement.to_json(),
        }
        config = self.client.create_host_config(init=True, **translate(entitlement.limits).ask)
        made = self.client.create_container(
            MINIMAL, ["python3", "-c", HOLD, str(mib)], entrypoint=[], labels=given, host_config=config
        )["Id"]
        self.made.append(made)
        self.client.start(made)
        end = time.monotonic() + 30
        while b"held" not in self.client.logs(made):
            assert time.monotonic() < end
            time.sleep(0.05)
        return made

    def run(self, verb, *options):
        """A command on this site's servers."""
        user = (self.user,)
        file = () if verb == "ps" else ("--file", str(self.file))
        return spawner_limits(
            verb, *user, *file, *options, JUPYTERHUB_API_TOKEN="", **{VARIABLE: str(self.records.directory)}
        )

    def shown(self, container):
        """What the Linux kernel shows."""
        return kernel(self.client.inspect_container(container))

    def memory(self, container):
        """The memory limit, in MiB."""
        return memory_limit_bytes(self.shown(container)) // MIB

    def plans(self):
        """What is to be done now."""

        def entitle(server, in_force):
            return plan.entitle(load(self.file), server, in_force, None, now=datetime.now(UTC))

        return apply.plans(self.node.engine.servers(users=[self.user]), self.node, entitle)


@pytest.fixture
def site(client, tmp_path):
    made = Site(client, tmp_path)
    yield made
    for container in made.made:
        with suppress(docker.errors.NotFound):
            client.remove_container(container, force=True)


def test_a_change_reaches_the_kernel(site):
    """The engine is told and the kernel shows it; the container goes on, and then there is no drift."""
    container = site.start()
    site.rule(BEFORE.replace("256M", "300M").replace("100", "120"))
    done = site.run("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{site.user}: HELD" in done.stdout
    assert "mem_limit is 300 MiB (it was 256 MiB)" in done.stdout
    assert (site.memory(container), site.shown(container).limits["pids.max"]) == (300, "120")
    assert site.run("plan").returncode == site.run("ps").returncode == 0
    assert "nothing was to be changed" in site.run("apply").stdout


def test_no_swap_that_may_not_stay_is_asked_anew(site):
    """A server of an older version: the kernel shows what it should, the engine's record does not; it lives on."""
    container = site.start()
    site.client.update_container(container, mem_limit=256 * MIB, memswap_limit=256 * MIB)
    before = site.shown(container).limits
    found = site.run("ps")
    assert found.returncode == site.run("plan").returncode == 1
    assert "memswap_limit: 256 MiB, which may not stay, expected 256 MiB" in found.stdout
    done = site.run("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "memswap_limit is 256 MiB (it was 256 MiB, which may not stay)" in done.stdout
    after = site.client.inspect_container(container)
    assert (after["HostConfig"]["Memory"], after["HostConfig"]["MemorySwap"]) == (256 * MIB, 256 * MIB + 1)
    assert site.shown(container).limits == before
    assert after["RestartCount"] == 0
    assert site.run("plan").returncode == site.run("ps").returncode == 0


def test_what_is_in_use_is_not_lowered(site):
    """It is told with the figures, and what can be done is done all the same."""
    container = site.start(mib=120)
    site.rule(BEFORE.replace("256M", "64M").replace("0.5", "0.25"))
    done = site.run("apply")
    assert done.returncode == 1
    assert "mem_limit is still 256 MiB, the policy gives 64 MiB: 1" in done.stdout
    assert "cpu_limit is 0.25 cores (it was 0.50 cores)" in done.stdout
    assert site.memory(container) == 256
    assert site.client.inspect_container(container)["State"]["Running"]


def test_by_force_the_engine_is_asked_all_the_same(site):
    """On cgroup v1 the Linux kernel refuses; on v2 it takes it, and kills. Either is told as it is."""
    container = site.start(mib=120)
    site.rule(BEFORE.replace("256M", "64M"))
    refused = site.run("apply", "--force")
    assert refused.returncode == 2
    assert f"may be killed by the Linux kernel: {site.user}: 1" in refused.stderr
    assert site.memory(container) == 256
    done = site.run("apply", "--force", "--yes")
    if kernel_files.here() == 1:
        assert done.returncode == 1
        told = "the engine refused: unable to set memory limit to 67108864 (current usage: 1"
        assert told in " ".join(done.stdout.split())
        assert site.client.inspect_container(container)["State"]["Running"]
    else:
        state = eventually(lambda: ended(site.client, container))
        assert state["ExitCode"] == 137


def ended(client, container):
    """What the engine says of a container that has ended, else `None`."""
    state = client.inspect_container(container)["State"]
    return None if state["Running"] else state


def test_a_dry_run_changes_nothing(site):
    """It is `plan`."""
    container = site.start()
    site.rule(BEFORE.replace("0.5", "1"))
    dry, planned = site.run("apply", "--dry-run"), site.run("plan")
    assert (dry.returncode, dry.stdout) == (planned.returncode, planned.stdout)
    assert dry.returncode == 1
    assert "0.50 cores" in dry.stdout
    assert site.client.inspect_container(container)["HostConfig"]["CpuQuota"] == 50_000


def test_what_was_given_up_is_taken_back(site):
    """Shares, a CPU set and a limit of processes go; a guarantee needs a restart."""
    site.rule(BEFORE + '  cpu_shares: 512\n  cpuset_cpus: "0"\n  mem_guarantee: 64M\n')
    container = site.start()
    site.rule(BEFORE)
    done = site.run("apply", "--json")
    (told,) = json.loads(done.stdout)["servers"]
    assert done.returncode == 1
    assert [one["field"] for one in told["left"]] == ["mem_guarantee"]
    assert told["told"] == [{"CpuShares": 1024}, {"CpusetCpus": site.node.host.cpus}]
    assert site.shown(container).limits["cpuset.cpus"] == site.node.host.cpus


def test_drift_behind_the_engines_back(site):
    """`ps` finds it without a policy; `apply` mends it."""
    container = site.start()
    site.client.update_container(container, cpu_quota=200_000)
    found = site.run("ps")
    assert found.returncode == 1
    assert "DRIFT" in found.stdout
    assert "cpu_limit: 2.00 cores, expected 0.50 cores" in found.stdout
    assert site.run("apply").returncode == 0
    assert site.run("ps").returncode == 0


def test_after_it_was_applied_that_is_what_counts(site):
    """The label can't be changed; what was applied is kept beside it."""
    container = site.start()
    site.rule(BEFORE.replace("0.5", "1"))
    assert site.run("apply").returncode == 0
    (found,) = json.loads(site.run("ps", "--json").stdout)["servers"]
    assert found["limits"]["cpu_limit_cores"] == {"value": 1.0, "reason": None, "rule": "defaults"}
    assert last_applied(container, site.records).limits.cpu_limit == 1.0


def test_a_server_that_ends_in_between(site):
    """It is told, and nothing else happens."""
    container = site.start()
    site.rule(BEFORE.replace("0.5", "1"))
    (made,) = site.plans()
    site.client.remove_container(container, force=True)
    done = apply.apply(site.node, made)
    assert (done.holds, done.problem) == (False, "the server has ended meanwhile")


def test_one_that_fails_holds_up_no_other(site):
    """Two servers of one user: one uses more than the new limit."""
    small, large = site.start(server="small"), site.start(mib=120, server="large")
    site.rule(BEFORE.replace("256M", "64M"))
    done = apply.apply_all(site.node, site.plans())
    assert {one.plan.server.server: one.holds for one in done} == {"small": True, "large": False}
    assert [site.memory(one) for one in (small, large)] == [64, 256]


def test_servers_of_another_hub_are_left_alone(site):
    """They were started under another policy file; `--under` means those."""
    container = site.start()
    draft = site.folder / "draft.yaml"
    draft.write_text(site.file.read_text().replace("0.5", "1"))
    for verb in ("plan", "apply"):
        ran = spawner_limits(verb, site.user, "--file", str(draft), JUPYTERHUB_API_TOKEN="")
        assert ran.returncode == 0
        assert f"1 server was started under another policy file and left alone; --under {site.file}" in ran.stderr
    assert site.client.inspect_container(container)["HostConfig"]["CpuQuota"] == 50_000
    ran = spawner_limits("plan", site.user, "--file", str(draft), "--under", str(site.file), JUPYTERHUB_API_TOKEN="")
    assert ran.returncode == 1
    assert "cpu_limit       1.00 cores    0.50 cores          live" in ran.stdout


def test_a_label_that_is_none(site):
    """A container that only says whose it is: nothing is known of it, and nothing is done to it."""
    config = site.client.create_host_config(init=True)
    made = site.client.create_container(
        MINIMAL, ["sleep", "60"], entrypoint=[], labels={labels.USER: site.user}, host_config=config
    )["Id"]
    site.made.append(made)
    site.client.start(made)
    for verb in ("ps", "plan"):
        ran = site.run(verb)
        assert ran.returncode == 3
        assert "the container has no label spawner-limits.entitlement" in ran.stdout


def test_wide_as_a_terminal(site):
    """80 columns hold all of it."""
    site.start(mib=120)
    site.rule(BEFORE.replace("256M", "64M").replace("0.5", "0.25"))
    for verb in ("ps", "plan", "apply"):
        assert max(map(len, site.run(verb).stdout.splitlines())) <= 80


NOT_THERE = {"ps": [], "plan": ["--file", "limits.yaml"], "apply": ["--file", "limits.yaml"]}


@pytest.mark.parametrize(("verb", "options"), NOT_THERE.items(), ids=NOT_THERE)
def test_an_engine_that_is_not_there(verb, options):
    """Exit code 4, and a remedy."""
    ran = spawner_limits(verb, *options, DOCKER_HOST="unix:///no/such/socket", JUPYTERHUB_API_TOKEN="")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert "the Docker engine does not answer" in ran.stderr


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_a_hub_that_is_not_there(site, verb):
    """With a token it is asked for groups, so that nothing is decided by old ones."""
    ran = spawner_limits(
        verb, "--file", str(site.file), "--hub", "http://127.0.0.1:9/hub/api", JUPYTERHUB_API_TOKEN="t"
    )
    assert (ran.returncode, ran.stdout) == (4, "")
    assert "no hub answers at http://127.0.0.1:9/hub/api, which says who is in which group" in ran.stderr
