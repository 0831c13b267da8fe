"""The judges of CPU quotas and fair shares, with figures made up to lie on either side of each tolerance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spawner_limits.conformance import cpu, cpu_edges, share
from spawner_limits.conformance.seen import Seen
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.proof.evidence import Host, Load

CASES = {one.number: one for one in (*cpu.CASES, *cpu_edges.CASES, *share.CASES)}
SECOND = 1_000_000_000
HOST = Host(cores=2, memory_bytes=1 << 34, swap_bytes=0, kernel="6.1", engine="Docker")
LOAD = Load(command=(), exit_code=None, oom_killed=None)
V1 = dict.fromkeys(("cpu", "cpuacct", "cpuset", "memory", "pids"), 1)
V2 = dict.fromkeys(V1, 2)


def evidence(seconds, cores, throttled=1.0, *, idle_cores=None, limits=None, versions=V1, **more):
    """Ten snapshots a second; the quota's period is 100 ms, and its CPU time is used at each one's start."""
    steps = range(round(seconds * 10) + 1)
    snapshots = tuple(
        Snapshot(
            monotonic_ns=SECOND + step * SECOND // 10,
            versions=versions,
            cpu_usage_ns=round(step * cores * SECOND / 10),
            nr_periods=step,
            nr_throttled=round(step * throttled),
            limits=limits or {},
        )
        for step in steps
    )
    version = versions["cpu"]
    return Seen(snapshots=snapshots, load=LOAD, host=HOST, version=version, idle_cores=idle_cores, **more)


def outcomes(verdicts):
    """What a judge said."""
    return [(one.outcome.value, one.seen) for one in verdicts]


DRIFTS = {
    "to the point": (evidence(6.6, 0.5), "HELD", "1.0000 over 66 periods"),
    "a third of a percent more": (evidence(6.6, 0.5017), "HELD", "1.0034 over 66 periods"),
    "one percent more, as a host that was held up shows": (evidence(6.6, 0.505), "UNKNOWN", "1.0100 over 66 periods"),
    "three percent more": (evidence(6.6, 0.515), "BROKEN", "1.0300 over 66 periods"),
    "twice the quota": (evidence(6.6, 1.0), "BROKEN", "2.0000 over 66 periods"),
    "less, as others took it": (evidence(6.6, 0.49), "UNKNOWN", "0.9800 over 66 periods"),
    "too short": (evidence(4.9, 0.5), "UNKNOWN", "49 periods"),
}


@pytest.mark.parametrize(("read", "outcome", "seen"), DRIFTS.values(), ids=DRIFTS)
def test_each_period_gives_a_quota(read, outcome, seen):
    """Within half a percent; less is what others on the host took."""
    assert outcomes([cpu.drift(0.5)(read)]) == [(outcome, seen)]


def test_the_edges_of_a_window_do_not_count():
    """A period's quota that was used by the first reading, or was not yet by the last, is no drift."""
    read = evidence(6.6, 0.5)
    first, *rest = read.snapshots
    shifted = (replace(first, cpu_usage_ns=first.cpu_usage_ns - 50_000_000), *rest)
    found = cpu.drift(0.5)(replace(read, snapshots=shifted))
    assert (found.outcome, found.figures["ratio"]) == ("HELD", 1.0)


THROTTLED = {
    "in all periods": (evidence(2, 0.5, 1.0), "HELD", "1.000"),
    "in nine of ten": (evidence(2, 0.5, 0.9), "HELD", "0.900"),
    "in half of them: others were busy": (evidence(2, 0.5, 0.5), "UNKNOWN", "0.500"),
    "never: others had the CPUs": (evidence(2, 0.1, 0.0), "UNKNOWN", "0.000"),
    "no period is counted: there is no quota": (
        replace(
            evidence(2, 2.0),
            snapshots=tuple(replace(one, nr_periods=0, nr_throttled=0) for one in evidence(2, 2.0).snapshots),
        ),
        "BROKEN",
        "0.000",
    ),
}


@pytest.mark.parametrize(("read", "outcome", "seen"), THROTTLED.values(), ids=THROTTLED)
def test_a_busy_container_is_throttled(read, outcome, seen):
    """Not always, or never, is contention; a missing quota is one that counts no periods."""
    assert outcomes(CASES[13].judge(read)) == [(outcome, seen)]


def test_an_idle_container_is_not():
    """One throttled period is one too many."""
    assert outcomes(CASES[14].judge(evidence(2, 0.0, 0.0))) == [("HELD", "+0")]
    assert outcomes(CASES[14].judge(evidence(2, 0.0, 0.05))) == [("BROKEN", "+1")]


POWER = {
    "two cores": (evidence(2, 2.0, idle_cores=0.0), "HELD"),
    "a bit more than the quota's 1.2": (evidence(2, 0.61, idle_cores=1.0), "HELD"),
    "as if there were a quota, with idle CPUs": (evidence(2, 0.5, idle_cores=1.5), "BROKEN"),
    "little, for others had the CPUs": (evidence(2, 0.5, idle_cores=0.1), "UNKNOWN"),
}


@pytest.mark.parametrize(("read", "outcome"), POWER.values(), ids=POWER)
def test_a_load_without_a_quota_has_power(read, outcome):
    """What it does not get is a fault only where CPUs stand idle."""
    assert [one for one, _ in outcomes(CASES[15].judge(read))] == [outcome]


RUNC = (
    "Docker can't start a container of image: failed to create shim task: OCI runtime create failed: runc create "
    "failed: unable to start container process: error setting cgroup config for procHooks process: failed to write "
    '"500": write /sys/fs/cgroup/cpu/docker/8207dd/cpu.cfs_quota_us: invalid argument: unknown'
)


def test_of_a_runtimes_long_way_its_end_is_told():
    """What a person can use; any other text stays as it is."""
    assert cpu_edges.said(RUNC) == ("at its start: the Linux kernel takes no cpu.cfs_quota_us = 500: invalid argument")
    assert cpu_edges.said("Range of CPUs is from 0.01 to 2.00") == ("Range of CPUs is from 0.01 to 2.00")


def refused(said):
    return Seen(host=HOST, version=1, refused_at="start", said=said)


CHILDREN = {
    "refused for the right reason": (refused("x: invalid argument"), "HELD"),
    "refused for another": (refused("no space left"), "BROKEN"),
    "accepted, and the parent wins": (evidence(6, 0.25), "HELD"),
    "accepted, and the child wins": (evidence(6, 0.3), "BROKEN"),
}


@pytest.mark.parametrize(("child", "outcome"), CHILDREN.values(), ids=CHILDREN)
def test_a_parents_quota(child, outcome):
    """v1 refuses a child's larger one, v2 takes it and holds the parent's."""
    assert [one for one, _ in outcomes(CASES[20].judge(child))] == [outcome]


# -- shares ------------------------------------------------------------------------------------------------------


def rivals(*cores, weights=(2048, 1024, 1024), cpus=1, idle=0.0, file="cpu.shares", versions=V1):
    """Siblings that used so many cores each, in five seconds."""
    taken = tuple(
        evidence(5, one, 0.0, limits={file: str(weight)}, versions=versions).snapshots
        for one, weight in zip(cores, weights, strict=False)
    )
    return share.Rivals(taken=taken, cpus=cpus, idle=idle, seen=evidence(5, cores[0], 0.0))


NEW = {"weights": (174, 100, 100), "file": "cpu.weight", "versions": V2}
SHARES = {
    "as asked": (rivals(0.5, 0.25, 0.25), ["HELD"] * 3),
    "two percent off": (rivals(0.509, 0.2455, 0.2455), ["HELD"] * 3),
    "three percent off": (rivals(0.516, 0.242, 0.242), ["BROKEN"] * 3),
    "equal, though the weights are not": (rivals(0.333, 0.333, 0.333), ["BROKEN"] * 3),
    "others had a tenth of the CPU": (rivals(0.45, 0.225, 0.225, idle=0.0), ["UNKNOWN"] * 3),
    "the newer formula's weights": (rivals(0.4652, 0.2674, 0.2674, **NEW), ["HELD"] * 3),
    "50 % is too much under the newer formula": (rivals(0.5, 0.25, 0.25, **NEW), ["BROKEN"] * 3),
    "one has another weight than was asked": (
        rivals(0.6, 0.2, 0.2, weights=(3072, 1024, 1024)), ["BROKEN", "HELD", "HELD"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("read", "expected"), SHARES.values(), ids=SHARES)
def test_shares_are_the_kernels_weights(read, expected):
    """Each sibling against the two others, within 2 %."""
    assert [one for one, _ in outcomes(share.fair((2048, 1024, 1024), 0.02)(read))] == expected


BALANCED = {
    "as an idle machine's load balancer had it": (rivals(0.942, 0.544, 0.516, cpus=2), ["HELD"] * 3),
    "equal, though the weights are not": (rivals(0.666, 0.666, 0.666, cpus=2), ["BROKEN"] * 3),
    "equal, by the newer formula": (rivals(0.666, 0.666, 0.666, cpus=2, **NEW), ["BROKEN"] * 3),
}


@pytest.mark.parametrize(("read", "expected"), BALANCED.values(), ids=BALANCED)
def test_a_load_balancer_divides_several_cpus_roughly(read, expected):
    """9 % off was seen where nothing else ran; another weight is off by a quarter at the least."""
    assert [one for one, _ in outcomes(CASES[25].judge(read))] == expected


LONE = {
    "all of it": (rivals(0.99, idle=0.01), "HELD"),
    "half of it idle": (rivals(0.5, idle=0.5), "BROKEN"),
    "half of it others'": (rivals(0.5, idle=0.0), "UNKNOWN"),
}


@pytest.mark.parametrize(("read", "outcome"), LONE.values(), ids=LONE)
def test_a_lone_container_is_work_conserving(read, outcome):
    """Only an idle CPU speaks against it."""
    assert [one for one, _ in outcomes(CASES[26].judge(read))] == [outcome]


def test_of_what_a_quota_leaves_the_others_have_halves():
    """Within 5 %; where others were busy too, nothing is said."""
    told = [CASES[28].judge(one)[1].outcome for one in (
        rivals(0.3, 0.35, 0.35), rivals(0.3, 0.4, 0.3), rivals(0.3, 0.2, 0.2),
    )]  # fmt: skip
    assert told == ["HELD", "BROKEN", "UNKNOWN"]


def test_the_read_back_says_which_formula_it_was():
    """On v2 either is right."""
    found = [CASES[22].judge(evidence(5, 1.0, limits={"cpu.weight": weight}, versions=V2))[0]
             for weight in ("79", "174", "100")]  # fmt: skip
    assert [(one.outcome, one.seen) for one in found] == [
        ("HELD", "79 (the formula before runc 1.3.2 and crun 1.23)"),
        ("HELD", "174 (the formula since runc 1.3.2 and crun 1.23)"),
        ("BROKEN", "100"),
    ]


def test_the_chart_goes_on_through_the_phases():
    """Parts of the CPU over the last second, and a mark where the next phase begins."""
    later = [
        tuple(replace(one, monotonic_ns=one.monotonic_ns + 6 * SECOND) for one in taken)
        for taken in rivals(0.66, 0.34, 0.0).taken
    ]
    after = replace(rivals(0.66, 0.34, 0.0), taken=tuple(later))
    drawn = share.plot([rivals(0.5, 0.25, 0.25), after], ["A", "B", "C"], "title", ["C stops"])
    assert drawn.marks == {6.0: "C stops"}
    assert [points[0].value for points in drawn.lines.values()] == [50.0, 25.0, 25.0]
    assert [points[-1].value for points in drawn.lines.values()] == [66.0, 34.0, 0.0]


BURSTS = {
    "it burst": (3, 1.5, "HELD"),
    "none, though CPUs were idle": (0, 1.5, "BROKEN"),
    "none, as it had to wait for a CPU": (0, 0.1, "UNKNOWN"),
}


@pytest.mark.parametrize(("count", "idle_cores", "outcome"), BURSTS.values(), ids=BURSTS)
def test_a_burst_needs_an_idle_cpu(count, idle_cores, outcome):
    """On a busy host a load is spread over time by itself."""
    texts = {"before": "nr_bursts 4", "after": f"nr_bursts {4 + count}"}
    burst = evidence(4, 0.12, idle_cores=idle_cores, texts=texts)
    assert [one for one, _ in outcomes(CASES[19].judge(burst))] == [outcome, "HELD"]
