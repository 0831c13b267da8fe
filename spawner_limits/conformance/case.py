"""The values of a conformance run: a case and its control, what came of them, and the report. No I/O.

A case is a table row: a press (touches the world), what is claimed of what it has seen (pure), and a control, a press
where the limit is missing. Claims that say HELD of the first must say BROKEN of the second, or have no power.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from spawner_limits.errors import LimitsError
from spawner_limits.proof.claims import judged
from spawner_limits.proof.evidence import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spawner_limits.conformance.trial import Bench
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.proof.claims import Claim
    from spawner_limits.proof.evidence import Host, Verdict
    from spawner_limits.report.plot import Plot

T = TypeVar("T")
"""evidence: what was seen of the containers while they were pressed"""


class Group(StrEnum):
    """The parts of the list; `--only` takes their values."""

    CAPABILITY = "capability"
    CPU = "cpu"
    SHARE = "share"
    MEMORY = "memory"
    SWAP = "swap"
    BOUNDS = "bounds"
    UPDATE = "update"

    @property
    def words(self) -> str:
        """As a heading."""
        return _GROUP_WORDS[self]


_GROUP_WORDS = {
    Group.CAPABILITY: "Capability and identity",
    Group.CPU: "CPU quota",
    Group.SHARE: "Fair share",
    Group.MEMORY: "Memory",
    Group.SWAP: "Swap",
    Group.BOUNDS: "Processes, disk, OOM killer",
    Group.UPDATE: "Live update",
}


class Pace(StrEnum):
    """What may run beside a case."""

    SHARED = "shared"
    """anything: it measures no CPU time"""
    QUOTA = "quota"
    """other quotas, as long as the CPUs are not all taken: `Case.cores` says how much it takes"""
    ALONE = "alone"
    """nothing"""


class CannotError(LimitsError):
    """A case that this host can't run; the text says why, `remedy` what would let it."""

    exit_code = 3

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


@dataclass(frozen=True, kw_only=True, slots=True)
class Case(Generic[T]):
    """One row of the list."""

    number: int
    group: Group
    title: str
    """what holds on a good host"""
    expected: str
    """on cgroup v1"""
    expected_v2: str = ""
    """on cgroup v2, where that differs"""
    tolerance: str = "zero"
    press: Callable[[Bench], T]
    """touches the world. CannotError where this host can't run it"""
    control: Callable[[Bench], T]
    """the same without the limit, or with the limit taken away behind the engine's back"""
    control_words: str
    """what the control does differently, as a sentence's part: "the same load without a quota" """
    claims: Sequence[Claim[T]]
    remedy: str
    """what an administrator does when it is BROKEN"""
    defect: str = ""
    """the known defect of the kernel, runtime or engine that makes it BROKEN everywhere, and where to read of it"""
    defect_of: CgroupVersion | None = None
    """the version of cgroups that alone has that defect: on the other one BROKEN is this host's own fault"""
    only: CgroupVersion | None = None
    """the version of cgroups that has it at all"""
    pace: Pace = Pace.SHARED
    cores: float = 0.0
    """how much CPU a case with `Pace.QUOTA` takes while it is pressed"""
    quick: bool = True
    """whether `--quick` runs it"""
    plots: Callable[[T], Sequence[Plot]] = lambda _: ()
    """pure"""

    def judge(self, evidence: T) -> list[Verdict]:
        """What its claims say."""
        return judged(self.claims, evidence)

    def known_defect(self, version: CgroupVersion) -> str:
        """What makes it BROKEN everywhere on that version of cgroups; empty: nothing does."""
        return self.defect if self.defect_of in {None, version} else ""

    def expects(self, version: CgroupVersion) -> str:
        """What is expected on that version of cgroups."""
        return self.expected if version == 1 else self.expected_v2 or self.expected


AnyCase = Case[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """What came of a case's control: it must be BROKEN by the load."""

    words: str
    outcome: Outcome
    seen: str
    reason: str

    @property
    def has_power(self) -> bool:
        """Whether the judge saw that the limit was missing."""
        return self.outcome is Outcome.BROKEN


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One case, pressed and judged."""

    number: int
    group: Group
    title: str
    outcome: Outcome
    expected: str
    seen: str
    tolerance: str
    reason: str
    remedy: str
    """empty where it held"""
    defect: str
    """of a BROKEN case whose cause is known and not on this host: the cause"""
    evidence: tuple[str, ...]
    """kernel files with their raw values, and what the engine said"""
    figures: Mapping[str, float | int | str | None]
    control: Control | None
    """`None`: the case could not be run, so neither could its control"""
    seconds: float
    tries: int
    applies: bool = True
    """False: this version of cgroups has no such thing, so nothing can be known, and nothing need be"""
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ConformanceReport:
    """All that one run found."""

    results: tuple[Result, ...]
    """by number"""
    host: Host
    cgroup_version: CgroupVersion
    image: str
    started: str
    """RFC 3339, UTC"""
    seconds: float
    version: str
    """of this package"""
    left_out: tuple[int, ...] = ()
    """cases that were not asked for"""
    accepted: tuple[int, ...] = ()
    """cases whose outcome the caller knows and accepts: they don't count in the exit code"""

    @property
    def exit_code(self) -> int:
        """0: every case that applies here HELD · 1: one BROKEN · 3: one UNKNOWN, or none run."""
        counted = [one.outcome for one in self.results if one.applies and one.number not in self.accepted]
        if Outcome.BROKEN in counted:
            return 1
        return 3 if Outcome.UNKNOWN in counted or not self.results else 0
