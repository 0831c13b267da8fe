"""Cases 16, 17, 19 and 20: quotas at their edges: what is refused, a burst, a parent cgroup's quota."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spawner_limits import units
from spawner_limits.bench.engine import RefusedError
from spawner_limits.bench.host import Idle
from spawner_limits.conformance.case import CannotError, Case, Group, Pace
from spawner_limits.conformance.cpu import IDLE, QUOTAS, SPIN_S, counters, pressed, quota
from spawner_limits.conformance.former import Behind, Setting, claim, made
from spawner_limits.engines.enforcement import DEFAULT_PERIOD_US
from spawner_limits.limits import Limits

if TYPE_CHECKING:
    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.proof.evidence import Evidence, Verdict

_BURST: Behind = {1: {"cpu.cfs_burst_us": "25000"}, 2: {"cpu.max.burst": "25000"}}
_ABOVE = 1.06
"""of a quota, what a window of four seconds may show: one period more, and a slice on each CPU"""


# -- 16, 17: what is refused -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """Host configs and what became of them: the file's text once it ran, or the refusal."""

    refused_at: str | None
    said: str
    quota: str | None = None
    accepted_quota: str | None = None


def _ask(bench: Bench, **host_config: Any) -> _Asked:
    try:
        with bench.container(**host_config) as subject:
            text = subject.read("cpu.cfs_quota_us") if bench.version == 1 else subject.read("cpu.max")
            return _Asked(refused_at=None, said="it was started", quota=text)
    except RefusedError as error:
        return _Asked(refused_at=error.at, said=said(error))


def _press_too_many(bench: Bench, setting: Setting) -> _Asked:
    cores = bench.host.cores + 1
    told = _ask(bench, **(dict(setting.host_config) or {"nano_cpus": cores * 10**9}))
    by_quota = _ask(bench, cpu_period=DEFAULT_PERIOD_US, cpu_quota=cores * DEFAULT_PERIOD_US)
    return _Asked(refused_at=told.refused_at, said=told.said, accepted_quota=by_quota.quota)


def _judge_too_many(asked: _Asked) -> list[Verdict]:
    return [
        _refused_at_create(asked, "more CPUs than there are, by --cpus"),
        claim(
            "the same by --cpu-quota",
            expected="accepted, and in the kernel's file",
            seen=asked.accepted_quota or "refused",
            holds=asked.accepted_quota is not None and not asked.accepted_quota.startswith(("-1", "max")),
            files=[f"quota = {asked.accepted_quota}"],
        ),
    ]


def _refused_at_create(asked: _Asked, what: str) -> Verdict:
    seen = f"refused at {asked.refused_at}" if asked.refused_at else f"it ran, with {asked.quota}"
    return claim(
        what,
        expected="refused when the container is created",
        seen=seen,
        holds=asked.refused_at == "create",
        reason=f"{what}: {asked.said}",
        files=[f"the engine: {asked.said}"],
    )


_RUNC = re.compile(r'failed to write "?([^":]*)"?: write \S*/([a-z.0-9_]+): (.*?)(: unknown)?$')


def said(error: RefusedError) -> str:
    """What the engine answered; of a runtime's long way to the kernel's file, its end."""
    found = _RUNC.search(str(error))
    return f"at its start: the Linux kernel takes no {found[2]} = {found[1]}: {found[3]}" if found else str(error)


def _press_too_few(bench: Bench, setting: Setting) -> _Asked:
    return _ask(bench, **dict(setting.host_config))


# -- 19: burst ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Burst:
    evidence: Evidence
    bursts: int | None
    file: str


def _press_burst(bench: Bench, setting: Setting) -> _Burst:
    file = "cpu.cfs_burst_us" if bench.version == 1 else "cpu.max.burst"
    with made(bench, quota(QUOTAS[0])) as subject:
        if subject.read(file) is None:
            raise CannotError(f"this Linux kernel has no {file}, which came with 5.14", "take a newer Linux kernel")
        for name, text in setting.behind.get(bench.version, {}).items():
            if error := subject.write(name, text):
                raise CannotError(f"the Linux kernel takes no {name}: {error}", "")
        before = _bursts(subject)
        # each burst needs more than one period's quota, all of them less than the quota
        load = subject.probe("burst", SPIN_S, 40, 260)
        subject.busy()
        idle = Idle()
        snapshots = subject.follow(load, seconds=4.0)
        after = _bursts(subject)
        return _Burst(
            evidence=subject.evidence(snapshots, load, idle.cores()),
            bursts=None if before is None or after is None else after - before,
            file=f"{file} = {subject.read(file)}; cpu.stat nr_bursts: {before} → {after}",
        )


def _bursts(subject: Subject) -> int | None:
    found = re.search(r"^nr_bursts (\d+)$", subject.read("cpu.stat") or "", re.MULTILINE)
    return int(found[1]) if found else None


def _judge_burst(burst: _Burst) -> list[Verdict]:
    window, waited = burst.evidence.series.whole, (burst.evidence.idle_cores or 0.0) < IDLE
    used = None if window is None else window.cores
    return [
        claim(
            "nr_bursts",
            expected="+1 or more",
            seen=None if burst.bursts is None else f"+{burst.bursts}",
            # a load that has to wait for a CPU uses its quota evenly, and needs no burst
            holds=None if burst.bursts is None else True if burst.bursts else None if waited else False,
            files=[burst.file],
        ),
        claim(
            "cores used on average",
            expected=f"at most {QUOTAS[0]} cores",
            seen=None if used is None else units.format_cores(used),
            holds=None if used is None else used <= QUOTAS[0] * _ABOVE,
            files=counters(burst.evidence),
        ),
    ]


# -- 20: under a parent ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Child:
    """A container with a larger quota than the cgroup above it."""

    refusal: str | None
    evidence: Evidence | None


def _press_child(bench: Bench, setting: Setting) -> _Child:
    with bench.parent() as parent, bench.container(cgroup_parent=parent) as keeper:
        if setting.limits.cpu_limit is not None:
            files = {"cpu.cfs_quota_us": "25000"} if bench.version == 1 else {"cpu.max": "25000 100000"}
            for name, text in files.items():
                if error := keeper.write(name, text, above=1):
                    raise CannotError(f"{name} of a parent cgroup can't be written: {error}", "")
        try:
            child = Setting(limits=Limits(cpu_limit=1.0), host_config={"cgroup_parent": parent})
            return _Child(refusal=None, evidence=pressed(bench, child, workers=2))
        except RefusedError as error:
            return _Child(refusal=said(error), evidence=None)


def _judge_child(child: _Child) -> list[Verdict]:
    if child.evidence is None:
        refusal = child.refusal or "nothing"
        return [
            claim(
                "a child's quota above its parent's",
                expected="refused with EINVAL",
                seen="refused",
                holds="invalid argument" in refusal.lower(),
                reason=f"a child's quota above its parent's: {refusal}",
                files=[f"the engine: {refusal}"],
            )
        ]
    window = child.evidence.series.whole
    used = None if window is None else window.cores
    return [
        claim(
            "cores used under a parent's quota of 0.25",
            expected="at most 0.25 cores, or refused",
            seen=None if used is None else units.format_cores(used),
            holds=None if used is None else used <= QUOTAS[0] * _ABOVE,
            files=counters(child.evidence),
        )
    ]


CASES: tuple[AnyCase, ...] = (
    Case(
        number=16,
        group=Group.CPU,
        title="more CPUs than there are: --cpus is refused, --cpu-quota taken",
        expected="HTTP 400; accepted",
        press=lambda bench: _press_too_many(bench, Setting()),
        control=lambda bench: _press_too_many(bench, Setting(host_config={"nano_cpus": 10**9 // 2})),
        control_words="half a CPU, which is no reason to refuse",
        claims=(_judge_too_many,),
        remedy="the engine takes CPU limits that can't bind: give quotas below the number of cores",
    ),
    Case(
        number=17,
        group=Group.CPU,
        title="less CPU than the kernel counts is refused",
        expected="refused when the container is created",
        press=lambda bench: _press_too_few(bench, Setting(host_config={"nano_cpus": 5_000_000})),
        control=lambda bench: _press_too_few(bench, Setting(host_config={"nano_cpus": 20_000_000})),
        control_words="0.02 CPUs, which the kernel does count",
        claims=(lambda asked: [_refused_at_create(asked, "0.005 CPUs")],),
        remedy="give at least 0.01 cores, as the policy's own check demands",
        defect=(
            "Docker checks --cpus against the number of CPUs only: less than the kernel's quota of 1000 µs is taken, "
            "and the container fails at its start (EINVAL), or gets 0.01 CPUs where systemd rounds up"
        ),
    ),
    Case(
        number=19,
        group=Group.CPU,
        title="a burst lends from quiet periods, and gives back",
        expected="cpu.cfs_burst_us: nr_bursts rises, the average stays below the quota",
        expected_v2="cpu.max.burst: nr_bursts rises, the average stays below the quota",
        tolerance="6 %",
        press=lambda bench: _press_burst(bench, Setting(behind=_BURST)),
        control=lambda bench: _press_burst(bench, Setting()),
        control_words="the same load without a burst",
        claims=(_judge_burst,),
        remedy="do without a burst: Docker can't set it either; a longer cpu_period helps interactive work likewise",
        pace=Pace.QUOTA,
        cores=QUOTAS[0],
        quick=False,
    ),
    Case(
        number=20,
        group=Group.CPU,
        title="a quota above the parent cgroup's does not win",
        expected="refused with EINVAL",
        expected_v2="accepted, and the parent's 0.25 cores hold",
        tolerance="zero; v2 6 %",
        press=lambda bench: _press_child(bench, Setting(limits=Limits(cpu_limit=QUOTAS[0]))),
        control=lambda bench: _press_child(bench, Setting()),
        control_words="a parent without a quota",
        claims=(_judge_child,),
        remedy="don't rely on a cgroup_parent's quota here; limit each container",
        pace=Pace.QUOTA,
        cores=QUOTAS[0],
        quick=False,
    ),
)
