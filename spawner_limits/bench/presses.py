"""Loads of `verify`'s own, for what the notebook does not press, or what other work kept from being pressed. Pure.

Each is a shell's, which every image has, ends by itself, and is ended with the container's other loads at the latest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.bench.burn import burning
from spawner_limits.proof.evidence import Outcome
from spawner_limits.proof.quota import quota_of
from spawner_limits.proof.tolerances import WINDOWS
from spawner_limits.proof.windows import SHORTEST_S, shortest_s
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spawner_limits.engines.enforcement import Expectation
    from spawner_limits.proof.evidence import Trial, Verdict

TRIES = 3
"""times that a press which others disturbed is repeated"""
_BEGINS_S = 1.5
_MOST_S = 120
_ABOVE = 1.1
_SWAP_S = 90
_TAKE = 'echo 1000 > /proc/self/oom_score_adj 2>/dev/null; head -c "$0" /dev/zero | tail -n 1 > /dev/null'
"""`tail` keeps a line whole, however long; the OOM killer takes it before the server"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Press:
    """One load, and what it presses."""

    fields: frozenset[str]
    words: str
    """what is said of it while it presses"""
    called: tuple[str, ...]
    """for the report"""
    command: tuple[str, ...]
    count: int
    """how many of it run side by side"""
    seconds: float


def is_open(trial: Trial, verdict: Verdict) -> bool:
    """Whether one more press can settle it: it is UNKNOWN, or a control that no load has broken yet."""
    if trial.control:
        return verdict.under_load is not Outcome.BROKEN
    return verdict.outcome is Outcome.UNKNOWN


def wanted(trial: Trial, attempt: int) -> tuple[Press, ...]:
    """What is worth pressing once more, of what is UNKNOWN. `attempt`: 1 is the first after the notebook."""
    still = {one.field for one in trial.verdicts if is_open(trial, one)}
    expect = {one.field: one for one in trial.expect if one.field in still}
    again = "" if attempt == 1 else "others disturbed it; once more: "
    return tuple(_wanted(trial, expect, again))


def _wanted(trial: Trial, expect: dict[str, Expectation], again: str) -> Iterator[Press]:
    host, series = trial.evidence.host, trial.evidence.series
    cpu = next((one for one in trial.expect if one.field == "cpu_limit"), None)
    if cpu is not None and cpu.value is not None and {"cpu_limit", "cpu_period"} & expect.keys():
        quota = quota_of(cpu, trial.evidence)
        if quota.cores < quota.cpus:
            seconds = max(WINDOWS * shortest_s(quota.period_us), quota.window_s) + _BEGINS_S
            yield _burn(frozenset({"cpu_limit", "cpu_period"}), f"{again}pressing on CPU", quota.cores, seconds)
    if "cpuset_cpus" in expect:
        cpus = min(len(units.cpus_in(str(expect["cpuset_cpus"].value))), series.cpus(host.cores))
        if cpus < host.cores and (cpu is None or cpu.value is None or float(cpu.value) > cpus):
            words = f"{again}pressing on its set of CPUs"
            yield _burn(frozenset({"cpuset_cpus"}), words, cpus, SHORTEST_S + 2 * _BEGINS_S)
    if "memswap_limit" in expect and host.swap_bytes:
        size = int(_ABOVE * int(expect["memswap_limit"].value or 0)) + 64 * MIB
        yield Press(
            fields=frozenset({"memswap_limit"}),
            words=f"{again}pressing on memory and swap",
            called=("head", "-c", str(size), "/dev/zero", "|", "tail"),
            command=("sh", "-c", _TAKE, str(size)),
            count=1,
            seconds=_SWAP_S,
        )


def _burn(fields: frozenset[str], words: str, cores: float, seconds: float) -> Press:
    lasts = min(seconds, _MOST_S)
    count = math.ceil(cores) + 1
    return Press(
        fields=fields,
        words=words,
        called=(f"{count} busy shells",),
        command=burning(math.ceil(lasts) + 1),
        count=count,
        seconds=lasts,
    )
