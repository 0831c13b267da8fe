"""What is measured in a process of its own: `python -m benchmarks.fresh load|reload FILE` prints one JSON object."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits.policy.parse import load
from spawner_limits.policy.reload import PolicyFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BEAT_S = 0.001
_COUNTING_S = 2.0
RELOADS = 5


def loaded(path: Path) -> dict[str, float]:
    """Seconds to load a policy, and the peak of the process's memory before and after."""
    before = _peak_bytes()
    start = time.perf_counter()
    policy = load(path)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "peak_bytes": _peak_bytes(),
        "peak_before_bytes": before,
        "users": len(policy.users),
        "groups": len(policy.groups),
    }


def _peak_bytes() -> int:
    """Not `ru_maxrss`, which a process takes over from the one that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


def reloaded(path: Path) -> dict[str, list[float]]:
    """For how long at most each reload held up an event loop, what a thread that counts does, and a reload's time."""
    return asyncio.run(_reloaded(path))


async def _reloaded(path: Path) -> dict[str, list[float]]:
    policy_file = PolicyFile(path)
    policy_file.refresh()
    counting, _ = await _held_up(_count, _COUNTING_S)
    rounds = [await _held_up(_refresh, policy_file) for _ in range(RELOADS)]
    return {"held_up_s": [held for held, _ in rounds], "took_s": [took for _, took in rounds], "counting_s": [counting]}


def _refresh(policy_file: PolicyFile) -> None:
    os.utime(policy_file.path)
    # by its id: whoever keeps the old policy has it freed at one go, and so holds up the loop
    before = id(policy_file.state)
    if id(policy_file.refresh()) == before or not policy_file.state.is_current:
        raise RuntimeError(f"{policy_file.path}: not read again")


def _count(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def _held_up(work: Callable[..., None], *arguments: object) -> tuple[float, float]:
    """The longest that a heartbeat came late while `work` ran in a thread, and how long that took; seconds."""
    start = time.perf_counter()
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    longest = 0.0
    while not working.done():
        beat = time.perf_counter()
        await asyncio.sleep(_BEAT_S)
        longest = max(longest, time.perf_counter() - beat - _BEAT_S)
    await working
    return longest, time.perf_counter() - start


MEASURES: Mapping[str, Callable[[Path], object]] = {"load": loaded, "reload": reloaded}


if __name__ == "__main__":
    print(json.dumps(MEASURES[sys.argv[1]](Path(sys.argv[2]))))  # noqa: T201  the result
