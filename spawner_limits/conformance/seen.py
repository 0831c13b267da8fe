"""`Seen`: what one press has seen of one container, in the kernel's counters and files, and of the engine. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from spawner_limits.proof.claims import claim, exactly, judged
from spawner_limits.proof.evidence import Evidence, Load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.claims import Claim
    from spawner_limits.proof.evidence import Verdict

NO_LOAD = Load(command=(), exit_code=None, oom_killed=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen(Evidence):
    """The evidence that `judge` takes, and what else was looked at. What a press did not look at is empty."""

    snapshots: tuple[Snapshot, ...] = ()
    load: Load = NO_LOAD
    version: CgroupVersion
    """of cgroups"""
    alive: bool = True
    """whether the container's first process was, after it"""
    printed: tuple[str, ...] = ()
    """what the load said, word by word: the guest's word"""
    texts: Mapping[str, str | None] = field(default_factory=dict)
    """kernel file, and where or when it was read → its text; `None`: it was not there"""
    warnings: tuple[str, ...] = ()
    """of `docker create`"""
    recorded: Mapping[str, Any] = field(default_factory=dict)
    """`HostConfig` in `docker inspect`"""
    info: Mapping[str, Any] = field(default_factory=dict)
    """`docker info`"""
    refused_at: Literal["create", "start"] | None = None
    """where the engine would not have the container"""
    said: str = ""
    """what it said to that"""
    parts: Mapping[str, Seen] = field(default_factory=dict)
    """what was seen of the press's other loads, or other containers, by name"""

    @property
    def exit_code(self) -> int | None:
        """Of the load; `None`: it ran on, or nobody knows."""
        return self.load.exit_code

    def counts(self, file: str) -> dict[str, int]:
        """The lines "name value" of a file's text."""
        pairs = [line.split() for line in (self.texts.get(file) or "").splitlines()]
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}  # noqa: PLR2004


def of(part: str, *claims: Claim[Seen]) -> Claim[Seen]:
    """Claims of a part."""
    return lambda seen: judged(claims, seen.parts[part])


def on(*, v1: Sequence[Claim[Seen]], v2: Sequence[Claim[Seen]]) -> Claim[Seen]:
    """Claims of the version of cgroups that there is."""
    return lambda seen: judged(v1 if seen.version == 1 else v2, seen)


# -- what the engine makes of what a version of cgroups has not ---------------------------------------------------


def warned(word: str) -> Claim[Seen]:
    """When it made the container, the engine said that it discards what `word` is in."""

    def judge(seen: Seen) -> Verdict:
        told = [warning for warning in seen.warnings if word in warning.lower()]
        files = [f"Warnings of docker create: {list(seen.warnings)}"]
        return claim(f"warning that {word} is discarded", "one", "; ".join(told) or "none", bool(told), files=files)

    return judge


def discarded(key: str, *, unset: Sequence[object]) -> Claim[Seen]:
    """The engine has recorded nothing of it; `unset`: what says so."""

    def judge(seen: Seen) -> Verdict:
        value = seen.recorded.get(key)
        return exactly(f"HostConfig.{key}", "not set", "not set" if value in unset else str(value))

    return judge
