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
TOLD = {1: V1, 2: V2}
WARNING = "Your kernel does not support swap limit capabilities. Memory limited without swap."
V2_ROOT = replace(V2, text="max", recorded=-1, swap_limit=False, engine_cgroup="/", warnings=(WARNING,))


def run(version, exit_code, swap=0, peak=MEMORY, memsw=None, kills=None):
    """A load's evidence: before, in the middle, and after."""
    before = Snapshot(
        monotonic_ns=0,
        versions={"memory": version},
        memory_current_bytes=10 * MIB,
        memory_peak_bytes=10 * MIB,
        swap_current_bytes=0,
        oom_kill=0,
        limits=kernel_files.memory(version, MEMORY),
    )
    middle = replace(before, memory_current_bytes=peak, memory_peak_bytes=peak, swap_current_bytes=swap)
    after = replace(middle, memsw_peak_bytes=memsw, oom_kill=int(exit_code == 137) if kills is None else kills)
    load = Load(command=(), exit_code=exit_code, oom_killed=None)
    return Evidence(snapshots=(before, middle, after), load=load, host=HOST)


def pressed(told, *arguments, **changes):
    return Pressed(told=told, evidence=run(told.version, *arguments, **changes))


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
    return Kept(
        told=replace(TOLD[version], recorded=MEMORY + 1, **told),
        texts=dict(zip(("at first", "after an update", "after a reload"), texts, strict=False)),
        reload=reload,
        evidence=evidence,
    )


def outcomes(version):
    """Situation → case, evidence, outcome, and by the load alone; on a host with this version of cgroups."""
    equal = TOLD[version]
    some, endless = (
        replace(equal, text=kernel_files.memory(version, MEMORY, swap)[kernel_files.SWAP[version]])
        for swap in (SWAP, None)
    )
    both = replace(some, recorded=MEMORY + SWAP)
    fits, exceeds = run(version, 0, swap=20 * MIB), run(version, 137, swap=SWAP, memsw=MEMORY + SWAP)
    lives = run(version, 0, swap=70 * MIB, memsw=134 * MIB)
    too_much = run(version, 137, memsw=MEMORY + SWAP + 1)
    unaccounted = replace(equal, text=None, swap_limit=False)
    return {
        "unset: as much swap as memory": (
            47,
            replace(equal, text=str((3 - version) * MEMORY), recorded=2 * MEMORY),
            "HELD",
            None,
        ),
        "unset: no swap at all": (47, equal, "BROKEN", "BROKEN"),
        "equal: killed, nothing swapped": (48, pressed(equal, 137), "HELD", None),
        "equal: it swapped and lived": (48, pressed(equal, 0, swap=40 * MIB), "BROKEN", "BROKEN"),
        "equal: a single page was swapped": (48, pressed(equal, 137, swap=4096), "BROKEN", "BROKEN"),
        "equal: the wrong file, though the load was killed": (48, pressed(endless, 137), "BROKEN", None),
        "equal: the load was too small": (48, pressed(equal, 137, peak=MEMORY // 2), "UNKNOWN", None),
        "equal: nobody knows how the load ended": (48, pressed(equal, None), "UNKNOWN", None),
        "equal: the file is not there": (48, pressed(replace(equal, text=None), 137), "UNKNOWN", None),
        "endless": (49, replace(endless, recorded=-1), "HELD", None),
        "endless: limited all the same": (49, replace(equal, recorded=-1), "BROKEN", "BROKEN"),
        "total: one fits, one does not": (50, total(both, fits, exceeds), "HELD", None),
        "total: both live": (50, total(both, fits, lives), "BROKEN", "BROKEN"),
        "total: what fits was killed": (50, total(both, run(version, 137, swap=MIB), exceeds), "UNKNOWN", "UNKNOWN"),
        "total: what fits failed": (50, total(both, run(version, 1, swap=MIB), exceeds), "BROKEN", "BROKEN"),
        "total: what fits did not swap": (50, total(both, run(version, 0), exceeds), "UNKNOWN", "UNKNOWN"),
        "total: one byte too much": (50, total(both, fits, too_much), "BROKEN", "BROKEN"),
        "total: killed by somebody else": (
            50,
            total(both, fits, run(version, 137, memsw=MIB, kills=0)),
            "BROKEN",
            "BROKEN",
        ),
        "total: by samples, where there is no peak": (
            50,
            total(both, fits, run(version, 137, swap=SWAP)),
            "HELD",
            None,
        ),
        "told: limited, and said so": (52, equal, "HELD", None),
        "told: limited, but denied": (52, replace(equal, swap_limit=False), "BROKEN", "BROKEN"),
        "told: not limited, in silence": (52, endless, "BROKEN", "BROKEN"),
        "told: no accounting and no swap": (52, replace(unaccounted, swap_bytes=0), "HELD", None),
        "told: no accounting, but swap": (52, unaccounted, "BROKEN", "BROKEN"),
        "told: no accounting, in silence": (52, replace(equal, text=None, swap_bytes=0), "BROKEN", "BROKEN"),
        "told: the engine does not say": (52, replace(equal, swap_limit=None), "UNKNOWN", None),
    }


V1_TEXTS = (str(MEMORY), str(MEMORY))
OUTCOMES = {f"v{version}, {name}": row for version in TOLD for name, row in outcomes(version).items()} | {
    "v2, unset: the engine in the root cgroup": (47, V2_ROOT, "BROKEN", "BROKEN"),
    "v2, equal: the engine in the root cgroup": (48, pressed(V2_ROOT, 137), "BROKEN", None),
    "v2, told: not limited, and said so": (52, V2_ROOT, "BROKEN", "BROKEN"),
    "v1, swappiness 0: killed": (51, eager(run(1, 137)), "HELD", None),
    "v1, swappiness 0: it swapped": (51, eager(run(1, 0, swap=40 * MIB)), "BROKEN", "BROKEN"),
    "v1, swappiness: the wrong one, not pressed": (51, eager(run(1, 137), text="60"), "BROKEN", None),
    "v2, swappiness: discarded with a warning": (51, discarded("Memory swappiness discarded."), "HELD", None),
    "v2, swappiness: discarded in silence": (51, discarded(), "BROKEN", "BROKEN"),
    "v2, swappiness: recorded": (51, discarded("swappiness", recorded=0), "BROKEN", "BROKEN"),
    "v1, kept: nothing to reload": (65, kept(run(1, 137), V1_TEXTS, reload=NO_SYSTEMD, version=1), "HELD", None),
    "v1, kept: lost by the update": (
        65,
        kept(run(1, 137), (str(MEMORY), str(2 * MEMORY)), reload=NO_SYSTEMD, version=1, text=str(2 * MEMORY)),
        "BROKEN",
        None,
    ),
    "v2, kept: through a reload": (65, kept(run(2, 137)), "HELD", None),
    "v2, kept: nobody may reload": (65, kept(run(2, 137), reload=FAILED), "UNKNOWN", None),
    "v2, kept: lost by the update, though nothing was swapped": (
        65,
        kept(run(2, 137), ("0", "max", "max"), text="max"),
        "BROKEN",
        None,
    ),
    "v2, kept: lost by the reload, and swapped": (
        65,
        kept(run(2, 0, swap=40 * MIB), ("0", "0", "max"), text="max"),
        "BROKEN",
        "BROKEN",
    ),
    "v2, kept: given behind the engine's back, and swapped": (
        65,
        kept(run(2, 0, swap=40 * MIB), text="134217728"),
        "BROKEN",
        "BROKEN",
    ),
    "v2, kept: asked as equal to memory": (65, replace(kept(run(2, 137)), told=V2), "BROKEN", None),
    "v2, kept: the load was too small": (65, kept(run(2, 137, peak=MEMORY // 2)), "UNKNOWN", None),
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
    assert JUDGES[48](Pressed(told=told, evidence=run(2, 137)))[0].reason == reason


def test_what_took_it_away_is_told():
    """Each moment has a verdict of its own: the first that is wrong names the cause."""
    found = JUDGES[65](kept(run(2, 0, swap=40 * MIB), ("0", "0", "max"), text="max"))
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
    reasons = [one.reason for one in JUDGES[65](kept(run(1, 137), V1_TEXTS, reload=NO_SYSTEMD, version=1))]
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
