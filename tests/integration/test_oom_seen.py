"""OOM kills and ends, seen on the real engine: by the kernel's counter, its log, and the engine's events."""

from __future__ import annotations

import logging
import os
import select
import shutil
import signal
import socket
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from docker.utils import kwargs_from_env

import docker
from spawner_limits.clients.docker import DockerEngine
from spawner_limits.engines import labels
from spawner_limits.lifecycle.exit_reason import RECENT, OomKill, ServerContainer, ServerExit
from spawner_limits.lifecycle.oom_watcher import OomWatcher
from spawner_limits.lifecycle.records import Records
from spawner_limits.units import MIB
from tests.conftest import MINIMAL

LIMIT = 48 * MIB
HOG = """
import mmap, sys
open("/proc/self/oom_score_adj", "w").write(sys.argv[1])
taken = mmap.mmap(-1, 150 << 20)
for at in range(0, len(taken), 4096): taken[at] = 1
"""
MANY = """
import mmap, os
killed = 0
for _ in range(15):
    if not os.fork():
        open("/proc/self/oom_score_adj", "w").write("1000")
        taken = mmap.mmap(-1, 150 << 20)
        for at in range(0, len(taken), 4096): taken[at] = 1
    killed += os.wait()[1] == 9
print(killed)
"""
pytestmark = pytest.mark.v2
NO_LOG = "/nowhere/kmsg"
LOGS = ["/dev/kmsg", NO_LOG]
"""the kernel's log, and as if it could not be read"""


def eventually(what, seconds=20):
    """The first true value of `what()`."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"nothing in {seconds} s"
        time.sleep(0.02)
    return found


class Hub:
    """What a hub does with a watcher: starts containers, has them watched, and hears of them."""

    def __init__(self, client, folder):
        self.client, self.records = client, Records(folder / "records")
        self.news, self.containers, self.watchers = [], [], []

    def watcher(self, *, kmsg="/dev/kmsg", **engine):
        """Begin to watch, as at the start of a hub."""
        arguments = {"version": "auto", "timeout": 20} | kwargs_from_env() | engine
        log = logging.getLogger("test")
        self.watchers.append(OomWatcher(DockerEngine(arguments), self.records, log, kmsg=kmsg))
        return self.watchers[-1]

    def start(self, watcher, command=("sleep", "600"), **config):
        """A server's container, watched; its first process is the engine's, as a server's is tini."""
        limits = {"mem_limit": LIMIT, "memswap_limit": LIMIT, "auto_remove": True, "init": True} | config
        container = self.client.create_container(
            MINIMAL,
            list(command),
            entrypoint=[],
            host_config=self.client.create_host_config(**limits),
            labels={labels.USER: "sam"},
        )["Id"]
        self.containers.append(container)
        self.client.start(container)
        watcher.watch(self.owned(container), self.news.append)
        return container

    @staticmethod
    def owned(container):
        """As the spawner knows it."""
        return ServerContainer(container=container, user="sam")

    def run(self, container, *command):
        """Run something in a container: exit code and output."""
        made = self.client.exec_create(container, list(command))["Id"]
        output = self.client.exec_start(made)
        return self.client.exec_inspect(made)["ExitCode"], output.decode()

    def hog(self, container):
        """Have a process that is not the server killed for its memory."""
        assert self.run(container, "python3", "-c", HOG, "1000")[0] == 137

    def pid(self, container):
        """Of the first process, on the host."""
        return self.client.inspect_container(container)["State"]["Pid"]

    def told(self, kind):
        """What was heard, of one kind."""
        return [one for one in self.news if isinstance(one, kind)]

    def end(self):
        """The end that was heard, and no more than one."""
        eventually(lambda: self.told(ServerExit))
        time.sleep(0.3)
        (found,) = self.told(ServerExit)
        return found

    def kills(self):
        """How many processes were told of as killed."""
        return sum(one.count for one in self.told(OomKill))

    def kept(self, container):
        """What is on record: event → details."""
        return [(one.event, one.details) for one in self.records.of(container)]

    def close(self):
        """Leave nothing."""
        for one in self.watchers:
            one.close()
        for one in self.containers:
            with suppress(docker.errors.APIError):
                self.client.remove_container(one, force=True)


@pytest.fixture
def hub(client, tmp_path):
    """A hub that watches; afterwards no thread of it and no container is left."""
    before = set(threading.enumerate())
    one = Hub(client, tmp_path)
    yield one
    one.close()
    assert {thread for thread in threading.enumerate() if thread.name.startswith("spawner-limits")} <= before


@pytest.mark.parametrize("kmsg", LOGS)
def test_a_child_is_killed_and_the_server_goes_on(hub, kmsg):
    """Told once, with the process where the kernel's log can be read; and the container lives."""
    container = hub.start(hub.watcher(kmsg=kmsg))
    hub.hog(container)
    (oom,) = eventually(lambda: hub.told(OomKill))
    known = kmsg != NO_LOG
    assert (oom.count, oom.server_died, oom.server.limit_bytes) == (1, False, LIMIT)
    assert (oom.process, oom.whose) == (("python3", "own") if known else (None, None))
    assert oom.rss_bytes is None or 30 * MIB < oom.rss_bytes <= LIMIT
    assert oom.peak_bytes == LIMIT
    time.sleep(2.5)
    assert (hub.kills(), hub.told(ServerExit)) == (1, [])
    ((event, details),) = hub.kept(container)
    assert (event, details["count"], details["user"], details.get("pid")) == ("oom", 1, "sam", oom.pid)
    for _ in range(20):  # as by who waits no more, here and there before the answer
        hub.watchers[0].end(hub.owned(container)).cancel()
    assert hub.watchers[0].end(hub.owned(container)).result(5) is None


@pytest.mark.parametrize("kmsg", LOGS)
def test_the_server_is_killed_and_its_container_gone(hub, kmsg):
    """Though the engine removes it at once, its end is known, and the kill is told once."""
    hog = ("python3", "-c", f"import time; time.sleep(1.5)\n{HOG}", "0")
    watcher = hub.watcher(kmsg=kmsg)
    for _ in range(3 if kmsg == NO_LOG else 1):  # then only the engine can tell, which may lose its event on v1
        hub.news.clear()
        container = hub.start(watcher, hog, init=False)
        end = hub.end()
        if end.cause == "oom":
            break
    assert (end.cause, end.exit_code, end.limit_bytes) == ("oom", 137, LIMIT)
    assert end.process == ("python3" if kmsg != NO_LOG else None)
    assert [(one.count, one.server_died) for one in hub.told(OomKill)] == [(1, True)]
    assert hub.watchers[0].end(hub.owned(container)).result(5) == end
    assert [event for event, _ in hub.kept(container)] == ["oom", "ended"]


def by_hand(hub, container):
    os.kill(hub.pid(container), signal.SIGKILL)


def killed(hub, container):
    hub.client.kill(container)


def removed(hub, container):
    hub.client.remove_container(container, force=True)


def stopped(hub, container):
    hub.client.stop(container, timeout=1)


def asked(hub, container):
    os.kill(hub.pid(container), signal.SIGTERM)


@pytest.mark.parametrize("kmsg", LOGS)
def test_sigkill_from_outside_is_no_oom_kill(hub, kmsg):
    """Though the exit code is the same, and a child was killed for its memory a while ago."""
    container = hub.start(hub.watcher(kmsg=kmsg))
    hub.hog(container)
    eventually(lambda: hub.told(OomKill))
    time.sleep(RECENT.total_seconds())
    by_hand(hub, container)
    end = hub.end()
    assert (end.cause, end.exit_code, hub.kills()) == ("killed", 137, 1)


ENDS = {
    "docker kill": (killed, "killed", 137),
    "docker rm -f": (removed, "killed", 137),
    "docker stop": (stopped, "stopped", 143),
    "SIGTERM by hand": (asked, "signal", 143),
}


@pytest.mark.parametrize("how", ENDS)
def test_other_ends_are_no_oom_kills(hub, how):
    """Also where a child was killed for its memory just before."""
    act, cause, code = ENDS[how]
    container = hub.start(hub.watcher())
    hub.hog(container)
    act(hub, container)
    end = hub.end()
    assert (end.cause, end.exit_code, hub.kills()) == (cause, code, 1)


def test_an_exit_has_its_code(hub):
    """A server that ends by itself is no mystery, however soon it does."""
    hub.start(hub.watcher(), ("sh", "-c", "exit 3"))
    assert (hub.end().cause, hub.end().exit_code) == ("exited", 3)


def test_a_kept_container_ends_each_time(hub):
    """Started again it has the same id; its earlier life is not told again."""
    watcher = hub.watcher()
    container = hub.start(
        watcher, ("sh", "-c", "test -e /tmp/again && exit 4; touch /tmp/again; exit 3"), auto_remove=False
    )
    assert hub.end().exit_code == 3
    hub.news.clear()
    hub.client.start(container)
    watcher.watch(hub.owned(container), hub.news.append)
    assert hub.end().exit_code == 4


@pytest.mark.parametrize("kmsg", LOGS)
def test_many_kills_are_counted_right(hub, kmsg):
    """The kernel's log leaves lines out under so many; the counter does not."""
    container = hub.start(hub.watcher(kmsg=kmsg))
    _, output = hub.run(container, "python3", "-c", MANY)
    assert int(output) >= 10
    eventually(lambda: hub.kills() >= int(output))
    time.sleep(2)
    assert hub.kills() == int(output)


def test_a_hub_that_comes_back_tells_what_it_missed_and_no_more(hub):
    """Kills are counted from the records on; and an end that nobody saw is asked of the engine."""
    first = hub.watcher()
    container = hub.start(first)
    hub.hog(container)
    eventually(lambda: hub.told(OomKill))
    first.close()
    hub.watchers.remove(first)
    hub.news.clear()
    hub.hog(container)
    hub.hog(container)
    second = hub.watcher()
    second.watch(hub.owned(container), hub.news.append)
    eventually(lambda: hub.told(OomKill))
    time.sleep(1.5)
    assert hub.kills() == 2
    second.close()
    hub.watchers.remove(second)
    by_hand(hub, container)
    eventually(lambda: not hub.client.containers(all=True, filters={"id": container}))
    end = hub.watcher().end(hub.owned(container)).result(10)
    assert (end.cause, end.exit_code) == ("killed", 137)
    assert [event for event, _ in hub.kept(container)] == ["oom", "oom", "ended"]


class Line:
    """A connection to the engine that can be cut: a Unix socket of our own before the engine's."""

    def __init__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="spawner-limits-"))
        self.url = f"unix://{self._folder}/engine"
        self._engine = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
        self._pairs, self.connections, self._stop = [], 0, threading.Event()
        self._threads = []
        self.join()

    def join(self):
        """Take connections again."""
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.url.removeprefix("unix://"))
        self._server.listen()
        self._threads.append(threading.Thread(target=self._accept, args=(self._server,)))
        self._threads[-1].start()

    def _accept(self, server):
        while select.select([server], [], [], None)[0]:
            try:
                near = server.accept()[0]
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._engine)
            self._pairs.append((near, far))
            self.connections += 1
            for pair in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._carry, args=pair))
                self._threads[-1].start()

    @staticmethod
    def _carry(source, sink):
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self):
        """End all connections, and take none."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        Path(self.url.removeprefix("unix://")).unlink()
        for near, far in self._pairs:
            for one in (near, far):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self):
        """Leave no thread and no socket."""
        with suppress(OSError):
            self.cut()
        for one in self._threads:
            one.join(10)
        for pair in self._pairs:
            for one in pair:
                one.close()
        shutil.rmtree(self._folder)


@pytest.fixture
def line():
    """A line to the engine."""
    one = Line()
    yield one
    one.close()


# the SDK leaves a socket open when it finds no engine
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_the_engines_events_are_followed_over_a_break(hub, line, caplog):
    """What happens meanwhile is told once the engine answers again: kills and ends, each once."""
    watcher = hub.watcher(kmsg=NO_LOG, base_url=line.url)
    lives, dies = hub.start(watcher), hub.start(watcher, ("sh", "-c", "sleep 3; exit 3"))
    time.sleep(1)
    line.cut()
    eventually(lambda: "events are not heard" in caplog.text)
    hub.hog(lives)
    eventually(lambda: hub.kills() == 1)  # by the counter, which needs no engine
    eventually(lambda: not hub.client.containers(all=True, filters={"id": dies}))
    assert hub.told(ServerExit) == []
    line.join()
    assert (hub.end().cause, hub.end().exit_code) == ("exited", 3)
    hub.news.clear()
    hub.client.kill(lives)
    assert (hub.end().cause, hub.kills()) == ("killed", 0)
