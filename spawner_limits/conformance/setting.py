"""`Setting`: one container as most cases want it, from limits of the policy; and the judge of those limits."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from spawner_limits.engines.docker import translate
from spawner_limits.limits import Limits
from spawner_limits.proof.judge import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.engines.enforcement import CgroupVersion, Expectation
    from spawner_limits.proof.evidence import Evidence, Verdict


NOTHING = Limits()
Behind: TypeAlias = "Mapping[CgroupVersion, Mapping[str, str]]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a container is made with."""

    limits: Limits = NOTHING
    """as the spawner would ask for them"""
    host_config: Mapping[str, Any] = field(default_factory=dict)
    """what no limit of the policy says"""
    behind: Behind = field(default_factory=dict)
    """version of cgroups → cgroup file → text, written behind the engine's back once the container runs"""


@contextmanager
def made(bench: Bench, setting: Setting, command: Sequence[str] = ()) -> Iterator[Subject]:
    """A container of that setting. Errors as `Bench.container`."""
    asked = translate(setting.limits, version=bench.version, page_size_bytes=bench.page_size_bytes).ask
    behind = setting.behind.get(bench.version, {})
    with bench.container(command=command, behind=behind, **{**asked, **setting.host_config}) as subject:
        yield subject


def read_back(bench: Bench, setting: Setting) -> Evidence:
    """What the kernel says of a container of that setting, which nothing presses. Errors as `Bench.container`."""
    with made(bench, setting) as subject:
        return subject.evidence([subject.reader.read_limits()])


def expected(limits: Limits, page_size_bytes: int, *fields: str) -> list[Expectation]:
    """What the kernel must show for these fields of the limits, on either version of cgroups."""
    return [one for one in translate(limits, page_size_bytes=page_size_bytes).expect if one.field in fields]


def hold(limits: Limits, *fields: str) -> Callable[[Evidence], tuple[Verdict, ...]]:
    """A judge: these fields of `limits` hold."""
    return lambda evidence: judge(expected(limits, evidence.page_size_bytes, *fields), evidence)
