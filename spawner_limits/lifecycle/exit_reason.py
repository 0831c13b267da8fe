"""Why a server, or one process of it, came to its end: the values, and the deciding. Pure; the words are people's.

An exit code alone tells little: 137 is any SIGKILL. The engine's `State.OOMKilled` is set by any OOM kill in the
container, also by one that the server outlived, so it is no evidence; what the Linux kernel counted just before is.
"""

from __future__ import annotations

import signal
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from spawner_limits.units import format_size

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from spawner_limits.kernel.kmsg import Whose

Cause = Literal["oom", "stopped", "killed", "signal", "exited", "vanished", "interrupted"]
_CAUSES = frozenset(get_args(Cause))
_SIGNALLED = 128
SIGKILLED = _SIGNALLED + signal.SIGKILL
"""the exit code of whoever was ended by SIGKILL"""
RECENT = timedelta(seconds=3)
"""after an OOM kill: a container that ends by SIGKILL so soon was ended by it; the memory has to be freed first"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerContainer:
    """A container, whose server it is, and its memory limit."""

    container: str
    """its whole id"""
    user: str
    server: str = ""
    """empty for the default one"""
    limit_bytes: int | None = None
    """its memory limit; `None`: not limited, or not known"""
    rule: str | None = None
    """the rule that the limit came from: "group students"; `None`: not known, or it was changed since"""

    @property
    def name(self) -> str:
        """For the administrator's log, as JupyterHub writes it."""
        return f"{self.user}:{self.server}" if self.server else self.user


@dataclass(frozen=True, kw_only=True, slots=True)
class OomKill:
    """Processes of one server that the OOM killer ended at about the same time."""

    at: datetime
    """when it was seen, in UTC"""
    server: ServerContainer
    count: int = 1
    process: str | None = None
    """the last one's name; `None`: not known, as the Linux kernel's log could not be read or had no line of it"""
    pid: int | None = None
    """on the host"""
    rss_bytes: int | None = None
    """what that process held"""
    peak_bytes: int | None = None
    """the most that the whole container ever used"""
    whose: Whose | None = None
    """whose memory was used up; `None`: not known"""
    server_died: bool = False
    """whether the container ended by it"""

    @property
    def details(self) -> dict[str, Any]:
        """For `Records`; what is not known is not there."""
        values = asdict(self)
        values |= values.pop("server")
        del values["at"], values["container"]
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerExit:
    """How one server's container ended."""

    at: datetime
    """in UTC"""
    cause: Cause
    exit_code: int | None = None
    """`None`: not known"""
    limit_bytes: int | None = None
    rule: str | None = None
    process: str | None = None
    """what the OOM killer took, where that was the cause and is known"""
    whose: Whose | None = None

    @property
    def details(self) -> dict[str, Any]:
        """As JSON can carry it; `read` gives back an equal value."""
        values = asdict(self) | {"at": self.at.isoformat()}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def read(cls, details: Any) -> ServerExit | None:
        """What `details` gave; `None` for anything else, such as another version's."""
        try:
            known = {name: value for name, value in details.items() if name in cls.__slots__}
            end = cls(**{**known, "at": datetime.fromisoformat(details["at"])})
        except (TypeError, KeyError, ValueError, AttributeError):
            return None
        return end if end.cause in _CAUSES and end.at.tzinfo is not None else None

    @property
    def words(self) -> str:
        """For the administrator: `out of memory: the OOM killer took python3 at its memory limit of 2.00 GiB`."""
        limit = _limit(self.whose, self.limit_bytes, self.rule)
        words: dict[Cause, str] = {
            "oom": f"out of memory: the OOM killer took {self.process or 'it'} {limit}",
            "stopped": "it was stopped through the engine",
            "killed": "SIGKILL, and not by the OOM killer",
            "signal": f"ended by {_signal(self.exit_code)}",
            "exited": f"it ended by itself with exit code {self.exit_code}",
            "vanished": "its container is gone, and nobody saw it end: it was removed, or the engine lost it",
            "interrupted": "the hub ended while it was starting it",
        }
        return words[self.cause]

    def for_user(self, contact: str | None, *, now: datetime) -> str | None:
        """Fact, cause and remedy; `None`: there is nothing to explain. `now` has the time zone that is shown."""
        if (why := self._why()) is None:
            return None
        ask = f"ask {contact}" if contact else "ask the administrator of this hub"
        remedy = (
            f"When you start it again, load less data at once, or {ask} for more."
            if self.cause == "oom"
            else f"You can start it again; if that happens once more, {ask}."
        )
        return f"Your server was stopped at {moment(self.at, now)}: {why}. {remedy}"

    def _why(self) -> str | None:
        if self.cause == "oom" and self.whose in ("above", "host"):
            return "all servers on this machine together had used up its memory"
        if self.cause == "exited" and self.exit_code:
            return f"it ended by itself, with exit code {self.exit_code}"
        words: dict[Cause, str] = {
            "oom": f"it reached its memory limit{_size(self.limit_bytes, self.rule)}",
            "stopped": "an administrator stopped it, or the container engine was stopped",
            "killed": "somebody or something ended it (SIGKILL), and not for its memory",
            "signal": f"it was ended by {_signal(self.exit_code)}",
            "vanished": "its container was removed, or lost when the container engine was restarted",
            "interrupted": "the hub was restarted while it was starting",
        }
        return words.get(self.cause)


def cause(*, exit_code: int | None, died_at: datetime, oom_at: datetime | None, asked: Collection[int]) -> Cause:
    """Why a container ended.

    `oom_at`: when the last OOM kill in it was noted, which a busy host delays. `asked`: the signals that the engine was
    asked to send to it. A SIGKILL that was asked for always ends it: what outlived an OOM kill till then did not die
    of it, whichever of the two is noted first.
    """
    is_recent = oom_at is not None and died_at - oom_at <= RECENT and signal.SIGKILL not in asked
    if is_recent and exit_code in (None, SIGKILLED):
        return "oom"
    if exit_code is None:
        return "vanished"
    if signal.SIGTERM in asked:  # `docker stop`: then SIGKILL for who does not listen
        return "stopped"
    if exit_code == SIGKILLED:
        return "killed"
    return "signal" if _SIGNALLED < exit_code < _SIGNALLED + signal.NSIG else "exited"


def oom_line(oom: OomKill) -> str:
    """For the administrator's log: who, what, at whose limit, and what became of the server."""
    what = f"{oom.process} (pid {oom.pid})" if oom.process else "a process whose name is not known"
    held = f", which held {format_size(oom.rss_bytes)}" if oom.rss_bytes else ""
    many = f"{oom.count} processes, the last of them " if oom.count > 1 else ""
    limit = _limit(oom.whose, oom.server.limit_bytes, oom.server.rule)
    fate = "the server ended by it" if oom.server_died else "the server goes on"
    return f"Out of memory in the server of {oom.server.name}: the OOM killer took {many}{what}{held}, {limit}; {fate}"


def _limit(whose: Whose | None, limit_bytes: int | None, rule: str | None) -> str:
    """`at its memory limit of 2.00 GiB (rule: group students)`, as far as it is known."""
    if whose == "host":
        return "as the whole host had no memory left"
    if whose == "above":
        return "at the limit of a cgroup above it, that of all servers together"
    return f"at its memory limit{_size(limit_bytes, rule)}"


def _size(limit_bytes: int | None, rule: str | None) -> str:
    """` of 2.00 GiB (rule: group students)`, as far as it is known."""
    size = f" of {format_size(limit_bytes)}" if limit_bytes else ""
    return f"{size} (rule: {rule})" if rule else size


def _signal(exit_code: int | None) -> str:
    number = (exit_code or 0) - _SIGNALLED
    try:
        return signal.Signals(number).name
    except ValueError:  # one that this Python has no name for
        return f"signal {number}"


def moment(at: datetime, now: datetime) -> str:
    """`21:02 CET` today, `2026-11-21 21:02 CET` on another day, in `now`'s time zone."""
    there = at.astimezone(now.tzinfo)
    return there.strftime("%H:%M %Z" if there.date() == now.date() else "%Y-%m-%d %H:%M %Z")


def count_of(details: Mapping[str, Any]) -> int:
    """How many kills a record of `OomKill.details` stands for."""
    count = details.get("count", 1)
    return count if isinstance(count, int) and not isinstance(count, bool) else 1
