"""Cases 8 to 15, 18 and 21: CPU quotas, by load. The windows and their tolerance are those of `judge`.

One unlimited container, pressed once, is the control of all quotas: the same judge must find each of them exceeded.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from spawner_limits import interrupt
from spawner_limits.conformance import lines
from spawner_limits.conformance.case import CannotError, Case, Group, Pace
from spawner_limits.conformance.seen import Seen
from spawner_limits.conformance.setting import Setting, hold, made, read, shown
from spawner_limits.conformance.trial import sampler
from spawner_limits.engines.enforcement import DEFAULT_PERIOD_US
from spawner_limits.kernel.host import Idle
from spawner_limits.limits import Limits
from spawner_limits.proof import windows
from spawner_limits.proof.claims import claim, measured
from spawner_limits.proof.tolerances import CPU, THROTTLED, WINDOWS
from spawner_limits.report.plot import Plot
from spawner_limits.units import format_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spawner_limits.clients.own_commands import Command
    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.proof.evidence import Evidence, Verdict

QUOTAS = (0.25, 0.5, 1.0, 1.5)
WARM_UP_S = 1.0
SPIN_S = 60
_MANY = 16
_PERIODS_US = (5_000, DEFAULT_PERIOD_US, 1_000_000)
_LEAST_PERIODS = 50
_EXACT, _TOO_MUCH = 0.005, 1.02
_POWER = 1.2
IDLE = 0.25
"""cores: from here on the host had CPUs to give"""


def quota(cores: float, period_us: int | None = None) -> Setting:
    """A container with a quota."""
    return Setting(asked=Limits(cpu_limit=cores, cpu_period=period_us))


_UNLIMITED = Setting(asked=Limits(pids_limit=512))
"""a container whose CPU time is not limited at all"""
_HALF = quota(QUOTAS[1])


def spinning(subject: Subject, workers: int) -> Command:
    """So many workers that never rest."""
    return subject.probe("spin", workers, SPIN_S)


def _storming(subject: Subject, _workers: int) -> Command:
    """Short processes, one after the other."""
    return subject.probe("storm", SPIN_S)


def _stressed(subject: Subject, workers: int) -> Command:
    """stress-ng, where the image has it; else ours."""
    if not subject.has("stress-ng"):
        return spinning(subject, workers)
    return subject.run("stress-ng", "--cpu", str(workers), "--timeout", f"{SPIN_S}s", "--quiet")


# -- pressed -----------------------------------------------------------------------------------------------------


def pressed(
    bench: Bench, *settings: Setting, workers: int, load: Callable[[Subject, int], Command] = spinning
) -> list[Seen]:
    """Containers that are pressed at the same time, for three windows; without a quota, for one."""
    with ExitStack() as stack:
        subjects = [stack.enter_context(made(bench, setting)) for setting in settings]
        loads = [load(subject, workers) for subject in subjects]
        for subject in subjects:
            subject.busy()
        interrupt.pause(WARM_UP_S)
        idle = Idle()
        seconds = max(map(_seconds, settings))
        rounds = sampler(*subjects).follow(seconds=seconds, over=lambda: not all(command.running for command in loads))
        taken = list(zip(*rounds, strict=True))
        left = idle.cores()
        return [
            subject.seen(snapshots, command.exit_code, idle_cores=left)
            for subject, snapshots, command in zip(subjects, taken, loads, strict=True)
        ]


def _seconds(setting: Setting) -> float:
    period_us = setting.asked.cpu_period or DEFAULT_PERIOD_US
    count = WINDOWS if setting.asked.cpu_limit is not None else 1
    return count * (windows.shortest_s(period_us) + 0.15) + 0.2


def free(bench: Bench) -> Seen:
    """The load of all quotas without one: every CPU wanted, for a window."""
    return bench.once("cpu: unlimited", lambda: pressed(bench, _UNLIMITED, workers=bench.host.cores + 1)[0])


_SMALL = ((0.25, 5_000), (0.25, DEFAULT_PERIOD_US), (0.5, DEFAULT_PERIOD_US))
"""cores and period of quotas that are pressed together, on a host with as many CPUs as leave them room"""


def at(bench: Bench, limits: Limits) -> Seen:
    """One quota, pressed, once a run; the small ones together."""
    cores, period_us = limits.cpu_limit or 0.0, limits.cpu_period or DEFAULT_PERIOD_US
    if (cores, period_us) in _SMALL and bench.host.cores > 1:
        small = bench.once("cpu: small", lambda: pressed(bench, *(quota(*asked) for asked in _SMALL), workers=2))
        return small[_SMALL.index((cores, period_us))]
    # with a period that is longer than a window for others, one worker is enough, and leaves them a CPU
    workers = int(cores) + 2 if period_us == DEFAULT_PERIOD_US else 1
    setting = quota(cores, period_us)
    return bench.once(f"cpu: {cores} in {period_us}", lambda: pressed(bench, setting, workers=workers)[0])


def _parts(bench: Bench, table: Mapping[str, Limits], press: Callable[[Bench, Limits], Seen]) -> Seen:
    """Of each quota that the host has cores for."""
    fitting = {name: limits for name, limits in table.items() if (limits.cpu_limit or 0.0) < bench.host.cores}
    parts = {name: press(bench, limits) for name, limits in fitting.items()}
    return Seen(host=bench.host, version=bench.version, parts=parts)


def _fitting(bench: Bench, cores: float) -> Seen:
    if cores >= bench.host.cores:
        raise CannotError(f"this host has {bench.host.cores} cores, so a quota of {cores:g} can't be pressed")
    return at(bench, Limits(cpu_limit=cores))


def _several(bench: Bench) -> Bench:
    if bench.host.cores == 1:
        raise CannotError("this host has one CPU, so every set is the whole")
    return bench


def _idle(bench: Bench) -> Seen:
    with made(bench, _HALF) as subject:
        return subject.seen(subject.follow(seconds=2.0))


# -- claimed -----------------------------------------------------------------------------------------------------


def each(limits: Mapping[str, Limits]) -> Callable[[Seen], list[Verdict]]:
    """Quota and period hold in each part; `limits`: of each."""
    return lambda seen: [
        verdict for name, part in seen.parts.items() for verdict in hold(limits[name], "cpu_limit", "cpu_period")(part)
    ]


def drift(cores: float) -> Callable[[Evidence], Verdict]:
    """CPU time against periods × quota. A throttled load stands still at the end of each period, and there is read.

    The median of each third is of such moments; edges of windows would add a period's quota at either end.
    """
    quota_ns = cores * DEFAULT_PERIOD_US * 1000

    def judged(evidence: Evidence) -> Verdict:
        read_ns = [
            (snapshot.nr_periods, snapshot.cpu_usage_ns - quota_ns * snapshot.nr_periods)
            for snapshot in evidence.snapshots
            if snapshot.nr_periods is not None and snapshot.cpu_usage_ns is not None
        ]
        third = len(read_ns) // 3
        first, last = read_ns[:third], read_ns[-third:]
        counted = read_ns[-1][0] - read_ns[0][0] if third else 0
        name, expected = "CPU time over periods × quota", "1.000 ± 0.005"
        if counted < _LEAST_PERIODS:
            return claim(name, expected, f"{counted} periods", None)
        periods, off_ns = (median(at[key] for at in last) - median(at[key] for at in first) for key in (0, 1))
        ratio = 1 + off_ns / (periods * quota_ns)
        # what is used over the end of a period, on a host that was held up, is paid back in the next one
        holds = False if ratio > _TOO_MUCH else True if abs(ratio - 1) <= _EXACT else None
        told, figures = f"{ratio:.4f} over {counted} periods", {"ratio": round(ratio, 5), "periods": counted}
        return claim(name, expected, told, holds, files=counters(evidence), figures=figures)

    return judged


def counters(evidence: Evidence) -> list[str]:
    """The files that CPU time was read from, with their first and last values."""
    return [evidence.series.told(counter) for counter in ("cpu_usage_ns", "nr_periods", "nr_throttled")]


def throttled(evidence: Evidence) -> Verdict:
    """The quota ran out in nearly every period."""
    window = evidence.series.whole
    counted = None if window is None else window.periods
    ratio = None if window is None or counted is None else window.throttled_ratio or 0.0
    return measured(
        "nr_throttled / nr_periods",
        f"at least {THROTTLED}",
        ratio,
        # a load that others leave no CPU is throttled seldom or never; but no period is counted without a quota
        lambda part: True if part >= THROTTLED else None if counted else False,
        tell="{:.3f}".format,
        files=counters(evidence),
        figures={"throttled_ratio": ratio},
    )


def never_throttled(evidence: Evidence) -> Verdict:
    """The quota never ran out."""
    window, name = evidence.series.whole, "nr_throttled of an idle container"
    count = None if window is None else window.throttled
    return measured(name, "+0", count, lambda rise: rise == 0, tell="+{}".format, files=counters(evidence))


def has_power(evidence: Evidence) -> Verdict:
    """More was used than the quota; what the load did not get is a fault only where CPUs stood idle."""
    window, idle = evidence.series.whole, evidence.idle_cores
    used = None if window is None else window.cores
    least = _POWER * min(QUOTAS[1], evidence.host.cores)
    return measured(
        "cores used",
        f"above {least:.2f} cores",
        used,
        lambda cores: None if cores <= least and (idle or 0) < IDLE else cores > least,
        tell=format_cores,
        files=counters(evidence),
        figures={"used_cores": used, "idle_cores": idle},
    )


def usage_plot(title: str, seen: Mapping[str, Evidence], limit: float | None) -> Plot:
    """Cores used over time, each point over the second before it."""
    drawn = {label: lines.cores(part.snapshots) for label, part in seen.items()}
    return Plot(title=title, unit="cores", lines=drawn, limit=limit)


def _plot_quotas(seen: Seen) -> list[Plot]:
    return [
        usage_plot(f"A quota of {name}, over the last second", {"cores used": part}, _BY_CORES[name].cpu_limit)
        for name, part in seen.parts.items()
    ]


def _plot_periods(seen: Seen) -> list[Plot]:
    return [usage_plot("0.25 cores in periods of 5, 100 and 1000 ms, over the last second", seen.parts, QUOTAS[0])]


# -- the list ----------------------------------------------------------------------------------------------------

_Q = f"at most {CPU:.0%} above the quota; 97 % of it or more where throttled in 90 % of the periods"
_ASKED = Limits(cpu_limit=QUOTAS[1], cpu_period=DEFAULT_PERIOD_US)
_BY_CORES = {format_cores(cores): Limits(cpu_limit=cores) for cores in QUOTAS}
_BY_PERIOD = {f"period {period // 1000} ms": Limits(cpu_limit=QUOTAS[0], cpu_period=period) for period in _PERIODS_US}
_SET = Limits(cpuset_cpus="0")
cpu_case = partial(
    Case,
    group=Group.CPU,
    tolerance=_Q,
    control=free,
    control_words="the same load without a quota",
    remedy=(
        "nothing on this host holds a CPU quota: check CONFIG_CFS_BANDWIDTH in the Linux kernel and the cpu controller "
        "in /proc/cgroups (v1) or cgroup.subtree_control (v2); look who else writes cpu.cfs_quota_us or cpu.max"
    ),
)
quota_case = partial(cpu_case, pace=Pace.QUOTA, cores=QUOTAS[1])

CASES: tuple[AnyCase, ...] = (
    cpu_case(
        number=8,
        title="quota and period are what was asked",
        expected="cpu.cfs_quota_us 50000, cpu.cfs_period_us 100000",
        expected_v2="cpu.max 50000 100000",
        tolerance="exact; with the systemd driver rounded up to 1 % of a CPU",
        press=lambda bench: read(bench, Setting(asked=_ASKED)),
        control=lambda bench: read(bench, _UNLIMITED),
        control_words="a container without a quota",
        claims=(shown(_ASKED, "cpu_limit", "cpu_period"),),
    ),
    cpu_case(
        number=9,
        title="0.25, 0.5, 1 and 1.5 cores are not exceeded",
        expected="used as far as the quota, and no further",
        press=lambda bench: _parts(bench, _BY_CORES, at),
        control=lambda bench: _parts(bench, _BY_CORES, lambda bench, _: free(bench)),
        claims=(each(_BY_CORES),),
        pace=Pace.ALONE,
        quick=False,
        plots=_plot_quotas,
    ),
    quota_case(
        number=10,
        title="more workers than CPUs do not beat a quota",
        expected=f"{_MANY} workers use 0.5 cores",
        press=lambda bench: pressed(bench, _HALF, workers=_MANY, load=_stressed)[0],
        control=lambda bench: pressed(bench, _UNLIMITED, workers=_MANY, load=_stressed)[0],
        claims=(hold(_HALF.asked, "cpu_limit"),),
        quick=False,
    ),
    quota_case(
        number=11,
        title="many short processes do not beat a quota",
        expected="two workers that only start processes use 0.5 cores",
        press=lambda bench: pressed(bench, _HALF, workers=2, load=_storming)[0],
        control=lambda bench: pressed(bench, _UNLIMITED, workers=2, load=_storming)[0],
        claims=(hold(_HALF.asked, "cpu_limit"),),
        quick=False,
    ),
    cpu_case(
        number=12,
        title="each period gives a quota, and no more",
        expected="CPU time = nr_periods × quota",
        tolerance=f"± 0.5 % over {_LEAST_PERIODS} periods or more",
        press=lambda bench: _fitting(bench, QUOTAS[2]),
        control=lambda bench: _fitting(bench, QUOTAS[3]),
        control_words="a quota of half as much again",
        claims=(drift(QUOTAS[2]),),
        pace=Pace.ALONE,
        quick=False,
    ),
    quota_case(
        number=13,
        title="a busy container is throttled in every period",
        expected=f"nr_throttled / nr_periods ≥ {THROTTLED}",
        tolerance="–",
        press=lambda bench: at(bench, _HALF.asked),
        claims=(throttled,),
    ),
    quota_case(
        number=14,
        title="an idle container is never throttled",
        expected="nr_throttled stands still",
        tolerance="zero",
        press=_idle,
        control=lambda bench: at(bench, _HALF.asked),
        control_words="the same container, pressed",
        claims=(never_throttled,),
        remedy="something else runs in the container's cgroup: look at its cgroup.procs",
    ),
    quota_case(
        number=15,
        title="without a quota the same load uses more",
        expected=f"more than {_POWER} × 0.5 cores: the load has power",
        tolerance="–",
        press=free,
        control=lambda bench: at(bench, _HALF.asked),
        control_words="the same load with the quota",
        claims=(has_power,),
        remedy="the host gives a container less than it asks for even without a quota: look what else runs on it",
    ),
    quota_case(
        number=18,
        title="periods of 5, 100 and 1000 ms hold the same quota",
        expected="0.25 cores each; so many periods counted",
        tolerance=f"{_Q}; windows of 10 periods; ± one period a window",
        press=lambda bench: _parts(bench, _BY_PERIOD, at),
        control=lambda bench: _parts(bench, _BY_PERIOD, lambda bench, _: free(bench)),
        claims=(each(_BY_PERIOD),),
        cores=QUOTAS[0],
        quick=False,
        plots=_plot_periods,
    ),
    cpu_case(
        number=21,
        title="a set of one CPU is one CPU",
        expected="cpuset.cpus as asked, at most 1.0 cores used",
        tolerance="1 %",
        press=lambda bench: pressed(_several(bench), Setting(asked=_SET), workers=2)[0],
        control=lambda bench: free(_several(bench)),
        control_words="the same load without a set",
        claims=(hold(_SET, "cpuset_cpus"),),
        remedy="check the cpuset controller (CONFIG_CPUSETS; v2: cgroup.subtree_control)",
        pace=Pace.ALONE,
        quick=False,
    ),
)
