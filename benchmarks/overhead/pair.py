"""The two sides of a pair: the same programs in a container, and natively, by a chroot into the same files.

Each touches the world and judges nothing. A chroot's mounts are in a mount namespace of their own: they end with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import docker.errors

from spawner_limits import interrupt
from spawner_limits.clients.own_commands import Command
from spawner_limits.errors import LimitsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.overhead.workloads import Program
    from spawner_limits.clients.own_containers import Container, Engine

RUN_S = 180
"""no run takes longer: it is ended then"""
_TICK_S = 0.1
_GRACE_S = 5
_PREFIX = "spawner-limits-overhead-"
_TOLD = 300
"""characters of a failed program's last words"""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""what the engine gives a container whose image says nothing of it"""

# the host's own /dev has far more in it than a container's; these are what a container has, too
_ENTER = """
root=$1; shift
mount -t proc proc "$root/proc" || exit 1
mount -t tmpfs -o mode=755 tmpfs "$root/dev" || exit 1
for name in null zero full random urandom; do
    : > "$root/dev/$name" && mount --bind "/dev/$name" "$root/dev/$name" || exit 1
done
mkdir "$root/dev/shm" && mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm" || exit 1
exec "$@"
"""


class Side(StrEnum):
    """Where a program runs."""

    NATIVE = "native"
    CONTAINER = "container"


class Place(Protocol):
    """Where a program can be run."""

    def run(self, program: Program) -> str:
        """Run it to its end; what it printed. LimitsError when it fails, or takes longer than `RUN_S`."""


@contextmanager
def places(engine: Engine, image: str, seconds: int) -> Iterator[Mapping[Side, Place]]:
    """Both sides, made and removed. `seconds`: how long the container lives should nobody be left to remove it.

    Errors: UsageError for an image that is not there, and for a user who may not chroot.
    """
    settings = Settings.of(engine, image)
    _need_root()
    with ExitStack() as made:
        container = made.enter_context(
            engine.trial_container(image, host_config={"network_mode": "none"}, environment={}, seconds=seconds)
        )
        root = made.enter_context(_directory())
        _unpack(engine, container, root)
        yield {Side.NATIVE: Native(root, settings), Side.CONTAINER: Contained(engine, container)}


def _need_root() -> None:
    if os.geteuid() != 0:
        raise UsageError("the native side runs in a chroot, which only root may make: run this as root")


# -- the container -----------------------------------------------------------------------------------------------------


class Contained:
    """A running container without limits. Its start is long over, so it is not measured."""

    def __init__(self, engine: Engine, container: Container) -> None:
        self._engine, self._container = engine, container

    def run(self, program: Program) -> str:
        """Run a program in it."""
        command = Command(self._engine, self._container, program.command, environment=program.environment)
        try:
            end = time.monotonic() + RUN_S
            while not command.wait(_TICK_S):
                interrupt.check()
                if time.monotonic() > end:
                    raise _took_too_long(program, Side.CONTAINER)
        finally:
            with interrupt.uninterrupted():
                command.stop()
        if command.problem is not None:
            raise LimitsError(f"{program.name} in the container: {command.problem}")
        return _output(program, Side.CONTAINER, command.exit_code, command.stdout, command.stderr)


# -- native ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a container of an image has, and a chroot must be given."""

    user: str
    """"1000:100"; empty for root"""
    environment: Mapping[str, str]

    @classmethod
    def of(cls, engine: Engine, image: str) -> Settings:
        """An image's. UsageError when it is not there."""
        try:
            # types-docker leaves it without types
            config = engine.client.inspect_image(image)["Config"]  # type: ignore[no-untyped-call]
        except docker.errors.ImageNotFound as error:
            raise UsageError(f"no image {image} on this machine; build it with docker/build.sh overhead") from error
        given = (one.partition("=") for one in config.get("Env") or ())
        environment = {"PATH": _PATH, "HOME": "/"} | {name: value for name, _, value in given}
        return cls(user=config.get("User") or "", environment=environment)


class Native:
    """A chroot into an image's files: on the host's kernel, in no container."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self._root, self._settings = root, settings

    def run(self, program: Program) -> str:
        """Run a program in it."""
        process = subprocess.Popen(
            self._command(program),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**self._settings.environment, **program.environment},
            start_new_session=True,
        )
        try:
            stdout, stderr = _ended(process, program)
        finally:
            with interrupt.uninterrupted():
                _end(process)
        return _output(program, Side.NATIVE, process.returncode, stdout, stderr)

    def _command(self, program: Program) -> Sequence[str]:
        user = [f"--userspec={self._settings.user}"] if self._settings.user else []
        # in full, because PATH is the image's; `timeout` ends it should nobody be left to do so
        enter = (_tool("unshare"), "--mount", "--propagation=private", _tool("sh"), "-c", _ENTER, "sh", str(self._root))
        bounded = (_tool("timeout"), "--signal=KILL", str(RUN_S + _GRACE_S))
        return [*bounded, *enter, _tool("chroot"), *user, str(self._root), *program.command]


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise UsageError(
            f"{name} is not on this machine, and the native side needs it: install util-linux and coreutils"
        )
    return found


def _ended(process: subprocess.Popen[str], program: Program) -> tuple[str, str]:
    end = time.monotonic() + RUN_S
    while True:
        try:
            return process.communicate(timeout=_TICK_S)
        except subprocess.TimeoutExpired:
            interrupt.check()
            if time.monotonic() > end:
                raise _took_too_long(program, Side.NATIVE) from None


def _end(process: subprocess.Popen[str]) -> None:
    """End it and what it started: all of that is in its process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_GRACE_S)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _took_too_long(program: Program, side: Side) -> LimitsError:
    return LimitsError(f"{program.name} ({side}) took longer than {RUN_S} s and was ended; is this machine busy?")


def _output(program: Program, side: Side, code: int | None, stdout: str, stderr: str) -> str:
    if code == 0:
        return stdout
    told = (stderr.strip() or stdout.strip())[-_TOLD:]
    raise LimitsError(f"{program.name} ({side}) failed with exit code {code}" + (f": {told}" if told else ""))


# -- the image's files -------------------------------------------------------------------------------------------------


@contextmanager
def _directory() -> Iterator[Path]:
    """A directory of our own; what an earlier run left that was ended without a chance to clean up is removed, too."""
    _sweep(Path(tempfile.gettempdir()))
    with interrupt.uninterrupted():
        made = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    try:
        interrupt.check()
        made.chmod(0o755)  # it will be the root directory of a user who need not be root
        yield made
    finally:
        with interrupt.uninterrupted():
            shutil.rmtree(made)


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{_PREFIX}*-*"):
        pid = left.name[len(_PREFIX) :].partition("-")[0]
        if not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)


def _unpack(engine: Engine, container: Container, root: Path) -> None:
    """All files of a container into a directory."""
    tar = subprocess.Popen(
        [_tool("tar"), "--extract", "--numeric-owner", "--preserve-permissions", f"--directory={root}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert tar.stdin is not None  # noqa: S101  by PIPE
        for part in engine.client.export(container.id):
            interrupt.check()
            tar.stdin.write(part)
        tar.stdin.close()
        code = tar.wait()
    except BrokenPipeError:
        code = tar.wait()
    finally:
        with interrupt.uninterrupted():
            tar.kill()
            tar.wait()
    if code != 0:
        raise LimitsError(f"tar can't unpack the image into {root} (exit code {code}); is there room? TMPDIR moves it")
