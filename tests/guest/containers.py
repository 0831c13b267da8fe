"""Containers in a guest, and what the kernel there shows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.guest.guest import IMAGE

if TYPE_CHECKING:
    from tests.guest.guest import Guest


@dataclass(frozen=True)
class Container:
    """One that waits, with nothing in it."""

    guest: Guest
    name: str
    id: str
    pid: str

    @property
    def cgroup(self) -> str:
        """Its directory, on cgroup v2."""
        (line,) = self.guest.run(["cat", f"/proc/{self.pid}/cgroup"]).stdout.splitlines()
        return f"/sys/fs/cgroup{line.removeprefix('0::')}"

    def files(self, *names: str) -> dict[str, str]:
        """Name → text of files of its cgroup, as the guest's kernel gives them."""
        cgroup = self.cgroup
        told = self.guest.run_all([["cat", f"{cgroup}/{name}"] for name in names])
        return {name: one.stdout.strip() for name, one in zip(names, told, strict=True)}

    def file(self, name: str) -> str:
        """One of them."""
        return self.files(name)[name]

    def remove(self) -> None:
        """Kill and remove it."""
        docker(self.guest, "rm", "-f", self.name)


def start(guest: Guest, name: str, *options: str, image: str = IMAGE) -> Container:
    """A container of that name, without a network, with `docker run`'s options."""
    docker(guest, "run", "-d", "--name", name, "--network", "none", *options, image, "sleep", "600")
    pid, container_id = docker(guest, "inspect", "--format", "{{.State.Pid}} {{.Id}}", name).split()
    return Container(guest, name, container_id, pid)


def docker(guest: Guest, *arguments: str) -> str:
    """What docker says in the guest. AssertionError, with its error, when it fails."""
    ran = guest.run(["docker", *arguments], timeout=90)
    assert ran.code == 0, ran.stderr
    return ran.stdout.strip()
