"""The list of experiments: name → title and what does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits.experiments import cpu, memory, oom, overhead, sharing, swap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spawner_limits.experiments.experiment import Experiment, Stage

SECONDS = 7.0
"""three windows in which a quota is judged, and a little more"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One experiment that can be asked for."""

    title: str
    run: Callable[[Stage], Experiment]
    """CannotError where this host can't show it"""
    image: str = "spawner-limits/singleuser:minimal"
    seconds: float | None = None
    """that each part is watched, where that may be chosen"""
    needs: Callable[[], object] | None = None
    """called before the engine is: UsageError where this installation can't do it"""


EXPERIMENTS: Mapping[str, Entry] = {
    "cpu": Entry(title=cpu.TITLE, run=cpu.run, seconds=SECONDS),
    "memory": Entry(title=memory.TITLE, run=memory.run),
    "swap": Entry(title=swap.SWAP, run=swap.swap),
    "swappiness": Entry(title=swap.SWAPPINESS, run=swap.swappiness),
    "sharing": Entry(title=sharing.SHARING, run=sharing.sharing, seconds=SECONDS),
    "shares": Entry(title=sharing.SHARES, run=sharing.shares, seconds=SECONDS),
    "oom": Entry(title=oom.TITLE, run=oom.run),
    "overhead": Entry(title=overhead.TITLE, run=overhead.run, image=overhead.IMAGE, needs=overhead.benchmark),
}
