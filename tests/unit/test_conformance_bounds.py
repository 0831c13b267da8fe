"""Processes, disk and OOM killer: what the judges make of what was counted."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from spawner_limits.conformance.bounds import CASES, CONTROL, KNOBS, PIDS, STATE, Written, active, whole_disk
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.seen import Seen
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.proof.evidence import Evidence, Host, Load
from spawner_limits.units import GIB, MIB
from tests.kernel_files import VERSIONS

JUDGES = {case.number: case.judge for case in CASES}
HOST = Host(cores=2, memory_bytes=GIB, swap_bytes=0, kernel="6.18", engine="Docker 28.5.2")
BYTES, WRITES = KNOBS
DEVICE = "254:0"
OTHERS = "8:0 rbps=max wbps=5 riops=max wiops=5\n"
LIMITED = {
    (1, "bytes"): "254:0 1048576",
    (1, "writes"): "254:0 20",
    (2, "bytes"): f"{OTHERS}254:0 rbps=max wbps=1048576 riops=max wiops=max",
    (2, "writes"): f"{OTHERS}254:0 rbps=max wbps=max riops=max wiops=20",
}
"""as asked: the texts of v1's file for each, and of v2's for both"""


def crowd(*counts, refused=0, limit=PIDS):
    """Evidence of a load that had so many processes at each moment."""
    taken = [
        Snapshot(monotonic_ns=at, versions=VERSIONS[2], pids_current=count, pids_max_events=0)
        for at, count in enumerate(counts)
    ]
    last = replace(taken[-1], pids_max_events=refused, limits={"pids.max": str(limit)})
    return Evidence(snapshots=(*taken, last), load=Load(command=(), exit_code=0, oom_killed=None), host=HOST)


def written(version, per_second, seconds=7.0, knob=BYTES, text=None):
    """Samples of a count that rises evenly, after a second in which nothing was written and before another one.

    `text`: of the limit's file, if not as asked.
    """
    text = LIMITED[version, knob.words] if text is None else text
    rising = [(1 + at / 10, round(per_second * at / 10)) for at in range(round(seconds * 10) + 1)]
    samples = ((0.0, 0), *rising, (rising[-1][0] + 1, rising[-1][1]))
    return [Written(knob=knob, version=version, device=DEVICE, text=text, samples=samples)]


def stuck(exit_code=137, kills=0, control="oom_kill_disable 1\nunder_oom 1\noom_kill 0", state="D"):
    return killed(exit_code, kills, 1, texts={CONTROL: control, STATE: state}, recorded={"OomKillDisable": True})


def discarded(*warnings, kills=1, exit_code=137, recorded=None):
    texts, recorded = {CONTROL: None, STATE: "ended"}, {"OomKillDisable": recorded}
    return killed(exit_code, kills, 2, texts=texts, recorded=recorded, warnings=warnings)


def killed(exit_code, kills, version, **more):
    first = Snapshot(monotonic_ns=0, versions={"memory": version}, oom_kill=0)
    load = Load(command=(), exit_code=exit_code, oom_killed=None)
    snapshots = (first, replace(first, oom_kill=kills))
    return Seen(snapshots=snapshots, load=load, host=HOST, version=version, **more)


WARNING = "Your kernel does not support OomKillDisable. OomKillDisable discarded."

OUTCOMES = {
    "processes: full, and then refused": (53, crowd(3, 20, PIDS, PIDS, refused=4), "HELD", None),
    "processes: counted for an instant before they are refused": (
        53,
        crowd(3, PIDS + 2, PIDS, refused=4),
        "HELD",
        None,
    ),
    "processes: more than the limit": (53, crowd(3, 67, limit=256), "BROKEN", "BROKEN"),
    "processes: refused, and nobody saw how many there were": (53, crowd(3, PIDS - 2, refused=4), "UNKNOWN", None),
    "processes: above the limit twice in a row": (
        53,
        crowd(3, PIDS, PIDS + 1, PIDS + 2, refused=4),
        "BROKEN",
        "BROKEN",
    ),
    "processes: the load was too small": (53, crowd(3, 20), "UNKNOWN", None),
    "processes: the kernel shows another limit": (53, crowd(3, PIDS, refused=4, limit=33), "BROKEN", None),
    "threads: full, and then refused": (54, crowd(3, PIDS, refused=1), "HELD", None),
    "no OOM killer, v1: it waits": (56, stuck(), "HELD", None),
    "no OOM killer, v1: it was killed": (
        56,
        stuck(kills=1, control="oom_kill_disable 0\nunder_oom 0", state="ended"),
        "BROKEN",
        "BROKEN",
    ),
    "no OOM killer, v1: another one was killed": (56, stuck(kills=1), "BROKEN", "BROKEN"),
    "no OOM killer, v1: it sleeps, which needs no memory": (56, stuck(state="S"), "BROKEN", "BROKEN"),
    "no OOM killer, v1: a signal did not end it": (56, stuck(exit_code=None), "UNKNOWN", None),
    "no OOM killer, v2: discarded with a warning": (56, discarded(WARNING), "HELD", None),
    "no OOM killer, v2: discarded in silence": (56, discarded(), "BROKEN", "BROKEN"),
    "no OOM killer, v2: recorded all the same": (56, discarded(WARNING, recorded=True), "BROKEN", "BROKEN"),
    "no OOM killer, v2: the load lived": (56, discarded(WARNING, kills=0, exit_code=0), "BROKEN", "BROKEN"),
}


def disk(version):
    """What was written by a load whose container may write a MiB a second, on a host with this version of cgroups."""
    other = {1: "254:0 2097152", 2: f"{OTHERS}254:0 rbps=max wbps=2097152 riops=max wiops=max"}[version]
    elsewhere = {1: "8:0 1048576", 2: "8:0 rbps=max wbps=1048576 riops=max wiops=max"}[version]
    return {
        "as much as it may": (written(version, MIB), "HELD", None),
        "the smallest rate that counts": (written(version, MIB * 0.9 + 1), "HELD", None),
        "11 % too much": (written(version, MIB * 1.11), "BROKEN", "BROKEN"),
        "too much, in a short time": (written(version, 100 * MIB, seconds=0.5), "BROKEN", "BROKEN"),
        "as much as it may, but not for long": (written(version, MIB, seconds=4.0), "UNKNOWN", None),
        "slower than the limit": (written(version, MIB // 2), "UNKNOWN", None),
        "nothing was written": (written(version, 0), "UNKNOWN", None),
        "the kernel shows another limit": (written(version, MIB, text=other), "BROKEN", None),
        "the kernel limits another disk": (written(version, MIB, text=elsewhere), "BROKEN", None),
        "the kernel shows no limit": (written(version, MIB, text=""), "BROKEN", None),
        "writes": (written(version, 20, knob=WRITES), "HELD", None),
    }


OUTCOMES |= {f"disk, v{version}: {name}": (55, *row) for version in VERSIONS for name, row in disk(version).items()}


def worst(outcomes):
    return next((one for one in ("BROKEN", "UNKNOWN", "HELD") if one in outcomes), None)


@pytest.mark.parametrize(("number", "evidence", "outcome", "by_load"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcomes(number, evidence, outcome, by_load):
    """The worst of the verdicts, and whether the load alone shows a missing limit: that is what a control needs."""
    verdicts = JUDGES[number](evidence)
    assert worst([one.outcome for one in verdicts]) == outcome, [one.reason for one in verdicts]
    assert ("BROKEN" in [one.under_load for one in verdicts]) == (by_load == "BROKEN")


V1_BYTES = "254:0 Read 4096\n254:0 Write 7340032\n254:0 Sync 0\n8:0 Write 5\nTotal 7344133"
V2_STAT = "8:0 rbytes=1 wbytes=5 rios=1 wios=1 dbytes=0 dios=0\n254:0 rbytes=1 wbytes=7340032 rios=1 wios=112"
COUNTS = {
    "v1": (BYTES, 1, V1_BYTES, 7340032),
    "v1, before its first line": (BYTES, 1, "Total 0", 0),
    "v2, bytes": (BYTES, 2, V2_STAT, 7340032),
    "v2, writes": (WRITES, 2, V2_STAT, 112),
    "v2, of a disk that its number begins with": (WRITES, 2, "254:01 wios=3", 0),
}


@pytest.mark.parametrize(("knob", "version", "text", "count"), COUNTS.values(), ids=COUNTS)
def test_counts(knob, version, text, count):
    """Of one disk, in the kernel's words."""
    assert knob.count(version, text, DEVICE) == count


def test_a_limit_that_is_raised():
    """As the kernel's file takes it, on either version."""
    texts = [knob.raised(version, DEVICE) for knob in KNOBS for version in (1, 2)]
    assert texts == ["254:0 52428800", "254:0 wbps=52428800", "254:0 1000", "254:0 wiops=1000"]


WINDOWS = {
    "from before its first rise to its last": ([(0, 0), (1, 0), (2, 5), (3, 9), (4, 9)], (2, 9)),
    "all at once": ([(0, 3), (1, 9), (2, 9)], (1, 6)),
    "never": ([(0, 3), (1, 3)], (0.0, 0)),
    "not read": ([], (0.0, 0)),
}


@pytest.mark.parametrize(("samples", "window"), WINDOWS.values(), ids=WINDOWS)
def test_the_time_in_which_a_load_wrote(samples, window):
    """Seconds and rise; what came before and after is not the load's."""
    assert active(samples) == window


def block_devices(root, directory, *, partition):
    """A /sys with the disk of `directory`, as a whole or as a partition of one."""
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    disk = root / "devices" / "sda"
    place = disk / "sda1" if partition else disk
    place.mkdir(parents=True)
    (disk / "dev").write_text("8:0\n", encoding="ascii")
    (disk / "uevent").write_text("MAJOR=8\nMINOR=0\nDEVNAME=sda\n", encoding="ascii")
    if partition:
        (place / "partition").write_text("1\n", encoding="ascii")
    (root / "dev" / "block").mkdir(parents=True)
    (root / "dev" / "block" / number).symlink_to(place)


@pytest.mark.parametrize("partition", [False, True], ids=["a whole disk", "a partition"])
def test_the_disk_below_a_directory(tmp_path, partition):
    """Limits are for whole disks."""
    block_devices(tmp_path / "sys", tmp_path, partition=partition)
    assert whole_disk(tmp_path, tmp_path / "sys") == ("8:0", "/dev/sda")


def test_a_directory_on_no_disk(tmp_path):
    """tmpfs, btrfs, overlay: the case can't be run, and says what would let it."""
    with pytest.raises(CannotError, match="is on no block device of its own") as error:
        whole_disk(tmp_path, tmp_path / "sys")
    assert error.value.remedy == "give the engine a data-root on a file system that lies on one disk"
