"""`Deadline`: the moment by which what was begun is to have ended, handed down to whatever waits. Waits for nothing."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Self

from spawner_limits.errors import LimitsError

GRACE_S = 10.0
"""after a deadline: for what is to be ended and removed by then"""
_LEAST_S = 0.01
"""a timeout of 0 would be none to `requests`"""


class OvertimeError(LimitsError):
    """What was asked for could not be had before the deadline, so nothing is known of it."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadline:
    """A moment; without arguments, one that never comes."""

    seconds: float = math.inf
    """that were given"""
    end: float = math.inf
    """by `time.monotonic()`"""

    @classmethod
    def after(cls, seconds: float) -> Self:
        """So many seconds from now on."""
        return cls(seconds=seconds, end=time.monotonic() + seconds)

    def later(self, seconds: float) -> Deadline:
        """The moment so many seconds after this one."""
        return Deadline(seconds=self.seconds, end=self.end + seconds)

    @property
    def passed(self) -> bool:
        """Whether it has come."""
        return time.monotonic() >= self.end

    def within(self, seconds: float | None) -> float | None:
        """How long something may be waited for, at most `seconds`; `None`: without end. Never 0."""
        left = max(_LEAST_S, self.end - time.monotonic())
        bound = left if seconds is None else min(seconds, left)
        return None if bound == math.inf else bound

    def check(self, what: str) -> None:
        """OvertimeError when it has come; `what` was not done by then: "the contest for CPU"."""
        if self.passed:
            raise self.overtime(what)

    def overtime(self, what: str) -> OvertimeError:
        """It has come, said to a person."""
        return OvertimeError(f"{what} was not done within the {self.seconds:g} s of --timeout; give it longer")
