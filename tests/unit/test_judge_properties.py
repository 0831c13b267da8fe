"""What must be true of every verdict, whatever was read: found by generated series, each with its disturbances."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spawner_limits.engines.docker import translate
from spawner_limits.limits import Limits
from spawner_limits.proof.evidence import Evidence, Load, Outcome
from spawner_limits.proof.judge import judge
from spawner_limits.proof.tolerances import CPU, OVER, REACHED, SATURATED, SHARE, THROTTLED
from spawner_limits.units import GIB, MIB
from tests import kernel_files
from tests.unit.test_judge import HOST, HOSTS, LIMITS, SECOND

LOAD = Load(command=("load",), exit_code=0, oom_killed=False)
LIMIT = GIB
CGROUPS = st.sampled_from(sorted(HOSTS)).map(HOSTS.get)


def verdicts(snapshots, limits=LIMITS, host=HOST, **more):
    found = judge(translate(limits).expect, Evidence(snapshots=tuple(snapshots), load=LOAD, host=host, **more))
    return {one.field: one for one in found}


@st.composite
def loads(draw):
    """A load of a constant appetite, honest or not, on a container that had a life before."""
    before = {
        "memory_peak_bytes": draw(st.integers(0, 2 * LIMIT)),
        "oom_kill": draw(st.integers(0, 3)),
        "pids_max_events": draw(st.integers(0, 9)),
    }
    memory = draw(st.one_of(st.integers(0, int(1.2 * LIMIT)), st.sampled_from([LIMIT, LIMIT - 4096, LIMIT + 4096])))
    processes, kills, refused = draw(st.integers(1, 300)), draw(st.integers(0, 2)), draw(st.integers(0, 3))
    taken = draw(CGROUPS).series(
        draw(st.sampled_from([3.0, 8.0, 12.0])),
        cores=draw(st.floats(0, 2)),
        throttled=draw(st.sampled_from([0.0, 0.5, 1.0])),
    )
    begins = [
        replace(one, memory_peak_bytes=max(before["memory_peak_bytes"], one.memory_current_bytes),
                oom_kill=before["oom_kill"], pids_max_events=before["pids_max_events"])
        for one in taken
    ]  # fmt: skip
    peak = max(before["memory_peak_bytes"], memory, 300 * MIB)
    ends = [
        replace(one, memory_current_bytes=memory, memory_peak_bytes=peak, memsw_peak_bytes=peak, pids_current=processes,
                oom_kill=before["oom_kill"] + kills, pids_max_events=before["pids_max_events"] + refused)
        for one in begins[len(begins) // 2 :]
    ]  # fmt: skip
    return [*begins[: len(begins) // 2], *ends]


def most(snapshots, counter):
    return max(getattr(one, counter) for one in snapshots)


@settings(max_examples=300, deadline=None)
@given(loads())
def test_held_is_what_rose_to_its_limit_in_this_press(taken):
    """Memory and processes came to the limit, CPU was throttled; and no figure told is above it by more than that."""
    found = verdicts(taken)
    if found["mem_limit"].outcome is Outcome.HELD:
        risen = taken[-1].memory_peak_bytes > taken[0].memory_peak_bytes
        assert (taken[-1].memory_peak_bytes if risen else most(taken, "memory_current_bytes")) >= REACHED * LIMIT
        assert found["mem_limit"].figures["peak_bytes"] <= LIMIT + 64 * 4096 * HOST.cores
    if found["pids_limit"].outcome is Outcome.HELD:
        assert most(taken, "pids_current") >= 256
        assert taken[-1].pids_max_events > taken[0].pids_max_events
        assert found["pids_limit"].figures["most_processes"] <= 256 + HOST.cores
    if found["cpu_limit"].outcome is Outcome.HELD:
        periods, throttled = taken[-1].nr_periods, taken[-1].nr_throttled
        assert throttled >= THROTTLED * periods * 0.7
        assert found["cpu_limit"].figures["used_cores"] <= (1 + CPU) * 0.5
        assert found["cpu_limit"].figures["most_cores"] <= (1 + CPU) * 0.5 + 1e-3


@settings(max_examples=200, deadline=None)
@given(loads())
def test_without_a_load_nothing_is_held(taken):
    """What stands where it stood before says nothing, however high that is."""
    still = [
        replace(
            taken[-1], monotonic_ns=one.monotonic_ns, limits=one.limits, cpu_usage_ns=0, nr_periods=0, nr_throttled=0
        )
        for one in taken
    ]
    assert Outcome.HELD not in {one.outcome for one in verdicts(still).values()}


@st.composite
def disturbed(draw, taken):
    """The same where the machine stood still for a moment: clock and charged time ran on, and it was paid back."""
    at, stood_s = draw(st.integers(1, len(taken) - 2)), draw(st.floats(0.02, 0.4))
    limit, debt = 0.5, draw(st.floats(0, 1)) * 2 * stood_s

    def moved(step, one):
        if step < at:
            return one
        left = max(0.0, debt - limit * (step - at) / 10)
        periods = round(stood_s * 10)
        return replace(
            one,
            monotonic_ns=one.monotonic_ns + round(stood_s * SECOND),
            cpu_usage_ns=one.cpu_usage_ns + round(left * SECOND),
            nr_periods=one.nr_periods + periods,
            nr_throttled=one.nr_throttled + periods,
        )

    return [moved(step, one) for step, one in enumerate(taken)]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_disturbance_breaks_nothing_and_proves_nothing(data):
    """A moment's standstill never makes HELD of UNKNOWN, nor BROKEN of HELD."""
    taken = data.draw(loads())
    before, after = verdicts(taken), verdicts(data.draw(disturbed(taken)))
    for field, one in before.items():
        now = after[field].outcome
        # a press on CPU lasts longer by the standstill, and may so become one that is long enough
        assert not (one.outcome is Outcome.UNKNOWN and now is Outcome.HELD and field != "cpu_limit"), field
        assert not (one.outcome is Outcome.HELD and now is Outcome.BROKEN), (field, after[field].reason)


@settings(max_examples=200, deadline=None)
@given(loads())
def test_a_file_alone_breaks_nothing_by_its_load(taken):
    """A wrong file is BROKEN, and not by the load: else a control without any load would have power."""
    wrong = {name: "1" for one in taken for name in one.limits}
    shown = [replace(one, limits=one.limits and wrong) for one in taken]
    right = verdicts(taken)
    for field, one in verdicts(shown).items():
        assert one.outcome is Outcome.BROKEN
        if right[field].under_load is not Outcome.BROKEN and field != "cpu_limit":
            assert one.under_load is not Outcome.BROKEN


@settings(max_examples=200, deadline=None)
@given(
    cgroups=CGROUPS,
    cores=st.sampled_from([2, 8, 64]),
    limit=st.floats(0.01, 1.9),
    times=st.floats(0.5, 3),
    seconds=st.sampled_from([8, 30, 90]),
)
def test_a_quota_that_is_held_was_not_passed(cgroups, cores, limit, times, seconds):
    """On few CPUs and on many, for large quotas and small: what is HELD was within its tolerance over the press."""
    assume(limit < cores)
    files = cgroups.files | kernel_files.quota(cgroups.version, limit)
    taken = cgroups.series(seconds, cores=limit * times, files=files)
    found = verdicts(taken, Limits(cpu_limit=limit), replace(HOST, cores=cores))
    if found["cpu_limit"].outcome is Outcome.HELD:
        assert times <= 1 + CPU + 0.001


DUE = {1: 2048 / (2048 + 1024), 2: 79 / (79 + 39)}
"""the share of 2048 against 1024, by the Linux kernel's weights"""


@settings(max_examples=200, deadline=None)
@given(
    cgroups=CGROUPS,
    mine=st.floats(0.6, 0.75),
    theirs=st.floats(0.2, 0.45),
    here=st.tuples(st.floats(0, 0.1), st.floats(0, 0.1)),
    elsewhere=st.tuples(*[st.one_of(st.just(0.0), st.floats(0, 0.1))] * 2),
)
def test_shares_that_are_held_were_contested(cgroups, mine, theirs, here, elsewhere):
    """The CPU was the loads', and its share was the weights', wherever the others ran; and BROKEN it was not that."""
    assume(mine + theirs <= 1)
    used, other = mine + elsewhere[0], theirs + elsewhere[1]
    assume(here[0] <= mine and here[1] <= theirs)
    files = cgroups.files | kernel_files.shares(cgroups.version, 2048)
    due = DUE[cgroups.version]
    others = tuple(5 * (one + two) for one, two in zip(here, elsewhere, strict=True))
    one = replace(cgroups.contest(mine=used / (used + other), busy=used + other), others_s=others)
    found = verdicts(cgroups.series(files=files), Limits(cpu_shares=2048), contest=one)["cpu_shares"]
    right = abs(mine / (mine + theirs) - due) - SHARE * due
    if found.outcome is Outcome.HELD:
        assert mine + theirs >= SATURATED - 1e-6
        assert right <= 1e-6
    if found.outcome is Outcome.BROKEN:
        share = mine / (mine + theirs)
        assert right > -1e-6
        assert not due * (1 - elsewhere[0]) <= share <= due + elsewhere[1] * (1 - due)


@settings(max_examples=100, deadline=None)
@given(CGROUPS, st.floats(0.5, 2), st.integers(0, 6))
def test_a_set_that_is_held_was_wanted_by_more(cgroups, cores, threads):
    """More ran than the set has CPUs, and no more was used than they have."""
    taken = [
        replace(one, runnable=None if step % 5 else threads, limits=one.limits and {"cpuset.cpus": "0"})
        for step, one in enumerate(cgroups.series(cores=cores))
    ]
    if verdicts(taken, Limits(cpuset_cpus="0"))["cpuset_cpus"].outcome is Outcome.HELD:
        assert threads > 1
        assert cores <= 1 + OVER + 0.001
