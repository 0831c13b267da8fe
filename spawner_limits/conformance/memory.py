"""Cases 30 to 33, 39, 40, 42 and 43: memory limits, by load. Whom the OOM killer ends is in `oom`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits.conformance import lines
from spawner_limits.conformance.loads import (
    FREE,
    FREE_BYTES,
    HOG_MIB,
    LIMIT_BYTES,
    LIMITED,
    REMEDY,
    STEP_MIB,
    climb_case,
    limited,
    memory_case,
    probing,
    ran,
)
from spawner_limits.conformance.setting import ENDLESS_BYTES, Setting, hold, read, shown
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import KILLED, claim, measured, no_oom_kill, oom_kills, peak_within
from spawner_limits.report.plot import Plot
from spawner_limits.units import MIB, format_size

if TYPE_CHECKING:
    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.trial import Bench
    from spawner_limits.proof.evidence import Verdict

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
_GUARANTEED = Limits(mem_limit=LIMIT_BYTES, memswap_limit=LIMIT_BYTES, mem_guarantee=LIMIT_BYTES // 2)


def last_step(seen: Seen) -> Verdict:
    """The last step that the load reached lies in the limit, and near it."""
    steps = [int(word) * MIB for word in seen.printed if word.isdigit()]
    last, least = (steps[-1] if steps else None), LIMIT_BYTES - SLACK_BYTES
    return measured(
        "last step reached",
        f"from {format_size(least)} to {format_size(LIMIT_BYTES)}",
        last,
        # a load that ended short of the limit for another reason did not press it
        lambda size: None if size < least and seen.exit_code != KILLED else least <= size <= LIMIT_BYTES,
        tell=format_size,
        files=[f"the load printed {' '.join(seen.printed[-3:])}, and ended with {seen.exit_code}"],
        figures={"last_step_bytes": last, "limit_bytes": LIMIT_BYTES},
    )


def plot_steps(seen: Seen) -> list[Plot]:
    """Memory over time, up to where the OOM killer ends it."""
    killed = sorted(lines.kills(seen.snapshots, 3))[:1]
    return [
        Plot(
            title=f"Memory taken in steps of {STEP_MIB} MiB, under a limit of {format_size(LIMIT_BYTES)}",
            unit="bytes",
            lines={"memory used": lines.memory(seen.snapshots, 3)},
            limit=LIMIT_BYTES,
            marks=dict.fromkeys(killed, "OOM kill") or None,
        )
    ]


def cached(seen: Seen) -> Verdict:
    """The limit was reached by cached files; UNKNOWN where they were not cached in the container's memory."""
    peak = peak_within(_CACHE_BYTES)(seen)
    most = peak.figures["peak_bytes"]
    if not isinstance(most, int) or most >= _CACHED * _CACHE_BYTES:
        return peak
    reason = f"not pressed: only {format_size(most)} of cache; the image's storage may keep it elsewhere"
    return claim(peak.field, peak.limit, peak.seen, None, reason=reason, files=peak.files)


def _shm(bench: Bench, size_bytes: int) -> Seen:
    """A file in /dev/shm that is larger than the limit."""
    setting = limited(size_bytes, shm_size=2 * HOG_MIB * MIB)
    return ran(bench, setting, probing("fill", "/dev/shm/fill", HOG_MIB))  # noqa: S108  in the container


_FILLED_MIB = 4 * _CACHE_BYTES // MIB
_FILE = "/tmp/spawner-limits-fill"  # noqa: S108  in the container
_KILLED_AT_THE_LIMIT = (oom_kills(), peak_within(LIMIT_BYTES))
"""the OOM killer ended somebody, and the limit was not passed"""

CASES: tuple[AnyCase, ...] = (
    memory_case(
        number=30,
        title="the memory limit is what was asked, in whole pages",
        expected=f"memory.limit_in_bytes = {LIMIT_BYTES}, of {_ODD_BYTES} asked, with pages of 4 KiB",
        expected_v2=f"memory.max = {LIMIT_BYTES}, of {_ODD_BYTES} asked, with pages of 4 KiB",
        tolerance="exact, down to a whole page",
        press=lambda bench: read(bench, Setting(asked=_ODD)),
        control=lambda bench: read(bench, Setting(asked=_ODD, really=Limits(mem_limit=ENDLESS_BYTES))),
        control_words="the limit taken away in the kernel's file, behind the engine's back",
        claims=(shown(_ODD, "mem_limit"),),
    ),
    climb_case(
        number=31,
        title="memory is limited to what was asked, and given up to there",
        expected="the last step that a load reaches lies in the limit",
        tolerance="16 MiB below it: a step, the interpreter, and the kernel's share",
        claims=(last_step,),
        plots=plot_steps,
    ),
    climb_case(
        number=32,
        title="no peak of memory passes the limit",
        expected="memory.max_usage_in_bytes at most the limit",
        expected_v2="memory.peak at most the limit",
        tolerance="zero; pressed from 99 % on",
        claims=(hold(LIMITED.asked, "mem_limit"),),
    ),
    climb_case(
        number=33,
        title="the kernel counts its OOM kills",
        expected="oom_kill in memory.oom_control rises",
        expected_v2="oom_kill in memory.events rises",
        claims=(oom_kills(),),
        remedy=f"without this count a server's death can't be told from another kill; {REMEDY}",
    ),
    memory_case(
        number=39,
        title="cached files are given back at the limit, and kill nobody",
        expected=f"{_FILLED_MIB} MiB written in {_CACHE_BYTES // MIB} MiB: oom_kill +0, peak in the limit",
        tolerance="zero; pressed from 90 % on",
        press=lambda bench: ran(bench, limited(_CACHE_BYTES), probing("fill", _FILE, _FILLED_MIB)),
        control=lambda bench: ran(bench, limited(_CACHE_BYTES), probing("hog", _FILLED_MIB)),
        control_words="the same amount as memory of its own",
        claims=(no_oom_kill(), cached),
        remedy=(
            "on this host writing files alone can end a server: its disk is too slow for the kernel to give the cache "
            "back; give more memory, or a newer Linux kernel"
        ),
    ),
    memory_case(
        number=40,
        title="files in /dev/shm count as memory",
        expected=f"an OOM kill while {HOG_MIB} MiB are written there",
        press=lambda bench: _shm(bench, LIMIT_BYTES),
        control=lambda bench: _shm(bench, FREE_BYTES),
        claims=_KILLED_AT_THE_LIMIT,
        remedy=f"a server can take the host's memory by way of /dev/shm: keep its shm_size small; {REMEDY}",
    ),
    memory_case(
        number=42,
        title="many small processes do not beat the limit",
        expected=f"{_CROWD[0]} processes with {_CROWD[1]} MiB each: an OOM kill, peak in the limit",
        press=lambda bench: ran(bench, LIMITED, probing("crowd", *_CROWD)),
        control=lambda bench: ran(bench, FREE, probing("crowd", *_CROWD)),
        claims=_KILLED_AT_THE_LIMIT,
    ),
    memory_case(
        number=43,
        title="a memory guarantee is in the kernel's file",
        expected=f"memory.soft_limit_in_bytes = {LIMIT_BYTES // 2}",
        expected_v2=f"memory.low = {LIMIT_BYTES // 2}",
        tolerance="exact; that it is kept, a host without a shortage can't show",
        press=lambda bench: read(bench, Setting(asked=_GUARANTEED)),
        control=lambda bench: read(bench, LIMITED),
        control_words="a container without a guarantee",
        claims=(shown(_GUARANTEED, "mem_guarantee"),),
        remedy="the engine drops mem_guarantee: do without, and let all limits together fit into the host's memory",
    ),
)
