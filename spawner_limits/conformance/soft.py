"""Cases 44 to 46: what else can be asked of memory than a limit that kills: memory.high, too little, kernel memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.bench.engine import RefusedError
from spawner_limits.conformance.case import Case, Group
from spawner_limits.conformance.loads import FREE, LIMIT_BYTES, LIMITED, LONG_S, SAMPLE_S, limited, pressed
from spawner_limits.conformance.setting import Setting, made
from spawner_limits.proof import windows
from spawner_limits.proof.claims import claim, no_oom_kill
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Evidence, Verdict

_HIGH_BYTES = 32 * MIB
_PAST_HIGH = (48, 1, 10)
"""steps of a MiB, with a rest of 10 ms after each"""
_ABOVE_S = 3.0
_SLOWED = 3.0
_KERNEL_BYTES = 16 * MIB

# -- 44: memory.high ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Slowed:
    """A load that passes `memory.high`."""

    evidence: Evidence
    events: str
    """the text of `memory.events`, after it"""

    @property
    def high_events(self) -> int | None:
        """How often the kernel counted it above."""
        return next((int(line[5:]) for line in self.events.splitlines() if line.startswith("high ")), None)


def _press_high(bench: Bench, setting: Setting) -> Slowed:
    with made(bench, setting) as subject:
        before = subject.reader.read_limits()
        load = subject.probe("climb", *_PAST_HIGH)
        above: list[int] = []

        def long_enough(one: Snapshot) -> bool:
            if (one.memory_current_bytes or 0) > _HIGH_BYTES:
                above.append(one.monotonic_ns)
            return bool(above) and one.monotonic_ns - above[0] > _ABOVE_S * windows.SECOND_NS

        taken = subject.follow(load, seconds=LONG_S, every_s=SAMPLE_S, until=long_enough)
        if not above:
            pressed(load)
        events = subject.read("memory.events") or ""
        return Slowed(evidence=subject.evidence([before, *taken], load), events=events)


def judge_high(slowed: Slowed) -> list[Verdict]:
    """Above `memory.high` it is slower than below, and nobody dies."""
    below, above = _speeds(slowed.evidence)
    ratio = None if below is None or above is None else below / above
    return [
        claim(
            "memory.events high",
            expected="+1 or more",
            seen=None if slowed.high_events is None else f"+{slowed.high_events}",
            holds=None if slowed.high_events is None else slowed.high_events > 0,
            files=[f"memory.events: {', '.join(slowed.events.splitlines())}"],
            figures={"high_events": slowed.high_events},
        ),
        claim(
            "speed below memory.high over speed above it",
            expected=f"at least {_SLOWED:g}",
            seen=None if ratio is None else f"{ratio:.1f}",
            # what the kernel counted above it and yet hardly slowed, a busy host may have slowed below it
            holds=None if ratio is None else True if ratio >= _SLOWED else None if slowed.high_events else False,
            figures={"slowed_ratio": None if ratio is None else round(ratio, 2)},
        ),
        no_oom_kill(slowed.evidence.snapshots),
    ]


def _speeds(evidence: Evidence) -> tuple[float | None, float | None]:
    """Bytes a second, up to `memory.high` and from there; `None` where no two samples tell."""
    read = [(one.monotonic_ns, one.memory_current_bytes) for one in evidence.snapshots if one.memory_current_bytes]
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


# -- 45: too little ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the engine made of a request."""

    refused_at: str | None
    """"create", "start"; `None`: it ran"""
    said: str


def _press_little(bench: Bench, setting: Setting) -> Answer:
    try:
        with made(bench, setting):
            return Answer(refused_at=None, said="it ran")
    except RefusedError as error:
        return Answer(refused_at=error.at, said=str(error))


def judge_little(answer: Answer) -> list[Verdict]:
    """It must be refused at once."""
    seen = f"refused at {answer.refused_at}" if answer.refused_at else answer.said
    return [
        claim(
            "less memory than a container needs to start",
            expected="refused when the container is created",
            seen=seen,
            holds=answer.refused_at == "create",
            files=[f"the engine: {answer.said}"],
        )
    ]


# -- 46: kernel memory -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """Kernel memory that a container took."""

    used_bytes: int | None
    refusal: str | None = None
    files: tuple[str, ...] = ()


def _press_kernel(bench: Bench, setting: Setting) -> Kernel:
    try:
        with made(bench, setting) as subject:
            load = subject.probe("pipes", 2 * _KERNEL_BYTES // MIB, LONG_S)
            subject.follow(load, seconds=LONG_S, until=lambda _: "filled" in load.stdout)
            if "filled" not in load.stdout:
                pressed(load)
            return Kernel(used_bytes=kernel_bytes(_kernel_file(subject)), files=tuple(_kernel_words(subject)))
    except RefusedError as error:
        return Kernel(used_bytes=None, refusal=str(error), files=(f"the engine: {error}",))


def _kernel_file(subject: Subject) -> str:
    return subject.read("memory.kmem.usage_in_bytes") or subject.read("memory.stat") or ""


def kernel_bytes(text: str) -> int | None:
    """The kernel's own memory, from v1's `memory.kmem.usage_in_bytes` or v2's `memory.stat`."""
    if text.isdigit():
        return int(text)
    return next((int(line[7:]) for line in text.splitlines() if line.startswith("kernel ")), None)


def _kernel_words(subject: Subject) -> Iterator[str]:
    found = subject.read("memory.kmem.limit_in_bytes")
    yield f"memory.kmem.limit_in_bytes = {found}" if found else "the Linux kernel has no file for it"
    yield f"HostConfig.KernelMemory in docker inspect: {subject.inspected.get('HostConfig', {}).get('KernelMemory')}"
    yield from (f"the engine warned: {one}" for one in subject.container.warnings)


def judge_kernel(kernel: Kernel) -> list[Verdict]:
    """It holds, or is refused: it must not be taken and forgotten."""
    within = None if kernel.used_bytes is None else kernel.used_bytes <= _KERNEL_BYTES
    seen = None if kernel.used_bytes is None else units.size_usage(kernel.used_bytes, _KERNEL_BYTES)
    return [
        claim(
            "kernel memory in use",
            expected=f"at most {units.format_size(_KERNEL_BYTES)}, or refused",
            seen="refused" if kernel.refusal else seen,
            holds=True if kernel.refusal else within,
            files=kernel.files,
            figures={"kernel_bytes": kernel.used_bytes, "limit_bytes": _KERNEL_BYTES},
        )
    ]


# -- the list ----------------------------------------------------------------------------------------------------

CASES: tuple[AnyCase, ...] = (
    Case(
        number=44,
        group=Group.MEMORY,
        title="memory.high slows, and kills nobody",
        expected="cgroup v1 has none",
        expected_v2=f"past {_HIGH_BYTES // MIB} MiB memory is taken {_SLOWED:g} times slower or more, oom_kill +0",
        tolerance="–",
        press=lambda bench: _press_high(
            bench, Setting(limits=FREE.limits, behind={2: {"memory.high": str(_HIGH_BYTES)}})
        ),
        control=lambda bench: _press_high(bench, FREE),
        control_words="the same load without memory.high",
        claims=(judge_high,),
        remedy="don't write memory.high on this host; Docker does not either",
        only=2,
    ),
    Case(
        number=45,
        group=Group.MEMORY,
        title="less memory than a container needs is refused",
        expected="4 MiB: HTTP 400, when the container is created",
        press=lambda bench: _press_little(bench, limited(4 * MIB)),
        control=lambda bench: _press_little(bench, limited(16 * MIB)),
        control_words="16 MiB, which is enough",
        claims=(judge_little,),
        remedy="give at least 6 MiB, as the policy's own check demands",
    ),
    Case(
        number=46,
        group=Group.MEMORY,
        title="a limit of kernel memory holds, or is refused",
        expected=f"{2 * _KERNEL_BYTES // MIB} MiB of pipes don't fit into {_KERNEL_BYTES // MIB} MiB",
        press=lambda bench: _press_kernel(bench, limited(LIMIT_BYTES, kernel_memory=_KERNEL_BYTES)),
        control=lambda bench: _press_kernel(bench, LIMITED),
        control_words="the same load without such a limit",
        claims=(judge_kernel,),
        remedy="don't ask for it: mem_limit counts the kernel's memory too, and holds",
        defect=(
            "Linux gave up limits of kernel memory in 5.16 (memory.kmem.limit_in_bytes refuses what is written, or "
            "forgets it), and runc does not write them; Docker takes --kernel-memory nevertheless: up to 22 with a "
            "warning, since 23 (API 1.42) it drops the field without a word"
        ),
    ),
)
