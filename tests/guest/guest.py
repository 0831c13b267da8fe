"""`Guest`: a QEMU machine with its own Linux kernel, cgroups and engine, in which a test runs commands.

It starts from a snapshot that `build.sh` has made: booted, the engine ready, nothing running. Nothing here knows
what a limit is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from tests.guest.machine import GuestError, restored, turn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from tests.guest.machine import Machine, Ran, Variant

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "spawner_limits"
IMAGE = "guest/probe:1"
"""in the guest's engine: Debian's python3 and busybox"""
SINGLEUSER = "guest/singleuser:1"
"""the same with a user and `jupyterhub-singleuser`, which finds its packages where `PACKAGES` is mounted, read-only"""

Suite = Literal["trixie", "forky", "bookworm"]
_BUILD_SECONDS = 900


class Guest:
    """A guest, restored in a second or two, on a disk of its own that is gone afterwards. One runs at a time."""

    def __init__(self, suite: Suite = "trixie", variant: Variant = "v2") -> None:
        """Of Debian's `suite`, the age of the engine, with cgroups as `variant` says; it starts in `with`."""
        self._suite = suite
        self._variant = variant
        self.answers = False
        """whether it can be asked: from its start on, until it failed"""
        self._stack = ExitStack()
        self._machine: Machine

    def __enter__(self) -> Self:
        """Build what is not built yet, and restore. GuestError when that fails twice."""
        build(self._suite, self._variant)
        folder = cache() / self._suite
        with ExitStack() as stack:
            stack.enter_context(turn(folder.parent))
            self._machine = stack.enter_context(restored(folder, self._variant))
            self._stack = stack.pop_all()
        self.answers = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.answers = False
        self._stack.close()

    def run(
        self,
        command: Sequence[str],
        files: Mapping[str, bytes] | None = None,
        timeout: float = 60,
    ) -> Ran:
        """Run a command as root, with files (absolute path → content) written before it.

        Its python imports what our package needs, and the package itself once `package()` was among the files.
        After `timeout` seconds the command is killed, with its process group. GuestError when the guest gives no
        answer; it answers no more after that.
        """
        (ran,) = self.run_all([command], files, timeout)
        return ran

    def run_all(
        self,
        commands: Sequence[Sequence[str]],
        files: Mapping[str, bytes] | None = None,
        timeout: float = 60,
    ) -> list[Ran]:
        """Run commands one after the other, whatever became of those before, in one message: `timeout` is for each."""
        try:
            return self._machine.run(commands, files or {}, timeout)
        except GuestError:
            self.answers = False
            raise

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the whole machine by SIGSTOP, as a host that suspends or has no CPU time does, and let it go on after.

        Its clocks have gone on meanwhile, and its processes see that; QEMU's own `stop` would stop them too. Nothing
        can be run meanwhile.
        """
        self._machine.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._machine.signal(signal.SIGCONT)


def build(suite: Suite, *variants: Variant) -> None:
    """Have build.sh build what is not built yet. GuestError, with what it said, when it fails."""
    wanted = " ".join((suite, *variants))
    with subprocess.Popen(
        [HERE / "build.sh", suite, *variants],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
        # Ctrl-C is for Python, which ends it in order
        start_new_session=True,
    ) as process:
        try:
            _, told = process.communicate(timeout=_BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()
            raise GuestError(f"build.sh {wanted} took longer than {_BUILD_SECONDS} s") from None
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise GuestError(f"build.sh {wanted} failed:\n{told}")


def package() -> dict[str, bytes]:
    """Our package as it is now, as files for `Guest.run`: then `spawner-limits` is a command in the guest.

    With the entry points of pyproject.toml, by which a hub finds `limited-docker`.
    """
    root = PACKAGE.parent
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    found = {f"/opt/main/{path.relative_to(root)}": path.read_bytes() for path in sorted(files)}
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    points = [
        line
        for group, names in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in names.items()))
    ]
    told = f"/opt/main/{project['name'].replace('-', '_')}-0.dist-info"
    return found | {
        f"{told}/METADATA": f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0\n".encode(),
        f"{told}/entry_points.txt": "\n".join(points).encode(),
    }


def cache() -> Path:
    """Where guests are kept, as in build.sh: a folder for each suite."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SPAWNER_LIMITS_CACHE") or Path(home, "spawner-limits"), "guest")


def versions(suite: Suite) -> str:
    """Of the packages that matter in a suite's guests, in one line."""
    return ", ".join((cache() / suite / "versions").read_text().splitlines())
