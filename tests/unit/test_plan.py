"""What a change of the policy would do to a running server: live, by a restart, or not now; and what Docker is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from spawner_limits.clients.engine import Server
from spawner_limits.engines.docker import host_config, translate
from spawner_limits.kernel.host import HostFacts
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.lifecycle.plan import Effect, changes, entitle, plan, request
from spawner_limits.policy.parse import parse
from spawner_limits.policy.resolve import resolve
from spawner_limits.policy.user_options import Request
from spawner_limits.units import MIB
from tests import kernel_files
from tests.kernel_files import MEMORY, SHARES, SWAP, VERSIONS, both_versions

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HERE = {
    version: HostFacts(cgroup_version=version, page_size_bytes=4096, swap_bytes=0, cpus="0-1") for version in VERSIONS
}
BEFORE = "  mem_limit: 256M\n  cpu_limit: 0.5\n  pids_limit: 100\n"


def policy(defaults, more=""):
    return parse(f"version: 1\ndefaults:\n{defaults}{more}".encode(), "limits.yaml")


def entitled(defaults, more=""):
    return resolve(policy(defaults, more), "zed", now=NOW)


def kernel(limits, version):
    """The files of a container with these limits, as its host shows them."""
    expect = translate(limits, version=version).expect
    given = {file.name: file.accept[0] for one in expect for file in one.files(version)}
    usual = {1: {"cpu.shares": "1024", "memory.swappiness": "60"}, 2: {"cpu.weight": "100"}}
    return usual[version] | given


def running(entitlement, version, **used):
    """A server with that entitlement, and what is read of it."""
    asked = host_config(translate(entitlement.limits, version=version).ask)
    server = Server(
        id="a" * 64, name="jupyter-zed", user="zed", server="", image="i", networks=(), state="running", runs=True,
        started=NOW, labels={}, asked=asked, entitlement=entitlement,
    )  # fmt: skip
    used = {"memory_current_bytes": 100 * MIB, "memory_inactive_file_bytes": 20 * MIB, "pids_current": 12} | used
    limits = kernel(entitlement.limits, version)
    return server, Snapshot(monotonic_ns=0, versions=VERSIONS[version], limits=limits, **used)


def planned(version, after, *, before=BEFORE, **used):
    server, shown = running(entitled(before), version, **used)
    return plan(server, entitled(after), shown, HERE[version])


def steps(made):
    return [(one.field, one.actual, one.wanted, one.effect, one.why) for one in made.steps]


LIVE, RESTART, IMPOSSIBLE = Effect
NEVER = "the engine can't change it while the container lives"
IN_USE = "80 MiB of memory are in use, the limit would be 64 MiB"


def memory_steps(version, wanted, effect=LIVE, why=""):
    """From 256 MiB: on v2 no swap is no swap, whatever the memory is."""
    both = ("memswap_limit", "256 MiB", wanted, effect, why.replace("memory", "memory and swap"))
    return [("mem_limit", "256 MiB", wanted, effect, why), *([both] if version == 1 else [])]


PERIOD = {1: "100000", 2: "50000 100000"}
"""as the file has it, in which v2 has the quota, too"""


def possible(version):
    """Change → the policy's new defaults, and each limit that is not what they give."""
    return {
        "nothing": (BEFORE, []),
        "more memory": (BEFORE.replace("256M", "512M"), memory_steps(version, "512 MiB")),
        "less, and more than is in use": (BEFORE.replace("256M", "128M"), memory_steps(version, "128 MiB")),
        "less than is in use": (BEFORE.replace("256M", "64M"), memory_steps(version, "64 MiB", IMPOSSIBLE, IN_USE)),
        "more CPU": (BEFORE.replace("0.5", "1.5"), [("cpu_limit", "0.50 cores", "1.50 cores", LIVE, "")]),
        "another period": (
            BEFORE + "  cpu_period: 50000\n",
            [("cpu_limit", "0.50 cores", "0.50 cores", LIVE, ""), ("cpu_period", PERIOD[version], "50000", LIVE, "")],
        ),
        "fewer processes": (BEFORE.replace("100", "50"), [("pids_limit", "100", "50", LIVE, "")]),
        "fewer processes than run": (
            BEFORE.replace("100", "10"),
            [("pids_limit", "100", "10", LIVE, "12 run: none can be started until fewer than 10 do")],
        ),
    }


STEPS = {f"v{version}, {name}": (version, *row) for version in VERSIONS for name, row in possible(version).items()} | {
    "v1, a swappiness": (1, BEFORE + "  mem_swappiness: 10\n", [("mem_swappiness", "60", "10", RESTART, NEVER)]),
}


@pytest.mark.parametrize(("version", "after", "wanted"), STEPS.values(), ids=STEPS)
def test_what_would_be_done(version, after, wanted):
    """Each limit that is not what the policy gives, and what it takes."""
    made = planned(version, after)
    assert steps(made) == wanted
    assert made.drifts is bool(wanted)


TOLD = {
    "memory and swap together": (
        BEFORE.replace("256M", "512M"),
        False,
        ({"Memory": 512 * MIB, "MemorySwap": 512 * MIB + 1},),
    ),
    "quota and period together": (BEFORE.replace("0.5", "1"), False, ({"CpuPeriod": 100_000, "CpuQuota": 100_000},)),
    "each part by itself": (
        BEFORE.replace("0.5", "1").replace("100", "50"),
        False,
        ({"CpuPeriod": 100_000, "CpuQuota": 100_000}, {"PidsLimit": 50}),
    ),
    "not what is in use": (BEFORE.replace("256M", "64M").replace("100", "50"), False, ({"PidsLimit": 50},)),
    "what is in use, by force": (
        BEFORE.replace("256M", "64M"),
        True,
        ({"Memory": 64 * MIB, "MemorySwap": 64 * MIB + 1},),
    ),
    "not what needs a restart": (BEFORE + "  mem_guarantee: 64M\n", True, ()),
}


@both_versions
@pytest.mark.parametrize(("after", "force", "told"), TOLD.values(), ids=TOLD)
def test_what_docker_is_told(version, after, force, told):
    """In the words of its API."""
    assert changes(planned(version, after), force=force) == told


PASSING = "it was asked as equal to memory, which systemd forgets when it reloads"


@both_versions
def test_no_swap_as_it_was_asked_once(version):
    """A server of an older version has what the policy gives, by the kernel; that it stays is a change, and live."""
    server, shown = running(entitled(BEFORE), version)
    old = replace(server, asked={**server.asked, "MemorySwap": 256 * MIB})
    made = plan(old, entitled(BEFORE), shown, HERE[version])
    assert steps(made) == [("memswap_limit", "256 MiB, which may not stay", "256 MiB", LIVE, PASSING)]
    assert [str(one) for one in made.steps[0].differences] == [
        "memswap_limit: HostConfig.MemorySwap is 268435456, expected 268435457"
    ]
    assert changes(made) == ({"Memory": 256 * MIB, "MemorySwap": 256 * MIB + 1},)


@both_versions
@pytest.mark.parametrize("memswap", ["memswap_limit: 512M", "memswap_limit: unlimited"])
def test_equal_memory_and_swap_where_the_policy_now_gives_some(version, memswap):
    """What the kernel shows is the difference, and no other is told beside it."""
    server, shown = running(entitled(BEFORE), version)
    old = replace(server, asked={**server.asked, "MemorySwap": 256 * MIB})
    made = plan(old, entitled(f"{BEFORE}  {memswap}\n"), shown, HERE[version])
    (step,) = made.steps
    actual = {1: "256 MiB", 2: "0 B of swap"}[version]
    assert (step.actual, [one.file for one in step.differences]) == (actual, [SWAP[version]])


def released(version):
    """What the policy said once → what is done about it, and what Docker is told."""
    # v2 has weights, and no shares
    shares = kernel_files.shares(version, 512)[SHARES[version]]
    return {
        "shares": ("  cpu_shares: 512\n", ("cpu_shares", shares, "1024", LIVE), ({"CpuShares": 1024},)),
        "a CPU set": ('  cpuset_cpus: "0"\n', ("cpuset_cpus", "0", "0-1", LIVE), ({"CpusetCpus": "0-1"},)),
        "a guarantee": ("  mem_guarantee: 64M\n", ("mem_guarantee", "64 MiB", "unlimited", RESTART), ()),
    }


RELEASED = {f"v{version}, {name}": (version, *row) for version in VERSIONS for name, row in released(version).items()}


@pytest.mark.parametrize(("version", "once", "step", "told"), RELEASED.values(), ids=RELEASED)
def test_what_the_policy_no_longer_says(version, once, step, told):
    """A limit that was given once does not stay for ever."""
    made = planned(version, BEFORE, before=BEFORE + once)
    assert [(one.field, one.actual, one.wanted, one.effect) for one in made.steps] == [step]
    assert changes(made) == told


@both_versions
def test_unlimited_now(version):
    """-1 is what lifts a limit; all of them."""
    ceiling = "ceiling:\n  mem_limit: 1G\n  cpu_limit: 2\n  pids_limit: 500\n"
    server, shown = running(entitled(BEFORE), version)
    given = resolve(policy("  mem_limit: unlimited\n  cpu_limit: unlimited\n  pids_limit: unlimited\n", ceiling), "zed",
                    now=NOW)  # fmt: skip
    lifted = given.__class__(**{name: getattr(given, name) for name in given.__slots__} | {"grants": {}})
    made = plan(server, lifted, shown, HERE[version])
    assert changes(made) == (
        {"Memory": -1, "MemorySwap": -1},
        {"CpuPeriod": 100_000, "CpuQuota": -1},
        {"PidsLimit": -1},
    )


UNREAD = {
    "memory in use": ({"memory_current_bytes": None}, "how much memory is in use could not be read"),
    "its cache": ({"memory_inactive_file_bytes": None}, "100 MiB of memory are in use, the limit would be 64 MiB"),
}


@both_versions
@pytest.mark.parametrize(("used", "why"), UNREAD.values(), ids=UNREAD)
def test_what_could_not_be_read_is_not_taken_for_nothing(version, used, why):
    """Nothing is lowered on a guess."""
    made = planned(version, BEFORE.replace("256M", "64M"), **used)
    assert (made.steps[0].effect, made.steps[0].why) == (IMPOSSIBLE, why)
    assert changes(made) == ()


def blind(version):
    """What can't be read → the policy's new defaults, the files, what is told."""
    quota = kernel_files.quota(version, 0.5)
    gone = "; ".join(f"{file}: gone" for file in (MEMORY[version], *sorted(quota)[:1], "pids.max"))
    return {
        "a file": (BEFORE, {"pids.max"}, ((), "pids.max: gone", 3)),
        "a file, beside drift": (BEFORE.replace("0.5", "1"), {"pids.max"}, (("cpu_limit",), "pids.max: gone", 1)),
        "all of them: the container has ended": (
            BEFORE.replace("0.5", "1"),
            {MEMORY[version], *quota, "pids.max"},
            ((), gone, 3),
        ),
    }


BLIND = {f"v{version}, {name}": (version, *row) for version in VERSIONS for name, row in blind(version).items()}


@pytest.mark.parametrize(("version", "after", "unread", "wanted"), BLIND.values(), ids=BLIND)
def test_limits_that_could_not_be_read(version, after, unread, wanted):
    """They are not known, which is neither drift nor none; what is known is told."""
    server, shown = running(entitled(BEFORE), version)
    limits = {name: text for name, text in shown.limits.items() if name not in unread}
    shown = replace(shown, limits=limits, unread={name: f"{name}: gone" for name in unread})
    made = plan(server, entitled(after), shown, HERE[version])
    assert (tuple(one.field for one in made.steps), made.problem, made.exit_code) == wanted


SIZES = "sizes:\n  small:\n    mem_limit: 128M\n  large:\n    mem_limit: 256M\n"


def sized(names):
    return policy(BEFORE + f"  sizes: [{names}]\n", SIZES)


def test_a_server_keeps_its_size_and_its_wishes():
    """What it asked for at its start counts in a changed policy too."""
    asked = Request(size="small", limits={"cpu_limit": 0.25, "pids_limit": 999})
    first = resolve(sized("small, large"), "zed", now=NOW, request=asked)
    assert request(first) == asked
    server, _ = running(first, 2)
    again = entitle(sized("small, large"), server, first, None, now=NOW)
    assert (again.size, again.limits) == ("small", first.limits)


def test_a_size_that_may_no_longer_be_picked():
    """The usual one takes its place."""
    first = resolve(sized("small, large"), "zed", now=NOW, request=Request(size="small"))
    server, _ = running(first, 2)
    assert entitle(sized("large"), server, first, None, now=NOW).size == "large"


def test_groups_are_the_hubs():
    """Where it says them; else those of the server's start."""
    rules = policy(BEFORE, "combine: most\ngroups:\n  students:\n    mem_limit: 512M\n  staff:\n    mem_limit: 1G\n")
    first = resolve(rules, "zed", ["students"], now=NOW)
    server, _ = running(first, 2)
    found = {
        groups: entitle(rules, server, first, groups, now=NOW).limits.mem_limit for groups in (None, (), ("staff",))
    }
    assert found == {None: 512 * MIB, (): 256 * MIB, ("staff",): 1024 * MIB}
