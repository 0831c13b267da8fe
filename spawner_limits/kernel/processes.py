"""The processes of a container, told apart by identity: who is in its cgroups, and who has left them. Decides nothing.

Sources: proc(5); cgroups(7); pid_namespaces(7); `proc_cgroup_show` in the Linux kernel's kernel/cgroup/cgroup.c.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits.kernel.cgroups import CgroupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spawner_limits.kernel.cgroups import Cgroup, Whereabouts

_ENDED = frozenset("ZX")
"""states of a process, proc_pid_stat(5)"""
_PF_EXITING = 0x4
"""of its `flags` there; include/linux/sched.h"""
_ROOT = Path("/")


def identity(pid: int, *, root: Path = _ROOT) -> str:
    """A process, so that another one with the same id is not taken for it: "1234.567890"; empty: it has ended.

    So has one that is exiting, which gives back its memory first, and one that nobody has waited for yet: on cgroup v1
    the Linux kernel shows both in the root cgroup.
    """
    fields = _stat(root / "proc" / str(pid))
    if not fields or fields[0] in _ENDED or int(fields[6]) & _PF_EXITING:
        return ""
    return f"{pid}.{fields[19]}"


def _stat(process: Path) -> list[str]:
    """What the `stat` of a process or thread says from its state on; empty: it is gone. Its name may hold anything."""
    with suppress(OSError):
        return (process / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return []


def members(cgroup: Cgroup) -> frozenset[int]:
    """The ids of all processes in a container's cgroups and in the cgroups below those; none when they are gone."""
    directories = set(cgroup.directories.values())
    return frozenset(pid for directory in directories for pid in _listed(directory))


def _listed(directory: Path) -> Iterator[int]:
    # on v2 the processes of a container that makes cgroups of its own are all in those; os.walk passes over one that is
    # removed meanwhile, where Path.glob ends in FileNotFoundError
    for path, _, _ in os.walk(directory):
        with suppress(OSError):
            yield from map(int, Path(path, "cgroup.procs").read_text(encoding="ascii").split())


def cpu_seconds(pid: int, *, root: Path = _ROOT) -> float:
    """CPU time of a process and of the children that it waited for, in steps of a tick; 0 once it is gone."""
    return sum(map(int, _stat(root / "proc" / str(pid))[11:15])) / os.sysconf("SC_CLK_TCK")


def namespace(pid: int, *, root: Path = _ROOT) -> int | None:
    """Which PID namespace a process is in; `None`: it has ended, or we may not know."""
    try:
        return (root / "proc" / str(pid) / "ns" / "pid").stat().st_ino
    except OSError:
        return None


def inhabitants(inode: int, *, root: Path = _ROOT) -> frozenset[int]:
    """The ids of all processes of the host that are in that PID namespace, whatever cgroup they are in."""
    with os.scandir(root / "proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    return frozenset(pid for pid in pids if namespace(pid, root=root) == inode)


def stray(whereabouts: Whereabouts, pid: int, *, root: Path = _ROOT) -> dict[str, str]:
    """Controller → the cgroup that a process is in, for each in which it is outside of the container's.

    Empty for a process that has ended, or ends while it is looked at: nobody can be anywhere then.
    """
    before = identity(pid, root=root)
    try:
        found = whereabouts.outside(pid)
    except CgroupError:
        return {}
    return found if before and identity(pid, root=root) == before else {}


def runnable(pids: Iterable[int], *, root: Path = _ROOT) -> int:
    """How many threads of these processes run or want to: state R, in which a throttled one stays too."""
    return sum(_stat(thread)[:1] == ["R"] for pid in pids for thread in _threads(root / "proc" / str(pid)))


def is_asleep(pids: Iterable[int], *, root: Path = _ROOT) -> bool:
    """Whether one of these processes waits for something: state S."""
    return any(_stat(root / "proc" / str(pid))[:1] == ["S"] for pid in pids)


def _threads(process: Path) -> list[Path]:
    with suppress(OSError):  # it has ended
        return [process / "task" / name for name in os.listdir(process / "task")]  # noqa: PTH208  names are enough
    return []
