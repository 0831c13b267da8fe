"""The errors that a person reads: fact, cause, remedy. The command line turns each into its exit code."""

from __future__ import annotations

from dataclasses import dataclass


class LimitsError(Exception):
    """Anything that went wrong and that a person can act on; `exit_code` is what the command ends with."""

    exit_code = 1


class UsageError(LimitsError):
    """What was asked for can't be asked for."""

    exit_code = 2


class RequestError(UsageError):
    """What a server asked for itself can't be read, or can't be picked."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(f"{field}: {message}")


class UnreachableError(LimitsError):
    """The engine or the hub does not answer, or does not let us in."""

    exit_code = 4


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake in a policy file, at its place."""

    file: str
    line: int | None
    """from 1; `None` where the file as a whole is meant: it is not there, or can't be read"""
    column: int | None
    """from 1, in characters"""
    path: str
    """"groups.research.mem_limit"; empty where the text is not yet a policy"""
    message: str

    def __str__(self) -> str:
        """`limits.yaml:12:5: groups.research.mem_limt: unknown key; did you mean "mem_limit"?`."""
        where = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        return ": ".join(part for part in (where, self.path, self.message) if part)


class PolicyError(UsageError):
    """A policy file that can't be used, with every problem in it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))
