"""The Linux kernel's files by the version of cgroups: their names, the texts in them, and where they are on this host.

By hand, as this is what the package's own tables are held against. Sources: Linux
Documentation/admin-guide/cgroup-v1/memory.rst, Documentation/scheduler/sched-bwc.rst,
Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from spawner_limits.kernel.cgroups import Cgroup

CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids")
VERSIONS = {version: dict.fromkeys(CONTROLLERS, version) for version in (1, 2)}
"""as a snapshot has them"""
both_versions = pytest.mark.parametrize("version", VERSIONS, ids="v{}".format)

MEMORY = {1: "memory.limit_in_bytes", 2: "memory.max"}
SWAP = {1: "memory.memsw.limit_in_bytes", 2: "memory.swap.max"}
"""v1: of memory and swap together"""
GUARANTEE = {1: "memory.soft_limit_in_bytes", 2: "memory.low"}
MEMORY_USED = {1: "memory.usage_in_bytes", 2: "memory.current"}
QUOTA = {1: "cpu.cfs_quota_us", 2: "cpu.max"}
SHARES = {1: "cpu.shares", 2: "cpu.weight"}
ENDLESS = {1: "9223372036854771712", 2: "max"}
"""of memory, without a limit; v1 has whole pages of 4 KiB"""
WEIGHTS = {512: "20", 1024: "39", 2048: "79"}
"""shares → what runc before 1.3.2 makes of them on v2"""


# -- texts -------------------------------------------------------------------------------------------------------------


def memory(version, limit_bytes, swap_bytes=0):
    """File → text, of memory and swap. `None`: no limit."""
    swap = ENDLESS[version] if swap_bytes is None else str(swap_bytes if version == 2 else limit_bytes + swap_bytes)
    return {MEMORY[version]: ENDLESS[version] if limit_bytes is None else str(limit_bytes), SWAP[version]: swap}


def guarantee(version, size_bytes):
    """File → text, of guaranteed memory."""
    return {GUARANTEE[version]: str(size_bytes)}


def quota(version, cores, period_us=100_000):
    """File → text, of a CPU quota. `None`: no limit."""
    quota_text = {1: "-1", 2: "max"}[version] if cores is None else str(round(cores * period_us))
    if version == 1:
        return {"cpu.cfs_quota_us": quota_text, "cpu.cfs_period_us": str(period_us)}
    return {"cpu.max": f"{quota_text} {period_us}"}


def shares(version, count):
    """File → text, of a weight that was asked for as shares."""
    return {SHARES[version]: str(count) if version == 1 else WEIGHTS[count]}


def processes(count):
    """File → text, of a limit of processes."""
    return {"pids.max": str(count)}


# -- what a container's files say --------------------------------------------------------------------------------------


def memory_limit_bytes(shown):
    """The memory limit in a snapshot."""
    return int(shown.limits[MEMORY[shown.versions["memory"]]])


def quota_us(shown):
    """The CPU quota in a snapshot."""
    return int(shown.limits[QUOTA[shown.versions["cpu"]]].split()[0])


def lift_memory(cgroup):
    """Take the limits of memory and swap away, as root can, and the engine would not notice."""
    version = cgroup.versions["memory"]
    # v1 keeps memory at or below both together
    for file in (SWAP[version], MEMORY[version]):
        (cgroup.directories["memory"] / file).write_text({1: "-1", 2: "max"}[version])


def restore_memory(cgroup, limit_bytes):
    """Put them back, without swap."""
    for file, text in memory(cgroup.versions["memory"], limit_bytes).items():
        (cgroup.directories["memory"] / file).write_text(text)


def lift_quota(cgroup):
    """Take the quota away; the file, and what it then says."""
    version = cgroup.versions["cpu"]
    file, text = QUOTA[version], quota(version, None)[QUOTA[version]]
    (cgroup.directories["cpu"] / file).write_text(text)
    return file, text


# -- this host ---------------------------------------------------------------------------------------------------------


def hierarchies():
    """Controller → version and mount point, on this host."""
    old, unified = {}, None
    for _, point, kind, options, *_ in map(str.split, Path("/proc/self/mounts").read_text().splitlines()):
        if kind == "cgroup":
            old |= dict.fromkeys(options.split(","), (1, Path(point)))
        elif kind == "cgroup2":
            unified = Path(point)
    return {controller: old.get(controller, (2, unified)) for controller in CONTROLLERS}


def here():
    """The version of cgroups by which this host limits memory."""
    return hierarchies()["memory"][0]


def only_v1(reason):
    """The mark of what is about cgroup v1 alone; `reason`: why v2 has nothing to test."""
    return pytest.mark.skipif(here() != 1, reason=f"cgroup v1 only: {reason}")


@contextmanager
def made(name):
    """A cgroup of this machine's own Linux kernel, in each hierarchy; it is gone afterwards. Needs root."""
    found = hierarchies()
    cgroup = Cgroup(
        directories={controller: top / name for controller, (_, top) in found.items()},
        versions={controller: version for controller, (version, _) in found.items()},
        unified=None,
    )
    directories = set(cgroup.directories.values())
    try:
        for directory in directories:
            directory.mkdir()
            lend_cpus(directory)
        yield cgroup
    finally:
        for directory in directories:
            for below in (*directory.glob("*/"), directory):
                _remove(below)


def lend_cpus(directory):
    """On v1 a new cgroup has no CPU and no memory node until they are written, and takes no process."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if (directory / file).exists() and (directory.parent / file).exists():
            (directory / file).write_text((directory.parent / file).read_text())


def _remove(directory):
    """Once the Linux kernel has noticed that its processes ended."""
    end = time.monotonic() + 10
    while directory.is_dir():
        try:
            directory.rmdir()
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)
