"""Find a container's cgroups from its PID, on v1, v2 and hybrid hosts, whatever made them. Reads no counter.

Both files that this rests on are described in cgroups(7) and proc_pid_mountinfo(5).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spawner_limits.errors import LimitsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids")
_V2 = ""  # the name of the v2 hierarchy: its line in /proc/PID/cgroup is `0::/path`
_OCTAL = re.compile(r"\\([0-7]{3})")


class CgroupError(LimitsError):
    """A container's cgroups can't be found, so nothing about its limits is known."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Cgroup:
    """The directories in which the Linux kernel keeps one container's limits and counters."""

    directories: Mapping[str, Path]
    """controller → directory, for each that was asked for; what v1 calls cpuacct is v2's cpu"""
    versions: Mapping[str, Literal[1, 2]]
    """controller → version of cgroups that it is on"""
    unified: Path | None
    """the v2 directory, where the container has one: on a hybrid host it holds the pressure files"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mount:
    root: str
    """path of the cgroup that is mounted: `/`, or a part of the tree in a nested engine"""
    point: Path

    def directory(self, path: str) -> Path | None:
        """Where a cgroup is below the mount point; `None`: what is mounted does not have it."""
        if self.root in {"/", path} or path.startswith(f"{self.root}/"):
            return self.point / path.removeprefix(self.root).lstrip("/")
        return None


def find(
    pid: int, *, container_id: str | None = None, root: Path = Path("/"), controllers: Sequence[str] = CONTROLLERS
) -> Cgroup:
    """The cgroups of the container whose first process is `pid`, as the host sees it.

    With `container_id`, a cgroup below the container's (made by systemd or an engine in it) is walked up to the one
    that is named after the container. `root` is what `/proc` and `/sys` are below. `controllers`: which ones.

    CgroupError: there is no such process, it is not in that container's cgroups, or they can't be seen from here.
    """
    paths = _paths(_membership(pid, root))
    search = _Search(pid=pid, container_id=container_id, paths=paths, mounts=_mounts(root))
    found = {name: search.directory(name if name in paths else _V2, name) for name in controllers}
    return Cgroup(
        directories=found, versions={name: 1 if name in paths else 2 for name in controllers}, unified=search.unified()
    )


class Whereabouts:
    """Tells for processes whether they are in a container's cgroups; what one look has cost serves the next ones."""

    def __init__(self, cgroup: Cgroup, *, root: Path = Path("/")) -> None:
        """`cgroup`: the container's. `root` is what `/proc` and `/sys` are below. CgroupError without /proc."""
        self._cgroup, self._root, self._mounts = cgroup, root, _mounts(root)
        # all processes of a container have the same text but those that are elsewhere
        self._known: dict[str, dict[str, str]] = {}

    def outside(self, pid: int) -> dict[str, str]:
        """Controller → the cgroup that a process is in, for each in which it is not in the container's, nor below it.

        CgroupError: there is no such process.
        """
        text = _membership(pid, self._root)
        if text not in self._known:
            paths = _paths(text)
            own = {name: paths.get(name, paths.get(_V2, "")) for name in CONTROLLERS}
            self._known[text] = {name: path for name, path in own.items() if not self._is_inside(name, path)}
        return self._known[text]

    def _is_inside(self, controller: str, path: str) -> bool:
        mounts = self._mounts.get(controller, self._mounts.get(_V2, ()))
        top = self._cgroup.directories[controller]
        return any(at.is_relative_to(top) for mount in mounts if (at := mount.directory(path)) is not None)


def cgroup_mounts(root: Path = Path("/")) -> tuple[Path, ...]:
    """Where cgroup file systems are mounted, of v1 and v2. CgroupError when `/proc` is not."""
    return tuple(sorted({mount.point for mounts in _mounts(root).values() for mount in mounts}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Hierarchy:
    """Where a controller's cgroups are."""

    version: Literal[1, 2]
    top: Path
    """the directory of the uppermost cgroup that can be seen"""


def hierarchies(controllers: Sequence[str], *, root: Path = Path("/")) -> dict[str, Hierarchy]:
    """Controller → its hierarchy. CgroupError: it is on none, or `/proc` is not mounted."""
    mounts = _mounts(root)
    return {name: _hierarchy(name, mounts) for name in controllers}


def _hierarchy(controller: str, mounts: Mapping[str, tuple[_Mount, ...]]) -> Hierarchy:
    if controller in mounts:
        return Hierarchy(version=1, top=mounts[controller][0].point)
    for mount in mounts.get(_V2, ()):
        if controller in _text(mount.point / "cgroup.controllers").split():
            return Hierarchy(version=2, top=mount.point)
    raise CgroupError(
        f"no cgroup file system with the {controller} controller is mounted; mount /sys/fs/cgroup, and check that the "
        "kernel has the controller (/proc/cgroups)"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Search:
    """What is known of one process, and the way from there to its directories."""

    pid: int
    container_id: str | None
    paths: Mapping[str, str]
    """hierarchy → the process's cgroup in it"""
    mounts: Mapping[str, tuple[_Mount, ...]]
    """hierarchy → where it is mounted"""

    def directory(self, hierarchy: str, controller: str) -> Path:
        """The container's directory in a hierarchy that `controller` is on."""
        path = self.paths.get(hierarchy)
        if path is None or hierarchy not in self.mounts:
            raise CgroupError(
                f"no cgroup file system with the {controller} controller is mounted, so the limits of PID {self.pid} "
                "can't be read; mount the host's /sys/fs/cgroup, and check that the kernel has the controller "
                "(/proc/cgroups)"
            )
        if path == "/.." or path.startswith("/../"):
            raise CgroupError(
                f"PID {self.pid} is in the cgroup {path}: this process is in a narrower cgroup namespace; run it in "
                "the host's (docker run --cgroupns=host --pid=host), with the host's /sys/fs/cgroup mounted"
            )
        own = self._own(path)
        for mount in self.mounts[hierarchy]:
            top, here = mount.directory(own), mount.directory(path)
            if top is not None and here is not None and self._is_listed(here, top):
                return top
        seen = ", ".join(str(mount.point) for mount in self.mounts[hierarchy])
        raise CgroupError(
            f"no cgroup.procs below {seen} lists PID {self.pid} in {path}: it ended just now, or this is not the "
            "host's /sys/fs/cgroup or not the host's PID namespace; look again, and run in both of the host's"
        )

    def unified(self) -> Path | None:
        """The container's v2 directory, if it has one: on a hybrid host engines need not make it."""
        if _V2 not in self.paths or _V2 not in self.mounts:
            return None
        try:
            return self.directory(_V2, "v2")
        except CgroupError:  # not this container's own; a controller that needs it has raised already
            return None

    def _own(self, path: str) -> str:
        """The part of `path` that ends in the container's id; the whole of it where no id is given."""
        if self.container_id is None:
            return path
        parts = path.split("/")
        for end, part in enumerate(parts, 1):
            if self.container_id and self.container_id in part:
                return "/".join(parts[:end])
        raise CgroupError(
            f"PID {self.pid} is in the cgroup {path}, which is not named after the container {self.container_id}: the "
            'engine made no cgroup for it (docker info: "Cgroup Driver: none"), or the PID is another process\'s by '
            "now; look the container's PID up again, and give the engine a cgroup driver"
        )

    def _is_listed(self, here: Path, top: Path) -> bool:
        """Whether the cgroup `here`, or one above it up to `top`, lists the process: a threaded one does not."""
        for directory in (here, *here.parents):
            # gone, or threaded (EOPNOTSUPP): not listed here is what the caller needs to know
            with suppress(OSError):
                if directory.is_relative_to(top) and str(self.pid) in _text(directory / "cgroup.procs").split():
                    return True
        return False


def _membership(pid: int, root: Path) -> str:
    """The text of /proc/PID/cgroup."""
    try:
        return _text(root / "proc" / str(pid) / "cgroup")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise CgroupError(
            f"there is no process with the PID {pid}: its container has ended, or it is in another PID namespace; look "
            "the container's PID up while it runs, from the host's PID namespace"
        ) from error


def _paths(text: str) -> dict[str, str]:
    """Hierarchy → path, of `4:cpu,cpuacct:/docker/ID`, `0::/docker/ID`."""
    fields = (line.split(":", 2) for line in text.splitlines())
    return {name: path for _, names, path in fields for name in names.split(",")}


def _mounts(root: Path) -> dict[str, tuple[_Mount, ...]]:
    """Hierarchy → its mounts, from /proc/self/mountinfo, those of the most of the tree first."""
    try:
        text = _text(root / "proc" / "self" / "mountinfo")
    except FileNotFoundError as error:
        raise CgroupError(f"{error.filename} is not there: /proc is not mounted; mount it") from error
    mounts: dict[str, tuple[_Mount, ...]] = {}
    for name, mount in _cgroup_mounts(text, root):
        mounts[name] = tuple(sorted((*mounts.get(name, ()), mount), key=lambda mount: len(mount.root)))
    return mounts


def _cgroup_mounts(mountinfo: str, root: Path) -> Iterator[tuple[str, _Mount]]:
    """Hierarchies and mounts. A line is `id parent major:minor root point options [tags] - type source options`."""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind not in {"cgroup", "cgroup2"}:
            continue
        top, point = map(_unescape, left.split(" ")[3:5])
        mount = _Mount(root=top, point=root / point.lstrip("/"))
        for name in options.split(",") if kind == "cgroup" else (_V2,):
            yield name, mount


def _unescape(field: str) -> str:
    """A mountinfo field with its octal escapes (space, tab, newline, backslash) undone."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")
