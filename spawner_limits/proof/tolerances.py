"""What each limit is judged with: when it was pressed, and what is not above it yet. One table, also of docs/verify.md.

Each number is what an honest Linux kernel may show, with its source; none is there to let a limit off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits.proof.windows import SHORTEST_S

if TYPE_CHECKING:
    from collections.abc import Mapping

REACHED = 0.99
"""of a memory limit, what must be in use: counters lag by a batch of pages a CPU"""
BATCH_PAGES = 64
"""that a CPU takes from a memory limit at once (`MEMCG_CHARGE_BATCH`); forced charges may pass the limit by a few pages
(Documentation/admin-guide/cgroup-v2.rst, `memory.max`)"""
CPU = 0.06
"""of a quota: what a period's edge and the slices that CPUs took out in advance come to, in windows that are as long as
that takes"""
SLICE_S = 0.005
"""bandwidth that a CPU may take out in advance (`sched_cfs_bandwidth_slice_us`)"""
THROTTLED = 0.9
"""a window presses on a quota when it ran out in so many of its periods"""
WINDOWS = 3
USED = 0.97
"""of its quota, what a load that is throttled all the time must get"""
SATURATED = 0.95
"""of CPUs that are contended for, what the contenders must have used"""
OVER = 0.01
"""of CPUs: what reading a counter beside a clock may add"""
SHARE = 0.02
"""of a share on one CPU, over 5 s: worst 0.25 % measured"""
BALANCED = 0.2
"""of a share on several CPUs, over 10 s: weights bind on each CPU, and who runs where is the load balancer's affair;
worst 9 % measured on two idle CPUs, and equal weights instead of 2:1:1 are off by a quarter or more"""
IN_A_ROW = 2
"""samples above a limit of processes: a fork is counted before it is refused, for an instant (`pids_try_charge`)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How one field is judged, for people."""

    pressed: str
    """in this press"""
    within: str
    """what is not exceeded yet"""
    by: str
    """what of `verify` presses it"""


NOT_PRESSED = Tolerance(pressed="never: it is read back, and UNKNOWN", within="–", by="nothing")
"""of a field that has no row"""
TOLERANCES: Mapping[str, Tolerance] = {
    "mem_limit": Tolerance(
        pressed=f"memory in use rose to {REACHED:.0%} of it",
        within=f"never above it by more than {BATCH_PAGES} pages a CPU",
        by="the notebook",
    ),
    "memswap_limit": Tolerance(
        pressed=f"memory and swap together rose to {REACHED:.0%} of it, and {REACHED:.0%} of the swap in it was used",
        within=f"never above it by more than {BATCH_PAGES} pages a CPU",
        by="the notebook; a load of `verify` for the swap in it, on a host that has swap",
    ),
    "mem_swappiness": NOT_PRESSED,
    "mem_guarantee": NOT_PRESSED,
    "cpu_limit": Tolerance(
        pressed=(
            f"the quota ran out in {THROTTLED:.0%} of the periods, in {WINDOWS} windows of {SHORTEST_S:.0f} s (or ten "
            f"periods), with {USED:.0%} of it used"
        ),
        within=(
            f"at most {CPU:.0%} above it, over all of them and in each window as long as a period and "
            f"{1000 * SLICE_S:.0f} ms a CPU need to stay below that"
        ),
        by="the notebook; `verify` again where it was disturbed or too short",
    ),
    "cpu_period": Tolerance(
        pressed="as `cpu_limit`", within="the kernel counts periods of that length, ± one a window", by="as `cpu_limit`"
    ),
    "cpu_guarantee": Tolerance(pressed="never: it is UNKNOWN", within="–", by="nothing"),
    "cpu_shares": Tolerance(
        pressed=(
            f"the container and a sibling of known weight both wanted one CPU for 5 s, which had {SATURATED:.0%} of it "
            "or more"
        ),
        within=f"its share is the weights', ± {SHARE:.0%} of it, whichever CPU the containers' other processes ran on",
        by="a sibling, and a load of `verify`",
    ),
    "cpuset_cpus": Tolerance(
        pressed=f"more threads ran or wanted to than the set has CPUs, and {SATURATED:.0%} of those were used",
        within=f"at most {OVER:.0%} above its CPUs in each window of {SHORTEST_S:.0f} s",
        by="a load of `verify`",
    ),
    "pids_limit": Tolerance(
        pressed="processes rose to it, and the kernel then refused a fork",
        within=f"not above it in {IN_A_ROW} samples in a row, nor by more than one for each CPU of the host",
        by="the notebook",
    ),
}
"""field → how it is judged"""
