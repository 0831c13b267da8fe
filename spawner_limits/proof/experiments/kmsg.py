"""The Linux kernel's log, from a moment on: what its OOM killer says there of one container."""

from __future__ import annotations

import os
import re
from typing import Self

_RECORD = 8192
"""the kernel gives one record a read, and none is longer"""
_PID = re.compile(r"\bpid=(\d+)")
_KILLED = re.compile(r"\bKilled process (\d+)\b")


class KernelLog:
    """What the Linux kernel logs while the block runs."""

    def __init__(self) -> None:
        self.problem = ""
        """why it can't be read"""
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError as error:
            self.problem = f"/dev/kmsg: {error.strerror}"
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def lines(self) -> list[str]:
        """What came since the block began, or since this was last asked."""
        found = []
        while (record := self._next()) is not None:
            found.append(text(record))
        return [one for one in found if one]

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
            self.problem = f"/dev/kmsg: {error.strerror}"
            return None


def text(record: str) -> str:
    """`6,1234,567890,-;the text`, and lines below it of no interest: the text."""
    return record.partition(";")[2].partition("\n")[0]


def kills(lines: list[str], container_id: str) -> list[str]:
    """The lines that name a process of this container as killed.

    The line with the reason ("oom-kill:constraint=…") has the cgroup and the process; the one that follows, only the
    process.
    """
    pids = {found[1] for one in lines if container_id in one and (found := _PID.search(one))}
    return [one for one in lines if (found := _KILLED.search(one)) and found[1] in pids]
