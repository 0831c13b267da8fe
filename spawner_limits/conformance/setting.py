"""`Setting`: one container as most cases want it, from limits of the policy; and the claims that those limits hold."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spawner_limits.clients.own_containers import RefusedError
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.seen import Seen
from spawner_limits.engines.docker import TABLE, translate
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import claim, exactly
from spawner_limits.proof.judge import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.engines.enforcement import CgroupVersion, Expectation
    from spawner_limits.proof.evidence import Evidence, Verdict

NOTHING = Limits()
ENDLESS_BYTES = (1 << 63) - 1
"""what the Linux kernel takes for no limit of memory, on either version of cgroups"""


_ROOT = "run as root on the engine's host"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a container is made with, and what the Linux kernel then has."""

    asked: Limits = NOTHING
    """of the engine, as the spawner would"""
    really: Limits = NOTHING
    """what the kernel's files are made to say behind the engine's back, once the container runs"""
    host_config: Mapping[str, Any] = field(default_factory=dict)
    """what no limit of the policy says"""
    behind: Mapping[str, str] = field(default_factory=dict)
    """cgroup file → text, of what no limit of the policy says; a file that is not there is left out"""


@contextmanager
def made(bench: Bench, setting: Setting, command: Sequence[str] = ()) -> Iterator[Subject]:
    """A container of that setting. Errors as `Bench.container`; CannotError as `rewrite`."""
    asked = translate(setting.asked, version=bench.version, page_size_bytes=bench.page_size_bytes).ask
    with bench.container(command=command, behind=setting.behind, **{**asked, **setting.host_config}) as subject:
        rewrite(subject, setting.really)
        yield subject


def rewrite(subject: Subject, limits: Limits, *, above: int = 0) -> None:
    """Have the kernel's files say these limits, behind the engine's back; `above`: of a cgroup so much further up.

    Those that say it already are left alone. CannotError where the kernel takes one not, or has none of them.
    """
    wanted, whose = texts(subject.bench, limits), " of a parent cgroup" if above else ""
    found = {name: subject.read(name, above=above) for name in wanted}
    # on v1 memory and swap together come first: memory must not be above them
    for name, text in reversed(wanted.items()):
        if found[name] in {None, text}:  # not every kernel accounts swap
            continue
        if error := subject.write(name, text, above=above):
            raise CannotError(f"{name}{whose} can't be written: {error}", _ROOT)
    if wanted and not any(found.values()):
        raise CannotError(f"{next(iter(wanted))}{whose} can't be read", _ROOT)


def texts(bench: Bench, limits: Limits) -> dict[str, str]:
    """Kernel file → what it says where these limits are in force."""
    enforcement = translate(limits, page_size_bytes=bench.page_size_bytes)
    return {file.name: file.accept[-1] for row in enforcement.expect for file in row.files(bench.version)}


def read(bench: Bench, setting: Setting) -> Seen:
    """What kernel and engine say of a container of that setting, which nothing presses. Errors as `made`."""
    with made(bench, setting) as subject:
        return subject.seen([subject.reader.read_limits()], recorded=subject.recorded)


def or_refused(bench: Bench, press: Callable[[], Seen]) -> Seen:
    """What a press has seen, or how the engine refused its container."""
    try:
        return press()
    except RefusedError as error:
        return Seen(host=bench.host, version=bench.version, refused_at=error.at, said=str(error))


def kernel_file(field: str, version: CgroupVersion) -> str:
    """The Linux kernel's file, or the first of them, that carries a field of the policy."""
    (row,) = (entry for entry in TABLE if entry.field == field)
    return (row.v1 if version == 1 else row.v2)[0]


# -- claims ------------------------------------------------------------------------------------------------------


def expected(limits: Limits, page_size_bytes: int, *fields: str) -> list[Expectation]:
    """What the kernel must show for these fields of the limits, on either version of cgroups."""
    return [row for row in translate(limits, page_size_bytes=page_size_bytes).expect if row.field in fields]


def hold(limits: Limits, *fields: str) -> Callable[[Evidence], tuple[Verdict, ...]]:
    """These fields of `limits` hold: the kernel shows them, and the load rose to them and no further."""
    return lambda evidence: judge(expected(limits, evidence.page_size_bytes, *fields), evidence)


def shown(limits: Limits, *fields: str) -> Callable[[Evidence], list[Verdict]]:
    """The kernel's files say what these fields of `limits` do."""

    def judged(evidence: Evidence) -> list[Verdict]:
        wanted, series = expected(limits, evidence.page_size_bytes, *fields), evidence.series
        files = [file for row in wanted for file in row.files(series.version(row.v1[0].controller))]
        accept = {file.name: file.accept for file in files}
        return [exactly(name, texts, evidence.snapshots[0].limits.get(name)) for name, texts in accept.items()]

    return judged


def refused(what: str, seen: Seen, *, ran: str = "it ran", reason: str = "") -> Verdict:
    """The engine does not even create such a container."""
    told = f"refused at {seen.refused_at}" if seen.refused_at else ran
    wanted, files = "refused when the container is created", [f"the engine: {seen.said or ran}"]
    return claim(what, wanted, told, seen.refused_at == "create", reason=reason, files=files)
