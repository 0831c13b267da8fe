"""Cases 44 to 46: what else can be asked of memory than a limit that kills: memory.high, too little, kernel memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits.conformance.loads import (
    FREE,
    LIMIT_BYTES,
    LIMITED,
    LONG_S,
    SAMPLE_S,
    limited,
    memory_case,
    pressed,
)
from spawner_limits.conformance.setting import Setting, made, or_refused, read, refused
from spawner_limits.proof import windows
from spawner_limits.proof.claims import claim, measured, no_oom_kill, rose
from spawner_limits.units import MIB, format_size, size_usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.trial import Bench
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Evidence, Verdict

_HIGH_BYTES = 32 * MIB
_PAST_HIGH = (48, 1, 10)
"""steps of a MiB, with a rest of 10 ms after each"""
_ABOVE_S = 3.0
_SLOWED = 3.0
_KERNEL_BYTES = 16 * MIB
_KERNEL_LIMIT = "memory.kmem.limit_in_bytes"
_KERNEL_USED = "memory.kmem.usage_in_bytes"

# -- 44: memory.high ---------------------------------------------------------------------------------------------


def _past_high(bench: Bench, setting: Setting) -> Seen:
    """A load that passes `memory.high`, and some time above it."""
    with made(bench, setting) as subject:
        before = subject.reader.read_limits()
        load = subject.probe("climb", *_PAST_HIGH)
        above: list[int] = []

        def long_enough(snapshot: Snapshot) -> bool:
            if (snapshot.memory_current_bytes or 0) > _HIGH_BYTES:
                above.append(snapshot.monotonic_ns)
            return bool(above) and snapshot.monotonic_ns - above[0] > _ABOVE_S * windows.SECOND_NS

        taken = subject.follow(load, seconds=LONG_S, every_s=SAMPLE_S, until=long_enough)
        if not above:
            pressed(load)
        texts = {"memory.events": subject.read("memory.events")}
        return subject.seen([before, *taken], load.exit_code, texts=texts)


def high_counted(seen: Seen) -> Verdict:
    """The kernel counted it above."""
    count, events = seen.counts("memory.events").get("high"), seen.texts["memory.events"] or ""
    files = [f"memory.events: {', '.join(events.splitlines())}"]
    return rose("memory.events high", count, files=files, figures={"high_events": count})


def slowed(seen: Seen) -> Verdict:
    """Above `memory.high` it is slower than below."""
    below, above = _speeds(seen)
    ratio = None if below is None or above is None else below / above
    # what the kernel counted above it and yet hardly slowed, a busy host may have slowed below it
    otherwise = None if seen.counts("memory.events").get("high") else False
    return measured(
        "speed below memory.high over speed above it",
        f"at least {_SLOWED:g}",
        ratio,
        lambda times: True if times >= _SLOWED else otherwise,
        tell="{:.1f}".format,
        figures={"slowed_ratio": None if ratio is None else round(ratio, 2)},
    )


def _speeds(evidence: Evidence) -> tuple[float | None, float | None]:
    """Bytes a second, up to `memory.high` and from there; `None` where no two samples tell."""
    read = [
        (snapshot.monotonic_ns, snapshot.memory_current_bytes)
        for snapshot in evidence.snapshots
        if snapshot.memory_current_bytes
    ]
    above = [at for at, (_, size) in enumerate(read) if size > _HIGH_BYTES]
    if not above:
        return None, None
    below = read[max(above[0] - 3, 0) : above[0]]
    # to the end of the time above, in which a load may stand still
    return _speed(below), _speed([*below[-1:], (read[above[-1]][0], max(size for _, size in read))])


def _speed(samples: Sequence[tuple[int, int]]) -> float | None:
    if len(samples) < 2 or samples[-1][1] <= samples[0][1]:  # noqa: PLR2004
        return None
    return (samples[-1][1] - samples[0][1]) * windows.SECOND_NS / (samples[-1][0] - samples[0][0])


# -- 46: kernel memory -------------------------------------------------------------------------------------------


def _piped(bench: Bench, setting: Setting) -> Seen:
    """Pipes filled: memory of the Linux kernel itself."""

    def press() -> Seen:
        with made(bench, setting) as subject:
            load = subject.probe("pipes", 2 * _KERNEL_BYTES // MIB, LONG_S)
            subject.follow(load, seconds=LONG_S, until=lambda _: "filled" in load.stdout)
            if "filled" not in load.stdout:
                pressed(load)
            texts = {file: subject.read(file) for file in (_KERNEL_USED, "memory.stat", _KERNEL_LIMIT)}
            return subject.seen([], texts=texts, recorded=subject.recorded)

    return or_refused(bench, press)


def kernel_bytes(seen: Seen) -> int | None:
    """The kernel's own memory: v1 has a file of it, v2 a line of `memory.stat`."""
    text = seen.texts.get(_KERNEL_USED)
    return int(text) if text else seen.counts("memory.stat").get("kernel")


def kernel_within(seen: Seen) -> Verdict:
    """It holds, or is refused: it must not be taken and forgotten."""
    used = kernel_bytes(seen)
    told, holds = ("refused", True) if seen.refused_at else (None, None)
    if used is not None:
        told, holds = size_usage(used, _KERNEL_BYTES), used <= _KERNEL_BYTES
    expected = f"at most {format_size(_KERNEL_BYTES)}, or refused"
    figures = {"kernel_bytes": used, "limit_bytes": _KERNEL_BYTES}
    return claim("kernel memory in use", expected, told, holds, files=_kernel_words(seen), figures=figures)


def _kernel_words(seen: Seen) -> list[str]:
    if seen.refused_at:
        return [f"the engine: {seen.said}"]
    found = seen.texts.get(_KERNEL_LIMIT)
    return [
        f"{_KERNEL_LIMIT} = {found}" if found else "the Linux kernel has no file for it",
        f"HostConfig.KernelMemory in docker inspect: {seen.recorded.get('KernelMemory')}",
        *(f"the engine warned: {warning}" for warning in seen.warnings),
    ]


# -- the list ----------------------------------------------------------------------------------------------------

_HIGH = Setting(asked=FREE.asked, behind={"memory.high": str(_HIGH_BYTES)})

CASES: tuple[AnyCase, ...] = (
    memory_case(
        number=44,
        title="memory.high slows, and kills nobody",
        expected="cgroup v1 has none",
        expected_v2=f"past {_HIGH_BYTES // MIB} MiB memory is taken {_SLOWED:g} times slower or more, oom_kill +0",
        tolerance="–",
        press=lambda bench: _past_high(bench, _HIGH),
        control=lambda bench: _past_high(bench, FREE),
        control_words="the same load without memory.high",
        claims=(high_counted, slowed, no_oom_kill()),
        remedy="don't write memory.high on this host; Docker does not either",
        only=2,
    ),
    memory_case(
        number=45,
        title="less memory than a container needs is refused",
        expected="4 MiB: HTTP 400, when the container is created",
        press=lambda bench: or_refused(bench, lambda: read(bench, limited(4 * MIB))),
        control=lambda bench: or_refused(bench, lambda: read(bench, limited(16 * MIB))),
        control_words="16 MiB, which is enough",
        claims=(lambda seen: refused("less memory than a container needs to start", seen),),
        remedy="give at least 6 MiB, as the policy's own check demands",
    ),
    memory_case(
        number=46,
        title="a limit of kernel memory holds, or is refused",
        expected=f"{2 * _KERNEL_BYTES // MIB} MiB of pipes don't fit into {_KERNEL_BYTES // MIB} MiB",
        press=lambda bench: _piped(bench, limited(LIMIT_BYTES, kernel_memory=_KERNEL_BYTES)),
        control=lambda bench: _piped(bench, LIMITED),
        control_words="the same load without such a limit",
        claims=(kernel_within,),
        remedy="don't ask for it: mem_limit counts the kernel's memory too, and holds",
        defect=(
            "Linux gave up limits of kernel memory in 5.16 (memory.kmem.limit_in_bytes refuses what is written, or "
            "forgets it), and runc does not write them; Docker takes --kernel-memory nevertheless: up to 22 with a "
            "warning, since 23 (API 1.42) it drops the field without a word"
        ),
    ),
)
