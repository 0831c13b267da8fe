"""`spawner-limits check`: mistakes, the summary, and each warning in its whole words."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner_limits.cli import host
from spawner_limits.engines.docker import refusal
from spawner_limits.policy.capacity import Machine
from spawner_limits.policy.lint import lint, placed
from spawner_limits.policy.parse import parse
from tests.conftest import COMMAND, spawner_limits
from tests.unit.command import run

__all__ = ["run"]

ROOT = Path(__file__).parents[2]
HEAD = """\
version: 1
defaults:
  mem_limit: 512M
  cpu_limit: 0.5
  pids_limit: 256
"""
SMALL = ("--memory", "4G", "--cores", "2")
"""the host of most of these tests"""


def written(text):
    Path("limits.yaml").write_text(text, encoding="utf-8")
    return text


def hold(promised, there_is):
    return f"they may hold {promised} GiB of memory, and {there_is} GiB are for servers"


NO_CORES = "Docker can't keep cores free for a container; give it cpu_shares instead"
FOUR = """\
users:
  alice: {mem_limit: 2G}
  bob: {mem_limit: 2G}
  carol: {}
  dora: {mem_limit: 64M, servers: {mem_limit: 128M}}
"""
WARNINGS = {
    "a user's rule that is over": (
        "users:\n  alice:\n    mem_limit: 1G\n    until: 2020-01-01\n",
        "over", 9, 12, "users.alice.until",
        "over since 2020-01-02 00:00 UTC: it never applies; take it out, or give a new time",
    ),
    "a temporary grant that is over": (
        "groups:\n  staff:\n    temporarily:\n      mem_limit: 1G\n      until: 2020-01-01T10:00Z\n",
        "over", 10, 14, "groups.staff.temporarily.until",
        "over since 2020-01-01 10:00 UTC: it never applies; take it out, or give a new time",
    ),
    "a priority that is not looked at": (
        "combine: most\ngroups:\n  staff:\n    priority: 3\n",
        "unused-priority", 9, 15, "groups.staff.priority",
        'never looked at: it counts only with "combine: first"',
    ),
    "a size that no rule lists": (
        "sizes:\n  small:\n    mem_limit: 128M\n",
        "unused-size", 7, 3, "sizes.small",
        "no rule lists it, so nobody can pick it",
    ),
    "a size above all who may pick it": (
        "sizes:\n  huge:\n    mem_limit: 4G\ngroups:\n  staff:\n    sizes: [huge]\n    mem_limit: 2G\n",
        "oversized", 8, 16, "sizes.huge.mem_limit",
        "4.00 GiB is above what anybody gets who may pick it (2.00 GiB, group staff): lowered for good",
    ),
    "a size above the ceiling": (
        "sizes:\n  huge:\n    mem_limit: 1G\ngroups:\n  staff:\n    sizes: [huge]\nceiling:\n  mem_limit: 512M\n",
        "oversized", 8, 16, "sizes.huge.mem_limit",
        "1.00 GiB is above what anybody gets who may pick it (512 MiB, defaults): lowered for good",
    ),
    "a value above the ceiling": (
        "ceiling:\n  mem_limit: 2G\nusers:\n  alice:\n    mem_limit: 3G\n",
        "above-ceiling", 10, 16, "users.alice.mem_limit",
        "3.00 GiB is above the ceiling's 2.00 GiB (line 7): lowered for good",
    ),
    "CPUs beyond the ceiling's": (
        'ceiling:\n  cpuset_cpus: "0"\ngroups:\n  staff:\n    cpuset_cpus: 0-1\n',
        "above-ceiling", 10, 18, "groups.staff.cpuset_cpus",
        "0-1 is above the ceiling's 0 (line 7): lowered for good",
    ),
    "no limit where the host is counted": (
        "host:\n  cpu_overcommit: unlimited\ngroups:\n  staff:\n    mem_limit: unlimited\n    cpu_limit: unlimited\n",
        "uncounted", 10, 16, "groups.staff.mem_limit",
        "unlimited, though host counts memory: such a server is not counted",
    ),
    "no limit, but a ceiling": (
        "host: {}\nceiling:\n  mem_limit: 1G\ngroups:\n  staff:\n    mem_limit: unlimited\n",
        "above-ceiling", 11, 16, "groups.staff.mem_limit",
        "unlimited is above the ceiling's 1.00 GiB (line 8): lowered for good",
    ),
    "a ceiling above the host": (
        "ceiling:\n  cpu_limit: 3\n",
        "ceiling-above-host", 7, 14, "ceiling.cpu_limit",
        "3.00 cores is above the host's 2.00 cores: it protects nothing",
    ),
    "one server above the host": (
        "groups:\n  staff:\n    mem_limit: 5G\n",
        "above-host", 8, 16, "groups.staff.mem_limit",
        "5.00 GiB is above the host's 4.00 GiB: one server may take all of it",
    ),
    "CPUs that the host does not have": (
        "groups:\n  staff:\n    cpuset_cpus: 1-3\n",
        "missing-cpus", 8, 18, "groups.staff.cpuset_cpus",
        "the host has no CPU 2-3 (it has 0-1), so Docker starts no such server",
    ),
    "a field that Docker can't hold": (
        "groups:\n  staff:\n    cpu_guarantee: 0.25\n",
        "not-held", 8, 20, "groups.staff.cpu_guarantee",
        f"each spawn is refused, as best_effort does not list it: {NO_CORES}",
    ),
    "a reserve that leaves nothing": (
        "host:\n  reserve_memory: 4G\n",
        "reserve-above-host", 7, 19, "host.reserve_memory",
        "4.00 GiB leaves nothing of the host's 4.00 GiB for servers",
    ),
    "a reserve of all cores": (
        "host:\n  reserve_cpus: 2\n",
        "reserve-above-host", 7, 17, "host.reserve_cpus",
        "2.00 cores leaves nothing of the host's 2.00 cores for servers",
    ),
    "memory promised, and refused": (
        f"host:\n  reserve_memory: 1G\n  memory_overcommit: 1.5\n{FOUR}",
        "promised", 9, 1, "users",
        f"if all 4 users named here start a server, {hold('4.62', '4.50')}: the last ones are refused",
    ),
    "memory promised, and nothing stops it": (
        "users:\n  alice: {mem_limit: 3G}\n  bob: {mem_limit: 2G}\n",
        "promised", 6, 1, "users",
        f"if both users named here start a server, {hold('5.00', '4.00')}: nothing stops them without a section host",
    ),
}  # fmt: skip


PROCESSES = {
    "all of them": (32768, 32768, ["32768 processes leaves nothing of the host's 32768 processes for servers"]),
    "most of them": (32767, 32768, []),
    "none": (0, 32768, []),
    "of nobody knows how many": (4194304, None, []),
}


@pytest.mark.parametrize(("reserve", "has", "messages"), PROCESSES.values(), ids=PROCESSES)
def test_a_reserve_of_processes(reserve, has, messages):
    """It is held against what the Linux kernel can have, where that is known."""
    policy = parse(f"{HEAD}host: {{reserve_processes: {reserve}}}\n".encode(), "limits.yaml")
    machine = Machine(memory_bytes=4 << 30, cores=2, processes=has)
    assert [one.message for one in lint(policy, machine, now=datetime.now(UTC))] == messages


KERNELS = {
    "processes are fewer": ({"pid_max": "32768\n", "threads-max": "192000\n"}, 32768),
    "threads are fewer": ({"pid_max": "4194304\n", "threads-max": "7000\n"}, 7000),
    "one can't be read": ({"pid_max": "4194304\n"}, None),
    "one is no number": ({"pid_max": "4194304\n", "threads-max": "many"}, None),
}


@pytest.mark.parametrize(("files", "processes"), KERNELS.values(), ids=KERNELS)
def test_how_many_processes_there_can_be(tmp_path, files, processes):
    """The lower of the Linux kernel's two limits; of another host it is not known."""
    folder = tmp_path / "proc/sys/kernel"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    (tmp_path / "proc/meminfo").write_text("MemTotal:        4194304 kB\n")
    assert host.machine(root=tmp_path).processes == processes
    assert host.machine("4G", root=tmp_path).processes is None
    assert host.machine(cores=2, root=tmp_path).processes is None


@pytest.mark.parametrize("case", WARNINGS.values(), ids=WARNINGS)
def test_each_warning(run, case):
    """It is the only one, with its place; the exit code is 0, or 1 where warnings count."""
    more, kind, line, column, path, message = case
    written(HEAD + more)
    ended = run("check", *SMALL, "--json")
    told = {"kind": kind, "file": "limits.yaml", "line": line, "column": column, "path": path, "message": message}
    assert ended.json["warnings"] == [told]
    assert (ended.code, ended.stderr) == (0, "")
    assert run("check", *SMALL, "--strict").code == 1


RIGHT = {
    "nothing but the defaults": "",
    "groups that give what everybody has": "groups:\n  staff:\n    mem_limit: 512M\n",
    "combine with one group": "combine: least\ngroups:\n  staff: {mem_limit: 1G}\n",
    "a rule that is not over yet": "users:\n  alice: {mem_limit: 1G, until: 9998-01-01}\n",
    "priorities that count": "combine: first\ngroups:\n  staff: {priority: 1}\n  others: {priority: 2}\n",
    "a size as large as one user may have": (
        "sizes:\n  large: {mem_limit: 2G}\n  small: {mem_limit: 1M}\n".replace("1M", "64M")
        + "groups:\n  staff: {sizes: [large, small]}\nusers:\n  alice: {mem_limit: 2G}\n"
    ),
    "no limit that is not counted": "host:\n  cpu_overcommit: unlimited\ngroups:\n  staff: {cpu_limit: unlimited}\n",
    "no limit where nothing is counted": "groups:\n  staff: {mem_limit: unlimited, cpu_limit: unlimited}\n",
    "as much as the host has": "groups:\n  staff: {mem_limit: 4G, cpu_limit: 2}\nceiling: {mem_limit: 4G}\n",
    "CPUs that are there": "groups:\n  staff: {cpuset_cpus: 0-1}\n",
    "what need not be held": "best_effort: [cpu_guarantee]\ngroups:\n  staff: {cpu_guarantee: 0.25}\n",
    "memory that is not counted": "host: {memory_overcommit: unlimited}\nusers: {a: {mem_limit: 4G}, b: {}}\n",
    "swappiness on a host of which the cgroups are not known": "groups:\n  staff: {mem_swappiness: 10}\n",
}


@pytest.mark.parametrize("more", RIGHT.values(), ids=RIGHT)
def test_no_warning(run, more):
    """What is right, or the administrator's own choice, is not warned of."""
    written(HEAD + more)
    ended = run("check", *SMALL, "--strict", "--json")
    assert (ended.json["warnings"], ended.code) == ([], 0)


def test_the_projects_policy_has_no_warnings(run):
    """The example that comes with the project is sound on a small host."""
    ended = run("check", ROOT / "limits.yaml", *SMALL, "--strict")
    assert (ended.code, ended.stderr) == (0, "")


def test_the_summary(run):
    """Whole, at 80 columns, plain."""
    text = written(HEAD + "host: {reserve_memory: 1G}\ngroups:\n  staff: {cpu_limit: 9}\nceiling: {cpu_limit: 2}\n")
    ended = run("check", *SMALL)
    assert (
        ended.stdout
        == f"""\
limits.yaml can be used; 1 warning

Users         none
Groups        1: staff
Sizes         none
At most       memory 512 MiB, from defaults (line 3)
              CPU 2.00 cores, from ceiling (line 9)
              processes 256, from defaults (line 5)
Host          4.00 GiB, 2 cores; servers may hold 3.00 GiB of memory and 2.00
              cores of CPU
SHA-256       {hashlib.sha256(text.encode()).hexdigest()}

limits.yaml:8:22: groups.staff.cpu_limit
  9.00 cores is above the ceiling's 2.00 cores (line 9): lowered for good
"""
    )


def test_json(run):
    """Base units in the names of keys; null has a reason."""
    text = written(HEAD.replace("0.5", "unlimited") + "users:\n  Ünal: {}\n")
    ended = run("check", *SMALL, "--json")
    assert ended.json == {
        "schema_version": 1,
        "file": "limits.yaml",
        "valid": True,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "users": 1,
        "groups": [],
        "sizes": [],
        "at_most": {
            "mem_limit_bytes": {"value": 512 << 20, "reason": None, "rule": "defaults", "line": 3},
            "cpu_limit_cores": {"value": None, "reason": "unlimited", "rule": "defaults", "line": 4},
            "pids_limit_processes": {"value": 256, "reason": None, "rule": "defaults", "line": 5},
        },
        "host": {
            "memory_bytes": 4 << 30,
            "cores": 2,
            "memory_for_servers_bytes": None,
            "memory_for_servers_reason": "no section host",
            "cpu_for_servers_cores": None,
            "cpu_for_servers_reason": "no section host",
        },
        "warnings": [],
    }


def test_all_mistakes_are_told(run):
    """Each at its place on stderr, with nothing before it; stdout is empty."""
    written(HEAD + "users:\n  alice: {mem_limt: 1G}\n  bob: {cpu_limit: -1}\n")
    ended = run("check")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == (
        'limits.yaml:7:11: users.alice.mem_limt: unknown key; did you mean "mem_limit"?\n'
        'limits.yaml:8:20: users.bob.cpu_limit: found "-1"; expected a number of cores such as "0.5" or "2", or '
        '"unlimited"\n'
        "spawner-limits: 2 mistakes in the policy\n"
    )


def test_mistakes_in_json(run):
    """For programs on stdout too."""
    written(HEAD + "users:\n  alice: {mem_limt: 1G}\n")
    ended = run("check", "--json")
    assert ended.code == 2
    assert ended.json == {
        "schema_version": 1,
        "file": "limits.yaml",
        "valid": False,
        "mistakes": [
            {
                "file": "limits.yaml",
                "line": 7,
                "column": 11,
                "path": "users.alice.mem_limt",
                "message": 'unknown key; did you mean "mem_limit"?',
            }
        ],
    }


def test_places_behind_a_byte_order_mark(run):
    """As an editor counts columns, and with lists, comments and quoted names before the place."""
    text = (
        HEAD
        + 'sizes:\n  "a b": {mem_limit: 64M} # users:\n'
        + 'groups:\n  g: {sizes: ["a b"]}\nusers:\n  "x": {until: 2020-01-01}\n'
    )
    Path("limits.yaml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (warning,) = run("check", *SMALL, "--json").json["warnings"]
    assert (warning["path"], warning["line"], warning["column"]) == ("users.x.until", 11, 16)


def test_many_warnings_of_a_kind(run):
    """A person sees the first ones, a program all."""
    users = "".join(f"  user{number}: {{until: 2020-01-01}}\n" for number in range(50))
    written(f"{HEAD}host: {{memory_overcommit: unlimited}}\nusers:\n{users}")
    assert len(run("check", "--json").json["warnings"]) == 50
    shown = run("check").stdout
    assert shown.count("over since") == 20
    assert shown.endswith("and 30 more of these kinds; --json has all\n")


BAD = {
    "no such file": (["check", "no.yaml"], "no.yaml: no such file; expected a policy file, see docs/policy.md\n"),
    "a directory": (["check", "."], ".: a directory; expected a policy file\n"),
    "no size": (["check", "--memory", "4X"], 'spawner-limits: --memory 4X: expected a size such as "512M" or "1.5G"\n'),
    "an empty size": (
        ["check", "--memory", ""],
        'spawner-limits: --memory (empty): expected a size such as "512M" or "1.5G"\n',
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(run, arguments, message):
    """Exit code 2 and one message."""
    ended = run(*arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith(message)


@pytest.mark.parametrize("cores", ["0", "-1", "two", "9999999"])
def test_bad_cores(run, cores):
    """Exit code 2, and the option is named."""
    written(HEAD)
    ended = run("check", f"--cores={cores}")
    assert ended.code == 2
    assert "--cores" in ended.stderr


def test_a_name_that_is_no_text():
    """A file's name need not be UTF-8; no traceback, whatever it is."""
    ended = spawner_limits("check", b"/nowhere/\xff.yaml")
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)


def test_a_full_disk(tmp_path):
    """What can't be written is said, in one line."""
    policy = tmp_path / "limits.yaml"
    policy.write_text(HEAD, encoding="utf-8")
    for more in ([], ["--json"]):
        with Path("/dev/full").open("wb") as full:
            ended = subprocess.run([COMMAND, "check", policy, *more], stdout=full, stderr=subprocess.PIPE, check=False)
        assert ended.returncode == 2
        assert ended.stderr == b"spawner-limits: the result can't be written to stdout: No space left on device\n"


def test_it_imports_no_engine_and_no_hub(tmp_path):
    """It starts fast, and runs where neither is installed."""
    policy = tmp_path / "limits.yaml"
    policy.write_text(HEAD, encoding="utf-8")
    program = (
        "import sys\nfrom spawner_limits.cli.main import run\n"
        "try:\n    run(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'docker', 'jupyterhub', 'requests', 'tornado'} & set(sys.modules)))"
    )
    for verb in (["check", policy], ["explain", "alice", "--file", policy], ["init", tmp_path / "no"]):
        ended = subprocess.run([sys.executable, "-c", program, *verb], capture_output=True, text=True, check=True)
        assert ended.stdout.splitlines()[-1] == "[]"


def test_a_fault_of_ours_is_no_verdict(tmp_path):
    """Python's own exit code for it, 1, is that of a limit that does not hold."""
    program = (
        "import sys\nfrom spawner_limits.cli import check, main\n"
        "check.host.machine = None\nsys.argv[1:] = ['check', 'limits.yaml']\nmain.main()"
    )
    (tmp_path / "limits.yaml").write_text(HEAD, encoding="utf-8")
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "Traceback" in ended.stderr
    last = "spawner-limits: TypeError: this is a fault of ours, and nothing is known"
    assert ended.stderr.splitlines()[-1] == last


def test_swappiness_where_there_is_none():
    """On a host that is known to have cgroup v2."""
    policy = parse(f"{HEAD}groups:\n  staff: {{mem_swappiness: 10}}\n".encode(), "limits.yaml")
    machine = Machine(memory_bytes=4 << 30, cores=2)
    found = {
        version: lint(policy, machine, now=datetime.now(UTC), refusal=partial(refusal, version=version))
        for version in (None, 1, 2)
    }
    assert {version: [one.kind for one in cautions] for version, cautions in found.items()} == {
        None: [],
        1: [],
        2: ["not-held"],
    }


SIZE, CORES = st.sampled_from(["64M", "1G", "5G", "unlimited"]), st.sampled_from(["0.5", "2", "9", "unlimited"])
TIME = st.sampled_from(["2020-01-01", "2126-01-01"])
NAMES = st.lists(st.sampled_from(["small", "huge"]), unique=True)
FIELDS = {
    "mem_limit": SIZE,
    "cpu_limit": CORES,
    "cpuset_cpus": st.sampled_from(["'0'", "0-3", "unlimited"]),
    "cpu_guarantee": st.just("0.25"),
    "sizes": NAMES.map(lambda names: f"[{', '.join(names)}]"),
    "servers": st.builds("{{count: 2, mem_limit: {}}}".format, SIZE),
}


def flow(members):
    return "{" + ", ".join(f"{key}: {value}" for key, value in members.items()) + "}"


VALUES = st.fixed_dictionaries({}, optional=FIELDS)
TEMPORARY = st.fixed_dictionaries({"until": TIME}, optional=FIELDS).map(flow)
RULE = st.fixed_dictionaries({}, optional={**FIELDS, "until": TIME, "temporarily": TEMPORARY}).map(flow)
RULES = st.dictionaries(st.sampled_from(["a", "b c", "temporarily", "users", "é"]), RULE).map(flow)
HOST = st.fixed_dictionaries(
    {},
    optional={"reserve_memory": st.just("4G"), "memory_overcommit": st.sampled_from(["1", "unlimited"])},
)
CEILING = st.fixed_dictionaries({}, optional={"mem_limit": st.just("1G"), "cpuset_cpus": st.just("0-5")})
SECTIONS = st.fixed_dictionaries(
    {"groups": RULES, "users": RULES},
    optional={"host": HOST.map(flow), "ceiling": CEILING.map(flow)},
)


@given(SECTIONS)
def test_every_policy_that_can_be_used_is_linted(sections):
    """Without an exception, and each warning has its place."""
    text = "version: 1\ncombine: most\ndefaults: {mem_limit: 512M, cpu_limit: 1, pids_limit: 9}\n"
    text += "sizes: {small: {mem_limit: 64M}, huge: {mem_limit: 7G, cpu_limit: unlimited}}\n"
    text += "".join(f"{key}: {value}\n" for key, value in sections.items())
    policy = parse(text.encode(), "limits.yaml")
    found = lint(
        policy, Machine(memory_bytes=4 << 30, cores=2), now=datetime.now(UTC), refusal=partial(refusal, version=2)
    )
    cautions = placed(found, text)
    assert len(cautions) == len(found)
    lines = text.splitlines()
    assert all(one.path[0] == lines[one.line - 1].partition(":")[0] for one in cautions)
