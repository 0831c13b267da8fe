"""`spawner-limits explain`: who gets what from which line, what each engine is told, and what the kernel must show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.command import run

__all__ = ["run"]

POLICY = """\
version: 1
combine: most
best_effort: [mem_swappiness]
ceiling:
  mem_limit: 3G
sizes:
  small: {mem_limit: 256M}
  large: {mem_limit: 1G}
defaults:
  mem_limit: 512M
  cpu_limit: 0.5
  pids_limit: 256
groups:
  students:
    mem_limit: 1G
    sizes: [small, large]
  staff:
    pids_limit: unlimited
    until: 2030-03-31T12:00+02:00
users:
  alice:
    mem_limit: 8G
    servers:
      count: 2
      mem_limit: 2G
    temporarily:
      cpu_limit: 1.5
      until: 2026-12-01T10:00Z
  bob:
    cpu_guarantee: 0.25
    mem_swappiness: 10
  carol:
    thread_hints: false
    temporarily: {thread_hints: true, until: 2026-11-01}
  dan:
    cpu_limit: unlimited
    thread_hints: true
"""
AT = ("--at", "2026-12-01")


@pytest.fixture
def explain(run):
    def explain(*arguments):
        Path("limits.yaml").write_text(POLICY, encoding="utf-8")
        return run("explain", *arguments)

    return explain


def test_the_whole(explain):
    """Every part, at 80 columns: until, lowered from, all servers of a user."""
    ended = explain("alice", "--server", "gpu", *AT, "--cgroup", "2")
    assert (ended.code, ended.stderr) == (0, "")
    assert (
        ended.stdout
        == """\
alice, server "gpu": at 2026-12-01 00:00 UTC, by limits.yaml

Resource        Limit          From
memory          2.00 GiB       user alice (limits.yaml:22), lowered by servers
                               of user alice, from 8.00 GiB
memory + swap   2.00 GiB       as memory: user alice (limits.yaml:22)
CPU             1.50 cores     user alice, temporarily (limits.yaml:27), until
                               2026-12-01 10:00 UTC
processes       256            defaults (limits.yaml:12)

All servers of this user together
servers         2              user alice (limits.yaml:24)
memory          2.00 GiB       user alice (limits.yaml:25)

Thread hints: 2

Docker is told (extra_host_config)
  mem_limit: 2147483648
  memswap_limit: 2147483649  # a byte above mem_limit: no swap, for good
  cpu_period: 100000
  cpu_quota: 150000
  pids_limit: 256

The Linux kernel must show (cgroup v2)
  memory.max                      2147483648
  memory.swap.max                 0
  cpu.max                         150000 100000
  pids.max                        256
"""
    )


def test_sizes(explain):
    """Which may be picked, and which one this is: without a wish the smallest."""
    shown = explain("dora", "--group", "students", *AT).stdout
    assert "Sizes that may be picked: small (this one), large\n" in shown
    shown = explain("dora", "--group", "students", "--size", "large", *AT).stdout
    assert "Sizes that may be picked: small, large (this one)\n" in shown
    assert "memory          1.00 GiB       size large (limits.yaml:8)\n" in shown


def test_what_can_not_be_held(explain):
    """With what follows: the spawn is refused, or the server starts without it."""
    shown = explain("bob", *AT, "--cgroup", "2").stdout
    assert shown.endswith("""
Docker can't hold
  cpu_guarantee: Docker can't keep cores free for a container; give it
  cpu_shares instead (so the spawn is refused)
  mem_swappiness: cgroup v2 has no swappiness for a container, and Docker would
  discard it; take it out of the policy (best_effort: it starts without)
""")


HINTS = {
    "nobody says anything": (["dora"], "1"),
    "a user says no": (["carol"], "none, from user carol (limits.yaml:33)"),
    "for a time": (
        ["carol", "--at", "2026-10-31"],
        "1, from user carol, temporarily (limits.yaml:34), until 2026-11-02 00:00 UTC",
    ),
    "cores without limit": (["dan"], "none, as CPU is not limited, from user dan (limits.yaml:37)"),
}


@pytest.mark.parametrize(("arguments", "told"), HINTS.values(), ids=HINTS)
def test_hints(explain, arguments, told):
    """How many threads, or why none; and which line says so."""
    at = () if "--at" in arguments else AT
    (line,) = (part for part in explain(*arguments, *at).stdout.split("\n\n") if part.startswith("Thread hints"))
    assert " ".join(line.split()) == f"Thread hints: {told}"


def test_hints_as_json(explain):
    """The variables too."""
    told = explain("carol", *AT, "--json").json["thread_hints"]
    rule = {"rule": "user carol", "file": "limits.yaml", "line": 33, "until": None}
    assert told == {"given": False, **rule, "environment": {}}
    told = explain("dora", *AT, "--json").json["thread_hints"]
    environment = told.pop("environment")
    assert told == {"given": True, "rule": None, "file": None, "line": None, "until": None}
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["JAVA_TOOL_OPTIONS"] == "-XX:ActiveProcessorCount=1 -XX:MaxRAMPercentage=50.0"


TOLD = {
    "docker": "Docker is told (extra_host_config)\n  mem_limit: 536870912\n"
    "  memswap_limit: 536870913  # a byte above mem_limit: no swap, for good\n",
    "swarm": "Swarm is told (Resources of the task template)\n  Limits:\n    MemoryBytes: 536870912\n",
    "kube": "Kubernetes is told (resources of the container)\n  limits:\n    memory: 536870912\n",
}


@pytest.mark.parametrize("engine", TOLD)
def test_engines(explain, engine):
    """Each in its own words."""
    assert TOLD[engine] in explain("dora", "--engine", engine, *AT).stdout


@pytest.mark.parametrize(("version", "file"), [("1", "memory.limit_in_bytes"), ("2", "memory.max")])
def test_versions_of_cgroups(explain, version, file):
    """The files of the one that was asked for."""
    shown = explain("dora", "--cgroup", version, *AT).stdout
    assert f"(cgroup v{version})\n  {file:<32}536870912\n" in shown


NOTES = {
    "a user without a rule": (["zoe"], "  no rule of their own for zoe\n"),
    "a slip in a user's name": (["alcie"], '  no rule of their own for alcie; did you mean "alice"?\n'),
    "a group without a rule": (["alice", "--group", "zzz"], "  no rule for group zzz\n"),
    "a slip in a group's name": (
        ["alice", "--group", "studnets"],
        '  no rule for group studnets; did you mean "students"?\n',
    ),
}


@pytest.mark.parametrize(("arguments", "note"), NOTES.values(), ids=NOTES)
def test_names_without_a_rule(explain, arguments, note):
    """They are no mistake, and told, so that a slip is seen."""
    ended = explain(*arguments, *AT)
    assert ended.code == 0
    assert note in ended.stdout


def test_names_are_matched_as_the_hub_does(explain):
    """Users in lower case, groups as they are."""
    assert "no rule" not in explain("ALICE", *AT).stdout
    assert "no rule for group STAFF" in explain("alice", "--group", "STAFF", *AT).stdout


@pytest.mark.parametrize(
    ("at", "limit"),
    [("2026-12-01T09:59Z", 1.5), ("2026-12-01T10:59+01:00", 1.5), ("2026-12-01T10:00Z", 0.5), ("2026-12-01", 1.5)],
)
def test_at_a_time(explain, at, limit):
    """What counts then; a date is its beginning."""
    told = explain("alice", "--at", at, "--json").json
    assert told["limits"]["cpu_limit_cores"]["value"] == limit


def test_json(explain):
    """Base units in the names of keys; null has a reason."""
    told = explain("alice", "--group", "staff", "--group", "zzz", *AT, "--cgroup", "1", "--json").json
    assert list(told) == [
        "schema_version", "user", "server", "at", "policy", "own_rule", "groups", "groups_without_rule", "limits",
        "servers", "sizes", "size", "thread_hints", "engine", "ask", "cgroup_version", "expect",
        "cpu_shares_beside_one_without", "cannot",
    ]  # fmt: skip
    assert (told["schema_version"], told["user"], told["server"]) == (1, "alice", "")
    assert (told["own_rule"], told["groups"], told["groups_without_rule"]) == (True, ["staff"], ["zzz"])
    assert told["at"] == "2026-12-01T00:00:00+00:00"
    assert told["limits"]["mem_limit_bytes"] == {
        "value": 2 << 30,
        "reason": None,
        "rule": "user alice",
        "file": "limits.yaml",
        "line": 22,
        "follows": None,
        "until": None,
        "lowered_by": "servers of user alice",
        "lowered_from": 8 << 30,
    }
    assert told["limits"]["pids_limit_processes"]["value"] is None
    assert told["limits"]["pids_limit_processes"]["reason"] == "unlimited"
    assert told["limits"]["pids_limit_processes"]["until"] == "2030-03-31T10:00:00+00:00"
    assert told["servers"]["count"]["value"] == 2
    assert told["servers"]["mem_limit_bytes"]["value"] == 2 << 30
    assert (told["engine"], told["cgroup_version"], told["cannot"]) == ("docker", 1, {})
    assert told["expect"][0] == {
        "field": "mem_limit",
        "files": [{"controller": "memory", "name": "memory.limit_in_bytes", "accept": [str(2 << 30)]}],
    }


AT_WORDS = (
    'expected a date such as "2026-12-31" (its beginning in UTC), or a time with a zone such as '
    '"2026-12-31T18:00+01:00"'
)
BAD = {
    "a size that is nearly one": (
        ["dora", "--group", "students", "--size", "smal"],
        '--size: found "smal"; did you mean "small"?',
    ),
    "a size that is none": (
        ["dora", "--group", "students", "--size", "x"],
        '--size: found "x"; expected one of small, large',
    ),
    "a size where there are none": (
        ["dora", "--size", "small"],
        '--size: found "small"; the policy lets them pick none',
    ),
    "a time without a zone": (["dora", "--at", "2026-12-31T18:00"], f'--at: found "2026-12-31T18:00"; {AT_WORDS}'),
    "no time": (["dora", "--at", "tomorrow"], f'--at: found "tomorrow"; {AT_WORDS}'),
    "no day": (["dora", "--at", "2026-02-30"], f'--at: found "2026-02-30"; {AT_WORDS}'),
    "an empty user": ([""], 'USER: found ""; expected a name, without blanks around it'),
    "a user of control characters": (
        ["a\x1b[31m"],
        r'USER: found "a\x1b[31m"; expected a name, without blanks around it',
    ),
    "a user that is no text": (["a\udcff"], r'USER: found "a\udcff"; expected a name, without blanks around it'),
    "an empty group": (["dora", "--group", ""], '--group: found ""; expected a name, without blanks around it'),
    "no such policy": (["dora", "--file", "no.yaml"], None),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(explain, arguments, message):
    """Exit code 2 and one message."""
    ended = explain(*arguments)
    assert (ended.code, ended.stdout) == (2, "")
    if message is None:
        assert ended.stderr.startswith("no.yaml: no such file; expected a policy file")
    else:
        assert ended.stderr == f"spawner-limits: {message}\n"


@pytest.mark.parametrize("arguments", [["--engine", "dokcer"], ["--cgroup", "3"], ["--cgroup", "x"], ["--colour"], []])
def test_usage(explain, arguments):
    """Exit code 2, and nothing on stdout."""
    ended = explain(*(["dora", *arguments] if arguments else []))
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr


def test_names_are_no_markup(explain, run):
    """What rich would take for a style is shown as it is."""
    explain("dora")
    Path("limits.yaml").write_text(POLICY.replace("students", "'[red]x[/red]'"), encoding="utf-8")
    assert "in group [red]x[/red]:" in run("explain", "[bold]", "--group", "[red]x[/red]", *AT).stdout


SHARES = {
    ("1", "2048"): ["66.7% of a CPU that both want: weight 2048 to 1024"],
    ("1", "512"): ["33.3% of a CPU that both want: weight 512 to 1024"],
    ("2", "1024"): [
        "28.1% of a CPU that both want: weight 39 to 100",
        "50.0% of a CPU that both want: weight 100 to 100",
    ],
}


@pytest.mark.parametrize(("cgroup", "shares"), SHARES)
def test_shares_are_told_as_what_they_come_to(run, tmp_path, cgroup, shares):
    """Beside a server that was given none: on cgroup v2 the number itself does not say it."""
    file = tmp_path / "limits.yaml"
    file.write_text(f"version: 1\ndefaults: {{mem_limit: 1G, cpu_limit: 1, pids_limit: 9, cpu_shares: {shares}}}\n")
    told = " ".join(run("explain", "zoe", "--file", file, "--cgroup", cgroup).stdout.split())
    for line in SHARES[cgroup, shares]:
        assert line in told
    found = run("explain", "zoe", "--file", file, "--cgroup", cgroup, "--json").json["cpu_shares_beside_one_without"]
    assert [f"{one['share']:.1%}" for one in found] == [line.partition(" ")[0] for line in SHARES[cgroup, shares]]


def test_without_shares_none_are_told(run, tmp_path):
    """Nor on an engine that can't hold them."""
    file = tmp_path / "limits.yaml"
    file.write_text("version: 1\ndefaults: {mem_limit: 1G, cpu_limit: 1, pids_limit: 9}\n")
    assert "CPU shares" not in run("explain", "zoe", "--file", file).stdout
