"""Cases 53 to 56: processes, threads, writes to a disk, and a container that the OOM killer must leave alone."""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spawner_limits import interrupt
from spawner_limits.clients.own_containers import kill
from spawner_limits.conformance.case import CannotError, Case, Group
from spawner_limits.conformance.seen import discarded, on, warned
from spawner_limits.conformance.setting import Setting, hold, made
from spawner_limits.conformance.trial import sampler
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import KILLED, ended, exactly, measured, no_oom_kill, oom_kills, unpressed
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spawner_limits.clients.own_commands import Command
    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.seen import Seen
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


def _crowded(bench: Bench, pids_limit: int, probe: str) -> Seen:
    """A load that wants `_WANTED` processes or threads at once, and then one more now and then."""
    with made(bench, Setting(asked=Limits(pids_limit=pids_limit))) as subject:
        return subject.press(probe, _WANTED, _CROWD_S, seconds=_LOAD_S)


def filled(evidence: Evidence) -> Verdict:
    """Nothing was refused before the limit was full: by the kernel's own peak, or by a sample that fell on it."""
    series = evidence.series
    level, refused, peaks = series.level("pids_current"), series.risen("pids_max_events"), series.values("pids_peak")

    def holds(most: int) -> bool | None:
        if refused and peaks and peaks[-1] < PIDS:  # samples alone may have missed it
            return False
        return True if refused and most >= PIDS else None

    return measured(
        "pids.current when the first was refused",
        str(PIDS),
        None if level is None else level.value,
        holds,
        files=() if level is None else (f"{level.file}: at most {level.value}",),
    )


# -- 55: a disk ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a version of cgroups keeps a limit of a disk, and its count: a file, and what is before the number."""

    limit_file: str
    limit_key: str = ""
    count_file: str
    count_key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Knob:
    """One way to limit what is written to a disk."""

    words: str
    option: str
    """in a host config"""
    per_second: int
    block_bytes: int
    """of each write of the load"""
    places: Mapping[CgroupVersion, Place]

    def limit(self, version: CgroupVersion, text: str, device: str) -> str | None:
        """The limit of a device in the text of its file; `None`: it has none."""
        return _number(text, device, self.places[version].limit_key)

    def count(self, version: CgroupVersion, text: str, device: str) -> int:
        """What was written to a device so far; 0 before its first line."""
        return int(_number(text, device, self.places[version].count_key) or 0)

    def raised(self, version: CgroupVersion, device: str) -> str:
        """What raises the limit when it is written to its file. v1 need not count what has no limit at all."""
        return f"{device} {self.places[version].limit_key}{_RAISED * self.per_second}"


def _number(text: str, device: str, key: str) -> str | None:
    found = re.search(rf"^{device} .*?{key}(\w+)", text, re.MULTILINE)
    return found[1] if found else None


KNOBS = (
    Knob(
        words="bytes",
        option="device_write_bps",
        per_second=MIB,
        block_bytes=64 << 10,
        places={
            1: Place(
                limit_file="blkio.throttle.write_bps_device",
                count_file="blkio.throttle.io_service_bytes",
                count_key="Write ",
            ),
            2: Place(limit_file="io.max", limit_key="wbps=", count_file="io.stat", count_key="wbytes="),
        },
    ),
    Knob(
        words="writes",
        option="device_write_iops",
        per_second=20,
        block_bytes=4 << 10,
        places={
            1: Place(
                limit_file="blkio.throttle.write_iops_device",
                count_file="blkio.throttle.io_serviced",
                count_key="Write ",
            ),
            2: Place(limit_file="io.max", limit_key="wiops=", count_file="io.stat", count_key="wios="),
        },
    ),
)
_DISK_S = 7.0
_SHORTEST_S = 5.0
_TOLERANCE = 0.10
_SAMPLE_S = 0.1
_RAISED = 50
_MOST_WRITES = 2000
"""of the load in all: what a control may do to the host's disk"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What one limit let through: the count of the kernel, again and again."""

    knob: Knob
    version: CgroupVersion
    device: str
    """ "254:0" """
    text: str | None
    """of the limit's file while the load wrote"""
    samples: Sequence[tuple[float, int]]
    """seconds, and what was written by then"""

    @property
    def place(self) -> Place:
        """Where it was read."""
        return self.knob.places[self.version]


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


def _written(bench: Bench, raised: Sequence[Knob] = ()) -> list[Written]:
    """What limits let through to the engine's disk; those of `raised` are raised behind the engine's back."""
    device, node = whole_disk(Path(str(bench.engine.info["DockerRootDir"])))
    version = bench.version
    with ExitStack() as stack:
        pairs = [(knob, stack.enter_context(bench.container(**_throttle(knob, node)))) for knob in KNOBS]
        for knob, subject in pairs:
            file = knob.places[version].limit_file
            if knob in raised and (error := subject.write(file, knob.raised(version, device))):
                raise CannotError(f"{file} can't be written: {error}", "run as root on the engine's host")
        loads = [subject.probe("disk", knob.block_bytes, _MOST_WRITES, _DISK_S) for knob, subject in pairs]
        texts = [subject.read(knob.places[version].limit_file) for knob, subject in pairs]
        counted = _counted(pairs, loads, device)
        for load in loads:
            if load.exit_code:
                image = "give an --image with python3, whose /tmp is on the engine's disk"
                raise CannotError(f"the load can't write to the disk itself: {load.stderr.strip()}", image)
        return [
            Written(knob=knob, version=version, device=device, text=text, samples=samples)
            for (knob, _), text, samples in zip(pairs, texts, counted, strict=True)
        ]


def _throttle(knob: Knob, node: str) -> dict[str, Any]:
    return {knob.option: [{"Path": node, "Rate": knob.per_second}]}


def _counted(
    pairs: Sequence[tuple[Knob, Subject]], loads: Sequence[Command], device: str
) -> list[list[tuple[float, int]]]:
    """For each, the time in seconds and the kernel's count, until all loads have ended."""
    counted: list[list[tuple[float, int]]] = [[] for _ in pairs]
    rounds = sampler(*(subject for _, subject in pairs), every_s=_SAMPLE_S)
    for _ in rounds.follow(seconds=_LOAD_S, over=lambda: not any(load.running for load in loads)):
        for samples, (knob, subject) in zip(counted, pairs, strict=True):
            version = subject.bench.version
            if (text := subject.read(knob.places[version].count_file)) is not None:
                samples.append((time.monotonic(), knob.count(version, text, device)))
    return counted


def active(samples: Sequence[tuple[float, int]]) -> tuple[float, int]:
    """Seconds and rise of a count, from the sample before its first rise to the one that first shows its last."""
    risen = [pair for pair in pairwise(samples) if pair[1][1] > pair[0][1]]
    if not risen:
        return 0.0, 0
    (begin, low), (end, high) = risen[0][0], risen[-1][1]
    return end - begin, high - low


def throttled(written: Sequence[Written]) -> list[Verdict]:
    """Each limit is in its file, and holds."""
    return [verdict for limit in written for verdict in (*unpressed(_in_file)(limit), _within(limit))]


def _in_file(written: Written) -> Verdict:
    knob, file = written.knob, written.place.limit_file
    found = None if written.text is None else knob.limit(written.version, written.text, written.device) or "none"
    return exactly(f"{file} of {written.device}", str(knob.per_second), found)


def _within(written: Written) -> Verdict:
    """What got through a second. Too little of it is what a slow disk gives: that says nothing."""
    seconds, rise = active(written.samples)
    limit, rate = written.knob.per_second, rise / seconds if seconds else None
    is_full = rate is not None and rate >= limit * (1 - _TOLERANCE) and seconds >= _SHORTEST_S
    return measured(
        f"{written.knob.words} written a second",
        f"{limit} ± {_TOLERANCE:.0%} over {_SHORTEST_S:.0f} s or more",
        rate,
        lambda got: False if got > limit * (1 + _TOLERANCE) else True if is_full else None,
        tell=lambda got: f"{got:.0f} over {seconds:.1f} s",
        files=[f"{written.place.count_file} of {written.device}: +{rise}"],
        figures={"per_second": rate, "limit_per_second": limit, "window_seconds": round(seconds, 2)},
    )


# -- 56: no OOM killer ---------------------------------------------------------------------------------------------

CONTROL, STATE = "memory.oom_control", "state of the load's process"
_MEMORY = Limits(mem_limit=64 * MIB, memswap_limit=64 * MIB)


def _stuck(bench: Bench, **host_config: object) -> Seen:
    """A load that wants more than its limit, and what became of it; at last it is killed."""
    with made(bench, Setting(asked=_MEMORY, host_config=host_config)) as subject:
        load = subject.probe("hog", _HOG_MIB, 4, _LOAD_S, "first")
        try:
            taken = subject.follow(load, seconds=_LOAD_S, until=lambda _: _under_oom(subject))
            interrupt.pause(_STUCK_S)
            texts = {CONTROL: subject.read(CONTROL), STATE: _state(load)}
        finally:
            # one that waits for memory takes no other signal
            if load.running and load.pid:
                kill([load.pid])
        load.wait(_LOAD_S)
        recorded = subject.recorded
        taken.append(subject.reader.read_limits())
        return subject.seen(taken, load.exit_code, texts=texts, recorded=recorded)


def _under_oom(subject: Subject) -> bool:
    return "under_oom 1" in (subject.read(CONTROL) or "")


def _state(load: Command) -> str:
    """Of a process: field 3 of /proc/PID/stat, "D" for one that waits and can't be woken; "ended" once it is gone."""
    if not load.running:
        return "ended"
    try:
        text = Path(f"/proc/{load.pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "ended"
    return text.rpartition(")")[2].split()[0]


def _in_control(key: str) -> Callable[[Seen], Verdict]:
    def judge(seen: Seen) -> Verdict:
        found = seen.counts(CONTROL).get(key)
        return exactly(f"{CONTROL} {key}", "1", None if found is None else str(found))

    return judge


# -- the list ------------------------------------------------------------------------------------------------------

bounds_case = partial(Case, group=Group.BOUNDS)
pids_case = partial(
    bounds_case,
    control_words="the same load with a limit that is far above it",
    claims=(hold(Limits(pids_limit=PIDS), "pids_limit"), filled),
    remedy=(
        "nothing on this host holds a number of processes: check CONFIG_CGROUP_PIDS in the Linux kernel and the pids "
        "controller in /proc/cgroups (v1) or cgroup.subtree_control (v2); docker info says PidsLimit"
    ),
)

CASES: tuple[AnyCase, ...] = (
    pids_case(
        number=53,
        title="no more processes than the limit, and all of those",
        expected="forks fail once pids.current is pids.max; pids.events max rises",
        tolerance="zero; a fork that is about to be refused is counted for an instant, one a CPU",
        press=lambda bench: _crowded(bench, PIDS, "forks"),
        control=lambda bench: _crowded(bench, _PIDS_CAP, "forks"),
    ),
    pids_case(
        number=54,
        title="threads count as processes do",
        expected="threads fail once pids.current is pids.max; pids.events max rises",
        tolerance="zero; a thread that is about to be refused is counted for an instant, one a CPU",
        press=lambda bench: _crowded(bench, PIDS, "threads"),
        control=lambda bench: _crowded(bench, _PIDS_CAP, "threads"),
    ),
    bounds_case(
        number=55,
        title="bytes and writes a second to the engine's disk are not exceeded",
        expected="1 MiB and 20 writes a second through O_DIRECT: blkio.throttle.*",
        expected_v2="1 MiB and 20 writes a second through O_DIRECT: io.max",
        tolerance=f"{_TOLERANCE:.0%} over {_SHORTEST_S:.0f} s",
        press=_written,
        control=lambda bench: _written(bench, KNOBS),
        control_words=f"the same loads, the limits raised {_RAISED}-fold in the kernel's file behind the engine's back",
        claims=(throttled,),
        remedy=(
            "check CONFIG_BLK_DEV_THROTTLING in the Linux kernel and the io controller in cgroup.subtree_control (v2; "
            "rootless engines need it delegated); name the whole disk, not a partition, and note that v1 counts "
            "direct writes only"
        ),
        quick=False,
    ),
    bounds_case(
        number=56,
        title="a container without OOM killer waits and can be ended; where that can't be had, the engine says so",
        expected="the load waits in state D, under_oom 1, no OOM kill, and SIGKILL ends it",
        expected_v2="discarded with a warning, and the OOM killer ends the load",
        press=lambda bench: _stuck(bench, oom_kill_disable=True),
        control=_stuck,
        control_words="the same load where the OOM killer may",
        claims=(
            on(
                v1=(
                    unpressed(_in_control("oom_kill_disable")),
                    _in_control("under_oom"),
                    lambda seen: exactly(STATE, "D", seen.texts[STATE]),
                    no_oom_kill(),
                    ended(KILLED, what="the load, by our SIGKILL"),
                ),
                v2=(
                    warned("oomkilldisable"),
                    discarded("OomKillDisable", unset=(None, False)),
                    oom_kills(),
                    ended(KILLED),
                ),
            ),
        ),
        remedy="don't use oom_kill_disable: a server that is out of memory then hangs, and cgroup v2 has no such thing",
    ),
)
