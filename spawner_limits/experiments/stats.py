"""What `docker stats` shows: its samples from the engine's API, and the sums that the docker command does with them.

Sources: docker/cli `cli/command/container/stats_helpers.go` `calculateCPUPercentUnix`, `calculateMemUsageUnixNoCache`;
moby `daemon/stats/collector_unix.go`: the host's CPU time is fields 1 to 7 of the first line of /proc/stat.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from spawner_limits.clients.engine import RefusedError
from spawner_limits.errors import LimitsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.conformance.trial import Subject

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JOIN_S = 3
"""the next sample comes within a second or two, and with it the thread sees that it is not wanted any more"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One line of `docker stats`."""

    received_ns: int
    """by our monotonic clock"""
    cpu_percent: float | None
    """`None`: it has nothing before it to compare with"""
    cpu_ns: int
    """that the container used since the sample before"""
    interval_ns: int
    """between the engine's two readings of the container's counter, by the engine's clock; 0: not known"""
    system_ns: int
    """that the whole host used since then, as /proc/stat counts it, idle time too; on all CPUs together"""
    cpus: int
    memory_bytes: int | None
    """as it is shown"""
    memory_usage_bytes: int | None
    """as the Linux kernel counts it against the limit"""


def sample(document: Mapping[str, Any], received_ns: int) -> Sample:
    """One answer of the engine's API, summed up as the docker command does."""
    now, before = document.get("cpu_stats") or {}, document.get("precpu_stats") or {}
    used, earlier = _used(now), _used(before)
    system, earlier_system = now.get("system_cpu_usage"), before.get("system_cpu_usage")
    cpus = now.get("online_cpus") or len((now.get("cpu_usage") or {}).get("percpu_usage") or ())
    fresh = bool(system and earlier_system and earlier and used >= earlier)
    cpu_ns, system_ns = (used - earlier, int(system or 0) - int(earlier_system or 0)) if fresh else (0, 0)
    memory = document.get("memory_stats") or {}
    return Sample(
        received_ns=received_ns,
        cpu_percent=cpu_percent(cpu_ns, system_ns, cpus) if fresh else None,
        cpu_ns=cpu_ns,
        interval_ns=max(0, _time_ns(document.get("read")) - _time_ns(document.get("preread"))) if fresh else 0,
        system_ns=system_ns,
        cpus=cpus,
        memory_bytes=memory_bytes(memory),
        memory_usage_bytes=memory.get("usage"),
    )


def _used(cpu: Mapping[str, Any]) -> int:
    return int((cpu.get("cpu_usage") or {}).get("total_usage") or 0)


def _time_ns(text: str | None) -> int:
    """RFC 3339 with up to nine digits of a second, as Go writes it; to a microsecond."""
    if not text:
        return 0
    return int((datetime.fromisoformat(text) - _EPOCH) / timedelta(microseconds=1)) * 1000


def cpu_percent(cpu_ns: int, system_ns: int, cpus: int) -> float:
    """The container's part of the host's CPU time, times the number of CPUs: 100 is one CPU."""
    return cpu_ns / system_ns * cpus * 100.0 if cpu_ns > 0 and system_ns > 0 else 0.0


def memory_bytes(memory: Mapping[str, Any]) -> int | None:
    """Usage without inactive file cache: `total_inactive_file` on cgroup v1, `inactive_file` on v2."""
    usage, stat = memory.get("usage"), memory.get("stats") or {}
    if usage is None:
        return None
    cache = next((stat[key] for key in ("total_inactive_file", "inactive_file") if stat.get(key, usage) < usage), 0)
    return int(usage) - int(cache)


class Stats:
    """`docker stats` of one container while the block runs: a sample a second, in `samples`."""

    def __init__(self, subject: Subject) -> None:
        self._engine = subject.bench.engine.docker
        self._id = subject.container.id
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(_JOIN_S)

    def _follow(self) -> None:
        # the container may end first, and the engine: who presses it finds out, and says so
        with suppress(LimitsError, OSError):
            for document in self._engine.stats_stream(self._id):
                self.samples.append(sample(document, time.monotonic_ns()))
                if self._done.is_set():
                    return


def once(subject: Subject) -> Sample | None:
    """One sample, for its memory; `None` when the engine gives none."""
    try:
        document = subject.bench.engine.docker.stats(subject.container.id)
    except RefusedError:
        return None
    return sample(document, time.monotonic_ns())
