"""`OwnEngine`: a Docker engine that a test may stop and start again, in a network of its own, with the small image.

The hub, its servers and the test share that network: there the engine has its usual bridge and rules, and disturbs no
other engine of this machine.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import docker
from tests.conftest import MINIMAL

CLONE_NEWNET = 0x40000000
GRACE_S = 60


class OwnEngine:
    """Not started yet, but for its network."""

    def __init__(self):
        # a Unix socket's path has at most 107 characters
        self.directory = Path(tempfile.mkdtemp(prefix="spawner-limits-"))
        self.host = f"unix://{self.directory}/socket"
        self._process = None
        (self.directory / "data").mkdir()
        # its removal at the end is then a matter of a moment
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", self.directory / "data"], check=True)
        # what the network is called after, whether the engine runs or not
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], start_new_session=True)
        self._network = Path("/proc", str(self._holder.pid), "ns", "net")
        end = time.monotonic() + GRACE_S
        while self._network.readlink() == Path("/proc/self/ns/net").readlink():
            assert time.monotonic() < end
            time.sleep(0.01)
        with self.inside():
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True, env=self._environment())

    def start(self, *options):
        """Start it, and wait until it answers."""
        places = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        with self.inside(), (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("dockerd", f"--host={self.host}", *options),
                    *(f"--{name}={self.directory / place}" for name, place in places.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,
            )
        end = time.monotonic() + GRACE_S
        while subprocess.run(["docker", "-H", self.host, "info"], capture_output=True, check=False).returncode:
            assert self._process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < end, "the engine does not start"
            time.sleep(0.2)

    def stop(self):
        """End it in order, as a restart begins; its containers go on where it was started with --live-restore."""
        self._process.terminate()
        self._process.wait(GRACE_S)

    def load(self):
        """Give it the small image of the engine that is there."""
        saved = subprocess.Popen(["docker", "save", MINIMAL], stdout=subprocess.PIPE)
        subprocess.run(
            ["docker", "-H", self.host, "load", "--quiet"], stdin=saved.stdout, capture_output=True, check=True
        )
        saved.stdout.close()
        assert saved.wait() == 0

    def connect(self):
        """A client."""
        return docker.APIClient(base_url=self.host, version="auto", timeout=60)

    @contextmanager
    def inside(self):
        """Have this thread, and what it starts meanwhile, in the engine's network."""
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            _enter(self._network)
            yield self
        finally:
            _enter(own)
            os.close(own)

    @contextmanager
    def used(self):
        """Have this test on it: its hub, its commands and its clients, in the engine's network."""
        before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = self.host
        try:
            with self.inside():
                yield self
        finally:
            del os.environ["DOCKER_HOST"]
            if before is not None:
                os.environ["DOCKER_HOST"] = before

    @property
    def version(self):
        """As numbers, of which the first tells most."""
        with closing(self.connect()) as client:
            return tuple(map(int, client.version()["Version"].partition("+")[0].split(".")[:3]))

    @staticmethod
    def _environment():
        return {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}

    def close(self):
        """End it with what it started, and remove what it leaves."""
        if self._process is not None and self._process.poll() is None:
            self.stop()
        for pid in self._shims():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._holder.kill()
        self._holder.wait()
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if (point := line.split()[1]).startswith(f"{self.directory}/"):
                subprocess.run(["umount", "--lazy", point], check=True)
        shutil.rmtree(self.directory)

    def _shims(self):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                words = path.read_text().split("\0")
                if str(self.directory) in " ".join(words) and Path(words[0]).name.startswith("containerd"):
                    yield int(path.parent.name)


def _enter(network):
    """setns(2), which Python has from 3.12 on. `network`: a path, or an open descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = network if isinstance(network, int) else os.open(network, os.O_RDONLY)
    try:
        if libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        if descriptor is not network:
            os.close(descriptor)
