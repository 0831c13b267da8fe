"""Cases 53 to 56: processes, threads, writes to a disk, and a container that the OOM killer must leave alone."""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spawner_limits.bench import interrupt
from spawner_limits.bench.engine import kill
from spawner_limits.conformance.case import CannotError, Case, Group
from spawner_limits.conformance.former import KILLED, Setting, claim, ended, exactly, hold, made, no_oom_kill, oom_kills
from spawner_limits.conformance.swap import warned
from spawner_limits.limits import Limits
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.bench.engine import Command
    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.proof.evidence import Evidence, Verdict

PIDS = 32
_WANTED = 64
"""processes that a load wants: twice what it may have"""
_PIDS_CAP = 256
"""what a control may have at the most, for the host's sake"""
_CROWD_S = 0.5
_HOG_MIB = 100
_STUCK_S = 0.3
"""so long a load that is stuck must stay so"""
_LOAD_S = 60


# -- 53, 54: processes and threads ---------------------------------------------------------------------------------


def crowded(bench: Bench, setting: Setting, probe: str) -> Evidence:
    """A load that wants `_WANTED` processes or threads at once, and then one more now and then."""
    with made(bench, setting) as subject:
        load = subject.probe(probe, _WANTED, _CROWD_S)
        snapshots = subject.follow(load, seconds=_LOAD_S)
        return subject.evidence(snapshots, load)


def _judge_crowd(evidence: Evidence) -> list[Verdict]:
    return [*hold(Limits(pids_limit=PIDS), "pids_limit")(evidence), _filled(evidence)]


def _filled(evidence: Evidence) -> Verdict:
    """Nothing was refused before the limit was full: by the kernel's own peak, or by a sample that fell on it."""
    series = evidence.series
    level, refused, peaks = series.level("pids_current"), series.risen("pids_max_events"), series.values("pids_peak")
    most = None if level is None else level.value
    # samples alone may have missed it
    early = bool(refused and peaks and peaks[-1] < PIDS)
    return claim(
        "pids.current when the first was refused",
        expected=str(PIDS),
        seen=None if most is None else str(most),
        holds=None if most is None or not refused else False if early else True if most >= PIDS else None,
        files=() if level is None else (f"{level.file}: at most {most}",),
    )


# -- 55: a disk ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Knob:
    """One way to limit what is written to a disk, and where it is read."""

    words: str
    option: str
    """in a host config"""
    per_second: int
    block_bytes: int
    """of each write of the load"""
    v1_limit: str
    v1_count: str
    v2_limit: str
    """key in io.max"""
    v2_count: str
    """key in io.stat"""

    def limit_file(self, version: CgroupVersion) -> str:
        """The file that holds the limit."""
        return self.v1_limit if version == 1 else "io.max"

    def count_file(self, version: CgroupVersion) -> str:
        """The file that counts."""
        return self.v1_count if version == 1 else "io.stat"

    def limit(self, version: CgroupVersion, text: str, device: str) -> str | None:
        """The limit of a device in the text of its file; `None`: it has none."""
        key = "" if version == 1 else f".*?{self.v2_limit}="
        found = re.search(rf"^{device} {key}(\w+)", text, re.MULTILINE)
        return found[1] if found else None

    def count(self, version: CgroupVersion, text: str, device: str) -> int:
        """What was written to a device so far; 0 before its first line."""
        key = "Write " if version == 1 else f".*?{self.v2_count}="
        found = re.search(rf"^{device} {key}(\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0

    def raised(self, version: CgroupVersion, device: str) -> str:
        """What raises the limit when it is written to its file. v1 need not count what has no limit at all."""
        most = _RAISED * self.per_second
        return f"{device} {most}" if version == 1 else f"{device} {self.v2_limit}={most}"


KNOBS = (
    Knob(
        words="bytes",
        option="device_write_bps",
        per_second=MIB,
        block_bytes=64 << 10,
        v1_limit="blkio.throttle.write_bps_device",
        v1_count="blkio.throttle.io_service_bytes",
        v2_limit="wbps",
        v2_count="wbytes",
    ),
    Knob(
        words="writes",
        option="device_write_iops",
        per_second=20,
        block_bytes=4 << 10,
        v1_limit="blkio.throttle.write_iops_device",
        v1_count="blkio.throttle.io_serviced",
        v2_limit="wiops",
        v2_count="wios",
    ),
)
_DISK_S = 7.0
_SHORTEST_S = 5.0
_TOLERANCE = 0.10
_SAMPLE_S = 0.1
_IMAGE = "give an --image with python3, whose /tmp is on the engine's disk"
_RAISED = 50
_MOST_WRITES = 2000
"""of the load in all: what a control may do to the host's disk"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Throttled:
    """Limits of what is written to the engine's disk; those in `raised` are raised behind the engine's back."""

    knobs: tuple[Knob, ...] = KNOBS
    raised: tuple[Knob, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What one limit let through: the count of the kernel, again and again."""

    knob: Knob
    version: CgroupVersion
    device: str
    """ "254:0" """
    text: str | None
    """of the limit's file while the load wrote"""
    samples: tuple[tuple[float, int], ...]
    """seconds, and what was written by then"""


def whole_disk(directory: Path, sys: Path = Path("/sys")) -> tuple[str, str]:
    """The disk below a directory: its number "254:0" and its node "/dev/vda". A partition's is the whole one.

    CannotError where no block device is below it.
    """
    device = directory.stat().st_dev
    entry = sys / "dev" / "block" / f"{os.major(device)}:{os.minor(device)}"
    if not entry.exists():
        raise CannotError(
            f"{directory} is on no block device of its own (device {entry.name}), and only those can be limited",
            "give the engine a data-root on a file system that lies on one disk",
        )
    disk = entry.resolve().parent if (entry / "partition").exists() else entry
    names = dict(line.split("=", 1) for line in (disk / "uevent").read_text(encoding="ascii").splitlines())
    return (disk / "dev").read_text(encoding="ascii").strip(), f"/dev/{names['DEVNAME']}"


def _press_disk(bench: Bench, throttled: Throttled) -> list[Written]:
    device, node = whole_disk(Path(str(bench.engine.info["DockerRootDir"])))
    with ExitStack() as stack:
        subjects = [stack.enter_context(bench.container(**_throttle(knob, node))) for knob in throttled.knobs]
        pairs = list(zip(throttled.knobs, subjects, strict=True))
        for knob, subject in pairs:
            if knob in throttled.raised:
                _raise(subject, knob, device)
        loads = [subject.probe("disk", knob.block_bytes, _MOST_WRITES, _DISK_S) for knob, subject in pairs]
        texts = [subject.read(knob.limit_file(bench.version)) for knob, subject in pairs]
        counted = _counted(pairs, loads, device)
        for load in loads:
            if load.exit_code:
                raise CannotError(f"the load can't write to the disk itself: {load.stderr.strip()}", _IMAGE)
        return [
            Written(knob=knob, version=bench.version, device=device, text=text, samples=tuple(samples))
            for (knob, _), text, samples in zip(pairs, texts, counted, strict=True)
        ]


def _throttle(knob: Knob, node: str) -> dict[str, Any]:
    return {knob.option: [{"Path": node, "Rate": knob.per_second}]}


def _raise(subject: Subject, knob: Knob, device: str) -> None:
    version = subject.bench.version
    if error := subject.write(knob.limit_file(version), knob.raised(version, device)):
        raise CannotError(f"{knob.limit_file(version)} can't be written: {error}", "run as root on the engine's host")


def _counted(
    pairs: Sequence[tuple[Knob, Subject]], loads: Sequence[Command], device: str
) -> list[list[tuple[float, int]]]:
    """For each, the time in seconds and the kernel's count, until all loads have ended."""
    counted: list[list[tuple[float, int]]] = [[] for _ in pairs]
    end = time.monotonic() + _LOAD_S
    over = False
    while not over:
        over = time.monotonic() > end or not any(one.running for one in loads)
        for samples, (knob, subject) in zip(counted, pairs, strict=True):
            version = subject.bench.version
            text = subject.read(knob.count_file(version))
            if text is not None:
                samples.append((time.monotonic(), knob.count(version, text, device)))
        interrupt.pause(_SAMPLE_S)
    return counted


def active(samples: Sequence[tuple[float, int]]) -> tuple[float, int]:
    """Seconds and rise of a count, from the sample before its first rise to the one that first shows its last."""
    risen = [pair for pair in pairwise(samples) if pair[1][1] > pair[0][1]]
    if not risen:
        return 0.0, 0
    (begin, low), (end, high) = risen[0][0], risen[-1][1]
    return end - begin, high - low


def _judge_disk(written: Sequence[Written]) -> list[Verdict]:
    return [verdict for one in written for verdict in (_disk_file(one), _rate(one))]


def _disk_file(written: Written) -> Verdict:
    knob, file = written.knob, written.knob.limit_file(written.version)
    found = None if written.text is None else knob.limit(written.version, written.text, written.device) or "none"
    verdict = exactly(f"{file} of {written.device}", str(knob.per_second), found)
    return replace(verdict, under_load=None)


def _rate(written: Written) -> Verdict:
    """What got through a second. Too little of it is what a slow disk gives: that says nothing."""
    seconds, rise = active(written.samples)
    knob, rate = written.knob, rise / seconds if seconds else None
    return claim(
        f"{knob.words} written a second",
        expected=f"{knob.per_second} ± {_TOLERANCE:.0%} over {_SHORTEST_S:.0f} s or more",
        seen=None if rate is None else f"{rate:.0f} over {seconds:.1f} s",
        holds=_within(rate, seconds, knob.per_second),
        files=[f"{knob.count_file(written.version)} of {written.device}: +{rise}"],
        figures={"per_second": rate, "limit_per_second": knob.per_second, "window_seconds": round(seconds, 2)},
    )


def _within(rate: float | None, seconds: float, limit: int) -> bool | None:
    if rate is None:
        return None
    if rate > limit * (1 + _TOLERANCE):
        return False
    return True if rate >= limit * (1 - _TOLERANCE) and seconds >= _SHORTEST_S else None


# -- 56: no OOM killer ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Stuck:
    """What became of a load that wanted more than its limit, where the OOM killer is to leave it alone."""

    version: CgroupVersion
    recorded: bool | None
    """`HostConfig.OomKillDisable`"""
    warnings: tuple[str, ...]
    control: str | None
    """memory.oom_control while it was stuck, or after its end; v2 has none"""
    state: str
    """of its process, as /proc says: "D" for one that waits and can't be woken; "" for one that has ended"""
    evidence: Evidence
    """its exit code is that of our SIGKILL where it was stuck, or of the OOM killer's"""


def _press_stuck(bench: Bench, setting: Setting) -> Stuck:
    with made(bench, setting) as subject:
        load = subject.probe("hog", _HOG_MIB, 4, _LOAD_S, "first")
        try:
            before = subject.follow(load, seconds=_LOAD_S, until=lambda _: _under_oom(subject))
            interrupt.pause(_STUCK_S)
            control, state = subject.read("memory.oom_control"), _state(load)
        finally:
            _end(load)
        load.wait(_LOAD_S)
        return Stuck(
            version=bench.version,
            recorded=subject.inspected["HostConfig"].get("OomKillDisable"),
            warnings=subject.container.warnings,
            control=control,
            state=state,
            evidence=subject.evidence([*before, subject.reader.read_limits()], load),
        )


def _end(load: Command) -> None:
    """By a signal; one that waits for memory takes no other."""
    if load.running and load.pid:
        kill([load.pid])


def _under_oom(subject: Subject) -> bool:
    return "under_oom 1" in (subject.read("memory.oom_control") or "")


def _state(load: Command) -> str:
    """Of a process: field 3 of /proc/PID/stat; "" once it is gone."""
    if not load.running:
        return ""
    try:
        return (
            Path(f"/proc/{load.pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
        )
    except OSError:
        return ""


def _judge_stuck(stuck: Stuck) -> list[Verdict]:
    return _judge_waiting(stuck) if stuck.version == 1 else _judge_discarded(stuck)


def _judge_waiting(stuck: Stuck) -> list[Verdict]:
    """On v1: it waits for memory, nobody is killed, and a signal ends it still."""
    control = dict(line.split() for line in (stuck.control or "").splitlines())
    return [
        replace(exactly("memory.oom_control oom_kill_disable", "1", control.get("oom_kill_disable")), under_load=None),
        exactly("memory.oom_control under_oom", "1", control.get("under_oom")),
        exactly("state of the load's process", "D", stuck.state or "ended"),
        no_oom_kill(stuck.evidence.snapshots),
        ended(stuck.evidence.load.exit_code, KILLED, what="the load, by our SIGKILL"),
    ]


def _judge_discarded(stuck: Stuck) -> list[Verdict]:
    """On v2: there is no such thing, and the engine says so; the OOM killer does its work."""
    return [
        warned(stuck.warnings, "oomkilldisable"),
        exactly("HostConfig.OomKillDisable", "not set", str(stuck.recorded) if stuck.recorded else "not set"),
        oom_kills(stuck.evidence.snapshots),
        ended(stuck.evidence.load.exit_code, KILLED),
    ]


# -- the list ------------------------------------------------------------------------------------------------------

_PIDS_REMEDY = (
    "nothing on this host holds a number of processes: check CONFIG_CGROUP_PIDS in the Linux kernel and the pids "
    "controller in /proc/cgroups (v1) or cgroup.subtree_control (v2); docker info says PidsLimit"
)
_MEMORY = Limits(mem_limit=64 * MIB, memswap_limit=64 * MIB)

CASES: tuple[AnyCase, ...] = (
    Case(
        number=53,
        group=Group.BOUNDS,
        title="no more processes than the limit, and all of those",
        expected="forks fail once pids.current is pids.max; pids.events max rises",
        tolerance="zero; a fork that is about to be refused is counted for an instant, one a CPU",
        press=lambda bench: crowded(bench, Setting(limits=Limits(pids_limit=PIDS)), "forks"),
        control=lambda bench: crowded(bench, Setting(limits=Limits(pids_limit=_PIDS_CAP)), "forks"),
        control_words="the same load with a limit that is far above it",
        claims=(_judge_crowd,),
        remedy=_PIDS_REMEDY,
    ),
    Case(
        number=54,
        group=Group.BOUNDS,
        title="threads count as processes do",
        expected="threads fail once pids.current is pids.max; pids.events max rises",
        tolerance="zero; a thread that is about to be refused is counted for an instant, one a CPU",
        press=lambda bench: crowded(bench, Setting(limits=Limits(pids_limit=PIDS)), "threads"),
        control=lambda bench: crowded(bench, Setting(limits=Limits(pids_limit=_PIDS_CAP)), "threads"),
        control_words="the same load with a limit that is far above it",
        claims=(_judge_crowd,),
        remedy=_PIDS_REMEDY,
    ),
    Case(
        number=55,
        group=Group.BOUNDS,
        title="bytes and writes a second to the engine's disk are not exceeded",
        expected="1 MiB and 20 writes a second through O_DIRECT: blkio.throttle.*",
        expected_v2="1 MiB and 20 writes a second through O_DIRECT: io.max",
        tolerance=f"{_TOLERANCE:.0%} over {_SHORTEST_S:.0f} s",
        press=lambda bench: _press_disk(bench, Throttled()),
        control=lambda bench: _press_disk(bench, Throttled(raised=KNOBS)),
        control_words=f"the same loads, the limits raised {_RAISED}-fold in the kernel's file behind the engine's back",
        claims=(_judge_disk,),
        remedy=(
            "check CONFIG_BLK_DEV_THROTTLING in the Linux kernel and the io controller in cgroup.subtree_control (v2; "
            "rootless engines need it delegated); name the whole disk, not a partition, and note that v1 counts "
            "direct writes only"
        ),
        quick=False,
    ),
    Case(
        number=56,
        group=Group.BOUNDS,
        title="a container without OOM killer waits and can be ended; where that can't be had, the engine says so",
        expected="the load waits in state D, under_oom 1, no OOM kill, and SIGKILL ends it",
        expected_v2="discarded with a warning, and the OOM killer ends the load",
        press=lambda bench: _press_stuck(bench, Setting(limits=_MEMORY, host_config={"oom_kill_disable": True})),
        control=lambda bench: _press_stuck(bench, Setting(limits=_MEMORY)),
        control_words="the same load where the OOM killer may",
        claims=(_judge_stuck,),
        remedy="don't use oom_kill_disable: a server that is out of memory then hangs, and cgroup v2 has no such thing",
    ),
)
