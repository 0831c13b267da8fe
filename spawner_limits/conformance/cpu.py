"""Cases 8 to 21: CPU quotas, by load. The windows and their tolerance are those of `judge`.

One unlimited container, pressed once, is the control of all quotas: the same judge must find each of them exceeded.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.bench import interrupt
from spawner_limits.bench.host import Idle
from spawner_limits.conformance.case import CannotError, Case, Group, Pace
from spawner_limits.conformance.former import Setting, claim, exactly, expected, hold, made, read_back
from spawner_limits.conformance.trial import sampler
from spawner_limits.engines.enforcement import DEFAULT_PERIOD_US
from spawner_limits.limits import Limits
from spawner_limits.proof import windows
from spawner_limits.proof.judge import judge
from spawner_limits.proof.tolerances import CPU, THROTTLED, WINDOWS
from spawner_limits.report.plot import Plot, Point

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spawner_limits.bench.engine import Command
    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.proof.evidence import Evidence, Verdict

QUOTAS = (0.25, 0.5, 1.0, 1.5)
WARM_UP_S = 1.0
SPIN_S = 60
_MANY = 16
_PERIODS_US = (5_000, 100_000, 1_000_000)
_LEAST_PERIODS = 50
_EXACT, _TOO_MUCH = 0.005, 1.02
_POWER = 1.2
IDLE = 0.25
"""cores: from here on the host had CPUs to give"""


def unlimited() -> Setting:
    """A container whose CPU time is not limited at all."""
    return Setting(limits=Limits(pids_limit=512))


def quota(cores: float, period_us: int | None = None) -> Setting:
    """A container with a quota."""
    return Setting(limits=Limits(cpu_limit=cores, cpu_period=period_us))


def spinning(subject: Subject, workers: int) -> Command:
    """So many workers that never rest."""
    return subject.probe("spin", workers, SPIN_S)


def storming(subject: Subject, _workers: int) -> Command:
    """Short processes, one after the other."""
    return subject.probe("storm", SPIN_S)


def stressed(subject: Subject, workers: int) -> Command:
    """stress-ng, where the image has it; else ours."""
    if not subject.has("stress-ng"):
        return spinning(subject, workers)
    return subject.run("stress-ng", "--cpu", str(workers), "--timeout", f"{SPIN_S}s", "--quiet")


def pressed(
    bench: Bench, setting: Setting, *, workers: int, load: Callable[[Subject, int], Command] = spinning
) -> Evidence:
    """One container, pressed for three windows; without a quota, for one."""
    with made(bench, setting) as subject:
        command = load(subject, workers)
        subject.busy()
        interrupt.pause(WARM_UP_S)
        idle = Idle()
        snapshots = subject.follow(command, seconds=_seconds(setting))
        return subject.evidence(snapshots, command, idle.cores())


def _seconds(setting: Setting) -> float:
    period_us = setting.limits.cpu_period or DEFAULT_PERIOD_US
    count = WINDOWS if setting.limits.cpu_limit is not None else 1
    return count * (windows.shortest_s(period_us) + 0.15) + 0.2


def _press_many(bench: Bench, setting: Setting) -> Evidence:
    """With a load that is not ours, where the image has it."""
    return pressed(bench, setting, workers=_MANY, load=stressed)


def _press_cpuset(bench: Bench, setting: Setting) -> Evidence:
    if bench.host.cores == 1:
        raise CannotError("this host has one CPU, so every set is the whole", "")
    return free(bench) if setting.limits.cpuset_cpus is None else pressed(bench, setting, workers=2)


def free(bench: Bench) -> Evidence:
    """The load of all quotas without one: every CPU wanted, for a window."""
    return bench.once("cpu: unlimited", lambda: pressed(bench, unlimited(), workers=bench.host.cores + 1))


def together(bench: Bench, settings: Sequence[Setting]) -> list[Evidence]:
    """Containers that are pressed at the same time; for quotas that leave each other room."""
    with ExitStack() as stack:
        subjects = [stack.enter_context(made(bench, one)) for one in settings]
        loads = [spinning(one, 2) for one in subjects]
        for one in subjects:
            one.busy()
        interrupt.pause(WARM_UP_S)
        idle = Idle()
        rounds = sampler(*subjects).follow(seconds=max(map(_seconds, settings)))
        taken = list(zip(*rounds, strict=True))
        left = idle.cores()
        return [
            one.evidence(snapshots, load, left) for one, snapshots, load in zip(subjects, taken, loads, strict=True)
        ]


_SMALL = {(0.25, 5_000), (0.25, DEFAULT_PERIOD_US), (0.5, DEFAULT_PERIOD_US)}
"""cores and period of quotas that are pressed together, on a host with as many CPUs as leave them room"""


def at(bench: Bench, cores: float, period_us: int = DEFAULT_PERIOD_US) -> Evidence:
    """One quota, pressed, once a run; the small ones together."""
    if (cores, period_us) in _SMALL and bench.host.cores > 1:
        keys = sorted(_SMALL)
        both = bench.once("cpu: small", lambda: together(bench, [quota(*one) for one in keys]))
        return both[keys.index((cores, period_us))]
    # with a period that is longer than a window for others, one worker is enough, and leaves them a CPU
    workers = int(cores) + 2 if period_us == DEFAULT_PERIOD_US else 1
    key = f"cpu: {cores} in {period_us}"
    return bench.once(key, lambda: pressed(bench, quota(cores, period_us), workers=workers))


def at_free(bench: Bench, setting: Setting, cores: float) -> Evidence:
    """One quota, or the control's load."""
    return free(bench) if setting.limits.cpu_limit is None else at(bench, cores)


def usage_plot(title: str, evidences: Mapping[str, Evidence], limit: float | None) -> Plot:
    """Cores used over time, each point over the second before it."""
    return Plot(
        title=title,
        unit="cores",
        lines={label: _rates(one) for label, one in evidences.items()},
        limit=limit,
    )


def _rates(evidence: Evidence) -> tuple[Point, ...]:
    taken = evidence.snapshots
    begin = taken[0].monotonic_ns if taken else 0
    return tuple(
        Point(
            seconds=round((one.start_ns - begin) / windows.SECOND_NS + one.wall_s, 2),
            value=round(one.cores, 4),
        )
        for one in windows.sliding(taken, 1.0)
    )


# -- 9: quotas ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Quotas:
    """Quota → what was read under it."""

    pressed: Mapping[float, Evidence] = field(default_factory=dict)


def _fitting(bench: Bench) -> tuple[float, ...]:
    return tuple(one for one in QUOTAS if one < bench.host.cores)


def _press_quotas(bench: Bench, setting: Setting) -> _Quotas:
    return _Quotas(pressed={one: at_free(bench, setting, one) for one in _fitting(bench)})


def _judge_quotas(evidence: _Quotas) -> list[Verdict]:
    return [
        verdict
        for cores, one in evidence.pressed.items()
        for verdict in hold(Limits(cpu_limit=cores), "cpu_limit")(one)
    ]


def _plot_quotas(evidence: _Quotas) -> list[Plot]:
    return [
        usage_plot(f"A quota of {units.format_cores(cores)}, over the last second", {"cores used": one}, cores)
        for cores, one in evidence.pressed.items()
    ]


# -- 12: usage per period ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Drift:
    quota: float
    evidence: Evidence


def _press_drift(bench: Bench, cores: float) -> _Drift:
    if cores >= bench.host.cores:
        raise CannotError(f"this host has {bench.host.cores} cores, so a quota of {cores:g} can't be pressed")
    return _Drift(quota=QUOTAS[2], evidence=at(bench, cores))


def _judge_drift(drift: _Drift) -> list[Verdict]:
    """CPU time against periods × quota. A throttled load stands still at the end of each period, and there is read.

    The median of each third is of such moments; edges of windows would add a period's quota at either end.
    """
    quota_ns = drift.quota * DEFAULT_PERIOD_US * 1000
    read = [
        (one.nr_periods, one.cpu_usage_ns - quota_ns * one.nr_periods)
        for one in drift.evidence.snapshots
        if one.nr_periods is not None and one.cpu_usage_ns is not None
    ]
    third = len(read) // 3
    first, last = read[:third], read[-third:]
    counted = read[-1][0] - read[0][0] if third else 0
    expected_ratio = "1.000 ± 0.005"
    if counted < _LEAST_PERIODS:
        seen = f"{counted} periods"
        return [claim("CPU time over periods × quota", expected=expected_ratio, seen=seen, holds=None)]
    between = median(one[0] for one in last) - median(one[0] for one in first)
    ratio = 1 + (median(one[1] for one in last) - median(one[1] for one in first)) / (between * quota_ns)
    return [
        claim(
            "CPU time over periods × quota",
            expected=expected_ratio,
            seen=f"{ratio:.4f} over {counted} periods",
            # what is used over the end of a period, on a host that was held up, is paid back in the next one
            holds=False if ratio > _TOO_MUCH else True if abs(ratio - 1) <= _EXACT else None,
            files=counters(drift.evidence),
            figures={"ratio": round(ratio, 5), "periods": counted},
        )
    ]


def counters(evidence: Evidence) -> list[str]:
    """The files that CPU time was read from, with their first and last values."""
    return [evidence.series.told(counter) for counter in ("cpu_usage_ns", "nr_periods", "nr_throttled")]


# -- 13, 14, 15: throttled, idle, free ---------------------------------------------------------------------------


def _judge_throttled(evidence: Evidence) -> list[Verdict]:
    window = evidence.series.whole
    counted = None if window is None else window.periods
    ratio = None if window is None or counted is None else window.throttled_ratio or 0.0
    return [
        claim(
            "nr_throttled / nr_periods",
            expected=f"at least {THROTTLED}",
            seen=None if ratio is None else f"{ratio:.3f}",
            # a load that others leave no CPU is throttled seldom or never; but no period is counted without a quota
            holds=None if ratio is None else True if ratio >= THROTTLED else None if counted else False,
            files=counters(evidence),
            figures={"throttled_ratio": ratio},
        )
    ]


def _press_idle(bench: Bench, setting: Setting | None) -> Evidence:
    if setting is None:
        return at(bench, QUOTAS[1])
    with made(bench, setting) as subject:
        return subject.evidence(subject.follow(seconds=2.0))


def _judge_idle(evidence: Evidence) -> list[Verdict]:
    window = evidence.series.whole
    throttled = None if window is None else window.throttled
    return [
        claim(
            "nr_throttled of an idle container",
            expected="+0",
            seen=None if throttled is None else f"+{throttled}",
            holds=None if throttled is None else throttled == 0,
            files=counters(evidence),
        )
    ]


def _judge_power(evidence: Evidence) -> list[Verdict]:
    window = evidence.series.whole
    used = None if window is None else window.cores
    least = _POWER * min(QUOTAS[1], evidence.host.cores)
    return [
        claim(
            "cores used",
            expected=f"above {least:.2f} cores",
            seen=None if used is None else units.format_cores(used),
            # what it did not get, others may have had
            holds=None if used is None or (used <= least and (evidence.idle_cores or 0) < IDLE) else used > least,
            files=counters(evidence),
            figures={"used_cores": used, "idle_cores": evidence.idle_cores},
        )
    ]


# -- 18: periods -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Periods:
    """Period → what was read under a quarter of a core, all at the same time."""

    pressed: Mapping[int, Evidence]


def _press_periods(bench: Bench, setting: Setting) -> _Periods:
    if setting.limits.cpu_limit is None:
        return _Periods(pressed=dict.fromkeys(_PERIODS_US, free(bench)))
    return _Periods(pressed={one: at(bench, QUOTAS[0], one) for one in _PERIODS_US})


def _judge_periods(evidence: _Periods) -> list[Verdict]:
    return [
        verdict
        for period, one in evidence.pressed.items()
        for verdict in judge(
            expected(Limits(cpu_limit=QUOTAS[0], cpu_period=period), one.page_size_bytes, "cpu_limit", "cpu_period"),
            one,
        )
    ]


def _plot_periods(evidence: _Periods) -> list[Plot]:
    labels = {f"period {period // 1000} ms": one for period, one in evidence.pressed.items()}
    return [usage_plot("0.25 cores in periods of 5, 100 and 1000 ms, over the last second", labels, QUOTAS[0])]


# -- the list ----------------------------------------------------------------------------------------------------

_NO_QUOTA = "the same load without a quota"
_QUOTA_REMEDY = (
    "nothing on this host holds a CPU quota: check CONFIG_CFS_BANDWIDTH in the Linux kernel and the cpu controller in "
    "/proc/cgroups (v1) or cgroup.subtree_control (v2); look who else writes cpu.cfs_quota_us or cpu.max"
)
_Q = f"at most {CPU:.0%} above the quota; 97 % of it or more where throttled in 90 % of the periods"


def _judge_readback(evidence: Evidence) -> list[Verdict]:
    wanted = expected(Limits(cpu_limit=QUOTAS[1], cpu_period=DEFAULT_PERIOD_US), 4096, "cpu_limit", "cpu_period")
    files = {file.name: file.accept for one in wanted for file in one.files(evidence.snapshots[0].versions["cpu"])}
    return [exactly(name, accept, evidence.snapshots[0].limits.get(name)) for name, accept in files.items()]


CASES: tuple[AnyCase, ...] = (
    Case(
        number=8,
        group=Group.CPU,
        title="quota and period are what was asked",
        expected="cpu.cfs_quota_us 50000, cpu.cfs_period_us 100000",
        expected_v2="cpu.max 50000 100000",
        tolerance="exact; with the systemd driver rounded up to 1 % of a CPU",
        press=lambda bench: read_back(bench, quota(QUOTAS[1], DEFAULT_PERIOD_US)),
        control=lambda bench: read_back(bench, unlimited()),
        control_words="a container without a quota",
        claims=(_judge_readback,),
        remedy=_QUOTA_REMEDY,
    ),
    Case(
        number=9,
        group=Group.CPU,
        title="0.25, 0.5, 1 and 1.5 cores are not exceeded",
        expected="used as far as the quota, and no further",
        tolerance=_Q,
        press=lambda bench: _press_quotas(bench, quota(QUOTAS[0])),
        control=lambda bench: _press_quotas(bench, unlimited()),
        control_words=_NO_QUOTA,
        claims=(_judge_quotas,),
        remedy=_QUOTA_REMEDY,
        pace=Pace.ALONE,
        plots=_plot_quotas,
        quick=False,
    ),
    Case(
        number=10,
        group=Group.CPU,
        title="more workers than CPUs do not beat a quota",
        expected=f"{_MANY} workers use 0.5 cores",
        tolerance=_Q,
        press=lambda bench: _press_many(bench, quota(QUOTAS[1])),
        control=lambda bench: _press_many(bench, unlimited()),
        control_words=_NO_QUOTA,
        claims=(hold(Limits(cpu_limit=QUOTAS[1]), "cpu_limit"),),
        remedy=_QUOTA_REMEDY,
        pace=Pace.QUOTA,
        cores=QUOTAS[1],
        quick=False,
    ),
    Case(
        number=11,
        group=Group.CPU,
        title="many short processes do not beat a quota",
        expected="two workers that only start processes use 0.5 cores",
        tolerance=_Q,
        press=lambda bench: pressed(bench, quota(QUOTAS[1]), workers=2, load=storming),
        control=lambda bench: pressed(bench, unlimited(), workers=2, load=storming),
        control_words=_NO_QUOTA,
        claims=(hold(Limits(cpu_limit=QUOTAS[1]), "cpu_limit"),),
        remedy=_QUOTA_REMEDY,
        pace=Pace.QUOTA,
        cores=QUOTAS[1],
        quick=False,
    ),
    Case(
        number=12,
        group=Group.CPU,
        title="each period gives a quota, and no more",
        expected="CPU time = nr_periods × quota",
        tolerance=f"± 0.5 % over {_LEAST_PERIODS} periods or more",
        press=lambda bench: _press_drift(bench, QUOTAS[2]),
        control=lambda bench: _press_drift(bench, QUOTAS[3]),
        control_words="a quota of half as much again",
        claims=(_judge_drift,),
        remedy=_QUOTA_REMEDY,
        pace=Pace.ALONE,
        quick=False,
    ),
    Case(
        number=13,
        group=Group.CPU,
        title="a busy container is throttled in every period",
        expected=f"nr_throttled / nr_periods ≥ {THROTTLED}",
        tolerance="–",
        press=lambda bench: at_free(bench, quota(QUOTAS[1]), QUOTAS[1]),
        control=lambda bench: at_free(bench, unlimited(), QUOTAS[1]),
        control_words=_NO_QUOTA,
        claims=(_judge_throttled,),
        remedy=_QUOTA_REMEDY,
        pace=Pace.QUOTA,
        cores=QUOTAS[1],
    ),
    Case(
        number=14,
        group=Group.CPU,
        title="an idle container is never throttled",
        expected="nr_throttled stands still",
        press=lambda bench: _press_idle(bench, quota(QUOTAS[1])),
        control=lambda bench: _press_idle(bench, None),
        control_words="the same container, pressed",
        claims=(_judge_idle,),
        remedy="something else runs in the container's cgroup: look at its cgroup.procs",
        pace=Pace.QUOTA,
        cores=QUOTAS[1],
    ),
    Case(
        number=15,
        group=Group.CPU,
        title="without a quota the same load uses more",
        expected=f"more than {_POWER} × 0.5 cores: the load has power",
        tolerance="–",
        press=lambda bench: at_free(bench, unlimited(), QUOTAS[1]),
        control=lambda bench: at_free(bench, quota(QUOTAS[1]), QUOTAS[1]),
        control_words="the same load with the quota",
        claims=(_judge_power,),
        remedy="the host gives a container less than it asks for even without a quota: look what else runs on it",
        pace=Pace.QUOTA,
        cores=QUOTAS[1],
    ),
    Case(
        number=18,
        group=Group.CPU,
        title="periods of 5, 100 and 1000 ms hold the same quota",
        expected="0.25 cores each; so many periods counted",
        tolerance=f"{_Q}; windows of 10 periods; ± one period a window",
        press=lambda bench: _press_periods(bench, quota(QUOTAS[0])),
        control=lambda bench: _press_periods(bench, unlimited()),
        control_words=_NO_QUOTA,
        claims=(_judge_periods,),
        remedy=_QUOTA_REMEDY,
        pace=Pace.QUOTA,
        cores=QUOTAS[0],
        plots=_plot_periods,
        quick=False,
    ),
    Case(
        number=21,
        group=Group.CPU,
        title="a set of one CPU is one CPU",
        expected="cpuset.cpus as asked, at most 1.0 cores used",
        tolerance="1 %",
        press=lambda bench: _press_cpuset(bench, Setting(limits=Limits(cpuset_cpus="0"))),
        control=lambda bench: _press_cpuset(bench, unlimited()),
        control_words="the same load without a set",
        claims=(hold(Limits(cpuset_cpus="0"), "cpuset_cpus"),),
        remedy="check the cpuset controller (CONFIG_CPUSETS; v2: cgroup.subtree_control)",
        pace=Pace.ALONE,
        quick=False,
    ),
)
