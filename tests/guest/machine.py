"""`Machine`: one QEMU process, restored from a snapshot or booted. As a script, `machine.py FOLDER VARIANT` makes one.

What is here decides whether a snapshot can be restored, so build.sh makes them anew when this file changes.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

PACKAGES = "/opt/packages"
"""in the guest: what our package needs of PyPI, with a hub, a proxy and a single-user server"""

Variant = Literal["systemd", "v2", "v2-root", "v1"]
"""systemd: it is the first process, Docker's cgroup driver is its default, and there are networks: as most hosts are.

The others have the cgroupfs driver and no network. v2-root: the engine lives in the root cgroup, where it finds that
swap can't be limited.
"""


@dataclass(frozen=True, slots=True)
class _Boot:
    init: str = "/init"
    kernel: str = "v2"
    memory_mib: int = 1536


_BOOTS: dict[Variant, _Boot] = {
    "systemd": _Boot(init="/lib/systemd/systemd", memory_mib=2048),
    "v2": _Boot(),
    "v2-root": _Boot(),
    "v1": _Boot(kernel="v1"),
}
_ENVIRONMENT = {"PYTHONPATH": f"/opt/main:{PACKAGES}", "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_SCRATCH = "run."
_BOOT_SECONDS = 150
_RESTORE_SECONDS = 25
_TURN_SECONDS = 900
"""how long to wait for another guest to end: two at a time would measure each other"""
_TRIES = 2
"""about one boot in 40 hangs"""
_GRACE_SECONDS = 30
"""for what a command's time limit does not count: the way there and back, and the agent's own work"""


class GuestError(Exception):
    """The guest could not be built, started or asked; its text has the end of what the guest said."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a command in the guest; unpacks as (exit code, stdout, stderr)."""

    code: int
    """124 when it took longer than its time limit, 127 when there is no such command"""
    stdout: str
    stderr: str

    def __iter__(self) -> Iterator[Any]:
        return iter((self.code, self.stdout, self.stderr))


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Wait until no other guest runs. GuestError when that takes too long."""
    deadline = time.monotonic() + _TURN_SECONDS
    with (folder / "running.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise GuestError(f"another guest has been running for {_TURN_SECONDS} s; end it") from None
                time.sleep(0.3)
        # whoever had the turn before and was killed could not clean up
        for left in folder.glob(f"*/{_SCRATCH}*"):
            shutil.rmtree(left)
        yield


def restored(folder: Path, variant: Variant) -> Machine:
    """A machine that has answered. GuestError when none did, in as many tries as it gets."""
    for left in reversed(range(_TRIES)):
        machine = Machine(folder, variant, folder / "ready" / f"{variant}.qcow2", snapshot=True)
        try:
            machine.run([["true"]], {}, 0, patience=_RESTORE_SECONDS)
        except GuestError:
            machine.close()
            if not left:
                raise
        except BaseException:
            machine.close()
            raise
        else:
            return machine
    raise AssertionError


def save(folder: Path, variant: Variant) -> None:
    """Boot from the image and make the snapshot. GuestError when the guest did not get ready, in as many tries."""
    ready = folder / "ready"
    for left in reversed(range(_TRIES)):
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as scratch:
            disk = Path(scratch, "disk.qcow2")
            # relative to the disk, wherever that is copied to: all lie one folder below the image
            options = ("-F", "raw", "-b", "../image.raw")
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, disk], check=True)
            try:
                with Machine(folder, variant, disk, snapshot=False) as machine:
                    machine.receive(_BOOT_SECONDS)
                    machine.save()
            except GuestError:
                if not left:
                    raise
            else:
                ready.mkdir(exist_ok=True)
                disk.replace(ready / f"{variant}.qcow2")
                return


class Machine:
    """One QEMU process; it ends with this object, with a `with`, and at the latest with this Python."""

    def __init__(self, folder: Path, variant: Variant, disk: Path, *, snapshot: bool) -> None:
        """Start it, from a copy of the disk's snapshot or from the disk itself."""
        self._stack = ExitStack()
        try:
            self._start(folder, variant, disk, snapshot=snapshot)
        except BaseException:
            self.close()
            raise

    def _start(self, folder: Path, variant: Variant, disk: Path, *, snapshot: bool) -> None:
        if snapshot:
            scratch = self._stack.enter_context(tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder))
            disk = shutil.copy(disk, Path(scratch, "disk.qcow2"))
        self._console = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
        self._port, port = self._pair()
        self._monitor, monitor = self._pair()
        boot = _BOOTS[variant]
        kernel = folder / boot.kernel
        parameters = (
            "console=ttyS0 quiet panic=-1 reboot=t mitigations=off random.trust_cpu=on audit=0 apparmor=0 "
            f"cgroups={variant} init={boot.init}"
        )
        words = (
            # it must not outlive a Python that was killed
            *("setpriv", "--pdeathsig", "KILL", folder / "qemu" / "run"),
            # a plain CPU: what a newer one has is slow to emulate; with its random numbers nothing waits for entropy
            *(
                "-M",
                "q35",
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "qemu64,+rdrand",
                "-m",
                str(boot.memory_mib),
                "-smp",
                "2",
            ),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"),
            *("-kernel", f"{kernel}.kernel", "-initrd", f"{kernel}.initrd", "-append", parameters),
            *("-serial", "stdio"),
            *("-chardev", f"socket,id=port,fd={port.fileno()}", "-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=port"),
            *("-chardev", f"socket,id=monitor,fd={monitor.fileno()}", "-mon", "chardev=monitor,mode=control"),
            *("-drive", f"file={str(disk).replace(',', ',,')},if=none,id=disk,format=qcow2,cache=unsafe"),
            *("-device", "virtio-blk-pci,drive=disk"),
            *(("-loadvm", "ready") if snapshot else ()),
        )
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=subprocess.STDOUT,
            pass_fds=(port.fileno(), monitor.fileno()),
            # Ctrl-C is for Python, which ends it in order
            start_new_session=True,
        )
        self._stack.callback(self._end)
        # QEMU's alone from here: when it ends, reading our side ends
        port.close()
        monitor.close()

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        self._stack.enter_context(ours)
        self._stack.enter_context(theirs)
        return ours, theirs

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, and remove the disk's copy."""
        self._stack.close()

    def signal(self, number: signal.Signals) -> None:
        """Send the QEMU process a signal."""
        self._process.send_signal(number)

    def run(
        self, commands: Sequence[Sequence[str]], files: Mapping[str, bytes], limit: float, *, patience: float = 0
    ) -> list[Ran]:
        """Have the agent run commands. GuestError when no answer comes, or it is damaged."""
        message = {
            "time": time.time(),
            "files": {name: base64.b64encode(content).decode() for name, content in files.items()},
            "commands": [list(command) for command in commands],
            "environment": _ENVIRONMENT,
            "timeout": limit or patience,
        }
        body = json.dumps(message).encode()
        frame = b"%d %s\n" % (len(body), hashlib.sha256(body).hexdigest().encode()) + body
        self._port.settimeout(patience or _GRACE_SECONDS)
        try:
            self._port.sendall(frame)
        except OSError as error:
            raise self._failed(f"the guest takes no command: {error}") from error
        answer = self.receive(patience or limit * len(commands) + _GRACE_SECONDS)
        return [Ran(code, _decoded(stdout), _decoded(stderr)) for code, stdout, stderr in answer["ran"]]

    def receive(self, seconds: float) -> dict[str, Any]:
        """The agent's next message. GuestError when it does not come in time, or not whole."""
        deadline = time.monotonic() + seconds
        head, _, body = self._read_until(lambda got: b"\n" in got, b"", deadline).partition(b"\n")
        length, digest = head.split()
        body = self._read_until(lambda got: len(got) >= int(length), body, deadline)
        if hashlib.sha256(body).hexdigest().encode() != digest:
            raise self._failed("the guest's answer came damaged: its checksum is wrong")
        return json.loads(body)

    def _read_until(self, enough: Any, got: bytes, deadline: float) -> bytes:
        parts = bytearray(got)
        while not enough(parts):
            self._port.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                some = self._port.recv(1 << 20)
            except TimeoutError:
                raise self._failed("the guest gave no answer in time") from None
            if not some:
                raise self._failed("QEMU has ended")
            parts += some
        return bytes(parts)

    def save(self) -> None:
        """Make the snapshot `ready`."""
        with self._monitor.makefile("rwb", buffering=0) as monitor:
            self._monitor.settimeout(60)
            json.loads(monitor.readline())  # its greeting
            self._ask(monitor, "qmp_capabilities")
            told = self._ask(monitor, "human-monitor-command", **{"command-line": "savevm ready"})
            if told:  # a human is told of errors only
                raise self._failed(f"savevm: {told}")
            self._ask(monitor, "quit")

    def _ask(self, monitor: Any, command: str, **arguments: str) -> Any:
        monitor.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while line := monitor.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise self._failed(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise self._failed(f"QEMU ended at {command}")

    def _failed(self, fact: str) -> GuestError:
        self._console.seek(0)
        said = self._console.read().decode(errors="replace").strip()[-2000:]
        return GuestError(f"{fact}; on its console: {said or 'nothing'}")


def _decoded(content: str) -> str:
    return base64.b64decode(content).decode(errors="replace")


def main() -> None:
    """Make the snapshot, for build.sh."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder, variant = sys.argv[1:]
    try:
        with turn(Path(folder).parent):
            save(Path(folder), variant)
    except GuestError as error:
        sys.exit(f"guest: {error}")


if __name__ == "__main__":
    main()
