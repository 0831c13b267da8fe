"""Snapshots have the exact numbers of real kernel files; what was not read is `None` with its reason, never 0."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from spawner_limits.kernel import v1, v2
from spawner_limits.kernel.cgroups import CONTROLLERS, Cgroup, find
from spawner_limits.kernel.counter_file import CounterFile
from spawner_limits.kernel.reader import Reader
from spawner_limits.kernel.snapshot import Snapshot
from tests import kernel_files

DATA = Path(__file__).parents[1] / "data"
PIDS = {"v1": 292, "hybrid": 12852, "v2": 284}
COUNTERS = tuple(v1.COUNTERS)

V1_CPU_LIMITS = {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000", "cpu.shares": "2048", "cpuset.cpus": "0"}
V1_MEMORY_LIMITS = {
    "memory.limit_in_bytes": "67108864",
    "memory.memsw.limit_in_bytes": "67108864",
    "memory.soft_limit_in_bytes": "9223372036854771712",
    "memory.swappiness": "60",
}
SNAPSHOTS = {
    "v1": Snapshot(
        monotonic_ns=7,
        versions=dict.fromkeys(CONTROLLERS, 1),
        cpu_usage_ns=7_089_796_497,
        nr_periods=144,
        nr_throttled=115,
        throttled_ns=5_545_259_336,
        memory_current_bytes=52_629_504,
        memory_peak_bytes=67_108_864,
        memory_inactive_file_bytes=6_291_456,
        swap_current_bytes=33_353_728,
        memsw_peak_bytes=100_663_296,
        oom_kill=1,
        pids_current=2,
        pids_peak=100,
        pids_max_events=1,
        limits=V1_CPU_LIMITS | V1_MEMORY_LIMITS | {"memory.memsw.limit_in_bytes": "100663296", "pids.max": "100"},
    ),
    "hybrid": Snapshot(
        monotonic_ns=7,
        versions=dict.fromkeys(CONTROLLERS, 1),
        cpu_usage_ns=2_222_466_962,
        nr_periods=52,
        nr_throttled=42,
        throttled_ns=2_060_067_419,
        memory_current_bytes=24_018_944,
        memory_peak_bytes=67_108_864,
        memory_inactive_file_bytes=5_349_376,
        swap_current_bytes=0,
        memsw_peak_bytes=67_108_864,
        oom_kill=1,
        pids_current=2,
        pids_peak=100,
        pids_max_events=1,
        limits=V1_CPU_LIMITS | V1_MEMORY_LIMITS | {"pids.max": "100"},
    ),
    "v2": Snapshot(
        monotonic_ns=7,
        versions=dict.fromkeys(CONTROLLERS, 2),
        cpu_usage_ns=7_636_413_000,
        nr_periods=168,
        nr_throttled=139,
        throttled_ns=6_837_622_000,
        memory_current_bytes=52_502_528,
        memory_peak_bytes=67_108_864,
        memory_inactive_file_bytes=6_291_456,
        swap_current_bytes=33_300_480,
        memsw_peak_bytes=100_409_344,
        oom_kill=1,
        pids_current=2,
        pids_peak=100,
        pids_max_events=1,
        limits={
            "cpu.max": "50000 100000",
            "cpu.weight": "174",
            "cpuset.cpus": "0",
            "cpuset.cpus.effective": "0",
            "memory.max": "67108864",
            "memory.swap.max": "33554432",
            "memory.low": "0",
            "memory.high": "max",
            "pids.max": "100",
        },
    ),
}


def at_seven() -> int:
    return 7


def descriptors() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def copied(tmp_path: Path, host: str) -> Cgroup:
    """The captured host's container, in a copy that a test may change."""
    root = shutil.copytree(DATA / host, tmp_path / host)
    return find(PIDS[host], root=root)


@pytest.mark.parametrize("host", SNAPSHOTS)
def test_whole_snapshot(host: str) -> None:
    """Every counter and every limit of a real container, in the snapshot's units, with nothing unread."""
    with Reader(find(PIDS[host], root=DATA / host), clock=at_seven) as reader:
        assert reader.read_limits() == SNAPSHOTS[host]


@pytest.mark.parametrize("host", SNAPSHOTS)
def test_counters_alone(host: str) -> None:
    """A sample has the counters and no limits: it is the cheap one."""
    with Reader(find(PIDS[host], root=DATA / host), clock=at_seven) as reader:
        assert reader.read() == dataclasses.replace(SNAPSHOTS[host], limits={})


FRESH = {
    "v1": ("cpuacct.usage", "8000000000\n", 7_089_796_497),
    "v2": ("cpu.stat", "usage_usec 8000000\nnr_periods 1\nnr_throttled 1\nthrottled_usec 1\n", 7_636_413_000),
}


@pytest.mark.parametrize(("host", "file", "text", "used_ns"), [(host, *row) for host, row in FRESH.items()], ids=FRESH)
def test_each_read_is_fresh(tmp_path: Path, host: str, file: str, text: str, used_ns: int) -> None:
    """A file that changed shows its new value, at the new time, through the descriptor that was open before."""
    cgroup = copied(tmp_path, host)
    with Reader(cgroup, clock=iter([100, 103, 200, 250]).__next__) as reader:
        before = reader.read()
        (cgroup.directories["cpuacct"] / file).write_text(text)
        after = reader.read()
    assert (before.monotonic_ns, before.cpu_usage_ns) == (100, used_ns)
    assert (after.monotonic_ns, after.cpu_usage_ns) == (200, 8_000_000_000)
    assert (before.cpu_delay_ns, after.cpu_delay_ns) == (3, 50)


def test_versions_per_controller(tmp_path: Path) -> None:
    """Where the controllers are split between v1 and v2, each counter comes from its controller's version."""
    old, new = copied(tmp_path, "v1"), copied(tmp_path, "v2")
    mixed = Cgroup(
        directories={**old.directories, "memory": new.directories["memory"]},
        versions={**old.versions, "memory": 2},
        unified=None,
    )
    with Reader(mixed) as reader:
        found = reader.read_limits()
    assert (found.cpu_usage_ns, found.swap_current_bytes) == (7_089_796_497, 33_300_480)
    assert set(found.limits) == {*V1_CPU_LIMITS, *v2.LIMITS["memory"], "pids.max"}


NO_SWAP = "this Linux kernel does not account swap (CONFIG_SWAP is off, or swapaccount=0)"
OTHERWISE = "this Linux kernel does not have it, or the controller is not enabled for this cgroup"
MISSING = {
    "v2 before 6.5": ("v2", "memory", ["memory.swap.peak"], ["memsw_peak_bytes"], "Linux has it since 6.5"),
    "v2 before 5.19": (
        "v2",
        "memory",
        ["memory.peak"],
        ["memory_peak_bytes", "memsw_peak_bytes"],
        "Linux has it since 5.19",
    ),
    "v2 without swap": (
        "v2",
        "memory",
        ["memory.swap.current", "memory.swap.max"],
        ["swap_current_bytes", "memory.swap.max"],
        NO_SWAP,
    ),
    "v1 without swap": (
        "v1",
        "memory",
        ["memory.memsw.max_usage_in_bytes", "memory.memsw.limit_in_bytes"],
        ["memsw_peak_bytes", "memory.memsw.limit_in_bytes"],
        NO_SWAP,
    ),
    "v2 without the pids controller": (
        "v2",
        "pids",
        ["pids.current", "pids.events", "pids.max"],
        ["pids_current", "pids_max_events", "pids.max"],
        OTHERWISE,
    ),
    "v1 without quotas": (
        "hybrid",
        "cpu",
        ["cpu.cfs_quota_us"],
        ["cpu.cfs_quota_us"],
        "this Linux kernel has no CPU quotas (CONFIG_CFS_BANDWIDTH is off)",
    ),
}


@pytest.mark.parametrize(("host", "controller", "files", "unread", "why"), MISSING.values(), ids=MISSING)
def test_file_not_there(
    tmp_path: Path,
    host: str,
    controller: str,
    files: list[str],
    unread: list[str],
    why: str,
) -> None:
    """A file that this host does not have leaves its counters `None`, says why, and spoils no other."""
    cgroup = copied(tmp_path, host)
    directory = cgroup.directories[controller]
    for file in files:
        (directory / file).unlink()
    with Reader(cgroup, clock=at_seven) as reader:
        found = reader.read_limits()
    assert set(found.unread) == set(unread)
    assert set(found.unread.values()) == {f"{file} is not in {directory}: {why}" for file in files}
    whole = SNAPSHOTS[host]
    assert found == dataclasses.replace(
        whole,
        **{name: None for name in unread if name in COUNTERS},
        limits={name: text for name, text in whole.limits.items() if name not in unread},
        unread=found.unread,
    )


WRONG = {
    "a word": ("max\n", "expected a whole number, found 'max'"),
    "negative": ("-1\n", "expected a whole number, found '-1'"),
    "empty": ("", "expected a whole number, found ''"),
    "not UTF-8": ("\udcff\n", "expected a whole number, found '\ufffd'"),
    "two numbers": ("1 2\n", "expected a whole number, found '1 2'"),
}
USED = {"v1": "memory.usage_in_bytes", "v2": "memory.current"}


@pytest.mark.parametrize("host", USED)
@pytest.mark.parametrize(("text", "why"), WRONG.values(), ids=WRONG)
def test_text_that_is_no_number(tmp_path: Path, host: str, text: str, why: str) -> None:
    """A text that is not one whole number is never guessed at."""
    cgroup = copied(tmp_path, host)
    (cgroup.directories["memory"] / USED[host]).write_text(text, errors="surrogateescape")
    with Reader(cgroup) as reader:
        found = reader.read()
    assert found.memory_current_bytes is None
    assert found.unread == {"memory_current_bytes": f"{USED[host]}: {why}"}


def test_key_that_is_not_there(tmp_path: Path) -> None:
    """A keyed file without the key, or with a key that only begins so, is unread, not 0."""
    cgroup = copied(tmp_path, "v2")
    (cgroup.directories["memory"] / "memory.events").write_text("low 0\noom_kills 3\nnot oom_kill 4\n")
    (cgroup.directories["cpu"] / "cpu.stat").write_text("nr_periods none\nusage_usec 5\n")
    with Reader(cgroup) as reader:
        found = reader.read()
    assert (found.oom_kill, found.nr_periods, found.cpu_usage_ns) == (None, None, 5000)
    assert found.unread == {
        "oom_kill": "memory.events: expected a line 'oom_kill', found 'low 0\\noom_kills 3\\nnot oom_kill 4'",
        "nr_periods": "cpu.stat: expected a whole number 'nr_periods', found 'none'",
        "nr_throttled": "cpu.stat: expected a line 'nr_throttled', found 'nr_periods none\\nusage_usec 5'",
        "throttled_ns": "cpu.stat: expected a line 'throttled_usec', found 'nr_periods none\\nusage_usec 5'",
    }


@pytest.mark.parametrize("host", USED)
def test_file_that_refuses(tmp_path: Path, host: str) -> None:
    """Any other error of the kernel's is told in its words, with the place."""
    cgroup = copied(tmp_path, host)
    events = cgroup.directories["pids"] / "pids.events"
    events.unlink()
    events.mkdir()
    with Reader(cgroup) as reader:
        assert reader.read().unread == {"pids_max_events": f"pids.events in {events.parent}: Is a directory"}


KILLS = {"v1": "memory.oom_control", "v2": "memory.events"}


@pytest.mark.parametrize("host", KILLS)
def test_gone_before_it_was_opened(tmp_path: Path, host: str) -> None:
    """A container that ended between finding and opening gives a snapshot of reasons, not an error."""
    cgroup = copied(tmp_path, host)
    shutil.rmtree(tmp_path / host / "sys")
    with Reader(cgroup, clock=at_seven) as reader:
        found = reader.read_limits()
    assert found == Snapshot(monotonic_ns=7, versions=cgroup.versions, unread=found.unread)
    assert set(found.unread) == {*COUNTERS, *SNAPSHOTS[host].limits}
    assert found.unread["oom_kill"] == f"{KILLS[host]}: its cgroup is gone: the container has ended"


@pytest.mark.parametrize("restarted", [False, True])
def test_gone_while_it_was_open(*, restarted: bool) -> None:
    """When a real cgroup is removed under an open reader, each counter says so, also once one of its name is back."""
    with kernel_files.made(f"spawner-limits-test-{os.getpid()}") as cgroup, Reader(cgroup, clock=at_seven) as reader:
        alive = reader.read_limits()
        for directory in set(cgroup.directories.values()):
            directory.rmdir()
            if restarted:
                directory.mkdir()
        gone = reader.read_limits()
    assert (alive.memory_current_bytes, alive.pids_current, alive.oom_kill) == (0, 0, 0)
    assert gone == Snapshot(monotonic_ns=7, versions=cgroup.versions, unread=gone.unread)
    assert set(gone.unread) >= {*COUNTERS, *alive.limits}
    assert {why.partition(": ")[2] for name, why in gone.unread.items() if name not in alive.unread} == {
        "its cgroup is gone: the container has ended",
    }


def test_closed(tmp_path: Path) -> None:
    """Leaving the `with` gives every descriptor back, closing again does nothing, and a late read has reasons."""
    cgroup = copied(tmp_path, "hybrid")
    before = descriptors()
    with Reader(cgroup) as reader:
        assert descriptors() == before + 19
    reader.close()
    assert descriptors() == before
    assert reader.read().unread == dict.fromkeys(COUNTERS, "the reader is closed")


def test_a_file_is_opened_once(tmp_path: Path) -> None:
    """Counters of one file are of one reading of it: v2's `cpu.stat` holds usage and throttling together."""
    before = descriptors()
    with Reader(copied(tmp_path, "v2")):
        assert descriptors() == before + 19


def test_tables_are_complete() -> None:
    """Both versions have every counter of a snapshot, in the snapshot's order, each on the same controller."""
    not_counters = {"monotonic_ns", "versions", "cpu_delay_ns", "runnable", "steal_ns", "limits", "unread"}
    counters = [field.name for field in dataclasses.fields(Snapshot) if field.name not in not_counters]
    assert list(v1.COUNTERS) == list(v2.COUNTERS) == counters
    for name in counters:
        assert len({source.controller for source in (*v1.COUNTERS[name], *v2.COUNTERS[name])}) == 1
    assert v1.LIMITS.keys() == v2.LIMITS.keys() <= set(CONTROLLERS)


def test_scale() -> None:
    """Microseconds become nanoseconds, exactly."""
    source = CounterFile(controller="cpu", file="cpu.stat", key="throttled_usec", scale=1000)
    assert source.number(b"nr_throttled 1\nthrottled_usec 18446744073709551\n") == 18_446_744_073_709_551_000
