"""Cases 47 to 52, and 65: how much a container may swap. Whoever sets no swap limit sets none on memory either.

47, 49 and 52 are about what the engine makes of a request, so they are read; 48, 50, 51 and 65 are about what a load
gets, so they are UNKNOWN where there is no swap to press with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from spawner_limits.conformance.case import CannotError, Case, Group, Pace
from spawner_limits.conformance.daemons import Reload, engine_cgroup, reloaded
from spawner_limits.conformance.seen import discarded, of, on, warned
from spawner_limits.conformance.setting import Setting, hold, kernel_file, made, rewrite
from spawner_limits.engines.docker import translate
from spawner_limits.engines.enforcement import swap_texts
from spawner_limits.lifecycle.apply import short
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import KILLED, at_most, claim, ended, exactly, judged, measured, oom_kills, unpressed
from spawner_limits.proof.evidence import Outcome
from spawner_limits.units import MIB, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.trial import Bench, Subject
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
_PIDS = 64
ENGINE_CGROUP = "dockerd's own cgroup"
"""among the texts; `None` where it was not found, or on v1"""


# -- pressed -----------------------------------------------------------------------------------------------------


def _looked(subject: Subject) -> Seen:
    """What kernel and engine say of its swap."""
    file = kernel_file("memswap_limit", subject.bench.version)
    text, recorded = subject.read(file), subject.recorded
    return subject.seen([], texts={file: text, ENGINE_CGROUP: engine_cgroup()}, recorded=recorded)


def _read(bench: Bench, setting: Setting) -> Seen:
    with made(bench, setting) as subject:
        return _looked(subject)


def _hog(subject: Subject, mib: int, **more: Any) -> Seen:
    return subject.press("hog", mib, _STEP_MIB, _HOLD_S, "first", seconds=_LOAD_S, **more)


def _need_swap(bench: Bench) -> None:
    if not bench.host.swap_bytes:
        remedy = "nothing can be swapped here, so nothing needs to hold; if swap is added one day, run this case again"
        raise CannotError("this host has no swap to press with", remedy)


def _pressed(bench: Bench, setting: Setting) -> Seen:
    with made(bench, setting) as subject:
        looked = _looked(subject)
        # without swap nothing shows that none is used; a file that is wrong is BROKEN all the same
        if shown_in(looked) in (None, *accepted(looked, MEMORY)):
            _need_swap(bench)
        return _hog(subject, _HOG_MIB, texts=looked.texts, recorded=looked.recorded)


def _twice(bench: Bench, memswap_bytes: int) -> Seen:
    """Two loads in one container: one that fits in memory and swap together, and one that does not."""
    _need_swap(bench)
    with made(bench, Setting(asked=Limits(mem_limit=MEMORY, memswap_limit=memswap_bytes))) as subject:
        looked = _looked(subject)
        parts = {"fits": _hog(subject, _FITS_MIB), "exceeds": _hog(subject, _EXCEEDS_MIB)}
        return replace(looked, parts=parts)


def _swappy(bench: Bench, swappiness: int | None) -> Seen:
    """A load larger than memory; on v2, which has no swappiness, only what the engine makes of it."""
    if bench.version == 1:
        _need_swap(bench)
    config: dict[str, Any] = {"mem_limit": MEMORY, "memswap_limit": 3 * MEMORY, "mem_swappiness": swappiness}
    with bench.container(**config) as subject:
        text = subject.read("memory.swappiness")
        looked: dict[str, Any] = {"texts": {"memory.swappiness": text}, "recorded": subject.recorded}
        return _hog(subject, _HOG_MIB, **looked) if bench.version == 1 else subject.seen([], **looked)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A container that was given no swap, whose limits have then been written again by others."""

    seen: Seen
    """of a load afterwards; its `texts` have the kernel's file after each of them"""
    reload: Reload


def _kept(bench: Bench, really: Limits) -> Kept:
    file = kernel_file("memswap_limit", bench.version)
    with made(bench, _EQUAL) as subject:
        texts = {f"{file} at first": subject.read(file)}
        if refusal := subject.update(PidsLimit=_PIDS):
            raise CannotError(f"the engine refuses an update of the processes alone: {short(refusal)}")
        texts[f"{file} after an update of the processes alone"] = subject.read(file)
        reload = reloaded(bench.engine.cgroup_driver)
        if reload.done:
            texts[f"{file} after systemctl daemon-reload"] = subject.read(file)
        rewrite(subject, really)
        looked = _looked(subject)
        texts[f"{file} at the end"] = shown_in(looked)
        if {*texts.values()} <= {None, *accepted(looked, MEMORY)}:
            _need_swap(bench)
        return Kept(seen=_hog(subject, _HOG_MIB, texts=texts, recorded=looked.recorded), reload=reload)


# -- claimed: what was asked, and what was made of it ------------------------------------------------------------


def shown_in(seen: Seen) -> str | None:
    """The text of the kernel's file: v1 counts memory and swap together, v2 swap alone."""
    return seen.texts.get(kernel_file("memswap_limit", seen.version))


def accepted(seen: Seen, memswap_bytes: int | None) -> tuple[str, ...]:
    """What the file may say for so much memory and swap together, above `MEMORY`; `None`: without end."""
    return swap_texts(memswap_bytes, MEMORY, seen.page_size_bytes)[seen.version - 1][0]


def limit_file(memswap_bytes: int | None) -> Callable[[Seen], Verdict]:
    """The kernel's file says what was asked for. Where it says that swap has no limit, the reason says why."""

    def judge(seen: Seen) -> Verdict:
        file, text = kernel_file("memswap_limit", seen.version), shown_in(seen)
        verdict = exactly(file, accepted(seen, memswap_bytes), text)
        if text is None:
            return replace(verdict, reason=f"{file} is not there: this Linux kernel does not account swap")
        if verdict.outcome is Outcome.BROKEN and text in accepted(seen, None):
            return replace(verdict, reason=f"swap is NOT limited on this host, because {_why(seen)}: {verdict.reason}")
        return verdict

    return judge


def _why(seen: Seen) -> str:
    told = "; ".join(seen.warnings)
    said = f" (it warned: {told})" if told else " (without a warning when the container was made)"
    if seen.info.get("SwapLimit"):
        return f"--memory-swap did not reach the Linux kernel, though docker info says that swap can be limited{said}"
    if seen.texts.get(ENGINE_CGROUP) == "/":
        return f"dockerd lives in the root cgroup, where it finds no memory.swap.max, and so drops --memory-swap{said}"
    return f"dockerd finds that swap can't be limited (docker info: SwapLimit false), and so drops --memory-swap{said}"


def recorded(memswap_bytes: int) -> Callable[[Seen], Verdict]:
    """The engine keeps what it was asked."""

    def judge(seen: Seen) -> Verdict:
        found = seen.recorded.get("MemorySwap")
        return exactly("HostConfig.MemorySwap", str(memswap_bytes), None if found is None else str(found))

    return judge


def accounted(seen: Seen) -> Verdict:
    """Swap is limited; or it can't be, and there is none."""
    if shown_in(seen) is not None:
        return limit_file(MEMORY)(seen)
    swap, file = seen.host.swap_bytes, kernel_file("memswap_limit", seen.version)
    told = f"not there, with {format_size(swap)} of swap" if swap else "not there, and no swap"
    return claim(file, "there, or a host without swap", told, not swap)


def engine_knows(seen: Seen) -> Verdict:
    """The engine says whether swap can be limited."""
    truth = shown_in(seen) not in (None, *accepted(seen, None))
    said = seen.info.get("SwapLimit")
    return exactly("docker info SwapLimit", str(truth).lower(), None if said is None else str(said).lower())


# -- claimed: what a load got ------------------------------------------------------------------------------------


def swapped(*, least: int = 0, most: int) -> Callable[[Evidence], Verdict]:
    """So much swap was used at the most, and at least once so much; in bytes."""
    expected = "none" if not most else f"{format_size(least)} to {format_size(most)}" if least else format_size(most)

    def judge(evidence: Evidence) -> Verdict:
        used, file = evidence.series.most("swap_current_bytes"), evidence.series.file("swap_current_bytes")
        return measured(
            "swap used",
            expected,
            used,
            # less than a load must have swapped is what samples have missed
            lambda size: None if size < least else size <= most,
            tell=lambda size: format_size(size) if size else "none",
            files=() if used is None else (f"{file}: at most {used}",),
            figures={"swap_bytes": used, "most_swap_bytes": most},
        )

    return judge


def lived(evidence: Evidence) -> Verdict:
    """The load lived. One that was killed shows nothing: what is being written to a slow swap counts in both."""
    verdict = ended(0, what=f"a load of {_FITS_MIB} MiB")(evidence)
    most = evidence.series.most("swap_current_bytes")
    if evidence.load.exit_code != KILLED or most is None:
        return verdict
    reason = f"it was killed with {format_size(most)} swapped: this host did not write to its swap as fast as that"
    return replace(verdict, outcome=Outcome.UNKNOWN, under_load=Outcome.UNKNOWN, reason=reason)


def both_within(evidence: Evidence) -> Verdict:
    """Memory and swap together stayed within their limit: by the kernel's peak, else by the samples."""
    peaks = evidence.series.values("memsw_peak_bytes")
    most = max(peaks or evidence.series.sums(), default=None)
    return at_most("memory and swap together", MEMORY + SWAP, most, f"memory + swap {'peak' if peaks else 'sample'}")


def kept(found: Kept) -> list[Verdict]:
    """The kernel's file says the same after each, and so does the engine's record."""
    seen = found.seen
    asked = translate(_EQUAL.asked, page_size_bytes=seen.page_size_bytes).ask["memswap_limit"]
    return [
        *(exactly(when, accepted(seen, MEMORY), text) for when, text in seen.texts.items()),
        _has_reloaded(found.reload),
        recorded(asked)(seen),
    ]


def _has_reloaded(reload: Reload) -> Verdict:
    """That there is nothing to reload takes nothing from the rest; that it failed leaves the case undecided."""
    name, expected = "systemctl daemon-reload", "done, where systemd writes the containers' limits"
    told = "done" if reload.done else f"{'failed' if reload.applies else 'not applicable'}: {reload.why}"
    holds = True if reload.done or not reload.applies else None
    return claim(name, expected, told, holds, files=(f"{name}: {told}",))


def _killed(mib: int, words: str = "") -> Callable[[Evidence], Verdict]:
    return ended(KILLED, what=f"a load of {mib} MiB{words}")


# -- the list ----------------------------------------------------------------------------------------------------

_EQUAL = Setting(asked=Limits(mem_limit=MEMORY, memswap_limit=MEMORY))
_TRIPLE = Limits(mem_limit=MEMORY, memswap_limit=3 * MEMORY)
_SWAPS = Setting(asked=_TRIPLE)
_ENDLESS = Setting(host_config={"mem_limit": MEMORY, "memswap_limit": -1})
_NONE_SWAPPED = (swapped(most=0), _killed(_HOG_MIB), hold(Limits(mem_limit=MEMORY), "mem_limit"))
_REMEDY = (
    "let dockerd run in a cgroup of its own, as its systemd unit does (by hand on cgroup v2: start it from a cgroup "
    "below the root), and make the containers anew; where docker info says SwapLimit false for want of "
    "swap accounting, boot with swapaccount=1; or do without swap: swapoff -a"
)
swap_case = partial(Case, group=Group.SWAP, remedy=_REMEDY)

CASES: tuple[AnyCase, ...] = (
    swap_case(
        number=47,
        title="without a word on swap, a container gets as much again as it has memory",
        expected="memory.memsw.limit_in_bytes = 2 × memory",
        expected_v2="memory.swap.max = 1 × memory",
        tolerance="exact",
        press=lambda bench: _read(bench, Setting(host_config={"mem_limit": MEMORY})),
        control=lambda bench: _read(bench, _EQUAL),
        control_words="a container that was given no swap",
        claims=(limit_file(2 * MEMORY), recorded(2 * MEMORY)),
        remedy=f"say memswap_limit in the policy, which does so by itself; {_REMEDY}",
    ),
    swap_case(
        number=48,
        title="where no swap is given, none is used",
        expected=f"memory.memsw.limit_in_bytes = memory; {_HOG_MIB} MiB in {MEMORY // MIB} MiB: 137, none swapped",
        expected_v2=f"memory.swap.max 0; {_HOG_MIB} MiB in {MEMORY // MIB} MiB: 137, none swapped",
        press=lambda bench: _pressed(bench, _EQUAL),
        control=lambda bench: _pressed(bench, _SWAPS),
        control_words="the same load with swap allowed",
        claims=(unpressed(limit_file(MEMORY)), *_NONE_SWAPPED),
    ),
    swap_case(
        number=49,
        title="memory_swap −1 is swap without end",
        expected="memory.memsw.limit_in_bytes at its largest",
        expected_v2="memory.swap.max = max",
        tolerance="exact",
        press=lambda bench: _read(bench, _ENDLESS),
        control=lambda bench: _read(bench, replace(_ENDLESS, really=_EQUAL.asked)),
        control_words="the same, and swap then forbidden in the kernel's file behind the engine's back",
        claims=(limit_file(None), recorded(-1)),
        remedy="the engine limits what it was told not to: look for a default in its configuration",
    ),
    swap_case(
        number=50,
        title="memory and swap together are the limit",
        expected=f"{_FITS_MIB} MiB live in {MEMORY // MIB} + {SWAP // MIB} MiB, {_EXCEEDS_MIB} MiB end with 137",
        press=lambda bench: _twice(bench, MEMORY + SWAP),
        control=lambda bench: _twice(bench, 4 * MEMORY),
        control_words="the same loads with more swap allowed",
        claims=(
            unpressed(limit_file(MEMORY + SWAP)),
            of("fits", lived, on(v1=(swapped(least=MIB, most=MEMORY + SWAP),), v2=(swapped(least=MIB, most=SWAP),))),
            of("exceeds", _killed(_EXCEEDS_MIB), oom_kills(), both_within),
        ),
        quick=False,
    ),
    swap_case(
        number=51,
        title="swappiness 0 keeps a container from swapping; where there is no swappiness, the engine says so",
        expected=f"{_HOG_MIB} MiB in {MEMORY // MIB} MiB end with 137 though swap is free",
        expected_v2="discarded with a warning",
        press=lambda bench: _swappy(bench, 0),
        control=lambda bench: _swappy(bench, 60 if bench.version == 1 else None),
        control_words="the same load with swappiness 60 (v2: without a swappiness)",
        claims=(
            on(
                v1=(
                    unpressed(lambda seen: exactly("memory.swappiness", "0", seen.texts["memory.swappiness"])),
                    swapped(most=0),
                    _killed(_HOG_MIB, " with swap free"),
                    oom_kills(),
                ),
                v2=(warned("swappiness"), discarded("MemorySwappiness", unset=(None, -1))),
            ),
        ),
        remedy="don't rely on mem_swappiness: give memswap_limit equal to mem_limit, which allows no swap at all",
    ),
    swap_case(
        number=52,
        title="where swap can't be limited, that is told",
        expected="swap is limited as asked and docker info says SwapLimit; or it says not, and the host has no swap",
        press=lambda bench: _read(bench, _EQUAL),
        control=lambda bench: _read(bench, _SWAPS),
        control_words="a container that was given swap",
        claims=(accounted, engine_knows),
    ),
    swap_case(
        number=65,
        title="no swap stays no swap, whoever else writes the container's limits",
        expected=f"memory.memsw.limit_in_bytes = memory after an update of the processes alone; {_HOG_MIB} MiB: 137",
        expected_v2=(
            f"memory.swap.max 0 after an update of the processes alone, and where systemd writes the limits after "
            f"systemctl daemon-reload; {_HOG_MIB} MiB: 137"
        ),
        press=lambda bench: _kept(bench, Limits()),
        control=lambda bench: _kept(bench, _TRIPLE),
        control_words="the same, and swap then allowed in the kernel's file behind the engine's back",
        claims=(unpressed(kept), lambda found: judged(_NONE_SWAPPED, found.seen)),
        remedy=(
            "let spawner-limits apply ask for it again where it got lost; containers of others: give docker run a "
            "--memory-swap of one byte more than --memory, not of the same; or do without swap: swapoff -a"
        ),
        # a reload writes the limits of every container, so also over what another case has written by hand
        pace=Pace.ALONE,
    ),
)
