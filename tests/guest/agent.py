"""Runs in the guest, on its python alone: takes commands and files from the host, gives back what came of them.

Both ways a message is a line `LENGTH SHA256`, then so many bytes of JSON; bytes in it are base64.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

PORT = Path("/dev/vport0p1")
PROBE = Path("/opt/probe.tar")
IMAGE = "guest/probe:1"
SINGLEUSER = "guest/singleuser:1"
TIMED_OUT = 124
"""as timeout(1) says it"""


def main() -> None:
    """Make the engine ready, say so, and serve for ever."""
    await_engine(seconds=240)
    if PROBE.exists():
        docker("import", "--change", 'CMD ["sh"]', str(PROBE), IMAGE)
        PROBE.unlink()
        # the same files under another name, which takes no second import
        made = docker("create", "--network", "none", IMAGE)
        changes = ("USER 1000:100", "ENV HOME=/home/jovyan", "WORKDIR /home/jovyan", 'CMD ["jupyterhub-singleuser"]')
        docker("commit", *(word for change in changes for word in ("--change", change)), made, SINGLEUSER)
        docker("rm", made)
        warm_up()
    port = os.open(PORT, os.O_RDWR | os.O_CLOEXEC)
    # what has been written is not yet on the disk that the snapshot is of; a thawed guest would write it at its start
    os.sync()
    send(port, {"ready": True})
    while True:
        send(port, answer(receive(port)))


def warm_up() -> None:
    """Have read from the disk, before the snapshot, what tests begin with: a container's start, a hub's modules."""
    docker("run", "--rm", "--network", "none", IMAGE, "python3", "-c", "")
    modules = (
        "jupyterhub.app, jupyterhub.singleuser, dockerspawner, jupyter_server.serverapp, configurable_http_proxy.cli"
    )
    environment = {**os.environ, "PYTHONPATH": "/opt/packages"}
    subprocess.run(["python3", "-c", f"import {modules}, typer, rich.table"], env=environment, check=True)


def docker(*arguments: str) -> str:
    """What the command says, stripped."""
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def await_engine(seconds: int) -> None:
    """Until `docker info` has a server's version; without an engine it is empty, whatever its exit code."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        asked = subprocess.run(["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, check=False)
        if asked.stdout.strip():
            return
        time.sleep(0.5)
    raise SystemExit(f"agent: no engine in {seconds} s: {asked.stderr.decode(errors='replace')}")


def answer(message: dict) -> dict:
    """Set the clock, which stood still in the snapshot; write the files; run the commands, one after the other."""
    time.clock_settime(time.CLOCK_REALTIME, message["time"])
    for name, content in message["files"].items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content))
    ran = (run(command, message["environment"], message["timeout"]) for command in message["commands"])
    return {"ran": [(code, encoded(stdout), encoded(stderr)) for code, stdout, stderr in ran]}


def run(command: list[str], environment: dict[str, str], timeout: float) -> tuple[int, bytes, bytes]:
    """Exit code, stdout, stderr. A command that is not there is 127; one that takes too long is killed."""
    try:
        process = subprocess.Popen(
            command,
            cwd="/root",
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return 127, b"", f"{command[0]}: {error.strerror}\n".encode()
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        return TIMED_OUT, stdout, stderr
    return process.returncode, stdout, stderr


def encoded(content: bytes) -> str:
    """Bytes as JSON can have them."""
    return base64.b64encode(content).decode()


def send(port: int, message: dict) -> None:
    """Write the whole of a message: the port takes as much as the host has asked for."""
    body = json.dumps(message).encode()
    rest = memoryview(b"%d %s\n" % (len(body), hashlib.sha256(body).hexdigest().encode()) + body)
    while rest:
        rest = rest[os.write(port, rest) :]


def receive(port: int) -> dict:
    """The host's next message. SystemExit when it was damaged on its way, which nothing here can mend."""
    line = b""
    while not line.endswith(b"\n"):
        line += read(port, 1)
    length, digest = line.split()
    body = b""
    while len(body) < int(length):
        body += read(port, int(length) - len(body))
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise SystemExit("agent: the message's checksum is wrong")
    return json.loads(body)


def read(port: int, most: int) -> bytes:
    """Some bytes; the port gives none while the host is not there."""
    while not (some := os.read(port, min(most, 1 << 16))):
        time.sleep(0.05)
    return some


if __name__ == "__main__":
    main()
