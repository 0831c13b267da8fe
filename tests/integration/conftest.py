"""Runs of `verify` that are looked after: no traceback, and nothing left. And Docker engines that a test may kill."""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import docker
from spawner_limits.engines import labels
from spawner_limits.kernel.cgroups import find
from tests.conftest import COMMAND

TINY = "spawner-limits/test-tiny:1"
"""sh and some tools, 3 MB; made here, because no registry need be reachable"""
TOOLS = ("sh", "sleep", "date", "cat", "true", "mktemp", "dirname", "basename", "rm")
GRACE_S = 30
START_S = 120
"""for an engine's start, in a guest too"""


def eventually(what, seconds=GRACE_S):
    """The first true value of `what()`."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"nothing in {seconds} s"
        time.sleep(0.02)
    return found


@dataclass(frozen=True)
class Run:
    """How one run of the command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def report(self):
        """What `--json -` said."""
        return json.loads(self.stdout)

    def verdicts(self, trial=0):
        """Field → outcome and reason, of one trial in `--json -`."""
        return {one["field"]: (one["outcome"], one["reason"]) for one in self.report["trials"][trial]["verdicts"]}

    @property
    def words(self):
        """Stdout without its line breaks."""
        return " ".join(self.stdout.split())

    @property
    def message(self):
        """The last line of stderr: what a person reads."""
        return self.stderr.strip().splitlines()[-1]


class Verify:
    """`spawner-limits verify`, or another verb, on one engine; remembers what it ran, so as to find what that left."""

    def __init__(self, client, **environment):
        self.client, self._environment = client, environment
        self._processes, self._since = [], f"{time.time():.6f}"

    def start(
        self, *arguments, verb="verify", stdout=subprocess.PIPE, stderr=subprocess.PIPE, wrapper=(), **environment
    ):
        """Start one, in a process group of its own."""
        process = subprocess.Popen(
            [*wrapper, COMMAND, verb, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            env={**os.environ, **self._environment, **environment},
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    @staticmethod
    def end(process, timeout=120):
        """Wait for its end. Whatever it was, a person never sees a traceback."""
        stdout, stderr = process.communicate(timeout=timeout)
        assert "Traceback" not in (stderr or ""), stderr
        return Run(process.returncode, stdout, stderr)

    def __call__(self, *arguments, timeout=120, **environment):
        """Start one, and wait for its end."""
        return self.end(self.start(*arguments, **environment), timeout)

    def made(self):
        """Ids of all containers that our runs ever made, as far back as the engine remembers."""
        now = f"{time.time():.6f}"
        wanted = {"type": "container", "event": "create", "label": labels.TRIAL}
        events = self.client.events(since=self._since, until=now, filters=wanted, decode=True)
        return {one["id"] for one in events if self._ours(one["Actor"]["Attributes"])}

    def containers(self, process=None):
        """The containers there are of one of our runs, or of all of them."""
        found = self.client.containers(all=True, filters={"label": labels.TRIAL})
        return [one for one in found if self._ours(one["Labels"], process)]

    def _ours(self, attributes, process=None):
        pid = int(attributes[labels.TRIAL].partition(".")[0])
        return pid in {one.pid for one in ([process] if process else self._processes)}

    def running(self, process):
        """What the engine says of the container that a run presses in, once it runs."""

        def look():
            with suppress(docker.errors.NotFound):
                found = [self.client.inspect_container(one["Id"]) for one in self.containers(process)]
                return next((one for one in found if one["State"]["Running"]), None)

        return eventually(look)

    def pressed(self, process):
        """The cgroup directories of the container that a run presses in, once its load runs."""
        container = self.running(process)
        eventually(lambda: self.client.inspect_container(container["Id"])["ExecIDs"])
        return find(container["State"]["Pid"], container_id=container["Id"])

    def end_all(self):
        """End what a failed test left running."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def finish(self):
        """Say whether a run left anything behind."""
        self.end_all()
        left, processes = self.containers(), processes_of(self.made())
        for container in left:
            with suppress(docker.errors.APIError):  # such as: it is being removed
                self.client.remove_container(container["Id"], force=True)
        assert [container["Names"] for container in left] == []
        assert processes == []


def processes_of(containers):
    """Command lines of the processes on this host that are in one of these containers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        with suppress(OSError):
            if any(one in path.read_text() for one in containers):
                found.append(path.with_name("cmdline").read_text().replace("\0", " "))
    return found


@pytest.fixture
def verify(client):
    """Runs `verify` on the engine that is there; whatever the test does, nothing may be left of it."""
    runs = Verify(client)
    yield runs
    runs.finish()


class OwnEngine:
    """A Docker engine beside the one that is there: nobody else's, so that it can be broken, and killed."""

    def __init__(self):
        # not pytest's tmp_path: a Unix socket's path has at most 107 characters
        self.directory = Path(tempfile.mkdtemp(prefix="spawner-limits-"))
        self._socket = f"{self.directory}/socket"
        self.host = f"unix://{self._socket}"
        flags = ("--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false")
        places = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                # in a network of its own: with --bridge=none an engine removes docker0, which is the other engine's
                [
                    *("unshare", "--net", "dockerd", f"--host={self.host}", *flags),
                    *(f"--{name}={self.directory / place}" for name, place in places.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
                start_new_session=True,
            )
        try:
            self.client = eventually(self._connected, START_S)
            self.client.import_image_from_data(tiny(), repository=TINY.partition(":")[0], tag=TINY.partition(":")[2])
        except BaseException:
            self.close()
            raise

    def _connected(self):
        assert self.process.poll() is None, (self.directory / "log").read_text()
        # first by a socket alone: a client that finds no engine leaves one open
        with suppress(OSError), socket.socket(socket.AF_UNIX) as attempt:
            attempt.connect(self._socket)
            return docker.APIClient(base_url=self.host, version="auto", timeout=60)

    def after(self, event, count, start):
        """What `start()` gives, once the engine has said so often that `event` happened to a container."""
        # the SDK's own stream of events can't be closed without a warning
        connection = http.client.HTTPConnection("localhost", timeout=GRACE_S)
        with closing(connection), socket.socket(socket.AF_UNIX) as connection.sock:
            connection.sock.settimeout(GRACE_S)
            connection.sock.connect(self._socket)
            connection.request("GET", "/events?filters=%7B%22type%22%3A%7B%22container%22%3Atrue%7D%7D")
            response = connection.getresponse()
            process = start()
            for line in response:
                count -= json.loads(line)["Action"].partition(":")[0] == event
                if not count:
                    break
            response.close()
        return process

    def kill(self):
        """End the engine and its containerd at once, as a crash would; its containers' processes live on."""
        # only what has our directory in its command line: dockerd, containerd
        for pid in self._processes("dockerd", "containerd"):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def _processes(self, *names):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                words = path.read_text().split("\0")
                if str(self.directory) in " ".join(words) and Path(words[0]).name in names:
                    yield int(path.parent.name)

    def close(self):
        """End it in an orderly way if it still can, and remove what it leaves."""
        if client := getattr(self, "client", None):
            client.close()
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for pid in self._processes("containerd", "containerd-shim-runc-v2"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if (point := line.split()[1]).startswith(f"{self.directory}/"):
                subprocess.run(["umount", "--lazy", point], check=True)
        shutil.rmtree(self.directory)


def tiny():
    """An image as a tar file: the tools, and the libraries that they need."""
    files = set()
    for tool in TOOLS:
        source = Path(shutil.which(tool, path="/usr/bin:/bin"))
        needs = subprocess.run(["ldd", source], capture_output=True, text=True, check=True).stdout.split()
        files |= {(f"bin/{tool}", source.resolve()), ("tmp/of-mktemp", Path(os.devnull))} | {
            (one[1:], Path(one)) for one in needs if one.startswith("/")
        }
    return tar({name: (path.read_bytes(), 0o755) for name, path in files})


def tar(contents):
    """A tar file of name → content and mode."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (content, mode) in sorted(contents.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def own_engine():
    """An engine that only these tests use: nobody else's `verify` sweeps its containers."""
    engine = OwnEngine()
    yield engine
    engine.close()


@pytest.fixture
def own_verify(own_engine):
    """Runs `verify` on the tests' own engine."""
    runs = Verify(own_engine.client, DOCKER_HOST=own_engine.host)
    yield runs
    runs.finish()


@pytest.fixture
def mortal():
    """An engine to be killed."""
    engine = OwnEngine()
    yield engine
    engine.close()


@pytest.fixture
def mortal_verify(mortal):
    """Runs `verify` on the engine to be killed; the test says what is left."""
    runs = Verify(mortal.client, DOCKER_HOST=mortal.host)
    yield runs
    runs.end_all()
