"""Reports to be rendered, made by hand, with numbers such as a real run shows; and that they agree with themselves."""

from __future__ import annotations

from dataclasses import replace

from spawner_limits import units
from spawner_limits.engines.enforcement import Expectation
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.proof.evidence import Evidence, Host, Load, Origin, Outcome, Report, Trial, Verdict

HOST = Host(
    cores=2,
    memory_bytes=24 * units.GIB,
    swap_bytes=0,
    kernel="6.1.0-38-amd64",
    engine="Docker 20.10.24, cgroup v1, cgroupfs",
)
NOTEBOOK = ("jupyter", "nbconvert", "--to", "notebook", "--execute", "--output", "/tmp/mnist.ipynb", "work/mnist.ipynb")
STEP_NS = 250_000_000
SECOND_NS = 1_000_000_000


def snapshots_of(*, seconds: float, cores: float, limit_bytes: int, beyond: float = 1.0, kill_at: float | None = None):
    """A run of `seconds`: CPU used in full after a start of 3 s, memory rising to `beyond` its limit at 70 % of it."""
    return tuple(
        _snapshot(index, seconds, cores, limit_bytes * beyond, kill_at) for index in range(int(seconds * 4) + 1)
    )


def _snapshot(index: int, seconds: float, cores: float, highest: float, kill_at: float | None) -> Snapshot:
    now = index / 4
    busy = max(0.0, now - 3) * cores + min(now, 3) * cores * 0.4
    wobble = (0.000, 0.011, -0.006, 0.004)[index % 4]
    killed = kill_at is not None and now >= kill_at
    rising = min(1.0, 0.22 + 0.78 * (now / (0.7 * seconds)) ** 2)
    memory = int(highest * (0.41 + wobble if killed else rising))
    return Snapshot(
        monotonic_ns=7_000 * SECOND_NS + index * STEP_NS,
        versions={"cpu": 1, "cpuacct": 1, "cpuset": 1, "memory": 1, "pids": 1},
        cpu_usage_ns=int((busy + wobble * cores) * SECOND_NS) + 90_000_000,
        nr_periods=int(now * 10),
        nr_throttled=int(max(0.0, now - 3) * 10),
        memory_current_bytes=memory,
        memory_peak_bytes=max(memory, int(highest)) if killed else memory,
        memory_inactive_file_bytes=int(min(60 * units.MIB, memory * 0.1)),
        swap_current_bytes=0,
        oom_kill=1 if killed else 0,
        pids_current=12 + index % 3,
        pids_max_events=0,
    )


def expected(**values) -> tuple[Expectation, ...]:
    return tuple(Expectation(field=field, value=value, v1=(), v2=()) for field, value in values.items())


def memory_verdict(outcome: Outcome, reason: str, *, peak: int, limit: int = units.GIB) -> Verdict:
    return Verdict(
        field="mem_limit",
        outcome=outcome,
        limit=units.format_size(limit),
        seen=units.usage(units.format_size(peak), units.format_size(limit), peak / limit),
        reason=reason,
        files=(f"memory.limit_in_bytes = {limit}", f"memory.max_usage_in_bytes: 31457280 → {peak}"),
        figures={"peak_bytes": peak, "limit_bytes": limit, "oom_kills": 1},
        under_load=outcome,
    )


def cpu_verdict(outcome: Outcome, reason: str, *, used: float, limit: float = 0.5) -> Verdict:
    return Verdict(
        field="cpu_limit",
        outcome=outcome,
        limit=units.format_cores(limit),
        seen=units.usage(units.format_cores(used), units.format_cores(limit), used / limit),
        reason=reason,
        files=(
            f"cpu.cfs_quota_us = {int(limit * 100000)}",
            "cpu.cfs_period_us = 100000",
            "cpuacct.usage: 90000000 → 19590000000",
            "cpu.stat nr_throttled: 0 → 390",
        ),
        figures={"limit_cores": limit, "used_cores": used, "throttled_ratio": 0.98},
        under_load=outcome,
    )


ALICE = Trial(
    subject="alice",
    limits=(
        Origin(field="mem_limit", value="1.00 GiB", rule="user alice (limits.yaml:24)"),
        Origin(field="cpu_limit", value="0.50 cores", rule="user alice (limits.yaml:25)"),
        Origin(field="pids_limit", value="unlimited", rule="default (limits.yaml:6)"),
    ),
    expect=expected(mem_limit=units.GIB, cpu_limit=0.5, pids_limit=None),
    evidence=Evidence(
        snapshots=snapshots_of(seconds=42, cores=0.5, limit_bytes=units.GIB, kill_at=31.0),
        load=Load(
            command=NOTEBOOK,
            exit_code=0,
            oom_killed=True,
            said=("training: 2 epochs, accuracy 0.94", "memory: 1.00 / 1.00 GiB (100%), child killed"),
        ),
        host=HOST,
    ),
    verdicts=(
        memory_verdict(Outcome.HELD, "peak 1.00 GiB, and the OOM killer ended 1 process", peak=units.GIB),
        cpu_verdict(Outcome.HELD, "throttled in 98% of periods and never above it, in 18 windows", used=0.498),
    ),
)
BOB = Trial(
    subject="bob",
    limits=(
        Origin(field="mem_limit", value="768 MiB", rule="group students (limits.yaml:15)"),
        Origin(field="cpu_limit", value="1.00 cores", rule="group students (limits.yaml:16)"),
        Origin(field="pids_limit", value="256", rule="group students (limits.yaml:17)"),
    ),
    expect=expected(mem_limit=768 * units.MIB, cpu_limit=1.0, pids_limit=256),
    evidence=Evidence(
        snapshots=snapshots_of(seconds=40, cores=1.31, limit_bytes=768 * units.MIB, beyond=0.8),
        load=Load(command=NOTEBOOK, exit_code=137, oom_killed=False),
        host=HOST,
    ),
    verdicts=(
        memory_verdict(Outcome.UNKNOWN, "not pressed: peak 614 MiB", peak=614 * units.MIB, limit=768 * units.MIB),
        cpu_verdict(
            Outcome.BROKEN,
            "the kernel shows cpu.cfs_quota_us = 150000, expected 100000; 1.31 cores over 2.0 s, 31% above it",
            used=1.31,
            limit=1.0,
        ),
        Verdict(
            field="pids_limit",
            outcome=Outcome.HELD,
            limit="256",
            seen="256 / 256 (100%)",
            reason="17 forks were refused at the limit",
            files=("pids.max = 256", "pids.events max: 0 → 17"),
        ),
    ),
)
CONTROL = Trial(
    subject="control",
    control=True,
    limits=ALICE.limits[:2],
    expect=ALICE.expect[:2],
    evidence=Evidence(
        snapshots=snapshots_of(seconds=30, cores=1.94, limit_bytes=units.GIB, beyond=1.5),
        load=Load(command=NOTEBOOK, exit_code=0, oom_killed=False),
        host=HOST,
    ),
    verdicts=(
        memory_verdict(Outcome.BROKEN, "peak 1.50 GiB (1610612736 bytes) is above the limit", peak=1610612736),
        cpu_verdict(Outcome.BROKEN, "1.94 cores over 2.0 s, 288% above it", used=1.94),
    ),
)


def report(*trials: Trial) -> Report:
    return Report(trials=trials, host=HOST, started="2026-11-21T10:15:00Z", version="0.1.0")


def pressed_by(trial: Trial, *snapshots: Snapshot) -> Trial:
    """The trial with other snapshots."""
    return replace(trial, evidence=replace(trial.evidence, snapshots=snapshots))


def test_the_examples_agree_with_themselves():
    """In each example the outcomes, and the exit code of the report, are those that its trials are named for."""
    assert [trial.outcome for trial in (ALICE, BOB, CONTROL)] == [Outcome.HELD, Outcome.BROKEN, Outcome.BROKEN]
    assert [report(*trials).exit_code for trials in ((ALICE, CONTROL), (ALICE, BOB), (CONTROL,))] == [0, 1, 3]
