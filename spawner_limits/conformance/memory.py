"""Cases 30 to 33, 39, 40, 42 and 43: memory limits, by load. Whom the OOM killer ends is in `oom`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.conformance.case import Case, Group
from spawner_limits.conformance.loads import (
    FOUR_TIMES,
    FREE,
    FREE_BYTES,
    HOG_MIB,
    LIMIT_BYTES,
    LIMITED,
    REMEDY,
    STEP_MIB,
    Run,
    climbed,
    limited,
    ran,
)
from spawner_limits.conformance.setting import Behind, Setting, expected, hold, read_back
from spawner_limits.limits import Limits
from spawner_limits.proof import windows
from spawner_limits.proof.claims import KILLED, claim, exactly, no_oom_kill, oom_kills, peak_within
from spawner_limits.report.plot import Plot, Point
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spawner_limits.bench.engine import Command
    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.proof.evidence import Evidence, Verdict

SLACK_BYTES = 16 * MIB
"""of the limit, what an interpreter, a step and the kernel's own share of it take"""
_ODD_BYTES = LIMIT_BYTES + 1000
_CACHE_BYTES = 32 * MIB
_CACHED = 0.9
"""of the limit: the kernel gives back early"""
_CROWD = (8, 12)
"""processes, and MiB of each"""
_ODD = Limits(mem_limit=_ODD_BYTES, memswap_limit=FREE_BYTES)
"""with swap, for without it is asked in whole pages already"""
_UNLIMITED: Behind = {
    1: {"memory.memsw.limit_in_bytes": "-1", "memory.limit_in_bytes": "-1"},
    2: {"memory.max": "max"},
}


# -- 30, 43: what the kernel's files say -------------------------------------------------------------------------


def _readback(limits: Limits, field: str) -> Callable[[Evidence], list[Verdict]]:
    """A judge: the field's file reads as these limits say."""

    def judge(evidence: Evidence) -> list[Verdict]:
        seen = evidence.snapshots[0]
        (wanted,) = expected(limits, evidence.page_size_bytes, field)
        files = wanted.files(seen.versions["memory"])
        return [exactly(file.name, file.accept, seen.limits.get(file.name)) for file in files]

    return judge


# -- 31, 32, 33: a staircase into the limit ----------------------------------------------------------------------


def judge_steps(run: Run) -> list[Verdict]:
    """The last step that the load reached lies in the limit, and near it."""
    steps = [int(one) for one in run.printed if one.isdigit()]
    last = steps[-1] * MIB if steps else None
    least = LIMIT_BYTES - SLACK_BYTES
    return [
        claim(
            "last step reached",
            expected=f"from {units.format_size(least)} to {units.format_size(LIMIT_BYTES)}",
            seen=None if last is None else units.format_size(last),
            # a load that ended short of the limit for another reason did not press it
            holds=None if last is None or (last < least and run.exit_code != KILLED) else least <= last <= LIMIT_BYTES,
            files=[f"the load printed {' '.join(run.printed[-3:])}, and ended with {run.exit_code}"],
            figures={"last_step_bytes": last, "limit_bytes": LIMIT_BYTES},
        ),
    ]


def plot_steps(run: Run) -> list[Plot]:
    """Memory over time, up to where the OOM killer ends it."""
    taken = run.evidence.snapshots
    begin = taken[0].monotonic_ns
    kill = next((one for one in taken if (one.oom_kill or 0) > (taken[0].oom_kill or 0)), None)
    return [
        Plot(
            title=f"Memory taken in steps of {STEP_MIB} MiB, under a limit of {units.format_size(LIMIT_BYTES)}",
            unit="bytes",
            lines={
                "memory used": tuple(
                    Point(seconds=_after(begin, one.monotonic_ns), value=one.memory_current_bytes) for one in taken
                )
            },
            limit=LIMIT_BYTES,
            marks=None if kill is None else {_after(begin, kill.monotonic_ns): "OOM kill"},
        )
    ]


def _after(begin_ns: int, end_ns: int) -> float:
    return round((end_ns - begin_ns) / windows.SECOND_NS, 3)


def _judge_peak(run: Run) -> Sequence[Verdict]:
    return hold(LIMITED.limits, "mem_limit")(run.evidence)


# -- 39, 40, 42: what counts as memory ---------------------------------------------------------------------------


def _cached(subject: Subject) -> Command:
    return subject.probe("fill", "/tmp/spawner-limits-fill", 4 * _CACHE_BYTES // MIB)  # noqa: S108  in the container


def _anonymous(subject: Subject) -> Command:
    return subject.probe("hog", 4 * _CACHE_BYTES // MIB)


def _press_cache(bench: Bench, load: Callable[[Subject], Command]) -> Run:
    return ran(bench, limited(_CACHE_BYTES), load)


def judge_cache(run: Run) -> list[Verdict]:
    """The limit was reached, and nobody died of it."""
    return [no_oom_kill(run.evidence.snapshots), _judge_cached(peak_within(run.evidence.snapshots, _CACHE_BYTES))]


def _judge_cached(peak: Verdict) -> Verdict:
    """UNKNOWN where the files were not cached in the container's memory, or not enough of them."""
    most = peak.figures["peak_bytes"]
    if not isinstance(most, int) or most >= _CACHED * _CACHE_BYTES:
        return peak
    reason = f"not pressed: only {units.format_size(most)} of cache; the image's storage may keep it elsewhere"
    return claim(peak.field, expected=peak.limit, seen=peak.seen, holds=None, reason=reason, files=peak.files)


def _press_shm(bench: Bench, setting: Setting) -> Run:
    return ran(bench, setting, lambda subject: subject.probe("fill", "/dev/shm/fill", HOG_MIB))  # noqa: S108


def _press_crowd(bench: Bench, setting: Setting) -> Run:
    return ran(bench, setting, lambda subject: subject.probe("crowd", *_CROWD))


def judge_killed(run: Run) -> list[Verdict]:
    """The OOM killer ended somebody, and the limit was not passed."""
    return [oom_kills(run.evidence.snapshots), peak_within(run.evidence.snapshots, LIMIT_BYTES)]


# -- the list ----------------------------------------------------------------------------------------------------

CASES: tuple[AnyCase, ...] = (
    Case(
        number=30,
        group=Group.MEMORY,
        title="the memory limit is what was asked, in whole pages",
        expected=f"memory.limit_in_bytes = {LIMIT_BYTES}, of {_ODD_BYTES} asked, with pages of 4 KiB",
        expected_v2=f"memory.max = {LIMIT_BYTES}, of {_ODD_BYTES} asked, with pages of 4 KiB",
        tolerance="exact, down to a whole page",
        press=lambda bench: read_back(bench, Setting(limits=_ODD)),
        control=lambda bench: read_back(bench, Setting(limits=_ODD, behind=_UNLIMITED)),
        control_words="the limit taken away in the kernel's file, behind the engine's back",
        claims=(_readback(_ODD, "mem_limit"),),
        remedy=REMEDY,
    ),
    Case(
        number=31,
        group=Group.MEMORY,
        title="memory is limited to what was asked, and given up to there",
        expected="the last step that a load reaches lies in the limit",
        tolerance="16 MiB below it: a step, the interpreter, and the kernel's share",
        press=lambda bench: climbed(bench, LIMITED),
        control=lambda bench: climbed(bench, FREE),
        control_words=FOUR_TIMES,
        claims=(judge_steps,),
        remedy=REMEDY,
        plots=plot_steps,
    ),
    Case(
        number=32,
        group=Group.MEMORY,
        title="no peak of memory passes the limit",
        expected="memory.max_usage_in_bytes at most the limit",
        expected_v2="memory.peak at most the limit",
        tolerance="zero; pressed from 99 % on",
        press=lambda bench: climbed(bench, LIMITED),
        control=lambda bench: climbed(bench, FREE),
        control_words=FOUR_TIMES,
        claims=(_judge_peak,),
        remedy=REMEDY,
    ),
    Case(
        number=33,
        group=Group.MEMORY,
        title="the kernel counts its OOM kills",
        expected="oom_kill in memory.oom_control rises",
        expected_v2="oom_kill in memory.events rises",
        press=lambda bench: climbed(bench, LIMITED),
        control=lambda bench: climbed(bench, FREE),
        control_words=FOUR_TIMES,
        claims=(lambda run: [oom_kills(run.evidence.snapshots)],),
        remedy=f"without this count a server's death can't be told from another kill; {REMEDY}",
    ),
    Case(
        number=39,
        group=Group.MEMORY,
        title="cached files are given back at the limit, and kill nobody",
        expected=f"{4 * _CACHE_BYTES // MIB} MiB written in {_CACHE_BYTES // MIB} MiB: oom_kill +0, peak in the limit",
        tolerance="zero; pressed from 90 % on",
        press=lambda bench: _press_cache(bench, _cached),
        control=lambda bench: _press_cache(bench, _anonymous),
        control_words="the same amount as memory of its own",
        claims=(judge_cache,),
        remedy=(
            "on this host writing files alone can end a server: its disk is too slow for the kernel to give the cache "
            "back; give more memory, or a newer Linux kernel"
        ),
    ),
    Case(
        number=40,
        group=Group.MEMORY,
        title="files in /dev/shm count as memory",
        expected=f"an OOM kill while {HOG_MIB} MiB are written there",
        press=lambda bench: _press_shm(bench, limited(LIMIT_BYTES, shm_size=2 * HOG_MIB * MIB)),
        control=lambda bench: _press_shm(bench, limited(FREE_BYTES, shm_size=2 * HOG_MIB * MIB)),
        control_words=FOUR_TIMES,
        claims=(judge_killed,),
        remedy=f"a server can take the host's memory by way of /dev/shm: keep its shm_size small; {REMEDY}",
    ),
    Case(
        number=42,
        group=Group.MEMORY,
        title="many small processes do not beat the limit",
        expected=f"{_CROWD[0]} processes with {_CROWD[1]} MiB each: an OOM kill, peak in the limit",
        press=lambda bench: _press_crowd(bench, LIMITED),
        control=lambda bench: _press_crowd(bench, FREE),
        control_words=FOUR_TIMES,
        claims=(judge_killed,),
        remedy=REMEDY,
    ),
    Case(
        number=43,
        group=Group.MEMORY,
        title="a memory guarantee is in the kernel's file",
        expected=f"memory.soft_limit_in_bytes = {LIMIT_BYTES // 2}",
        expected_v2=f"memory.low = {LIMIT_BYTES // 2}",
        tolerance="exact; that it is kept, a host without a shortage can't show",
        press=lambda bench: read_back(
            bench,
            Setting(limits=Limits(mem_limit=LIMIT_BYTES, memswap_limit=LIMIT_BYTES, mem_guarantee=LIMIT_BYTES // 2)),
        ),
        control=lambda bench: read_back(bench, LIMITED),
        control_words="a container without a guarantee",
        claims=(_readback(Limits(mem_guarantee=LIMIT_BYTES // 2), "mem_guarantee"),),
        remedy="the engine drops mem_guarantee: do without, and let all limits together fit into the host's memory",
    ),
)
