"""Cases 1, 2 and 7: the cgroups that we read are the container's, and have what a limit needs."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from spawner_limits.clients.own_containers import kill
from spawner_limits.conformance.case import Case, Group
from spawner_limits.conformance.loads import EVERY, LIMITED, waiting
from spawner_limits.conformance.setting import Setting, made
from spawner_limits.conformance.trial import START_S
from spawner_limits.kernel import v1, v2
from spawner_limits.kernel.cgroups import find
from spawner_limits.proof.claims import claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.proof.evidence import Verdict

_FILES: Mapping[CgroupVersion, Mapping[str, str]] = {
    1: {"cpuacct": "cpuacct.usage", **{name: files[0] for name, files in v1.LIMITS.items()}},
    2: {name: files[0] for name, files in v2.LIMITS.items()},
}
"""controller → a file that is there with it"""

# -- 1: controllers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Controller:
    """One controller, as a cgroup's directory shows it."""

    name: str
    file: str
    exists: bool
    listed: bool | None = None
    """in v2's `cgroup.controllers`; v1 has no such list"""


Where: TypeAlias = "Callable[[Subject], AbstractContextManager[Mapping[str, Path]]]"
"""a container → its controllers, and where to look for each"""


@contextmanager
def _without(subject: Subject) -> Iterator[Mapping[str, Path]]:
    """v1: the container's cgroup for devices. v2: a cgroup below the container's, which was given no controllers."""
    names = subject.cgroup.directories
    if subject.bench.version == 1:
        found = find(subject.container.pid, container_id=subject.container.id, controllers=("devices",))
        yield dict.fromkeys(names, found.directories["devices"])
        return
    below = names["memory"] / "spawner-limits-without"
    below.mkdir()
    try:
        yield dict.fromkeys(names, below)
    finally:
        below.rmdir()


def _controllers(bench: Bench, where: Where) -> list[Controller]:
    with made(bench, Setting(asked=EVERY)) as subject, where(subject) as directories:
        wanted = {name: _FILES[version].get(name) for name, version in subject.cgroup.versions.items()}
        return [_controller(directories[name], name, file, subject) for name, file in wanted.items() if file]


def _controller(directory: Path, name: str, file: str, subject: Subject) -> Controller:
    listed = None
    if subject.cgroup.versions[name] != 1:
        listed = name in (directory / "cgroup.controllers").read_text(encoding="ascii").split()
    return Controller(name=name, file=file, exists=(directory / file).exists(), listed=listed)


def there(controllers: Sequence[Controller]) -> list[Verdict]:
    """Each has its file, and on v2 is listed."""
    return [_there(controller) for controller in controllers]


def _there(controller: Controller) -> Verdict:
    lacks = [*(() if controller.exists else (f"no {controller.file}",))]
    lacks += ["not in cgroup.controllers"] if controller.listed is False else []
    files = [f"{controller.file}: {'there' if controller.exists else 'not there'}"]
    return claim(f"controller {controller.name}", "there", ", ".join(lacks) or "there", not lacks, files=files)


# -- 2, 7: processes in their cgroups ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Membership:
    """One process, and the cgroups of a container."""

    what: str
    paths: Mapping[str, str]
    """hierarchy → the process's cgroup, from /proc/PID/cgroup"""
    wanted: Mapping[str, str]
    """hierarchy → the container's"""
    listed: Mapping[str, bool]
    """controller → whether the container's `cgroup.procs` lists it"""


Choice: TypeAlias = "Callable[[Subject, Subject], AbstractContextManager[int]]"
"""a container and another → the process id that is looked for in the first one's cgroups"""


@contextmanager
def _executed(subject: Subject, _other: Subject) -> Iterator[int]:
    load, pid = waiting(subject)
    try:
        yield pid
    finally:
        # once it is elsewhere, nobody else finds it
        kill([pid])
        load.wait(START_S)


@contextmanager
def _moved(subject: Subject, other: Subject) -> Iterator[int]:
    with _executed(subject, other) as pid:
        for directory in dict.fromkeys(other.cgroup.directories.values()):
            (directory / "cgroup.procs").write_text(str(pid), encoding="ascii")
        yield pid


def _membership(bench: Bench, choice: Choice, what: str) -> Membership:
    with made(bench, LIMITED) as other, made(bench, LIMITED) as subject, choice(subject, other) as pid:
        directories = subject.cgroup.directories.items()
        return Membership(
            what=what,
            paths=_paths(pid),
            wanted=_paths(subject.container.pid),
            listed={name: str(pid) in (at / "cgroup.procs").read_text().split() for name, at in directories},
        )


def _paths(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines()
    return {names or "v2": path for _, names, path in (line.split(":", 2) for line in lines)}


def is_member(member: Membership) -> Verdict:
    """It is in every one of the container's cgroups; one below is as good, for the limits hold there too."""
    elsewhere = [name for name, path in member.wanted.items() if not _is_in(path, member.paths.get(name, ""))]
    unlisted = [name for name, listed in member.listed.items() if not listed and not _is_below(member)]
    seen = [f"elsewhere in {', '.join(elsewhere)}"] if elsewhere else []
    seen += [f"not in cgroup.procs of {', '.join(unlisted)}"] if unlisted else []
    files = [
        f"/proc/PID/cgroup: {path} ({', '.join(name for name, at in member.paths.items() if at == path)})"
        for path in dict.fromkeys(member.paths.values())
    ]
    expected = "in every cgroup of its container"
    return claim(member.what, expected, "; ".join(seen) or expected, not seen, files=files)


def _is_in(cgroup: str, path: str) -> bool:
    return path == cgroup or path.startswith(f"{cgroup}/")


def _is_below(member: Membership) -> bool:
    """Moved on, to a cgroup that something in the container made."""
    return any(member.paths.get(name, "").startswith(f"{path}/") for name, path in member.wanted.items())


# -- the list ----------------------------------------------------------------------------------------------------

_CONTROLLERS = (
    "a container has no such controller here, so its limit is nowhere: switch it on (v1: mount it, and look for "
    "cgroup_disable= on the kernel's command line; v2: cgroup.subtree_control of every cgroup above; rootless: "
    "Delegate=cpu cpuset io memory pids in user@.service)"
)
_PLACES = (
    "processes are not where the engine says: look at /proc/PID/cgroup, and at who writes to cgroup.procs; engine and "
    "service manager must use the same cgroup driver"
)
_FIRST, _EXECUTED = "the first process", "a process of docker exec"
_case = partial(Case, group=Group.CAPABILITY)

CASES: tuple[AnyCase, ...] = (
    _case(
        number=1,
        title="a container's cgroup has every controller that a limit needs",
        expected="cpu.cfs_quota_us, cpuacct.usage, cpuset.cpus, memory.limit_in_bytes and pids.max are there",
        expected_v2="cpu, cpuset, memory and pids in its own cgroup.controllers, with their files",
        press=lambda bench: _controllers(bench, lambda subject: nullcontext(subject.cgroup.directories)),
        control=lambda bench: _controllers(bench, _without),
        control_words="a cgroup of the container that these controllers are not on",
        claims=(there,),
        remedy=_CONTROLLERS,
    ),
    _case(
        number=2,
        title="a container's first process is in the cgroups that we read",
        expected="in cgroup.procs of each controller's directory",
        expected_v2="in cgroup.procs of the one directory",
        press=lambda bench: _membership(bench, lambda own, _: nullcontext(own.container.pid), _FIRST),
        control=lambda bench: _membership(bench, lambda _, other: nullcontext(other.container.pid), _FIRST),
        control_words="another container's first process",
        claims=(is_member,),
        remedy=_PLACES,
    ),
    _case(
        number=7,
        title="what docker exec starts is in the container's cgroups",
        expected="in cgroup.procs of each controller's directory",
        expected_v2="in cgroup.procs of the one directory, or below it",
        press=lambda bench: _membership(bench, _executed, _EXECUTED),
        control=lambda bench: _membership(bench, _moved, _EXECUTED),
        control_words="moved to another container's cgroups behind the engine's back",
        claims=(is_member,),
        remedy=_PLACES,
    ),
)
