"""How far a conformance run is, on stderr: a changing line on a terminal, elsewhere one plain line a result."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status
from rich.text import Text

from spawner_limits.conformance.page import took
from spawner_limits.report.words import line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spawner_limits.conformance.case import AnyCase, Result


class Progress:
    """What was done and what is being pressed."""

    def __init__(self, total: int, show: Callable[[str], None]) -> None:
        self._total, self._show = total, show
        self._done = 0
        self._pressing: dict[int, str] = {}
        self._lock = threading.Lock()

    def begin(self, case: AnyCase) -> None:
        """One is being pressed."""
        with self._lock:
            self._pressing[case.number] = line(case.title)
            self._show(self.line())

    def done(self, result: Result) -> None:
        """One more has its result."""
        with self._lock:
            self._pressing.pop(result.number, None)
            self._done += 1
            self._show(self.line())

    def line(self) -> str:
        """`12/60 done; 31 touching pages ends at the limit; 35 …`."""
        running = "; ".join(f"{number} {title}" for number, title in sorted(self._pressing.items()))
        return f"{self._done}/{self._total} done{running and '; '}{running}"


def plain(result: Result) -> str:
    """` 9 HELD     0.25, 0.5, 1 and 1.5 cores are not exceeded (36 s)`."""
    return f"{result.number:2} {result.outcome:8} {line(result.title)} ({took(result)})"


@contextmanager
def progress(total: int) -> Iterator[tuple[Callable[[AnyCase], None], Callable[[Result], None]]]:
    """What is to be told of each case that begins, and of each result."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield lambda _: None, lambda result: console.print(plain(result), markup=False)
        return
    with Status("", console=console, spinner="line") as status:
        shown = Progress(total, lambda text: status.update(Text(text, no_wrap=True, overflow="ellipsis")))
        yield shown.begin, shown.done
