"""Ctrl-C, SIGTERM and a terminal that closes: each ends a proof, and none of them stops it from cleaning up."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

EXIT_CODE = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK_S = 0.1
_asked = threading.Event()


def heed() -> None:
    """From now on the first of these signals raises KeyboardInterrupt, and the ones after it nothing."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # such as by nohup
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _asked.set()
    with suppress(OSError):  # nobody may be left to read it
        # not print(): that may be what was interrupted
        os.write(sys.stderr.fileno(), b"spawner-limits: interrupted; removing what it made\n")
    raise KeyboardInterrupt


def check() -> None:
    """KeyboardInterrupt, if there was one already.

    What it raised is lost when it came in the middle of a file's finalizer, in which Python drops every exception
    (`iobase_finalize`): seen with 3 in 100 interrupts, since each answer to a request over HTTP is such a file.
    """
    if _asked.is_set():
        raise KeyboardInterrupt


def pause(seconds: float) -> None:
    """Sleep, but not through a KeyboardInterrupt."""
    end = time.monotonic() + seconds
    check()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _TICK_S))
        check()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """They wait for the end of the block, in which something is made or removed whole."""
    if threading.current_thread() is not threading.main_thread():  # no other one gets them
        yield
        return
    held: list[int] = []
    before = {number: signal.signal(number, lambda number, _frame: held.append(number)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])
