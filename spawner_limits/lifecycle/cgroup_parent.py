"""`CgroupParent`: the parent cgroup of all users' containers, which leaves the hub, the engine and ssh what they need.

Memory, processes and CPU of all servers together are capped there, by `host:` in the policy. It holds what no server's
own limit can: many servers within their limits, or a policy that gives out more than there is.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.engines.enforcement import DEFAULT_PERIOD_US
from spawner_limits.kernel import v2
from spawner_limits.kernel.cgroups import CgroupError, cgroup_mounts, hierarchies
from spawner_limits.kernel.v1 import NO_LIMIT_BYTES
from spawner_limits.policy.model import Host
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spawner_limits.kernel.cgroups import Cgroup, Hierarchy
    from spawner_limits.policy.capacity import Machine

CONTROLLERS = ("memory", "pids", "cpu")
RESERVE_PART = 20
"""of the memory, one part in so many is kept where the policy says nothing"""
RESERVE_BYTES = 512 * MIB
"""and at least so much: a hub, its proxy, an engine and sshd hold some 350 MiB"""
RESERVE_PROCESSES_PART = 10
RESERVE_PROCESSES = 1024
"""at least so many: each container has a shim outside this cgroup, with a dozen threads"""
_LEAST_PART = 20
"""servers keep one part in so many, whatever the reserve: a mistake in it shall not end what runs"""
_NOT_OURS = {errno.EACCES, errno.EPERM, errno.EROFS}
_DOCS = "docs/hardening.md says how to cap it"


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """What all servers of a host may hold together."""

    memory_bytes: int
    processes: int
    """with their threads"""
    cores: float | None = None
    """`None`: all"""


def caps(host: Host | None, machine: Machine, processes: int) -> Caps:
    """What is left of a machine when the policy's reserve is taken away; `processes`: as many as it can have.

    What `host:` does not reserve has a reserve all the same: a twentieth of the memory, but at least 512 MiB, and a
    tenth of the processes, but at least 1024; never more than half. Servers keep at least a twentieth.
    """
    host, memory = host or Host(), machine.memory_bytes
    kept_bytes = host.reserve_memory or min(max(memory // RESERVE_PART, RESERVE_BYTES), memory // 2)
    usual = min(max(processes // RESERVE_PROCESSES_PART, RESERVE_PROCESSES), processes // 2)
    cores = machine.cores - host.reserve_cpus if host.reserve_cpus else None
    return Caps(
        # whole MiB are whole pages, of any size
        memory_bytes=max(memory - kept_bytes, memory // _LEAST_PART) // MIB * MIB,
        processes=max(processes - (host.reserve_processes or usual), processes // _LEAST_PART),
        cores=None if cores is None else max(cores, machine.cores / _LEAST_PART),
    )


def most_processes(root: Path = Path("/")) -> int:
    """As many processes and threads as this machine can have. OSError where /proc is not mounted."""
    return min(int((root / "proc/sys/kernel" / name).read_text()) for name in ("pid_max", "threads-max"))


def named(name: str, driver: str) -> str:
    """What the engine gets as `cgroup_parent`, by its cgroup driver; empty where it can't have one.

    Absolute for cgroupfs: runc takes a relative path as one below its own cgroup (libcontainer/cgroups/fs, 1.1).
    """
    match driver:
        case "cgroupfs" if name:
            return f"/{name.strip('/')}"
        case "systemd" if name:
            return name if name.endswith(".slice") else f"{name}.slice"
        case _:
            return ""


class CgroupParent:
    """The parent cgroup of one engine's servers on this machine, where the engine's driver is cgroupfs."""

    def __init__(self, name: str, *, root: Path = Path("/")) -> None:
        """`name`: as `named` gives it. `root`: what `/proc` and `/sys` are below. Nothing is made yet."""
        self.name = name
        self._root = root
        self._most_cores = 0.0
        self._lock = Lock()

    def hold(self, wanted: Caps, *, cores: float | None = None) -> tuple[str, ...]:
        """Make the cgroup where it is not there, and write each cap that it does not have; say what is not in force.

        `cores`: what the server that is about to start may use by its own limit. Where this process may not write,
        nothing is said. Raises nothing: a missing cap here is none of the user's limits.
        """
        try:
            with self._lock:
                self._most_cores = max(self._most_cores, cores or 0.0)
                return tuple(self._held(wanted, hierarchies(CONTROLLERS, root=self._root)))
        except (OSError, CgroupError) as error:
            if isinstance(error, OSError) and error.errno in _NOT_OURS:
                return ()  # whoever may write there may have capped it: `look` tells
            return (f"the cgroup {self.name} above all servers can't be capped from here: {error}; {_DOCS}",)

    def _held(self, wanted: Caps, at: Mapping[str, Hierarchy]) -> Iterator[str]:
        if wanted.cores is not None and at["cpu"].version == 1 and self._most_cores > wanted.cores:
            # there the kernel refuses to start a container whose quota is above its parent's
            together = f"all servers can't be held to {units.format_cores(wanted.cores)} together"
            yield f"on cgroup v1 {together}: a server may use {units.format_cores(self._most_cores)}, which is more"
            wanted = replace(wanted, cores=self._most_cores)
        for controller, hierarchy in at.items():
            directory = _made(hierarchy, self.name, controller)
            for file, text in _texts(wanted, controller, hierarchy.version).items():
                if controller == "cpu" and wanted.cores is None and not (directory / file).exists():
                    continue  # this Linux kernel has no quotas, and none is wanted
                if (problem := _write(directory / file, text)) is not None:
                    yield problem


def look(cgroup: Cgroup, wanted: Caps) -> tuple[str, ...]:
    """What the parent of a running container's cgroup does not hold; `cgroup`: as `kernel.cgroups` finds it.

    A stricter cap than the `wanted` one is fine. OSError where a file can't be read.
    """
    files = {name: cgroup.directories[name].parent / _FILES[cgroup.versions[name], name] for name in ("memory", "pids")}
    problems = _above(files["memory"], wanted.memory_bytes), _above(files["pids"], wanted.processes)
    return tuple(problem for problem in problems if problem is not None)


def remove(name: str, *, root: Path = Path("/")) -> None:
    """Remove the cgroup from every hierarchy that the engine or we made it in. OSError while containers are in it."""
    for mount in cgroup_mounts(root):
        with suppress(FileNotFoundError):
            (mount / name.strip("/")).rmdir()


# -- the kernel's files ------------------------------------------------------------------------------------------

_FILES = {
    (1, "memory"): "memory.limit_in_bytes",
    (2, "memory"): "memory.max",
    (1, "pids"): "pids.max",
    (2, "pids"): "pids.max",
}


def _texts(wanted: Caps, controller: str, version: int) -> dict[str, str]:
    """A controller's files → what they shall say. Swap is left to each server's own limit."""
    if controller != "cpu":
        return {_FILES[version, controller]: str(wanted.memory_bytes if controller == "memory" else wanted.processes)}
    quota = None if wanted.cores is None else int(wanted.cores * DEFAULT_PERIOD_US)
    if version == 1:
        return {"cpu.cfs_period_us": str(DEFAULT_PERIOD_US), "cpu.cfs_quota_us": str(-1 if quota is None else quota)}
    return {"cpu.max": f"{'max' if quota is None else quota} {DEFAULT_PERIOD_US}"}


def _made(hierarchy: Hierarchy, name: str, controller: str) -> Path:
    """The directory of the cgroup, with the controller on for it."""
    directory = hierarchy.top
    for part in name.strip("/").split("/"):
        enabled = directory / "cgroup.subtree_control"  # v2's
        if hierarchy.version != 1 and controller not in enabled.read_text().split():
            enabled.write_text(f"+{controller}")
        directory /= part
        directory.mkdir(exist_ok=True)
        if (directory / "memory.use_hierarchy").exists():
            # before Linux 5.11 a v1 cgroup did not count what those below it use, unless asked before they are made
            _write(directory / "memory.use_hierarchy", "1")
    return directory


def _write(file: Path, text: str) -> str | None:
    """Have the file say `text`; why it does not, if so. OSError where this process may not."""
    if (found := file.read_text().strip()) == text:
        return None
    if file.name == "memory.max" and (held := _held_bytes(file.parent)) > int(text):
        # the kernel would kill servers until the rest fits
        return _not_lowered(file, found, f"{units.format_size(held)} are in use")
    try:
        file.write_text(text)
    except OSError as error:
        if error.errno not in {errno.EBUSY, errno.EINVAL}:
            raise
        return _not_lowered(file, found, "servers below it hold more")
    found = file.read_text().strip()
    return None if found == text else f"{file} says {found}, though {text} was written; {_DOCS}"


def _not_lowered(file: Path, found: str, why: str) -> str:
    return f"{file} stays at {found}: {why}; it is tried again at each start, or stop some servers"


def _held_bytes(directory: Path) -> int:
    """What a v2 cgroup holds and can't quickly give back."""
    current, inactive = (
        source.number((directory / source.file).read_bytes())
        for name in ("memory_current_bytes", "memory_inactive_file_bytes")
        for source in v2.COUNTERS[name]
    )
    return current - inactive


def _above(file: Path, most: int) -> str | None:
    """What is wrong with a cap that is not there, or above what the policy leaves."""
    text = file.read_text().strip()
    found = NO_LIMIT_BYTES if text == "max" else int(text)
    if found <= most:
        return None
    says = "no limit" if found >= NO_LIMIT_BYTES else str(found)
    return f"{file} above all servers says {says}, and the policy leaves them {most}; {_DOCS}"
