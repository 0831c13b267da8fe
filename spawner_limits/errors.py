"""The errors that a person reads: fact, cause, remedy. The command line turns each into its exit code."""

from __future__ import annotations

from dataclasses import dataclass


class LimitsError(Exception):
    """Anything that went wrong and that a person can act on; `exit_code` is what the command ends with."""

    exit_code = 1


class UsageError(LimitsError):
    """What was asked for can't be asked for."""

    exit_code = 2


class UnreachableError(LimitsError):
    """The engine or the hub does not answer, or does not let us in."""

    exit_code = 4


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake in a policy file, at its place; `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class PolicyError(UsageError):
    """A policy file that can't be used, with every problem in it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))
