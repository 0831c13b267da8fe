"""The values of a proof: what was read while a load pressed, what the engine said, and the verdicts. No I/O."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from spawner_limits.proof.series import Series
from spawner_limits.proof.tolerances import SHARE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spawner_limits.engines.enforcement import Expectation
    from spawner_limits.kernel.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """The machine that the evidence was read on."""

    cores: int
    memory_bytes: int
    swap_bytes: int
    kernel: str
    """release of the Linux kernel: "6.1.0-38-amd64" """
    engine: str
    """"Docker 20.10.24, cgroup v1, cgroupfs" """


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What pressed, and how it ended."""

    command: tuple[str, ...]
    exit_code: int | None
    """as the engine says; `None`: it never ended, or nobody could be asked"""
    oom_killed: bool | None
    """the engine's flag, shown beside the counters; it decides nothing (it has four meanings)"""
    said: tuple[str, ...] = ()
    """what the load itself reported, line by line: the guest's word, shown, never judged"""
    problem: str | None = None
    """why there was no load, or why it can't be trusted"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What was read on the host while one container was pressed: the first snapshot before, the last after."""

    snapshots: tuple[Snapshot, ...]
    load: Load
    host: Host
    page_size_bytes: int = 4096
    contest: Contest | None = None
    strays: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """controller → the cgroup that a process of the container was found in, where it was not the container's own"""
    idle_cores: float | None = None
    """CPUs of the host that nobody used meanwhile, on average: what a load did not get was there, or was not"""

    @property
    def series(self) -> Series:
        """The snapshots, to be reduced to figures."""
        return Series(self.snapshots)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """Siblings that all wanted the same CPUs: snapshots of the same moments, the first and the last of a window."""

    subject: tuple[Snapshot, Snapshot]
    rivals: tuple[tuple[Snapshot, Snapshot], ...]
    cpus: int = 1
    """that they contend for"""
    tolerance: float = SHARE
    """relative error of a share that the kernel's scheduler is allowed: it grows with the number of CPUs"""
    others_s: tuple[float, float] = (0.0, 0.0)
    """CPU time in the subject's container that its contending load did not use, in the window; and in all rivals'"""


class Outcome(StrEnum):
    """The three ways that a judgement can end."""

    HELD = "HELD"
    BROKEN = "BROKEN"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One limit, judged."""

    field: str
    outcome: Outcome
    limit: str
    """for people: "0.50 cores" """
    seen: str
    """for people: "0.50 / 0.50 cores (100%)" """
    reason: str
    """one sentence: why this outcome"""
    files: tuple[str, ...]
    """the Linux kernel's files that it was read from, with their values: "cpu.cfs_quota_us = 50000" """
    figures: Mapping[str, float | int | str | None] = dataclasses.field(default_factory=dict)
    """base units in the names: `peak_bytes`, `limit_cores`, `throttled_ratio`"""
    presses: int = 1
    """the press that it was judged by; those before it were disturbed"""
    under_load: Outcome | None = None
    """what the load alone showed, before the kernel's own value of the limit was looked at; `None`: no load could"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """One limit as it was given: its value for people, and the rule that it came from."""

    field: str
    value: str
    rule: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One container, pressed and judged."""

    subject: str
    """"alice", or the image's name"""
    limits: tuple[Origin, ...]
    expect: tuple[Expectation, ...]
    evidence: Evidence
    verdicts: tuple[Verdict, ...]
    control: bool = False
    """the same load without limits: this one must be BROKEN, or the judge has no power"""

    @property
    def outcome(self) -> Outcome:
        """The worst of its verdicts: BROKEN, else UNKNOWN, else HELD."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        return next(
            (one for one in (Outcome.BROKEN, Outcome.UNKNOWN) if one in outcomes),
            Outcome.HELD if outcomes else Outcome.UNKNOWN,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All that one run of `verify` found."""

    trials: tuple[Trial, ...]
    host: Host
    started: str
    """RFC 3339, UTC"""
    version: str
    """of this package"""

    @property
    def controls(self) -> Iterator[tuple[Trial, Trial]]:
        """Each control, with the trial that it is of: that of its name, else the first."""
        trials = [one for one in self.trials if not one.control]
        for control in self.trials:
            own = next((one for one in trials if one.subject == control.subject), trials[0] if trials else None)
            if control.control and own is not None:
                yield own, control

    def lacks(self, control: Trial) -> tuple[str, ...]:
        """The fields that a control's load should have broken, and did not; empty: it has power."""
        return next((powerless(own, one) for own, one in self.controls if one is control), ())

    @property
    def exit_code(self) -> int:
        """0: all limits HELD, all controls with power · 1: a limit BROKEN, or a control without · 3: an UNKNOWN."""
        limits = [trial.outcome for trial in self.trials if not trial.control]
        if Outcome.BROKEN in limits or any(powerless(*pair) for pair in self.controls):
            return 1
        return 3 if Outcome.UNKNOWN in limits or not limits else 0


_SHOWN_BY = {"cpu_period": "cpu_limit"}
"""field → the one whose load shows that it is missing: a period without a quota is nothing"""
NOTHING_HELD = "no limit held that the control could have broken"


def powerless(trial: Trial, control: Trial) -> tuple[str, ...]:
    """The fields that the trial held and the control's load did not break; empty: the control has power.

    Where nothing held, there is nothing to show power by: `NOTHING_HELD`. That a file shows no limit is no power: the
    judge must have seen the load go past it.
    """
    held = [one.field for one in trial.verdicts if one.outcome is Outcome.HELD]
    broken = {one.field for one in control.verdicts if one.under_load is Outcome.BROKEN}
    if not held:
        return (NOTHING_HELD,)
    return tuple(field for field in held if _SHOWN_BY.get(field, field) not in broken)
