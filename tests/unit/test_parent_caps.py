"""The cgroup above all servers: what it is capped to, how it is named, and what is written into which kernel file."""

from __future__ import annotations

from pathlib import Path

import pytest

from spawner_limits.kernel.cgroups import Cgroup
from spawner_limits.lifecycle.cgroup_parent import Caps, CgroupParent, caps, look, most_processes, named, remove
from spawner_limits.policy.capacity import Machine
from spawner_limits.policy.model import Host
from spawner_limits.units import GIB, MIB

CAPS = {
    "nothing said: a twentieth of the memory and a tenth of the processes": (
        (None, Machine(memory_bytes=64 * GIB, cores=8), 32768),
        Caps(memory_bytes=62259 * MIB, processes=29492),
    ),
    "nothing said, on a small host: 512 MiB and 1024": (
        (None, Machine(memory_bytes=4 * GIB, cores=2), 8000),
        Caps(memory_bytes=3584 * MIB, processes=6976),
    ),
    "nothing said, on a tiny host: half": (
        (None, Machine(memory_bytes=512 * MIB, cores=1), 1000),
        Caps(memory_bytes=256 * MIB, processes=500),
    ),
    "a `host` that reserves nothing is as none": (
        (Host(), Machine(memory_bytes=64 * GIB, cores=8), 32768),
        Caps(memory_bytes=62259 * MIB, processes=29492),
    ),
    "the policy's reserve": (
        (Host(reserve_memory=2 * GIB, reserve_cpus=0.5), Machine(memory_bytes=8 * GIB, cores=4), 32768),
        Caps(memory_bytes=6 * GIB, processes=29492, cores=3.5),
    ),
    "a reserve below the usual one is the administrator's word": (
        (Host(reserve_memory=100 * MIB), Machine(memory_bytes=8 * GIB, cores=4), 32768),
        Caps(memory_bytes=8092 * MIB, processes=29492),
    ),
    "overcommit changes nothing: there is no more memory than there is": (
        (Host(reserve_memory=GIB, memory_overcommit=3.0), Machine(memory_bytes=8 * GIB, cores=4), 32768),
        Caps(memory_bytes=7 * GIB, processes=29492),
    ),
    "a reserve above the host leaves a twentieth": (
        (Host(reserve_memory=9 * GIB, reserve_cpus=8.0), Machine(memory_bytes=8 * GIB, cores=4), 32768),
        Caps(memory_bytes=409 * MIB, processes=29492, cores=0.2),
    ),
    "whole MiB": (
        (Host(reserve_memory=GIB + 1), Machine(memory_bytes=8 * GIB, cores=4), 32768),
        Caps(memory_bytes=7167 * MIB, processes=29492),
    ),
}


@pytest.mark.parametrize(("given", "wanted"), CAPS.values(), ids=CAPS)
def test_what_servers_may_hold_together(given, wanted):
    """The machine less the policy's reserve, or less a usual one."""
    assert caps(*given) == wanted


def test_the_policy_reserves_processes():
    """`reserve_processes` of the policy beats the usual tenth."""
    host = Host(reserve_processes=5000)
    assert caps(host, Machine(memory_bytes=8 * GIB, cores=4), 32768).processes == 27768


@pytest.mark.parametrize(
    ("name", "driver", "wanted"),
    [
        ("spawner-limits", "cgroupfs", "/spawner-limits"),
        ("/lab/users", "cgroupfs", "/lab/users"),
        ("spawner-limits", "systemd", "spawner-limits.slice"),
        ("users.slice", "systemd", "users.slice"),
        ("", "cgroupfs", ""),
        ("", "systemd", ""),
        ("spawner-limits", "none", ""),
    ],
)
def test_what_the_engine_is_told(name, driver, wanted):
    """An absolute path for cgroupfs, a slice for systemd; nothing for an engine that makes no cgroups."""
    assert named(name, driver) == wanted


def test_as_many_processes_as_the_machine_can_have(tmp_path):
    """The smaller of the kernel's two limits: PIDs, and threads."""
    kernel = tmp_path / "proc/sys/kernel"
    kernel.mkdir(parents=True)
    (kernel / "pid_max").write_text("4194304\n")
    (kernel / "threads-max").write_text("62838\n")
    assert most_processes(tmp_path) == 62838


V1 = {
    "memory/users/memory.limit_in_bytes": "9223372036854771712",
    "memory/users/memory.use_hierarchy": "1",
    "pids/users/pids.max": "max",
    "cpu/users/cpu.cfs_period_us": "100000",
    "cpu/users/cpu.cfs_quota_us": "-1",
}
V2 = {
    "cgroup.controllers": "cpuset cpu io memory pids",
    "cgroup.subtree_control": "cpu memory pids",
    "users/memory.max": "max",
    "users/memory.current": str(300 * MIB),
    "users/memory.stat": f"anon {100 * MIB}\ninactive_file {200 * MIB}\n",
    "users/pids.max": "max",
    "users/cpu.max": "max 100000",
}
MOUNTS = {
    "v1": "".join(
        f"3 1 0:3 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n" for name in ("memory", "pids", "cpu")
    ),
    "v2": "3 1 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
}


def host(root, version, **changed):
    """A host's files, with the cgroup `users`; gives back where cgroups are."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(MOUNTS[version])
    top = root / "sys/fs/cgroup"
    for name, text in ({"v1": V1, "v2": V2}[version] | changed).items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"{text}\n")
    return top


WRITTEN = {
    "v1": {
        "memory/users/memory.limit_in_bytes": str(GIB),
        "pids/users/pids.max": "900",
        "cpu/users/cpu.cfs_quota_us": "150000",
    },
    "v2": {"users/memory.max": str(GIB), "users/pids.max": "900", "users/cpu.max": "150000 100000"},
}
WANTED = Caps(memory_bytes=GIB, processes=900, cores=1.5)


@pytest.mark.parametrize("version", WRITTEN)
def test_caps_are_written(tmp_path, version):
    """Memory, processes and CPU, into the files of the host's version; then nothing is left to be said."""
    top = host(tmp_path, version)
    assert CgroupParent("/users", root=tmp_path).hold(WANTED) == ()
    assert {name: (top / name).read_text().strip() for name in WRITTEN[version]} == WRITTEN[version]


@pytest.mark.parametrize("version", WRITTEN)
def test_a_reserve_that_is_taken_back_lifts_the_quota(tmp_path, version):
    """Without a reserve of CPUs there is no quota, also where there was one."""
    top = host(tmp_path, version)
    parent = CgroupParent("/users", root=tmp_path)
    parent.hold(WANTED)
    assert parent.hold(Caps(memory_bytes=GIB, processes=900)) == ()
    file, text = {"v1": ("cpu/users/cpu.cfs_quota_us", "-1"), "v2": ("users/cpu.max", "max 100000")}[version]
    assert (top / file).read_text().strip() == text


@pytest.mark.parametrize("version", WRITTEN)
def test_a_cap_that_is_there_is_not_written_again(tmp_path, version):
    """So a start costs a few reads."""
    top = host(tmp_path, version)
    CgroupParent("/users", root=tmp_path).hold(WANTED)
    before = {name: (top / name).stat().st_mtime_ns for name in WRITTEN[version]}
    CgroupParent("/users", root=tmp_path).hold(WANTED)
    assert {name: (top / name).stat().st_mtime_ns for name in WRITTEN[version]} == before


def test_on_v2_memory_is_not_lowered_below_what_is_in_use(tmp_path):
    """The kernel would kill: the old cap stays, and that is said; cache that can go counts for nothing."""
    top = host(tmp_path, "v2", **{"users/memory.current": str(1500 * MIB)})
    (told,) = CgroupParent("/users", root=tmp_path).hold(WANTED)
    assert told == (
        f"{top}/users/memory.max stays at max: 1.27 GiB are in use; it is tried again at each start, or stop some "
        "servers"
    )
    (top / "users/memory.current").write_text(str(1100 * MIB))
    assert CgroupParent("/users", root=tmp_path).hold(WANTED) == ()


def test_on_v1_a_larger_server_lifts_the_quota(tmp_path):
    """There a container whose quota is above its parent's can't start: its own limit counts then, and that is said."""
    top = host(tmp_path, "v1")
    parent = CgroupParent("/users", root=tmp_path)
    told = "on cgroup v1 all servers can't be held to 1.50 cores together: a server may use 2.00 cores, which is more"
    assert parent.hold(WANTED, cores=2.0) == (told,)
    assert (top / "cpu/users/cpu.cfs_quota_us").read_text() == "200000"
    # the larger one may still run
    assert parent.hold(WANTED, cores=0.5) == (told,)
    assert (top / "cpu/users/cpu.cfs_quota_us").read_text() == "200000"


def test_on_v2_a_larger_server_is_held_by_the_quota(tmp_path):
    """There the stricter of the two counts."""
    top = host(tmp_path, "v2")
    assert CgroupParent("/users", root=tmp_path).hold(WANTED, cores=2.0) == ()
    assert (top / "users/cpu.max").read_text() == "150000 100000"


def test_controllers_are_turned_on_on_the_way(tmp_path):
    """On v2 a cgroup has the files of a controller only where the one above turns it on."""
    top = host(tmp_path, "v2", **{"cgroup.subtree_control": "memory pids"})
    CgroupParent("/users", root=tmp_path).hold(WANTED)
    assert (top / "cgroup.subtree_control").read_text() == "+cpu"


@pytest.mark.parametrize(("version", "file"), [("v1", "cpu/users/cpu.cfs_quota_us"), ("v2", "users/cpu.max")])
def test_a_host_without_cpu_quotas_needs_none(tmp_path, version, file):
    """Where no CPUs are reserved, a kernel without quotas is none the worse."""
    (host(tmp_path, version) / file).unlink()
    assert CgroupParent("/users", root=tmp_path).hold(Caps(memory_bytes=GIB, processes=900)) == ()


@pytest.mark.parametrize("version", WRITTEN)
def test_what_can_not_be_capped_is_said(tmp_path, version):
    """No cgroup file system, as in a container without one: no exception, since no limit of a user is missing."""
    host(tmp_path, version)
    (tmp_path / "proc/self/mountinfo").write_text("")
    (told,) = CgroupParent("/users", root=tmp_path).hold(WANTED)
    assert told == (
        "the cgroup /users above all servers can't be capped from here: no cgroup file system with the memory "
        "controller is mounted; mount /sys/fs/cgroup, and check that the kernel has the controller (/proc/cgroups); "
        "docs/hardening.md says how to cap it"
    )


SEEN = {
    "v1, as wanted": ("v1", {"memory/users/memory.limit_in_bytes": str(GIB), "pids/users/pids.max": "900"}, ()),
    "v2, as wanted": ("v2", {"users/memory.max": str(GIB), "users/pids.max": "900"}, ()),
    "v1, stricter": ("v1", {"memory/users/memory.limit_in_bytes": "4096", "pids/users/pids.max": "5"}, ()),
    "v2, stricter": ("v2", {"users/memory.max": "4096", "users/pids.max": "5"}, ()),
    "v2, no limit": (
        "v2",
        {"users/pids.max": "900"},
        ("{top}/users/memory.max above all servers says no limit, and the policy leaves them 1073741824; ",),
    ),
    "v1, no limit": (
        "v1",
        {"memory/users/memory.limit_in_bytes": str(GIB)},
        ("{top}/pids/users/pids.max above all servers says no limit, and the policy leaves them 900; ",),
    ),
    "v1, more than the policy leaves": (
        "v1",
        {"memory/users/memory.limit_in_bytes": str(2 * GIB), "pids/users/pids.max": "900"},
        (
            (
                "{top}/memory/users/memory.limit_in_bytes above all servers says 2147483648, and the policy leaves "
                "them 1073741824; "
            ),
        ),
    ),
    "v2, more than the policy leaves": (
        "v2",
        {"users/memory.max": str(2 * GIB), "users/pids.max": "900"},
        ("{top}/users/memory.max above all servers says 2147483648, and the policy leaves them 1073741824; ",),
    ),
}


@pytest.mark.parametrize(("version", "files", "wanted"), SEEN.values(), ids=SEEN)
def test_what_is_seen_above_a_container(tmp_path, version, files, wanted):
    """Whoever made the cgroup, its files are compared with what the policy leaves."""
    top = host(tmp_path, version, **files)
    at = {"memory": top / "memory/users/1d", "pids": top / "pids/users/1d"}
    at = at if version == "v1" else dict.fromkeys(at, top / "users/1d")
    cgroup = Cgroup(directories=at, versions=dict.fromkeys(at, int(version[1])), unified=None)
    told = tuple(f"{one.format(top=top)}docs/hardening.md says how to cap it" for one in wanted)
    assert look(cgroup, WANTED) == told


def test_it_is_removed_from_every_hierarchy_of_v1(tmp_path):
    """The engine makes it in each, and removes it from none."""
    top = host(tmp_path, "v1")
    for name in V1:
        (top / name).unlink()
    remove("/users", root=tmp_path)
    assert list(Path(top).glob("*/users")) == []


def test_it_is_removed_from_the_one_of_v2(tmp_path):
    """There is no other."""
    top = host(tmp_path, "v2")
    for file in (top / "users").iterdir():
        file.unlink()
    remove("/users", root=tmp_path)
    assert not (top / "users").exists()
