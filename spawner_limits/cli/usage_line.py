"""The live line on stderr while a load presses: a changing line on a terminal, elsewhere a plain one now and then."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from spawner_limits import units
from spawner_limits.proof import windows
from spawner_limits.verify.run import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.limits import Limits

PLAIN_S = 5.0
LIVE_S = 0.3
COLUMNS = 78
"""of a usage line, on a terminal of 80 and indented by two"""
_SAMPLES = 10


@contextmanager
def live() -> Iterator[Watch]:
    """A `Watch` that speaks on stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(text: str) -> None:
        console.print(text, markup=False)

    if not console.is_terminal:
        yield Watch(say=say, sample=_Paced(PLAIN_S, lambda text: say(f"  {text}")))
        return
    with Status("", console=console, spinner="line") as status:
        yield Watch(say=say, sample=_Paced(LIVE_S, lambda text: status.update(escape(text))))


class _Paced:
    """Says how things stand, but not more often than every so many seconds."""

    def __init__(self, every_s: float, show: Callable[[str], None]) -> None:
        self._every_s, self._show, self._next_s = every_s, show, 0.0

    def __call__(self, subject: str, limits: Limits, snapshots: Sequence[Snapshot]) -> None:
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + self._every_s
            self._show(line(subject, limits, snapshots))


def line(subject: str, limits: Limits, snapshots: Sequence[Snapshot]) -> str:
    """`alice 12 s: 0.47 / 0.50 cores (94%), memory 0.41 / 1.00 GiB (41%) + 35 MiB cache`.

    What has no place in `COLUMNS` goes: the cache, then the end of the subject's name.
    """
    seconds = (snapshots[-1].monotonic_ns - snapshots[0].monotonic_ns) / windows.SECOND_NS
    usage = f" {seconds:3.0f} s: {_cpu(limits, snapshots)}, memory {_memory(limits, snapshots[-1])}"
    whole = f"{subject}{usage}{_cache(snapshots[-1])}"
    if len(whole) <= COLUMNS:
        return whole
    left = COLUMNS - len(usage)
    clipped = subject if len(subject) <= left else f"{subject[: left - 1]}…"
    return f"{clipped}{usage}"


def _cpu(limits: Limits, snapshots: Sequence[Snapshot]) -> str:
    window = windows.between(snapshots[-min(len(snapshots), _SAMPLES + 1)], snapshots[-1])
    if window is None:
        return "cores unknown"
    if limits.cpu_limit is None:
        return units.format_cores(window.cores)
    return units.cores_usage(window.cores, limits.cpu_limit)


def _memory(limits: Limits, last: Snapshot) -> str:
    if last.memory_current_bytes is None:
        return "unknown"
    used = last.memory_current_bytes - (last.memory_inactive_file_bytes or 0)
    return units.format_size(used) if limits.mem_limit is None else units.size_usage(used, limits.mem_limit)


def _cache(last: Snapshot) -> str:
    if last.memory_current_bytes is None:
        return ""
    return f" + {units.format_size(last.memory_inactive_file_bytes or 0)} cache"
