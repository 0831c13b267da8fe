"""`Change`: one `docker update` of a container, seen three ways.

What the engine answers, what `docker inspect` says, and what the Linux kernel's files say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.setting import NOTHING, expected, rewrite
from spawner_limits.engines.docker import TABLE, host_config, translate
from spawner_limits.lifecycle.apply import short
from spawner_limits.proof.claims import claim, exactly

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.trial import Subject
    from spawner_limits.limits import Limits
    from spawner_limits.proof.evidence import Verdict

_RECORD = tuple(dict.fromkeys(row.inspect for row in TABLE if row.inspect))


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One `docker update`, and what was to be seen of it before and after."""

    limits: Limits
    """that were asked for"""
    asked: Mapping[str, Any]
    """the API's own keys"""
    reply: str | None
    """what the engine answered; `None`: success"""
    before: Seen
    """`recorded` is the engine's record, and its one snapshot has the kernel's limit files"""
    after: Seen
    seen: Seen
    """of a load afterwards, or of the time around it; other loads are its `parts`"""
    ran: int = 0
    """processes of the load before it"""
    ran_on: int = 0
    """of them, those that lived on"""

    @property
    def words(self) -> str:
        """What was asked for, as the API says it."""
        return " ".join(f"{key}={value}" for key, value in self.asked.items())


def change(subject: Subject, limits: Limits, *keys: str, really: Limits = NOTHING) -> Change:
    """Update a container to these limits; with `keys`, only by those of the API. `really`: as in `Setting`."""
    asked = host_config(translate(limits, page_size_bytes=subject.bench.page_size_bytes).ask)
    asked = {key: value for key, value in asked.items() if not keys or key in keys}
    before = _look(subject)
    reply = subject.update(**asked)
    rewrite(subject, really)
    after = _look(subject)
    return Change(limits=limits, asked=asked, reply=reply, before=before, after=after, seen=after)


def _look(subject: Subject) -> Seen:
    if not (found := subject.recorded):
        raise CannotError("the container ended during the update, so nothing can be read of it")
    return subject.seen([subject.reader.read_limits()], recorded={key: found.get(key) for key in _RECORD})


def agree(changed: Change) -> list[Verdict]:
    """It was accepted and is in force everywhere, or it was refused and nothing has changed."""
    return in_force(changed) if changed.reply is None else unchanged(changed)


def in_force(changed: Change) -> list[Verdict]:
    """The engine took it, recorded it, and the Linux kernel has it."""
    asked, after, reply = changed.asked, changed.after, changed.reply
    refusal = "" if reply is None else f"{changed.words} was refused: {short(reply)}"
    told = "success" if reply is None else "refused"
    fields = [row.field for row in TABLE if row.inspect in asked]
    wanted = expected(changed.limits, after.page_size_bytes, *fields)
    files = {file.name: file.accept for expectation in wanted for file in expectation.files(after.version)}
    return [
        claim(f"reply to {changed.words}", "success", told, reply is None, reason=refusal),
        *(exactly(f"HostConfig.{key}", str(value), str(after.recorded[key])) for key, value in asked.items()),
        *(_in_file(file, accept, after.snapshots[0].limits.get(file)) for file, accept in files.items()),
    ]


def _in_file(file: str, accept: Sequence[str], text: str | None) -> Verdict:
    if text is None:
        return claim(file, " or ".join(accept), None, None, reason=f"{file} could not be read")
    return exactly(file, accept, text)


def unchanged(changed: Change) -> list[Verdict]:
    """After a refusal: the engine's record and the kernel's files are as they were."""
    before, after = changed.before, changed.after
    files = before.snapshots[0].limits, after.snapshots[0].limits
    return [
        _same(changed, "HostConfig", before.recorded, after.recorded),
        _same(changed, "the kernel's files", *files),
    ]


def _same(changed: Change, what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Verdict:
    drift = [f"{key}: {before.get(key)} → {text}" for key, text in after.items() if before.get(key) != text]
    told = "; ".join(drift)
    reason = f"but in {what} {told}" if drift else f"and {what} did not change"
    return claim(
        f"{what} after {changed.words}",
        "unchanged",
        told or "unchanged",
        not drift,
        reason=f"{changed.words} was refused ({short(changed.reply or '')}), {reason}",
        files=drift,
    )
