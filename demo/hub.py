"""Start a hub of one's own on free ports, wait until it answers, and leave nothing of it behind."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import docker.errors
import requests

import docker
from spawner_limits.errors import LimitsError, UnreachableError
from spawner_limits.lifecycle import cgroup_parent
from spawner_limits.spawners.setup import users_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

HERE = Path(__file__).parent
CONFIG = HERE / "jupyterhub_config.py"
# carol is a student too: her own rule beats the group's
GROUPS = {"students": ["bob", "carol"]}
USERS = ("alice", "bob", "carol")
START_S = 60
STOP_S = 60
CGROUP_S = 10


@dataclass
class DemoHub:
    """A hub for the time of a `with` block."""

    users: Sequence[str] = USERS
    groups: Mapping[str, Sequence[str]] = field(default_factory=lambda: GROUPS)
    config: Path = CONFIG
    port: int = 0
    """of the pages for people; 0: any that is free"""
    log: Path | None = None

    def __post_init__(self) -> None:
        """Decide on names, ports and secrets."""
        ports = _free_ports(3)
        self.url = f"http://127.0.0.1:{self.port or ports[0]}/"
        self.passwords = {user: secrets.token_urlsafe(12) for user in self.users}
        self.token = secrets.token_hex(32)
        self.prefix = f"demo-{secrets.token_hex(4)}"
        self._hub_port, self._proxy_port = ports[1:]
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def api_url(self) -> str:
        """The REST API's address."""
        return f"{self.url}hub/api"

    def __enter__(self) -> Self:
        """Start it. UnreachableError without an engine, LimitsError when the hub does not come up."""
        try:
            self._start(Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="spawner-limits-hub-"))))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self, folder: Path) -> None:
        users_network()  # says what is wrong when no engine answers
        self._folder = folder
        self._log = self._stack.enter_context((self.log or folder / "hub.log").open("w+b"))
        self.launch()

    def launch(self) -> None:
        """Start the hub's process: on the database of the one before, where there was one. Errors as `__enter__`."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", str(self.config)],
            cwd=self._folder,
            # Debian's proxy has its libraries there, where a node from elsewhere does not look
            env={"NODE_PATH": "/usr/share/nodejs", **os.environ, "SPAWNER_LIMITS_DEMO": json.dumps(self._settings())},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # Ctrl-C is ours to handle: the hub must outlive the loads in its servers
            start_new_session=True,
        )
        self._await(self._log)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the hub's process by a signal; by SIGKILL, its proxy and its servers go on without it."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(STOP_S)

    def _settings(self) -> dict[str, Any]:
        return {
            "passwords": self.passwords,
            "groups": {name: list(users) for name, users in self.groups.items()},
            "token": self.token,
            "prefix": self.prefix,
            "url": self.url,
            "hub_port": self._hub_port,
            "proxy_api": f"http://127.0.0.1:{self._proxy_port}",
        }

    def _await(self, log: IO[bytes]) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process is not None and self._process.poll() is None:
            with suppress(requests.RequestException):
                if requests.get(self.api_url, timeout=5).ok:
                    return
            time.sleep(0.2)
        log.seek(0)
        raise LimitsError(f"the hub did not start; its log ends with:\n{_tail(log.read())}")

    def _stop(self) -> None:
        try:
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                try:
                    self._process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    os.killpg(self._process.pid, signal.SIGKILL)
                    self._process.wait()
            if self._process is not None:
                with suppress(ProcessLookupError):  # the proxy of a hub that was killed
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._remove_containers()
                self._remove_cgroup()
        finally:
            self._stack.close()

    def _remove_containers(self) -> None:
        """What a hub that was killed could not remove itself."""
        try:
            client = docker.from_env()
            for container in client.containers.list(all=True, filters={"name": f"^/{self.prefix}-"}):
                with suppress(docker.errors.NotFound):
                    container.remove(force=True, v=True)
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise UnreachableError(f"the engine does not answer, so {self.prefix}-* may be left: {error}") from error

    def _remove_cgroup(self) -> None:
        """The one above all servers, once the engine has removed theirs; an empty one that must stay harms nobody."""
        end = time.monotonic() + CGROUP_S
        while time.monotonic() < end:
            try:
                return cgroup_parent.remove(self.prefix)
            except PermissionError:  # the engine made it, and we are not root
                return None
            except OSError:
                time.sleep(0.1)
        return None


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _tail(text: bytes, lines: int = 15) -> str:
    return "\n".join(text.decode(errors="replace").splitlines()[-lines:])
