"""A new field of the limits is a row in each table, and nothing else: shown with one that there is not, `mem_high`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spawner_limits.engines import docker, kube, swarm
from spawner_limits.kernel import v1, v2
from spawner_limits.limits import FIELDS

ROOT = Path(__file__).parents[2]

ATTRIBUTE = """\
    mem_high: int | None = None
    pids_limit: int"""
FIELD = """\
        _MEMORY(name="mem_high", words="slowed memory", effect="where reclaim begins", proof="read back"),
        _COUNT(
            name="pids_limit\""""
OF_DOCKER = """\
    Row(
        field="mem_high",
        option="mem_high",
        inspect="MemoryHigh",
        v2=("memory.high",),
        reset=lambda _cpus, _page: Reset(ask={"mem_high": UNLIMITED}, texts=((), (("max",),))),
    ),
    Row(
        field="pids_limit\""""
OF_SWARM = """\
    Row(field="mem_high", option=None, cannot=never("Swarm has none"), note="refused"),
    Row(
        field="pids_limit\""""
PLACES = {
    "limits.py": {"    pids_limit: int": ATTRIBUTE, '        _COUNT(\n            name="pids_limit"': FIELD},
    "engines/docker.py": {'    Row(\n        field="pids_limit"': OF_DOCKER},
    "engines/swarm.py": {'    Row(\n        field="pids_limit"': OF_SWARM},
    "engines/kube.py": {'    Row(\n        field="pids_limit"': OF_SWARM.replace("Swarm", "Kubernetes")},
}
"""file → text there → what stands in its place"""

POLICY = """\
version: 1
best_effort: [mem_high]
ceiling: {mem_high: 2G}
defaults: {mem_limit: 4G, cpu_limit: 1, pids_limit: 100, mem_high: 3G}
users:
  zed: {mem_high: 512M}
"""
PROGRAM = """\
import json
from dataclasses import replace
from datetime import UTC, datetime

from docs import generate
from spawner_limits.cli import output
from spawner_limits.engines import docker, kube, swarm
from spawner_limits.clients.engine import Server
from spawner_limits.kernel.host import HostFacts
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.lifecycle.attest import attest
from spawner_limits.lifecycle.kept_container import renewal
from spawner_limits.lifecycle.plan import changes, plan
from spawner_limits.policy import capacity
from spawner_limits.policy.entitlement import Entitlement
from spawner_limits.policy.lint import lint
from spawner_limits.policy.parse import parse
from spawner_limits.policy.resolve import resolve
from spawner_limits.policy.schema import schema
from spawner_limits.policy.set_rule import Target, change, read_values
from spawner_limits.proof.judge import _JUDGES, _NOT_PRESSED
from spawner_limits.verify.page import KEYS

now = datetime(2026, 11, 29, tzinfo=UTC)
text = POLICY
policy = parse(text.encode(), "limits.yaml")
target = Target.read("user:zed")
changed = change(text, policy, target, read_values(target, ["mem_high=1G"]), file="limits.yaml", now=now)
zed, anybody = (resolve(parse(changed.encode(), "limits.yaml"), name, now=now) for name in ("zed", "anybody"))
enforced = docker.translate(zed.limits, version=2)
limits = {file.name: file.accept[0] for one in enforced.expect for file in one.files(2)}
versions = dict.fromkeys(("cpu", "cpuset", "memory", "pids"), 2)
shown = Snapshot(monotonic_ns=0, versions=versions, limits={**limits, "memory.high": "max"})
server = Server(
    id="a" * 64, name="z", user="zed", server="", image="i", networks=(), state="running", runs=True, started=now,
    labels={}, asked=docker.host_config(enforced.ask), entitlement=zed,
)
host = HostFacts(cgroup_version=2, page_size_bytes=4096, swap_bytes=0, cpus="0-1")
planned = plan(server, zed, shown, host)
freed = docker.with_resets(
    docker.translate(replace(zed.limits, mem_high=None)), server.asked, cpus="0-1", page_size_bytes=4096
)
found = lint(policy, capacity.Machine(memory_bytes=8 << 30, cores=2), now=now)
print(json.dumps({
    "set": changed.splitlines()[-1],
    "given": [one.grants["mem_high"].value >> 20 for one in (zed, anybody)],
    "label": Entitlement.from_json(zed.to_json()) == zed,
    "asked": enforced.ask["mem_high"] >> 20,
    "refused": [engine.translate(zed.limits).cannot["mem_high"] for engine in (swarm, kube)],
    "seen": [str(one) for one in attest(enforced.expect, shown, swap_bytes=0)],
    "planned": [(one.actual, one.wanted, one.effect) for one in planned.steps],
    "changed": changes(planned),
    "freed": freed.ask["mem_high"],
    "kept": renewal(enforced, {**server.asked, "MemoryHigh": 0}).changes,
    "mismatch": docker.mismatches(enforced.ask, {**server.asked, "MemoryHigh": 1 << 31}),
    "judged": _JUDGES.get("mem_high", _NOT_PRESSED)(None, None).reason,
    "cautions": [(one.kind, one.message) for one in found],
    "keys": [output.KEYS["mem_high"], KEYS["mem_high"]],
    "schema": schema()["$defs"]["user"]["properties"]["mem_high"]["description"],
    "documented": [name for name, table in generate.TABLES.items() if "| `mem_high` |" in table()],
}))
"""
SAID = {
    "set": "  zed: {mem_high: 1G}",
    "given": [1024, 2048],
    "label": True,
    "asked": 1024,
    "refused": ["Swarm has none", "Kubernetes has none"],
    "seen": ["mem_high: memory.high is max, expected 1073741824"],
    "planned": [["unlimited", "1.00 GiB", "live"]],
    "changed": [{"MemoryHigh": 1 << 30}],
    "freed": -1,
    "kept": ["MemoryHigh is 0, the policy says 1.00 GiB"],
    "mismatch": ["MemoryHigh is 2.00 GiB, the policy says 1.00 GiB"],
    "judged": "the kernel shows it; nothing presses it here",
    "cautions": [["above-ceiling", "3.00 GiB is above the ceiling's 2.00 GiB (line 3): lowered for good"]],
    "keys": ["mem_high_bytes", "limit_bytes"],
    "schema": "where reclaim begins (bytes)",
    "documented": ["fields", "docker", "swarm", "kube", "tolerances"],
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The package and the program that writes its documentation, as they are."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("spawner_limits", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)  # of which the documentation tells the layers
    return folder


def ran(sources, program, *, without=""):
    """What a program says where the field is in each place but one."""
    for name, changes in PLACES.items():
        text = (ROOT / "spawner_limits" / name).read_text(encoding="utf-8")
        for old, new in changes.items():
            assert text.count(old) == 1, (name, old)
            text = text if name == without else text.replace(old, new)
        (sources / "spawner_limits" / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-B", "-c", program]
    return subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)


def test_a_field_is_a_row_in_each_table(sources):
    """Four places, and no other: the whole way from the policy to the verdict and the documentation knows it.

    - `limits.py`: what it is, what may be written, what people and programs call it, how it is documented;
    - `engines/docker.py`: what Docker is told, what shows it, how a running container is changed and freed of it;
    - `engines/swarm.py` and `engines/kube.py`: the same there, or why it is refused.

    The rest is made of these: the policy's reader and its schema, `set`, `lint`, labels, plans, kept containers, JSON
    keys, tables in docs/ (by `python docs/generate.py`). What it may have besides, and does without until then: a file
    that the Linux kernel's readers don't read yet (`LIMITS` of `kernel/v1.py` and `v2.py`), a load that presses it
    (`proof/judge.py`, `proof/tolerances.py`), an option of `verify --image` (`cli/verify.py`), and a relation to other
    fields (`policy/constraints.py`).
    """
    ended = ran(sources, f"POLICY = {POLICY!r}\n{PROGRAM}")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == SAID


FORGOTTEN = {
    "limits.py": "limits.FIELDS has no mem_high, of which spawner_limits.engines.docker has a row",
    "engines/docker.py": "spawner_limits.engines.docker has no row for mem_high",
    "engines/swarm.py": "spawner_limits.engines.swarm has no row for mem_high",
    "engines/kube.py": "spawner_limits.engines.kube has no row for mem_high",
}


@pytest.mark.parametrize("place", FORGOTTEN)
def test_a_forgotten_place_is_named(sources, place):
    """Where one is missing, nothing starts, and it says which."""
    ended = ran(sources, "from spawner_limits.engines import docker, kube, swarm", without=place)
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, f"AssertionError: {FORGOTTEN[place]}")


@pytest.mark.parametrize("engine", [docker, swarm, kube], ids=["docker", "swarm", "kube"])
def test_each_file_that_must_show_a_field_is_read(engine):
    """By the Linux kernel's readers: what nobody reads could never be attested."""
    for version, read in ((1, v1.LIMITS), (2, v2.LIMITS)):
        shown = {name for row in engine.TABLE for name in (row.v1 if version == 1 else row.v2)}
        assert shown <= {name for names in read.values() for name in names}


def test_each_field_has_its_texts():
    """For people, for programs, for the documentation."""
    for name, field in FIELDS.items():
        assert field.words, name
        assert field.base_unit, name
        assert field.effect, name
        assert field.proof, name
