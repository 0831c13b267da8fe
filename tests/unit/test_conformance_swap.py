"""Swap: what the judges make of what the kernel and the engine said, and of loads that swapped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spawner_limits.conformance.swap import (
    CASES,
    MEMORY,
    SWAP,
    Eager,
    Kept,
    Pressed,
    Reload,
    Told,
    Total,
    engine_cgroup,
    reloaded,
)
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.proof.evidence import Evidence, Host, Load
from spawner_limits.units import GIB, MIB
from tests import kernel_files

JUDGES = {case.number: case.judge for case in CASES}
HOST = Host(cores=2, memory_bytes=GIB, swap_bytes=256 * MIB, kernel="6.18", engine="Docker 28.5.2")
V1 = Told(version=1, text=str(MEMORY), recorded=MEMORY, swap_limit=True, swap_bytes=256 * MIB)
V2 = Told(version=2, text="0", recorded=MEMORY, swap_limit=True, engine_cgroup="/init", swap_bytes=256 * MIB)
WARNING = "Your kernel does not support swap limit capabilities. Memory limited without swap."
V2_ROOT = replace(V2, text="max", recorded=-1, swap_limit=False, engine_cgroup="/", warnings=(WARNING,))


def run(exit_code, swap=0, peak=MEMORY, memsw=None, kills=None, version=1, limit=MEMORY):
    """A load's evidence: before, in the middle, and after."""
    before = Snapshot(
        monotonic_ns=0,
        versions={"memory": version},
        memory_current_bytes=10 * MIB,
        memory_peak_bytes=10 * MIB,
        swap_current_bytes=0,
        oom_kill=0,
        limits={kernel_files.MEMORY[version]: str(limit)},
    )
    middle = replace(before, memory_current_bytes=peak, memory_peak_bytes=peak, swap_current_bytes=swap)
    after = replace(middle, memsw_peak_bytes=memsw, oom_kill=int(exit_code == 137) if kills is None else kills)
    load = Load(command=(), exit_code=exit_code, oom_killed=None)
    return Evidence(snapshots=(before, middle, after), load=load, host=HOST)


def pressed(told, *arguments, **changes):
    return Pressed(told=told, evidence=run(*arguments, **changes))


def total(told, fits, exceeds):
    return Total(told=told, fits=fits, exceeds=exceeds)


def eager(evidence, text="0", **changes):
    return Eager(version=1, text=text, recorded=0, warnings=(), evidence=evidence, **changes)


def discarded(*warnings, recorded=None):
    return Eager(version=2, text=None, recorded=recorded, warnings=warnings, evidence=None)


DONE = Reload(done=True)
NO_SYSTEMD = Reload(done=False, applies=False, why="systemd is not PID 1 here")
FAILED = Reload(done=False, why="Access denied")


def kept(evidence, texts=("0", "0", "0"), *, reload=DONE, version=2, **told):
    """A container that was asked no swap as a server is; `texts`: at first, after the update, after the reload."""
    base = replace(V1 if version == 1 else V2, recorded=MEMORY + 1, **told)
    return Kept(
        told=base,
        texts=dict(zip(("at first", "after an update", "after a reload"), texts, strict=False)),
        reload=reload,
        evidence=evidence,
    )


V1_TEXTS = (str(MEMORY), str(MEMORY))
BOTH = replace(V1, text=str(MEMORY + SWAP), recorded=MEMORY + SWAP)
FITS, EXCEEDS = run(0, swap=20 * MIB), run(137, swap=SWAP, memsw=MEMORY + SWAP)

OUTCOMES = {
    "unset, v1: twice the memory": (47, replace(V1, text=str(2 * MEMORY), recorded=2 * MEMORY), "HELD", None),
    "unset, v2: as much swap": (47, replace(V2, text=str(MEMORY), recorded=2 * MEMORY), "HELD", None),
    "unset: no swap at all": (47, V1, "BROKEN", "BROKEN"),
    "unset: the engine in the root cgroup": (47, V2_ROOT, "BROKEN", "BROKEN"),
    "equal: killed, nothing swapped": (48, pressed(V1, 137), "HELD", None),
    "equal, v2: killed, nothing swapped": (48, pressed(V2, 137, version=2), "HELD", None),
    "equal: it swapped and lived": (48, pressed(V1, 0, swap=40 * MIB), "BROKEN", "BROKEN"),
    "equal: a single page was swapped": (48, pressed(V1, 137, swap=4096), "BROKEN", "BROKEN"),
    "equal: the wrong file, though the load was killed": (48, pressed(V2_ROOT, 137, version=2), "BROKEN", None),
    "equal: the load was too small": (48, pressed(V1, 137, peak=MEMORY // 2), "UNKNOWN", None),
    "equal: nobody knows how the load ended": (48, pressed(V1, None), "UNKNOWN", None),
    "equal: the file is not there": (48, pressed(replace(V1, text=None), 137), "UNKNOWN", None),
    "endless, v1": (49, replace(V1, text=kernel_files.ENDLESS[1], recorded=-1), "HELD", None),
    "endless, v2": (49, replace(V2, text=kernel_files.ENDLESS[2], recorded=-1), "HELD", None),
    "endless: limited all the same": (49, replace(V1, recorded=-1), "BROKEN", "BROKEN"),
    "total: one fits, one does not": (50, total(BOTH, FITS, EXCEEDS), "HELD", None),
    "total: both live": (50, total(BOTH, FITS, run(0, swap=70 * MIB, memsw=134 * MIB)), "BROKEN", "BROKEN"),
    "total: what fits was killed": (50, total(BOTH, run(137, swap=MIB), EXCEEDS), "UNKNOWN", "UNKNOWN"),
    "total: what fits failed": (50, total(BOTH, run(1, swap=MIB), EXCEEDS), "BROKEN", "BROKEN"),
    "total: what fits did not swap": (50, total(BOTH, run(0), EXCEEDS), "UNKNOWN", "UNKNOWN"),
    "total: one byte too much": (50, total(BOTH, FITS, run(137, memsw=MEMORY + SWAP + 1)), "BROKEN", "BROKEN"),
    "total: killed by somebody else": (50, total(BOTH, FITS, run(137, memsw=MIB, kills=0)), "BROKEN", "BROKEN"),
    "total: by samples, where there is no peak": (50, total(BOTH, FITS, run(137, swap=SWAP)), "HELD", None),
    "swappiness 0: killed": (51, eager(run(137)), "HELD", None),
    "swappiness 0: it swapped": (51, eager(run(0, swap=40 * MIB)), "BROKEN", "BROKEN"),
    "swappiness: the wrong one, not pressed": (51, eager(run(137), text="60"), "BROKEN", None),
    "swappiness on v2: discarded with a warning": (51, discarded("Memory swappiness discarded."), "HELD", None),
    "swappiness on v2: discarded in silence": (51, discarded(), "BROKEN", "BROKEN"),
    "swappiness on v2: recorded": (51, discarded("swappiness", recorded=0), "BROKEN", "BROKEN"),
    "told: limited, and said so": (52, V2, "HELD", None),
    "told: limited, but denied": (52, replace(V2, swap_limit=False), "BROKEN", "BROKEN"),
    "told: not limited, and said so": (52, V2_ROOT, "BROKEN", "BROKEN"),
    "told: not limited, in silence": (52, replace(V2, text="max"), "BROKEN", "BROKEN"),
    "told: no accounting and no swap": (52, replace(V1, text=None, swap_limit=False, swap_bytes=0), "HELD", None),
    "told: no accounting, but swap": (52, replace(V1, text=None, swap_limit=False), "BROKEN", "BROKEN"),
    "told: no accounting, in silence": (52, replace(V1, text=None, swap_bytes=0), "BROKEN", "BROKEN"),
    "kept: through a reload": (65, kept(run(137, version=2)), "HELD", None),
    "kept, v1: nothing to reload": (65, kept(run(137), V1_TEXTS, reload=NO_SYSTEMD, version=1), "HELD", None),
    "kept: nobody may reload": (65, kept(run(137, version=2), reload=FAILED), "UNKNOWN", None),
    "kept: lost by the update, though nothing was swapped": (
        65,
        kept(run(137, version=2), ("0", "max", "max"), text="max"),
        "BROKEN",
        None,
    ),
    "kept: lost by the reload, and swapped": (
        65,
        kept(run(0, swap=40 * MIB, version=2), ("0", "0", "max"), text="max"),
        "BROKEN",
        "BROKEN",
    ),
    "kept: given behind the engine's back, and swapped": (
        65,
        kept(run(0, swap=40 * MIB, version=2), text="134217728"),
        "BROKEN",
        "BROKEN",
    ),
    "kept: asked as equal to memory": (65, replace(kept(run(137, version=2)), told=V2), "BROKEN", None),
    "kept: the load was too small": (65, kept(run(137, version=2, peak=MEMORY // 2)), "UNKNOWN", None),
    "told: the engine does not say": (52, replace(V1, swap_limit=None), "UNKNOWN", None),
}


def worst(outcomes):
    return next((one for one in ("BROKEN", "UNKNOWN", "HELD") if one in outcomes), None)


@pytest.mark.parametrize(("number", "evidence", "outcome", "by_load"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcomes(number, evidence, outcome, by_load):
    """The worst of the verdicts, and whether the load alone shows a missing limit: that is what a control needs."""
    verdicts = JUDGES[number](evidence)
    assert worst([one.outcome for one in verdicts]) == outcome, [one.reason for one in verdicts]
    assert ("BROKEN" in [one.under_load for one in verdicts]) == (by_load == "BROKEN")


DROPPED = "memory.swap.max: max, expected 0"
ROOT = (
    "swap is NOT limited on this host, because dockerd lives in the root cgroup, where it finds no memory.swap.max, "
    f"and so drops --memory-swap (it warned: {WARNING}): {DROPPED}"
)
ELSEWHERE = (
    "swap is NOT limited on this host, because dockerd finds that swap can't be limited (docker info: SwapLimit "
    f"false), and so drops --memory-swap (without a warning when the container was made): {DROPPED}"
)
DENIED = (
    "swap is NOT limited on this host, because --memory-swap did not reach the Linux kernel, though docker info says "
    f"that swap can be limited (without a warning when the container was made): {DROPPED}"
)
UNACCOUNTED = "memory.swap.max is not there: this Linux kernel does not account swap"
REASONS = {
    "dockerd in the root cgroup": (V2_ROOT, ROOT),
    "dockerd elsewhere, without a warning": (replace(V2_ROOT, engine_cgroup="/init", warnings=()), ELSEWHERE),
    "docker info says that it can": (replace(V2_ROOT, swap_limit=True, warnings=()), DENIED),
    "another limit, which has nothing to do with that": (
        replace(V2, text=str(SWAP)),
        f"memory.swap.max: {SWAP}, expected 0",
    ),
    "no accounting": (replace(V2, text=None), UNACCOUNTED),
}


@pytest.mark.parametrize(("told", "reason"), REASONS.values(), ids=REASONS)
def test_reasons(told, reason):
    """Why swap is not limited, in whole sentences."""
    assert JUDGES[48](Pressed(told=told, evidence=run(137, version=2)))[0].reason == reason


def test_what_took_it_away_is_told():
    """Each moment has a verdict of its own: the first that is wrong names the cause."""
    found = JUDGES[65](kept(run(0, swap=40 * MIB, version=2), ("0", "0", "max"), text="max"))
    assert [one.reason for one in found][:4] == [
        "memory.swap.max at first: 0",
        "memory.swap.max after an update: 0",
        "memory.swap.max after a reload: max, expected 0",
        "memory.swap.max at the end: max, expected 0",
    ]


def test_where_systemd_writes_no_limits_nothing_isreloaded(tmp_path):
    """Another driver, or another first process: it is said, and takes nothing from the case."""
    assert reloaded("cgroupfs", tmp_path) == Reload(
        done=False,
        applies=False,
        why="the engine's cgroup driver is cgroupfs, so systemd does not write its containers' limits",
    )
    assert reloaded("systemd", tmp_path / "none") == NO_SYSTEMD
    reasons = [one.reason for one in JUDGES[65](kept(run(137), V1_TEXTS, reload=NO_SYSTEMD, version=1))]
    assert "systemctl daemon-reload: not applicable: systemd is not PID 1 here" in reasons


CGROUPS = {
    "in the root": ("0::/\n", "/"),
    "systemd's": ("0::/system.slice/docker.service\n", "/system.slice/docker.service"),
    "hybrid": ("5:memory:/engine\n0::/engine\n", "/engine"),
    "v1 only": ("5:memory:/\n", None),
}


@pytest.mark.parametrize(("text", "cgroup"), CGROUPS.values(), ids=CGROUPS)
def test_the_engines_own_cgroup(tmp_path, text, cgroup):
    """From dockerd's PID file and /proc."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "docker.pid").write_text("77\n", encoding="ascii")
    (tmp_path / "proc" / "77").mkdir(parents=True)
    (tmp_path / "proc" / "77" / "cgroup").write_text(text, encoding="ascii")
    assert engine_cgroup(tmp_path) == cgroup


def test_an_engine_that_can_not_be_found(tmp_path):
    """It runs elsewhere, or writes no PID file: nothing is known of its cgroup."""
    assert engine_cgroup(tmp_path) is None
