"""The Linux kernel's log, and what its OOM killer says there: which process of which container, by whose limit.

Sources: Linux Documentation/ABI/testing/dev-kmsg, mm/oom_kill.c `dump_oom_victim` and `__oom_kill_process`. The line
with the reason has the cgroup; the kernel writes no more than ten of these in five seconds. The one that follows it has
the sizes, is always written, and does not say whose process it was.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from spawner_limits.units import KIB

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_RECORD = 8192
"""the kernel gives one record a read, and none is longer"""
_PID = re.compile(r"\bpid=(\d+)")
_KILLED = re.compile(r"\bKilled process (\d+)\b")
# a process may call itself anything, so what follows its name is looked for from the end
_REASON = re.compile(
    r"oom-kill:constraint=(?P<constraint>\w+),.*?"
    r"(?:oom_memcg=(?P<limit>.*?)|global_oom),task_memcg=(?P<cgroup>.*?),task=(?P<process>.*),pid=(?P<pid>\d+),uid=\d+"
)
_SIZES = re.compile(r"\bKilled process (\d+) \(.*\) .*?anon-rss:(\d+)kB, file-rss:\d+kB, shmem-rss:(\d+)kB")
_ID = re.compile(r"[0-9a-f]{64}")

Whose = Literal["own", "above", "host"]
"""whose memory was used up: the container's own limit, that of a cgroup above it, or the whole host's memory"""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedKill:
    """One process that the OOM killer ended, as the kernel's log has it."""

    container: str
    """the container's whole id"""
    process: str
    """its name, at most 15 characters"""
    pid: int
    """on the host"""
    whose: Whose
    rss_bytes: int | None = None
    """what it held in memory but for files, which the kernel can read again; `None`: that line was not seen"""


class KernelLog:
    """What the Linux kernel logs while the block runs."""

    def __init__(self, path: str | Path = "/dev/kmsg") -> None:
        """Nothing is opened yet."""
        self.problem = ""
        """why it can't be read"""
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError as error:
            self.problem = f"{self._path}: {error.strerror}"
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def fileno(self) -> int | None:
        """The descriptor, to wait on; `None` where it can't be read."""
        return None if self.problem else self._descriptor

    def lines(self) -> list[str]:
        """What came since the block began, or since this was last asked."""
        found = []
        while (record := self._next()) is not None:
            found.append(text(record))
        return [line for line in found if line]

    def _next(self) -> str | None:
        """The next record; `None` at the end; empty for one that was overwritten before it was read (EPIPE)."""
        if self._descriptor is None:
            return None
        try:
            return os.read(self._descriptor, _RECORD).decode(errors="replace")
        except BlockingIOError:
            return None
        except BrokenPipeError:
            return ""
        except OSError as error:
            self.problem = f"{self._path}: {error.strerror}"
            return None


def text(record: str) -> str:
    """`6,1234,567890,-;the text`, and lines below it of no interest: the text."""
    return record.partition(";")[2].partition("\n")[0]


def kills(lines: list[str], container_id: str) -> list[str]:
    """The lines that name a process of this container as killed.

    The line with the reason ("oom-kill:constraint=…") has the cgroup and the process; the one that follows, only the
    process.
    """
    pids = {found[1] for line in lines if container_id in line and (found := _PID.search(line))}
    return [line for line in lines if (found := _KILLED.search(line)) and found[1] in pids]


def logged_kills(lines: Iterable[str]) -> list[LoggedKill]:
    """All kills of containers' processes in these lines, in their order; those that name no container are left out."""
    lines = list(lines)
    sizes = {found[1]: (int(found[2]) + int(found[3])) * KIB for line in lines if (found := _SIZES.search(line))}
    reasons = (found for line in lines if (found := _REASON.search(line)))
    return [
        LoggedKill(
            container=ids[-1],
            process=found["process"],
            pid=int(found["pid"]),
            whose=_whose(found["limit"], ids[-1]),
            rss_bytes=sizes.get(found["pid"]),
        )
        for found in reasons
        if (ids := _ID.findall(found["cgroup"]))
    ]


def _whose(limit: str | None, container: str) -> Whose:
    """`limit`: the cgroup that had no more; `None`: the host."""
    if limit is None:
        return "host"
    return "own" if container in limit else "above"
