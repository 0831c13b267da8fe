"""A container's cgroups are found on every kind of host, or an error says why not: never another cgroup's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spawner_limits.errors import LimitsError
from spawner_limits.kernel.cgroups import CONTROLLERS, CgroupError, find

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA = Path(__file__).parents[1] / "data"
PID = 4711
ID = "5c1d7a2f0b6e4d3c9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f"
V2_HOST = "34 29 0:29 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def v1_mounts(*hierarchies: str, root: str = "/") -> str:
    return "".join(
        f"{number} 31 0:{number} {root} /sys/fs/cgroup/{names} rw,relatime - cgroup cgroup rw,{names}\n"
        for number, names in enumerate(hierarchies, 32)
    )


def tree(root: Path, mountinfo: str, memberships: str, procs: Mapping[str, str]) -> Path:
    """A tree made from text, for a shape that was not captured: `procs` is directory → text of its cgroup.procs."""
    files = {"proc/self/mountinfo": mountinfo, f"proc/{PID}/cgroup": memberships}
    files |= {f"sys/fs/cgroup/{directory}/cgroup.procs": text for directory, text in procs.items()}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def relative(root: Path, *, container_id: str | None = None, pid: int = PID) -> dict[str, str]:
    """Controller → directory below /sys/fs/cgroup."""
    found = find(pid, container_id=container_id, root=root).directories
    return {name: str(directory.relative_to(root / "sys/fs/cgroup")) for name, directory in found.items()}


CAPTURED = {
    "v1": (292, "8ff4e78015bc97c5387b7716da94cdba167fa40617d7af81228f4aeabbdf67d0", 1, None),
    "hybrid": (12852, "a0aae7bba871279ccf9f2700be713487200370757792e29371ded9ac4e286896", 1, "unified"),
    "v2": (284, "eafe64263ed4ad35d2be18378fb283935ae0cc42feb7de6eea2025de5236adfe", 2, "."),
}
MOUNTED = {
    "v1": {"cpu": "cpu,cpuacct", "cpuacct": "cpu,cpuacct", "cpuset": "cpuset", "memory": "memory", "pids": "pids"},
    "hybrid": {name: name for name in CONTROLLERS},
    "v2": dict.fromkeys(CONTROLLERS, "."),
}


@pytest.mark.parametrize("host", CAPTURED)
def test_captured_hosts(host: str) -> None:
    """On real hosts of each kind, each controller's directory, its version and the v2 directory are found."""
    pid, container_id, version, unified = CAPTURED[host]
    top = DATA / host / "sys/fs/cgroup"
    found = find(pid, container_id=container_id, root=DATA / host)
    assert found.directories == {name: top / at / "docker" / container_id for name, at in MOUNTED[host].items()}
    assert found.versions == dict.fromkeys(CONTROLLERS, version)
    assert found.unified == (None if unified is None else top / unified / "docker" / container_id)
    assert find(pid, root=DATA / host) == found


V2_SHAPES = {
    "systemd driver": f"system.slice/docker-{ID}.scope",
    "rootless": f"user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope",
    "cgroup-parent": f"docker/team-a/{ID}",
    "kubelet": f"kubepods.slice/kubepods-pod7.slice/cri-containerd-{ID}.scope",
}


@pytest.mark.parametrize("path", V2_SHAPES.values(), ids=V2_SHAPES)
@pytest.mark.parametrize("moved", ["", "/init", "/system.slice/cron.service"])
def test_v2_shapes(tmp_path: Path, path: str, moved: str) -> None:
    """Whatever the engine calls the cgroup, and wherever systemd in the container moved its process: made from text."""
    root = tree(tmp_path, V2_HOST, f"0::/{path}{moved}\n", {path: "", f"{path}{moved}": f"1\n{PID}\n"})
    assert relative(root, container_id=ID) == dict.fromkeys(CONTROLLERS, path)
    assert relative(root) == dict.fromkeys(CONTROLLERS, path + moved)


def test_v1_moved_below(tmp_path: Path) -> None:
    """On v1 too the container's own cgroup is walked up to, each hierarchy by itself: made from text."""
    deep = f"docker/{ID}/docker/inner"
    paths = {"cpuset": deep, "cpu,cpuacct": f"docker/{ID}", "memory": deep, "pids": deep}
    lines = "".join(f"{number}:{names}:/{path}\n" for number, (names, path) in enumerate(paths.items(), 1))
    procs = {f"{names}/{path}": f"{PID}\n" for names, path in paths.items()}
    root = tree(tmp_path, v1_mounts(*paths), lines, procs)
    joint = f"cpu,cpuacct/docker/{ID}"
    apart = {name: f"{name}/docker/{ID}" for name in ("cpuset", "memory", "pids")}
    assert relative(root, container_id=ID) == {"cpu": joint, "cpuacct": joint} | apart


def test_engine_in_a_container(tmp_path: Path) -> None:
    """Where only a part of the tree is mounted, that part's path is taken off the process's: made from text."""
    outer = "/docker/0123456789ab"
    root = tree(
        tmp_path,
        v1_mounts("cpu", "cpuacct", "cpuset", "memory", "pids", root=outer),
        "".join(f"{number}:{name}:{outer}/docker/{ID}\n" for number, name in enumerate(CONTROLLERS, 1)),
        {f"{name}/docker/{ID}": f"{PID}\n" for name in CONTROLLERS},
    )
    assert relative(root) == {name: f"{name}/docker/{ID}" for name in CONTROLLERS}


def test_exactly_the_mounted_cgroup(tmp_path: Path) -> None:
    """A process in the very cgroup that is mounted is found at the mount point: made from text."""
    root = tree(tmp_path, V2_HOST.replace(" / ", f" /docker/{ID} ", 1), f"0::/docker/{ID}\n", {".": f"{PID}\n"})
    assert relative(root, container_id=ID) == dict.fromkeys(CONTROLLERS, ".")


def test_controllers_split_between_versions(tmp_path: Path) -> None:
    """On a hybrid host each controller is on the version that /proc/PID/cgroup says: made from text."""
    mounts = v1_mounts("cpuset", "name=systemd") + V2_HOST.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    lines = f"2:cpuset:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/docker/{ID}\n"
    procs = {f"{at}/docker/{ID}": f"{PID}\n" for at in ("cpuset", "unified")}
    root = tree(tmp_path, mounts, lines, procs)
    found = find(PID, container_id=ID, root=root)
    assert found.versions == {"cpu": 2, "cpuacct": 2, "cpuset": 1, "memory": 2, "pids": 2}
    assert relative(root) == dict.fromkeys(CONTROLLERS, f"unified/docker/{ID}") | {"cpuset": f"cpuset/docker/{ID}"}


def test_hybrid_without_a_v2_cgroup(tmp_path: Path) -> None:
    """A v2 cgroup that is not the container's own (older engines make none) is not handed out: made from text."""
    mounts = v1_mounts(*CONTROLLERS) + V2_HOST.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    lines = "".join(f"{number}:{name}:/docker/{ID}\n" for number, name in enumerate(CONTROLLERS, 1)) + "0::/\n"
    procs = {f"{name}/docker/{ID}": f"{PID}\n" for name in CONTROLLERS} | {"unified": f"{PID}\n"}
    assert find(PID, container_id=ID, root=tree(tmp_path, mounts, lines, procs)).unified is None


def test_threaded_cgroup(tmp_path: Path) -> None:
    """A cgroup that lists no process, as a threaded one does, is vouched for by its parent: made from text."""
    root = tree(tmp_path, V2_HOST, f"0::/docker/{ID}/threads\n", {f"docker/{ID}": f"{PID}\n"})
    assert relative(root, container_id=ID) == dict.fromkeys(CONTROLLERS, f"docker/{ID}")


@pytest.mark.parametrize("order", [1, -1])
def test_mounted_twice_and_escaped(tmp_path: Path, order: int) -> None:
    """Of two mounts the one that shows the process is taken; a space in its path is undone: made from text."""
    second = V2_HOST.replace("/sys/fs/cgroup", r"/sys/fs/cgroup/host\040tree")
    root = tree(
        tmp_path, "".join([V2_HOST, second][::order]), f"0::/docker/{ID}\n", {f"host tree/docker/{ID}": f"{PID}\n"}
    )
    assert relative(root) == dict.fromkeys(CONTROLLERS, f"host tree/docker/{ID}")


ENDED = (
    "there is no process with the PID 4711: its container has ended, or it is in another PID namespace; look the "
    "container's PID up while it runs, from the host's PID namespace"
)
NARROW = (
    "PID 4711 is in the cgroup /../other: this process is in a narrower cgroup namespace; run it in the host's (docker "
    "run --cgroupns=host --pid=host), with the host's /sys/fs/cgroup mounted"
)
UNMOUNTED = (
    "no cgroup file system with the cpu controller is mounted, so the limits of PID 4711 can't be read; mount the "
    "host's /sys/fs/cgroup, and check that the kernel has the controller (/proc/cgroups)"
)
UNLISTED = (
    "no cgroup.procs below {root}/sys/fs/cgroup lists PID 4711 in /docker/{id}: it ended just now, or this is not the "
    "host's /sys/fs/cgroup or not the host's PID namespace; look again, and run in both of the host's"
)
UNNAMED = (
    "PID 4711 is in the cgroup {path}, which is not named after the container {asked}: the engine made no cgroup for "
    "it (docker info: \"Cgroup Driver: none\"), or the PID is another process's by now; look the container's PID up "
    "again, and give the engine a cgroup driver"
)
HERE = {f"docker/{ID}": f"{PID}\n"}
BAD = {
    "narrower cgroup namespace": (V2_HOST, "0::/../other\n", HERE, None, NARROW),
    "nothing mounted": ("", f"0::/docker/{ID}\n", HERE, None, UNMOUNTED),
    "controller not mounted": (v1_mounts("memory"), f"1:cpu:/docker/{ID}\n2:memory:/\n", HERE, None, UNMOUNTED),
    "not listed": (V2_HOST, f"0::/docker/{ID}\n", {f"docker/{ID}": f"1{PID}\n"}, None, UNLISTED),
    "no directory": (V2_HOST, f"0::/docker/{ID}\n", {}, None, UNLISTED),
    "other part mounted": (V2_HOST.replace(" / ", " /lxc "), f"0::/docker/{ID}\n", HERE, None, UNLISTED),
    "another container": (V2_HOST, f"0::/docker/{ID}\n", HERE, "0" * 64, UNNAMED),
    "no cgroup of its own": (V2_HOST, "0::/\n", {".": f"{PID}\n"}, ID, UNNAMED),
    "empty id": (V2_HOST, f"0::/docker/{ID}\n", HERE, "", UNNAMED),
}


@pytest.mark.parametrize(("mountinfo", "memberships", "procs", "asked", "message"), BAD.values(), ids=BAD)
def test_refused(
    tmp_path: Path,
    mountinfo: str,
    memberships: str,
    procs: dict[str, str],
    asked: str | None,
    message: str,
) -> None:
    """What can't be the container's cgroup for certain is an error that says what to do: made from text."""
    root = tree(tmp_path, mountinfo, memberships, procs)
    with pytest.raises(CgroupError) as raised:
        find(PID, container_id=asked, root=root)
    path = memberships.strip().removeprefix("0::")
    assert str(raised.value) == message.format(root=root, id=ID, path=path, asked=asked)


@pytest.mark.parametrize("pid", [PID, 0])
def test_ended(pid: int) -> None:
    """A container that has ended (the engine then says PID 0) is told from one that can't be read."""
    with pytest.raises(CgroupError) as raised:
        find(pid, root=DATA / "v2")
    assert str(raised.value) == ENDED.replace("4711", str(pid))


def test_no_proc(tmp_path: Path) -> None:
    """Without /proc nothing is known of mounts, and the message says so."""
    root = tree(tmp_path, "", "0::/\n", {})
    (root / "proc/self/mountinfo").unlink()
    with pytest.raises(CgroupError) as raised:
        find(PID, root=root)
    assert str(raised.value) == f"{root}/proc/self/mountinfo is not there: /proc is not mounted; mount it"


def test_unknown_is_exit_code_3() -> None:
    """Cgroups that can't be found end a command as unknown, neither as held nor as broken."""
    assert issubclass(CgroupError, LimitsError)
    assert CgroupError.exit_code == 3
