"""`Bench`: where cases are pressed. Makes containers, runs probes in them, reads and writes their cgroup files.

It touches the world and judges nothing. Each thread that presses has a bench, and so a client, of its own.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from spawner_limits import interrupt
from spawner_limits.bench.guard import Guard
from spawner_limits.bench.host import host_of
from spawner_limits.clients.engine import GoneError, RefusedError
from spawner_limits.clients.own_commands import Command
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.seen import NO_LOAD, Seen
from spawner_limits.kernel.cgroups import CgroupError, find
from spawner_limits.kernel.reader import Reader
from spawner_limits.kernel.sampler import INTERVAL_S, Sampler, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from spawner_limits.clients.own_containers import Container, Engine
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.kernel.cgroups import Cgroup
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Host

T = TypeVar("T")

LIFE_S = 240
"""how long a container lives that nobody is left to remove"""
START_S = 15
_BUSY = 0.02
"""of a CPU, what a load uses that has begun"""
_GO = "dev/shm/go"
_WAIT = f'until [ -e /{_GO} ]; do sleep 0.05; done; exec "$@"'


class Bench:
    """One engine and one image to press in."""

    def __init__(self, engine: Engine, image: str, memo: Memo | None = None) -> None:
        """`memo`: shared by the benches of one run."""
        self.engine, self.image = engine, image
        self.host: Host = host_of(engine)
        self.page_size_bytes = os.sysconf("SC_PAGE_SIZE")
        self._memo = memo or Memo()
        self._used: set[str] = set()

    @property
    def version(self) -> CgroupVersion:
        """Of cgroups, that the engine uses."""
        return self.engine.cgroup_version

    def once(self, key: str, gather: Callable[[], T]) -> T:
        """What `gather()` gives, gathered once a run: for cases that judge the same evidence."""
        self._used.add(key)
        return self._memo.once(key, gather)

    def begin(self) -> None:
        """Begin a case."""
        self._used = set()

    @property
    def used(self) -> set[str]:
        """What the last case had from `once`."""
        return self._used

    @contextmanager
    def parent(self) -> Iterator[str]:
        """The name of a cgroup of our own, for `cgroup_parent`: the engine makes it, here it is removed."""
        driver = self.engine.cgroup_driver
        if driver not in {"cgroupfs", "systemd"}:
            raise CannotError(f"the engine's cgroup driver is {driver}, which makes no cgroups")
        with self.engine.trial_cgroup() as name:
            yield f"{name.replace('-', '_')}.slice" if driver == "systemd" else f"/{name}"

    @contextmanager
    def container(
        self,
        *,
        behind: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
        **host_config: Any,
    ) -> Iterator[Subject]:
        """A container with this host config, and nothing else; removed at the end.

        Without a `command` it only waits, to run probes in. A `command` is its first process, held back until
        `Subject.go()`. `behind`: cgroup file → text, written to the kernel's files behind the engine's back.

        Errors: RefusedError where the engine refuses it; UsageError for an image that can't be used.
        """
        first = ("sh", "-c", _WAIT, "sh", *command) if command else ()
        config = {"network_mode": "none", **host_config}
        trial = self.engine.trial_container(
            self.image, host_config=config, environment={}, seconds=LIFE_S, command=first
        )
        with trial as made, Subject(self, made) as subject:
            for name, text in (behind or {}).items():
                subject.write(name, text)
            yield subject


class Memo:
    """Evidence that serves several cases, gathered once a run."""

    def __init__(self) -> None:
        self._gathered: dict[str, tuple[Any, float]] = {}
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def once(self, key: str, gather: Callable[[], T]) -> T:
        """What is gathered under `key`; whoever asks meanwhile waits for it."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._gathered:
                self._gathered[key] = (gather(), time.monotonic())
            found: T = self._gathered[key][0]
        return found

    def forget(self, keys: set[str], until: float) -> None:
        """Have those of these gathered anew that are not newer than this moment."""
        for key in keys:
            if key in self._gathered and self._gathered[key][1] <= until:
                del self._gathered[key]


class Subject:
    """One container of a case."""

    def __init__(self, bench: Bench, container: Container) -> None:
        self.bench, self.container = bench, container
        self.cgroup: Cgroup = bench.engine.cgroup(container)
        self.reader = Reader(self.cgroup)
        self.guard = Guard(self.cgroup, container.pid, interrupt.pause)
        self.source = Source(reader=self.reader, look=self.guard.look)
        self._commands: list[Command] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()
        for one in self._commands:
            if one.running:
                one.stop()

    # -- its loads -----------------------------------------------------------------------------------------------

    def probe(self, name: str, *arguments: object) -> Command:
        """Start one of `bench/probes` in it, beside its first process."""
        return self.run(*probe(name, *arguments))

    def run(self, *command: str) -> Command:
        """Start a command in it, beside its first process; it ends with the case."""
        started = Command(self.bench.engine, self.container, command)
        self._commands.append(started)
        return started

    def go(self) -> None:
        """Let the first process, which was held back, begin."""
        Path(f"/proc/{self.container.pid}/root/{_GO}").touch()

    @property
    def loaded(self) -> bool:
        """Whether a load of ours runs in it."""
        return any(one.running for one in self._commands)

    def stop(self) -> None:
        """End all its loads now."""
        for one in self._commands:
            one.stop()

    def has(self, program: str) -> bool:
        """Whether the image has that program."""
        found = self.run("sh", "-c", f"command -v {program}")
        found.wait(START_S)
        return found.exit_code == 0

    # -- what the kernel says ------------------------------------------------------------------------------------

    def follow(
        self,
        load: Command | None = None,
        *,
        seconds: float,
        every_s: float = INTERVAL_S,
        until: Callable[[Snapshot], bool] = lambda _: False,
    ) -> list[Snapshot]:
        """Snapshots until the load ends, `until` one says so, or `seconds` are over; first and last with all limits."""
        taken: list[Snapshot] = []

        def over() -> bool:
            return (load is not None and not load.running) or (len(taken) > 1 and until(taken[-1]))

        for (one,) in sampler(self, every_s=every_s).follow(seconds=seconds, over=over):
            taken.append(one)
        return taken

    def busy(self) -> None:
        """Wait until its processes use CPU time: the load has begun. CannotError when they never do."""
        end = time.monotonic() + START_S
        first = last = self.reader.read()
        while time.monotonic() < end:
            interrupt.pause(INTERVAL_S)
            before, last = last, self.reader.read()
            if first.cpu_usage_ns is None or last.cpu_usage_ns is None or before.cpu_usage_ns is None:
                break
            if last.cpu_usage_ns - before.cpu_usage_ns > _BUSY * (last.monotonic_ns - before.monotonic_ns):
                return
        said = "; ".join(filter(None, (one.stderr.strip() for one in self._commands)))
        raise CannotError(f"the load did not begin{said and ': '}{said}", "give an --image with python3 and sh")

    def seen(self, snapshots: Sequence[Snapshot], exit_code: int | None = None, **more: Any) -> Seen:
        """What a press has seen of it. `exit_code`: of the load. `more`: fields of `Seen`."""
        bench = self.bench
        return Seen(
            snapshots=tuple(snapshots),
            load=replace(NO_LOAD, exit_code=exit_code),
            host=bench.host,
            page_size_bytes=bench.page_size_bytes,
            strays=dict(self.guard.strays),
            version=bench.version,
            warnings=self.container.warnings,
            info=bench.engine.info,
            **more,
        )

    def press(self, name: str, *arguments: object, seconds: float, **more: Any) -> Seen:
        """Start one of `bench/probes`, and follow it to its end. `more`: fields of `Seen`."""
        load = self.probe(name, *arguments)
        return self.seen(self.follow(load, seconds=seconds), load.exit_code, **more)

    def path(self, file: str, *, above: int = 0) -> Path:
        """Where the container's `file` is: "memory.max" is in the memory controller's directory.

        `above`: so many cgroups further up.
        """
        controller, directories = file.partition(".")[0], self.cgroup.directories
        if controller not in directories:  # not among those that a snapshot is read from: blkio, io, cgroup
            found = find(self.container.pid, container_id=self.container.id, controllers=(controller,))
            directories = found.directories
        return (directories[controller], *directories[controller].parents)[above] / file

    def read(self, file: str, *, above: int = 0) -> str | None:
        """The text of one of its cgroup files, stripped; `None` where there is none."""
        try:
            return self.path(file, above=above).read_text(encoding="ascii").strip()
        except (OSError, CgroupError):
            return None

    def write(self, file: str, text: str, *, above: int = 0) -> str | None:
        """Write one of its cgroup files behind the engine's back; `None`, or the error that the kernel gave."""
        try:
            self.path(file, above=above).write_text(text, encoding="ascii")
        except OSError as error:
            return error.strerror or str(error)
        return None

    # -- what the engine says ------------------------------------------------------------------------------------

    @property
    def inspected(self) -> Mapping[str, Any]:
        """What `docker inspect` says now; empty when the container is gone."""
        try:
            return self.bench.engine.docker.inspected(self.container.id)
        except GoneError:
            return {}

    @property
    def recorded(self) -> Mapping[str, Any]:
        """What the engine has recorded of it: `HostConfig`; empty when the container is gone."""
        found: Mapping[str, Any] = self.inspected.get("HostConfig", {})
        return found

    @property
    def state(self) -> Mapping[str, Any]:
        """Of the container: `Running`, `ExitCode`, `OOMKilled`."""
        found: Mapping[str, Any] = self.inspected.get("State", {})
        return found

    @property
    def alive(self) -> bool:
        """Whether its first process is."""
        return bool(self.state.get("Running"))

    def await_end(self, seconds: float = START_S) -> int | None:
        """Wait for the end of its first process; the exit code that the engine has, `None` when it lives on."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            state = self.state
            if not state.get("Running"):
                return state.get("ExitCode")
            interrupt.pause(INTERVAL_S)
        return None

    def signal(self, name: str) -> None:
        """Send a signal to the container's first process; one that has ended needs none."""
        with suppress(RefusedError):
            self.bench.engine.docker.signal(self.container.id, name)

    def update(self, **changes: Any) -> str | None:
        """`docker update` with the API's own keys (`CpuQuota=50000`); `None`, or what the engine answered."""
        try:
            self.bench.engine.docker.update(self.container.id, changes)
        except RefusedError as error:
            return error.words
        return None


def sampler(*subjects: Subject, every_s: float = INTERVAL_S) -> Sampler:
    """Samples these containers at the same moments, and looks where their processes are."""
    return Sampler(sources=[one.source for one in subjects], every_s=every_s, pause=interrupt.pause)


def probe(name: str, *arguments: object) -> tuple[str, ...]:
    """One of `bench/probes` as a command for any image with python3."""
    text = resources.files("spawner_limits.bench").joinpath("probes", f"{name}.py").read_text(encoding="utf-8")
    # -I -S: nothing of the image's own packages, which only takes time
    return ("python3", "-I", "-S", "-u", "-c", text, *map(str, arguments))
