"""What the groups that are not rows of claims yet are made of; it goes with the last of them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from spawner_limits.engines.docker import translate
from spawner_limits.limits import Limits
from spawner_limits.proof.evidence import Outcome, Verdict
from spawner_limits.proof.judge import judge
from spawner_limits.proof.series import Series
from spawner_limits.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.engines.enforcement import CgroupVersion, Expectation
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Evidence


NOTHING = Limits()
Behind: TypeAlias = "Mapping[CgroupVersion, Mapping[str, str]]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a container is made with."""

    limits: Limits = NOTHING
    """as the spawner would ask for them"""
    host_config: Mapping[str, Any] = field(default_factory=dict)
    """what no limit of the policy says"""
    behind: Behind = field(default_factory=dict)
    """version of cgroups → cgroup file → text, written behind the engine's back once the container runs"""


@contextmanager
def made(bench: Bench, setting: Setting, command: Sequence[str] = ()) -> Iterator[Subject]:
    """A container of that setting. Errors as `Bench.container`."""
    asked = translate(setting.limits, version=bench.version, page_size_bytes=bench.page_size_bytes).ask
    behind = setting.behind.get(bench.version, {})
    with bench.container(command=command, behind=behind, **{**asked, **setting.host_config}) as subject:
        yield subject


def read_back(bench: Bench, setting: Setting) -> Evidence:
    """What the kernel says of a container of that setting, which nothing presses. Errors as `Bench.container`."""
    with made(bench, setting) as subject:
        return subject.evidence([subject.reader.read_limits()])


def expected(limits: Limits, page_size_bytes: int, *fields: str) -> list[Expectation]:
    """What the kernel must show for these fields of the limits, on either version of cgroups."""
    return [one for one in translate(limits, page_size_bytes=page_size_bytes).expect if one.field in fields]


def hold(limits: Limits, *fields: str) -> Callable[[Evidence], tuple[Verdict, ...]]:
    """A judge: these fields of `limits` hold."""
    return lambda evidence: judge(expected(limits, evidence.page_size_bytes, *fields), evidence)


KILLED = 137
"""exit code of what SIGKILL ended: 128 + 9"""


def claim(  # noqa: PLR0913  the columns of a verdict
    name: str,
    *,
    expected: str,
    seen: str | None,
    holds: bool | None,
    reason: str = "",
    files: Sequence[str] = (),
    figures: dict[str, float | int | str | None] | None = None,
) -> Verdict:
    """One claim, judged. `holds`: `None` where the evidence does not tell. `seen`: `None` where nothing was read."""
    outcome = Outcome.UNKNOWN if holds is None else Outcome.HELD if holds else Outcome.BROKEN
    told = "nothing was read" if seen is None else seen
    return Verdict(
        field=name,
        outcome=outcome,
        limit=expected,
        seen="–" if seen is None else seen,
        reason=reason or (f"{name}: {told}" if outcome is Outcome.HELD else f"{name}: {told}, expected {expected}"),
        files=tuple(files),
        figures=figures or {},
        under_load=outcome,
    )


def exactly(name: str, accept: str | Sequence[str], seen: str | None) -> Verdict:
    """`name`, a kernel file or a key of the engine's record, must read one of the texts in `accept`."""
    wanted = (accept,) if isinstance(accept, str) else tuple(accept)
    holds = None if seen is None else seen in wanted
    files = () if seen is None else (f"{name} = {seen}",)
    return claim(name, expected=" or ".join(wanted), seen=seen, holds=holds, files=files)


def ended(exit_code: int | None, *accept: int, what: str = "the load") -> Verdict:
    """How a process ended: one of these exit codes."""
    wanted = " or ".join(map(str, accept))
    seen = None if exit_code is None else f"exit {exit_code}"
    return claim(
        f"end of {what}",
        expected=f"exit {wanted}",
        seen=seen,
        holds=None if exit_code is None else exit_code in accept,
        figures={"exit_code": exit_code},
    )


def oom_kills(snapshots: Sequence[Snapshot], *, least: int = 1, what: str = "") -> Verdict:
    """The kernel's own count of OOM kills rose at least so much."""
    return _kills(snapshots, f"+{least} or more", lambda count: count >= least, what)


def no_oom_kill(snapshots: Sequence[Snapshot], *, what: str = "") -> Verdict:
    """The kernel's own count of OOM kills did not rise."""
    return _kills(snapshots, "+0", lambda count: count == 0, what)


def _kills(snapshots: Sequence[Snapshot], expected: str, fine: Callable[[int], bool], what: str) -> Verdict:
    series = Series(snapshots)
    count = series.risen("oom_kill")
    name = f"OOM kills{what and ' '}{what}"
    return claim(
        name,
        expected=expected,
        seen=None if count is None else f"+{count}",
        holds=None if count is None else fine(count),
        files=()
        if count is None
        else (f"{series.file('oom_kill')}: {series.first('oom_kill')} → {series.last('oom_kill')}",),
        figures={"oom_kills": count},
    )


def peak_within(snapshots: Sequence[Snapshot], limit_bytes: int, *, above: int = 0) -> Verdict:
    """The most memory that was ever counted is at most the limit, and at least `above`."""
    peaks = [one.memory_peak_bytes for one in snapshots if one.memory_peak_bytes is not None]
    peak, name = (max(peaks), "peak") if peaks else (None, "peak")
    if peak is None:
        samples = [one.memory_current_bytes for one in snapshots if one.memory_current_bytes is not None]
        peak, name = (max(samples) if samples else None), "largest sample"
    v1 = bool(snapshots) and snapshots[0].versions.get("memory") == 1
    file = {("peak", True): "memory.max_usage_in_bytes", ("peak", False): "memory.peak"}.get((name, v1), "memory usage")
    return claim(
        f"{name} of memory",
        expected=f"at most {format_size(limit_bytes)}" + (f", at least {format_size(above)}" if above else ""),
        seen=None if peak is None else format_size(peak),
        holds=None if peak is None else above <= peak <= limit_bytes,
        files=() if peak is None else (f"{file} = {peak}",),
        figures={"peak_bytes": peak, "limit_bytes": limit_bytes},
    )
