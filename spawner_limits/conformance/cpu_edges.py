"""Cases 16, 17, 19 and 20: quotas at their edges: what is refused, a burst, a parent cgroup's quota."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.cpu import IDLE, QUOTAS, SPIN_S, counters, cpu_case, pressed, quota, quota_case
from spawner_limits.conformance.setting import Setting, kernel_file, made, or_refused, read, refused, rewrite
from spawner_limits.engines.enforcement import DEFAULT_PERIOD_US
from spawner_limits.kernel.host import Idle
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import claim, measured
from spawner_limits.units import format_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.trial import Bench
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.proof.evidence import Evidence, Verdict

_BURST: Mapping[CgroupVersion, str] = {1: "cpu.cfs_burst_us", 2: "cpu.max.burst"}
_ABOVE = 1.06
"""of a quota, what a window of four seconds may show: one period more, and a slice on each CPU"""
_RUNC = re.compile(r'failed to write "?([^":]*)"?: write \S*/([a-z.0-9_]+): (.*?)(: unknown)?$')


def said(answer: str) -> str:
    """What the engine answered; of a runtime's long way to the kernel's file, its end."""
    found = _RUNC.search(answer)
    return f"at its start: the Linux kernel takes no {found[2]} = {found[1]}: {found[3]}" if found else answer


def _average(name: str, expected: str) -> Callable[[Evidence], Verdict]:
    """A quarter of a core was used on average."""

    def judged(evidence: Evidence) -> Verdict:
        window = evidence.series.whole
        used, files = None if window is None else window.cores, counters(evidence)
        return measured(name, expected, used, lambda cores: cores <= QUOTAS[0] * _ABOVE, tell=format_cores, files=files)

    return judged


# -- 16, 17: what is refused -------------------------------------------------------------------------------------


def _asked(bench: Bench, **host_config: Any) -> Seen:
    seen = or_refused(bench, lambda: read(bench, Setting(host_config=host_config)))
    return replace(seen, said=said(seen.said or "it was started"))


def _quota(seen: Seen) -> str | None:
    return seen.snapshots[0].limits.get(kernel_file("cpu_limit", seen.version)) if seen.snapshots else None


def _too_many(bench: Bench, nano_cpus: int | None = None) -> Seen:
    """More CPUs than there are, by --cpus and by --cpu-quota."""
    cores = bench.host.cores + 1
    seen = _asked(bench, nano_cpus=nano_cpus or cores * 10**9)
    by_quota = _asked(bench, cpu_period=DEFAULT_PERIOD_US, cpu_quota=cores * DEFAULT_PERIOD_US)
    return replace(seen, parts={"by --cpu-quota": by_quota})


def _not_created(what: str) -> Callable[[Seen], Verdict]:
    def judged(seen: Seen) -> Verdict:
        return refused(what, seen, ran=f"it ran, with {_quota(seen)}", reason=f"{what}: {seen.said}")

    return judged


def accepted(seen: Seen) -> Verdict:
    """A quota above the host's cores is taken."""
    text = _quota(seen.parts["by --cpu-quota"])
    holds = text is not None and not text.startswith(("-1", "max"))
    expected = "accepted, and in the kernel's file"
    return claim("the same by --cpu-quota", expected, text or "refused", holds, files=[f"quota = {text}"])


# -- 19: burst ---------------------------------------------------------------------------------------------------


def _burst(bench: Bench, burst_us: str = "") -> Seen:
    file = _BURST[bench.version]
    with made(bench, quota(QUOTAS[0])) as subject:
        if subject.read(file) is None:
            raise CannotError(f"this Linux kernel has no {file}, which came with 5.14", "take a newer Linux kernel")
        if burst_us and (error := subject.write(file, burst_us)):
            raise CannotError(f"the Linux kernel takes no {file}: {error}")
        before = subject.read("cpu.stat")
        # each burst needs more than one period's quota, all of them less than the quota
        load = subject.probe("burst", SPIN_S, 40, 260)
        subject.busy()
        idle = Idle()
        taken = subject.follow(load, seconds=4.0)
        after, left = subject.read("cpu.stat"), idle.cores()
        texts = {"before": before, "after": after, file: subject.read(file)}
        return subject.seen(taken, load.exit_code, idle_cores=left, texts=texts)


def bursts(seen: Seen) -> Verdict:
    """It burst; a load that has to wait for a CPU uses its quota evenly, and needs no burst."""
    before, after = (seen.counts(when).get("nr_bursts") for when in ("before", "after"))
    count = None if before is None or after is None else after - before
    otherwise = None if (seen.idle_cores or 0.0) < IDLE else False
    file = _BURST[seen.version]
    files = [f"{file} = {seen.texts.get(file)}; cpu.stat nr_bursts: {before} → {after}"]
    return measured(
        "nr_bursts", "+1 or more", count, lambda n: True if n else otherwise, tell="+{}".format, files=files
    )


# -- 20: under a parent ------------------------------------------------------------------------------------------


def _child(bench: Bench, above: Limits) -> Seen:
    """A container with a larger quota than the cgroup above it."""
    with bench.parent() as parent, bench.container(cgroup_parent=parent) as keeper:
        rewrite(keeper, above, above=1)
        child = Setting(asked=Limits(cpu_limit=1.0), host_config={"cgroup_parent": parent})
        seen = or_refused(bench, lambda: pressed(bench, child, workers=2)[0])
        return replace(seen, said=said(seen.said))


def parent_wins(seen: Seen) -> Verdict:
    """v1 refuses the child's larger quota; v2 takes it, and holds the parent's."""
    if seen.refused_at is None:
        return _average("cores used under a parent's quota of 0.25", "at most 0.25 cores, or refused")(seen)
    what, files = "a child's quota above its parent's", [f"the engine: {seen.said}"]
    is_invalid = "invalid argument" in seen.said.lower()
    return claim(what, "refused with EINVAL", "refused", is_invalid, reason=f"{what}: {seen.said}", files=files)


# -- the list ----------------------------------------------------------------------------------------------------

CASES: tuple[AnyCase, ...] = (
    cpu_case(
        number=16,
        title="more CPUs than there are: --cpus is refused, --cpu-quota taken",
        expected="HTTP 400; accepted",
        tolerance="zero",
        press=_too_many,
        control=lambda bench: _too_many(bench, 10**9 // 2),
        control_words="half a CPU, which is no reason to refuse",
        claims=(_not_created("more CPUs than there are, by --cpus"), accepted),
        remedy="the engine takes CPU limits that can't bind: give quotas below the number of cores",
    ),
    cpu_case(
        number=17,
        title="less CPU than the kernel counts is refused",
        expected="refused when the container is created",
        tolerance="zero",
        press=lambda bench: _asked(bench, nano_cpus=5_000_000),
        control=lambda bench: _asked(bench, nano_cpus=20_000_000),
        control_words="0.02 CPUs, which the kernel does count",
        claims=(_not_created("0.005 CPUs"),),
        remedy="give at least 0.01 cores, as the policy's own check demands",
        defect=(
            "Docker checks --cpus against the number of CPUs only: less than the kernel's quota of 1000 µs is taken, "
            "and the container fails at its start (EINVAL), or gets 0.01 CPUs where systemd rounds up"
        ),
    ),
    quota_case(
        number=19,
        title="a burst lends from quiet periods, and gives back",
        expected="cpu.cfs_burst_us: nr_bursts rises, the average stays below the quota",
        expected_v2="cpu.max.burst: nr_bursts rises, the average stays below the quota",
        tolerance="6 %",
        press=lambda bench: _burst(bench, "25000"),
        control=_burst,
        control_words="the same load without a burst",
        claims=(bursts, _average("cores used on average", f"at most {QUOTAS[0]} cores")),
        remedy="do without a burst: Docker can't set it either; a longer cpu_period helps interactive work likewise",
        cores=QUOTAS[0],
        quick=False,
    ),
    quota_case(
        number=20,
        title="a quota above the parent cgroup's does not win",
        expected="refused with EINVAL",
        expected_v2="accepted, and the parent's 0.25 cores hold",
        tolerance="zero; v2 6 %",
        press=lambda bench: _child(bench, Limits(cpu_limit=QUOTAS[0])),
        control=lambda bench: _child(bench, Limits()),
        control_words="a parent without a quota",
        claims=(parent_wins,),
        remedy="don't rely on a cgroup_parent's quota here; limit each container",
        cores=QUOTAS[0],
        quick=False,
    ),
)
