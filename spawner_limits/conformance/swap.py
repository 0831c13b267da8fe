"""Cases 47 to 52, and 65: how much a container may swap. Whoever sets no swap limit sets none on memory either.

47, 49 and 52 are about what the engine makes of a request, so they are read; 48, 50, 51 and 65 are about what a load
gets, so they are UNKNOWN where there is no swap to press with.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spawner_limits.bench import interrupt
from spawner_limits.conformance.case import CannotError, Case, Group, Pace
from spawner_limits.conformance.former import KILLED, Setting, claim, ended, exactly, hold, made, oom_kills
from spawner_limits.conformance.update import lift
from spawner_limits.engines.docker import translate
from spawner_limits.engines.enforcement import swap_texts
from spawner_limits.lifecycle.apply import short
from spawner_limits.limits import Limits
from spawner_limits.proof.evidence import Outcome
from spawner_limits.proof.series import Series
from spawner_limits.units import MIB, format_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Evidence, Verdict

MEMORY = 64 * MIB
SWAP = 64 * MIB
_HOG_MIB = 100
_FITS_MIB = 68
"""more than MEMORY, and far less than MEMORY + SWAP: what is being written to a slow swap counts in both"""
_EXCEEDS_MIB = 160
_STEP_MIB = 4
_HOLD_S = 1.5
"""so long a load stays at its most, for the samples"""
_LOAD_S = 100
_FILES: Mapping[int, str] = {1: "memory.memsw.limit_in_bytes", 2: "memory.swap.max"}
_USED: Mapping[int, str] = {1: "memory.stat total_swap", 2: "memory.swap.current"}
_PIDS = 64
_RELOAD = ("systemctl", "daemon-reload")
_RELOAD_S = 60
_SETTLED_S = 1.0
"""for systemd, which answers before it has written all limits"""
_NO_SWAP = "this host has no swap to press with"
_ADD_SWAP = "nothing can be swapped here, so nothing needs to hold; if swap is added one day, run this case again"


# -- what was asked, and what was made of it -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What the Linux kernel and the engine say of a container's swap, before it is pressed."""

    version: CgroupVersion
    text: str | None
    """of the kernel's file; `None`: there is none"""
    recorded: int | None
    """`HostConfig.MemorySwap`: bytes, or -1"""
    swap_limit: bool | None
    """`docker info`: whether the engine finds that swap can be limited"""
    warnings: tuple[str, ...] = ()
    """of `docker create`"""
    engine_cgroup: str | None = None
    """dockerd's own cgroup on v2; `None` where it was not found"""
    page_size_bytes: int = 4096
    swap_bytes: int = 0
    """of the host"""

    @property
    def file(self) -> str:
        """The kernel's file: v1 counts memory and swap together, v2 swap alone."""
        return _FILES[self.version]

    def texts(self, memswap_bytes: int | None) -> tuple[str, ...]:
        """What the file may say for so much memory and swap together, above `MEMORY`; `None`: without end."""
        return swap_texts(memswap_bytes, MEMORY, self.page_size_bytes)[self.version - 1][0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pressed:
    """One container's swap, as it was told of, and then pressed."""

    told: Told
    evidence: Evidence


def engine_cgroup(root: Path = Path("/")) -> str | None:
    """The v2 cgroup that dockerd itself lives in, "/" for the root; `None` where it can't be found."""
    try:
        pid = int((root / "run" / "docker.pid").read_text(encoding="ascii"))
        lines = (root / "proc" / str(pid) / "cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)


def _told(subject: Subject) -> Told:
    bench = subject.bench
    return Told(
        version=bench.version,
        text=subject.read(_FILES[bench.version]),
        recorded=subject.inspected.get("HostConfig", {}).get("MemorySwap"),
        swap_limit=bench.engine.info.get("SwapLimit"),
        warnings=subject.container.warnings,
        engine_cgroup=engine_cgroup(),
        page_size_bytes=bench.page_size_bytes,
        swap_bytes=bench.host.swap_bytes,
    )


def _read(bench: Bench, setting: Setting) -> Told:
    with made(bench, setting) as subject:
        return _told(subject)


def limit_file(told: Told, memswap_bytes: int | None) -> Verdict:
    """The kernel's file says what was asked for. Where it says that swap has no limit, the reason says why."""
    verdict = exactly(told.file, told.texts(memswap_bytes), told.text)
    if told.text is None:
        return replace(verdict, reason=f"{told.file} is not there: this Linux kernel does not account swap")
    if verdict.outcome is Outcome.BROKEN and told.text in told.texts(None):
        return replace(verdict, reason=f"swap is NOT limited on this host, because {_why(told)}: {verdict.reason}")
    return verdict


def _why(told: Told) -> str:
    warned = "; ".join(told.warnings)
    said = f" (it warned: {warned})" if warned else " (without a warning when the container was made)"
    if told.swap_limit:
        return f"--memory-swap did not reach the Linux kernel, though docker info says that swap can be limited{said}"
    if told.engine_cgroup == "/":
        return f"dockerd lives in the root cgroup, where it finds no memory.swap.max, and so drops --memory-swap{said}"
    return f"dockerd finds that swap can't be limited (docker info: SwapLimit false), and so drops --memory-swap{said}"


def _record(told: Told, memswap_bytes: int) -> Verdict:
    recorded = None if told.recorded is None else str(told.recorded)
    return exactly("HostConfig.MemorySwap", str(memswap_bytes), recorded)


def _judge_unset(told: Told) -> list[Verdict]:
    return [limit_file(told, 2 * MEMORY), _record(told, 2 * MEMORY)]


def _judge_unlimited(told: Told) -> list[Verdict]:
    return [limit_file(told, None), _record(told, -1)]


# -- what a load gets ----------------------------------------------------------------------------------------------


def swapped(snapshots: Sequence[Snapshot], *, least: int = 0, most: int) -> Verdict:
    """So much swap was used at the most, and at least once so much; in bytes."""
    used = Series(snapshots).most("swap_current_bytes")
    expected = "none" if not most else f"{format_size(least)} to {format_size(most)}" if least else format_size(most)
    file = _USED[snapshots[0].versions.get("memory", 1) if snapshots else 1]
    return claim(
        "swap used",
        expected=expected,
        seen=None if used is None else format_size(used) if used else "none",
        # less than a load must have swapped is what samples have missed
        holds=None if used is None or used < least else used <= most,
        files=() if used is None else (f"{file}: at most {used}",),
        figures={"swap_bytes": used, "most_swap_bytes": most},
    )


def _hog(subject: Subject, mib: int) -> Evidence:
    load = subject.probe("hog", mib, _STEP_MIB, _HOLD_S, "first")
    snapshots = subject.follow(load, seconds=_LOAD_S)
    return subject.evidence(snapshots, load)


def _unpressed(verdict: Verdict) -> Verdict:
    """A file is no load: it can show that a limit is missing, not that it holds."""
    return replace(verdict, under_load=None)


def _press_equal(bench: Bench, setting: Setting) -> Pressed:
    with made(bench, setting) as subject:
        told = _told(subject)
        # without swap nothing shows that none is used; a file that is wrong is BROKEN all the same
        if not bench.host.swap_bytes and told.text in (None, *told.texts(MEMORY)):
            raise CannotError(_NO_SWAP, _ADD_SWAP)
        return Pressed(told=told, evidence=_hog(subject, _HOG_MIB))


def _judge_equal(pressed: Pressed) -> list[Verdict]:
    evidence = pressed.evidence
    return [
        _unpressed(limit_file(pressed.told, MEMORY)),
        swapped(evidence.snapshots, most=0),
        ended(evidence.load.exit_code, KILLED, what=f"a load of {_HOG_MIB} MiB"),
        *hold(Limits(mem_limit=MEMORY), "mem_limit")(evidence),
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """Two loads in one container: one that fits in memory and swap together, and one that does not."""

    told: Told
    fits: Evidence
    exceeds: Evidence


def _press_total(bench: Bench, setting: Setting) -> Total:
    if not bench.host.swap_bytes:
        raise CannotError(_NO_SWAP, _ADD_SWAP)
    with made(bench, setting) as subject:
        return Total(told=_told(subject), fits=_hog(subject, _FITS_MIB), exceeds=_hog(subject, _EXCEEDS_MIB))


def _judge_total(total: Total) -> list[Verdict]:
    exceeds = total.exceeds
    return [
        _unpressed(limit_file(total.told, MEMORY + SWAP)),
        _fits(total.fits),
        swapped(total.fits.snapshots, least=MIB, most=SWAP if total.told.version != 1 else MEMORY + SWAP),
        ended(exceeds.load.exit_code, KILLED, what=f"a load of {_EXCEEDS_MIB} MiB"),
        oom_kills(exceeds.snapshots),
        _together(exceeds.snapshots),
    ]


def _fits(fits: Evidence) -> Verdict:
    """The load lived. One that was killed shows nothing: what is being written to a slow swap counts in both."""
    verdict, most = (
        ended(fits.load.exit_code, 0, what=f"a load of {_FITS_MIB} MiB"),
        Series(fits.snapshots).most("swap_current_bytes"),
    )
    if verdict.outcome is not Outcome.BROKEN or fits.load.exit_code != KILLED or most is None:
        return verdict
    reason = f"it was killed with {format_size(most)} swapped: this host did not write to its swap as fast as that"
    return replace(verdict, outcome=Outcome.UNKNOWN, under_load=Outcome.UNKNOWN, reason=reason)


def _together(snapshots: Sequence[Snapshot]) -> Verdict:
    """Memory and swap together stayed within their limit: by the kernel's peak, else by the samples."""
    peaks = [one.memsw_peak_bytes for one in snapshots if one.memsw_peak_bytes is not None]
    samples = [
        one.memory_current_bytes + one.swap_current_bytes
        for one in snapshots
        if one.memory_current_bytes is not None and one.swap_current_bytes is not None
    ]
    most = max(peaks or samples, default=None)
    return claim(
        "memory and swap together",
        expected=f"at most {format_size(MEMORY + SWAP)}",
        seen=None if most is None else format_size(most),
        holds=None if most is None else most <= MEMORY + SWAP,
        files=() if most is None else (f"memory + swap {'peak' if peaks else 'sample'} = {most}",),
        figures={"peak_bytes": most, "limit_bytes": MEMORY + SWAP},
    )


# -- 51: swappiness ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Eagerness:
    """Version of cgroups → the `mem_swappiness` that is asked for; `None`: not a word of it."""

    asked: Mapping[CgroupVersion, int | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Eager:
    """What came of a swappiness."""

    version: CgroupVersion
    text: str | None
    """of memory.swappiness, which v2 has not"""
    recorded: int | None
    warnings: tuple[str, ...]
    evidence: Evidence | None
    """of a load larger than memory; `None` on v2, where there is no swappiness to press"""


def _press_swappiness(bench: Bench, setting: Eagerness) -> Eager:
    if bench.version == 1 and not bench.host.swap_bytes:
        raise CannotError(_NO_SWAP, _ADD_SWAP)
    asked = setting.asked[bench.version]
    config: dict[str, Any] = {"mem_limit": MEMORY, "memswap_limit": 3 * MEMORY, "mem_swappiness": asked}
    with bench.container(**config) as subject:
        return Eager(
            version=bench.version,
            text=subject.read("memory.swappiness"),
            recorded=subject.inspected["HostConfig"].get("MemorySwappiness"),
            warnings=subject.container.warnings,
            evidence=_hog(subject, _HOG_MIB) if bench.version == 1 else None,
        )


def _judge_swappiness(eager: Eager) -> list[Verdict]:
    if eager.evidence is None:
        return [warned(eager.warnings, "swappiness"), _discarded("MemorySwappiness", eager.recorded)]
    return [
        _unpressed(exactly("memory.swappiness", "0", eager.text)),
        swapped(eager.evidence.snapshots, most=0),
        ended(eager.evidence.load.exit_code, KILLED, what=f"a load of {_HOG_MIB} MiB with swap free"),
        oom_kills(eager.evidence.snapshots),
    ]


def warned(warnings: Sequence[str], word: str) -> Verdict:
    """When it made the container, the engine said that it discards what `word` is in."""
    told = [one for one in warnings if word in one.lower()]
    return claim(
        f"warning that {word} is discarded",
        expected="one",
        seen="; ".join(told) or "none",
        holds=bool(told),
        files=[f"Warnings of docker create: {list(warnings)}"],
    )


def _discarded(key: str, recorded: int | None) -> Verdict:
    return exactly(f"HostConfig.{key}", "not set", "not set" if recorded in {None, -1} else str(recorded))


# -- 52: is it told? -----------------------------------------------------------------------------------------------


def _judge_told(told: Told) -> list[Verdict]:
    """Swap is limited and the engine says so; or it can't be, there is none, and the engine says so."""
    return [_unaccounted(told) if told.text is None else limit_file(told, MEMORY), _engine_says(told)]


def _unaccounted(told: Told) -> Verdict:
    seen = f"not there, with {format_size(told.swap_bytes)} of swap" if told.swap_bytes else "not there, and no swap"
    return claim(told.file, expected="there, or a host without swap", seen=seen, holds=not told.swap_bytes)


def _engine_says(told: Told) -> Verdict:
    truth = told.text is not None and told.text not in told.texts(None)
    seen = None if told.swap_limit is None else str(told.swap_limit).lower()
    return exactly("docker info SwapLimit", str(truth).lower(), seen)


# -- 65: does it stay? ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Reload:
    """Whether systemd read its units anew, and why not."""

    done: bool
    applies: bool = True
    """False: systemd does not write these containers' limits"""
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A container that was given no swap, whose limits have then been written again by others."""

    told: Told
    """at its end"""
    texts: Mapping[str, str | None]
    """what was done → the text of the kernel's file after it"""
    reload: Reload
    evidence: Evidence


def _press_kept(bench: Bench, setting: Setting) -> Kept:
    file = _FILES[bench.version]
    with made(bench, replace(setting, behind={})) as subject:
        texts = {"at first": subject.read(file)}
        if refusal := subject.update(PidsLimit=_PIDS):
            raise CannotError(f"the engine refuses an update of the processes alone: {short(refusal)}")
        texts["after an update of the processes alone"] = subject.read(file)
        reload = reloaded(bench.engine.cgroup_driver)
        if reload.done:
            texts["after systemctl daemon-reload"] = subject.read(file)
        lift(subject, setting.behind.get(bench.version, {}))
        told = _told(subject)
        if not bench.host.swap_bytes and {*texts.values(), told.text} <= {None, *told.texts(MEMORY)}:
            raise CannotError(_NO_SWAP, _ADD_SWAP)
        return Kept(told=told, texts=texts, reload=reload, evidence=_hog(subject, _HOG_MIB))


def reloaded(driver: str, booted: Path = Path("/run/systemd/system")) -> Reload:
    """Have systemd read its units anew, as the installation of a package does, where it manages containers.

    `booted`: there while systemd is PID 1, by sd_booted(3).
    """
    if driver != "systemd":
        why = f"the engine's cgroup driver is {driver}, so systemd does not write its containers' limits"
        return Reload(done=False, applies=False, why=why)
    if not booted.is_dir():
        return Reload(done=False, applies=False, why="systemd is not PID 1 here")
    try:
        ran = subprocess.run(_RELOAD, capture_output=True, text=True, timeout=_RELOAD_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Reload(done=False, why=str(error))
    interrupt.pause(_SETTLED_S)
    return Reload(done=ran.returncode == 0, why=ran.stderr.strip())


def _judge_kept(kept: Kept) -> list[Verdict]:
    told, evidence = kept.told, kept.evidence
    asked = translate(_EQUAL.limits, page_size_bytes=told.page_size_bytes).ask["memswap_limit"]
    texts = {**kept.texts, "at the end": told.text}
    read = [exactly(f"{told.file} {when}", told.texts(MEMORY), text) for when, text in texts.items()]
    return [
        *map(_unpressed, (*read, _judge_reload(kept.reload), _record(told, asked))),
        swapped(evidence.snapshots, most=0),
        ended(evidence.load.exit_code, KILLED, what=f"a load of {_HOG_MIB} MiB"),
        *hold(Limits(mem_limit=MEMORY), "mem_limit")(evidence),
    ]


def _judge_reload(reload: Reload) -> Verdict:
    """That there is nothing to reload takes nothing from the rest; that it failed leaves the case undecided."""
    seen = "done" if reload.done else f"{'failed' if reload.applies else 'not applicable'}: {reload.why}"
    return claim(
        "systemctl daemon-reload",
        expected="done, where systemd writes the containers' limits",
        seen=seen,
        holds=True if reload.done or not reload.applies else None,
        files=(f"systemctl daemon-reload: {seen}",),
    )


# -- the list ------------------------------------------------------------------------------------------------------

_REMEDY = (
    "let dockerd run in a cgroup of its own, as its systemd unit does (by hand on cgroup v2: start it from a cgroup "
    "below the root), and make the containers anew; where docker info says SwapLimit false for want of "
    "swap accounting, boot with swapaccount=1; or do without swap: swapoff -a"
)
_EQUAL = Setting(limits=Limits(mem_limit=MEMORY, memswap_limit=MEMORY))
_ENDLESS = Setting(host_config={"mem_limit": MEMORY, "memswap_limit": -1})
_SWAPS = Setting(limits=Limits(mem_limit=MEMORY, memswap_limit=3 * MEMORY))

CASES: tuple[AnyCase, ...] = (
    Case(
        number=47,
        group=Group.SWAP,
        title="without a word on swap, a container gets as much again as it has memory",
        expected="memory.memsw.limit_in_bytes = 2 × memory",
        expected_v2="memory.swap.max = 1 × memory",
        tolerance="exact",
        press=lambda bench: _read(bench, Setting(host_config={"mem_limit": MEMORY})),
        control=lambda bench: _read(bench, _EQUAL),
        control_words="a container that was given no swap",
        claims=(_judge_unset,),
        remedy=f"say memswap_limit in the policy, which does so by itself; {_REMEDY}",
    ),
    Case(
        number=48,
        group=Group.SWAP,
        title="where no swap is given, none is used",
        expected=f"memory.memsw.limit_in_bytes = memory; {_HOG_MIB} MiB in {MEMORY // MIB} MiB: 137, none swapped",
        expected_v2=f"memory.swap.max 0; {_HOG_MIB} MiB in {MEMORY // MIB} MiB: 137, none swapped",
        press=lambda bench: _press_equal(bench, _EQUAL),
        control=lambda bench: _press_equal(bench, _SWAPS),
        control_words="the same load with swap allowed",
        claims=(_judge_equal,),
        remedy=_REMEDY,
    ),
    Case(
        number=49,
        group=Group.SWAP,
        title="memory_swap −1 is swap without end",
        expected="memory.memsw.limit_in_bytes at its largest",
        expected_v2="memory.swap.max = max",
        tolerance="exact",
        press=lambda bench: _read(bench, _ENDLESS),
        control=lambda bench: _read(
            bench, replace(_ENDLESS, behind={1: {_FILES[1]: str(MEMORY)}, 2: {_FILES[2]: "0"}})
        ),
        control_words="the same, and swap then forbidden in the kernel's file behind the engine's back",
        claims=(_judge_unlimited,),
        remedy="the engine limits what it was told not to: look for a default in its configuration",
    ),
    Case(
        number=50,
        group=Group.SWAP,
        title="memory and swap together are the limit",
        expected=f"{_FITS_MIB} MiB live in {MEMORY // MIB} + {SWAP // MIB} MiB, {_EXCEEDS_MIB} MiB end with 137",
        press=lambda bench: _press_total(bench, Setting(limits=Limits(mem_limit=MEMORY, memswap_limit=MEMORY + SWAP))),
        control=lambda bench: _press_total(bench, Setting(limits=Limits(mem_limit=MEMORY, memswap_limit=4 * MEMORY))),
        control_words="the same loads with more swap allowed",
        claims=(_judge_total,),
        remedy=_REMEDY,
        quick=False,
    ),
    Case(
        number=51,
        group=Group.SWAP,
        title="swappiness 0 keeps a container from swapping; where there is no swappiness, the engine says so",
        expected=f"{_HOG_MIB} MiB in {MEMORY // MIB} MiB end with 137 though swap is free",
        expected_v2="discarded with a warning",
        press=lambda bench: _press_swappiness(bench, Eagerness(asked={1: 0, 2: 0})),
        control=lambda bench: _press_swappiness(bench, Eagerness(asked={1: 60, 2: None})),
        control_words="the same load with swappiness 60 (v2: without a swappiness)",
        claims=(_judge_swappiness,),
        remedy="don't rely on mem_swappiness: give memswap_limit equal to mem_limit, which allows no swap at all",
    ),
    Case(
        number=52,
        group=Group.SWAP,
        title="where swap can't be limited, that is told",
        expected="swap is limited as asked and docker info says SwapLimit; or it says not, and the host has no swap",
        press=lambda bench: _read(bench, _EQUAL),
        control=lambda bench: _read(bench, _SWAPS),
        control_words="a container that was given swap",
        claims=(_judge_told,),
        remedy=_REMEDY,
    ),
    Case(
        number=65,
        group=Group.SWAP,
        title="no swap stays no swap, whoever else writes the container's limits",
        expected=f"memory.memsw.limit_in_bytes = memory after an update of the processes alone; {_HOG_MIB} MiB: 137",
        expected_v2=(
            f"memory.swap.max 0 after an update of the processes alone, and where systemd writes the limits after "
            f"systemctl daemon-reload; {_HOG_MIB} MiB: 137"
        ),
        press=lambda bench: _press_kept(bench, _EQUAL),
        control=lambda bench: _press_kept(
            bench, replace(_EQUAL, behind={1: {_FILES[1]: str(3 * MEMORY)}, 2: {_FILES[2]: str(2 * MEMORY)}})
        ),
        control_words="the same, and swap then allowed in the kernel's file behind the engine's back",
        claims=(_judge_kept,),
        remedy=(
            "let spawner-limits apply ask for it again where it got lost; containers of others: give docker run a "
            "--memory-swap of one byte more than --memory, not of the same; or do without swap: swapoff -a"
        ),
        # a reload writes the limits of every container, so also over what another case has written by hand
        pace=Pace.ALONE,
    ),
)
