"""A socket before the engine's, that passes on all that is said, and can hold back what is copied into containers."""

from __future__ import annotations

import os
import socket
import socketserver
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

MOST_S = 60


class Between(socketserver.ThreadingUnixStreamServer):
    """The engine, by another address: `host`."""

    daemon_threads = True

    def __init__(self, folder):
        self.engine = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
        self.host = f"unix://{folder}/socket"
        self.held = 0
        """copies that wait now"""
        self.copied = 0
        """copies that were passed on"""
        self._changed = threading.Condition()
        self._may_pass = True
        super().__init__(f"{folder}/socket", _Passage)

    @contextmanager
    def holding(self):
        """Until the end of the block, copies into containers wait here."""
        self._may_pass = False
        try:
            yield
        finally:
            with self._changed:
                self._may_pass = True
                self._changed.notify_all()

    def await_held(self, count, seconds=MOST_S):
        """Wait until so many copies wait."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.held >= count, seconds), f"{self.held} copies wait, not {count}"

    def hold(self):
        """One copy waits until it may pass."""
        with self._changed:
            self.held += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._may_pass, MOST_S)
            self.held -= 1
            self.copied += 1


class _Passage(socketserver.BaseRequestHandler):
    def handle(self):
        with socket.socket(socket.AF_UNIX) as engine, suppress(OSError):  # whoever hangs up first
            engine.connect(self.server.engine)
            back = threading.Thread(target=_pass_on, args=(engine, self.request), daemon=True)
            back.start()
            while data := self.request.recv(1 << 16):
                # a request begins in a piece of its own: the one before was answered
                line = data.partition(b"\r\n")[0]
                if line.startswith(b"PUT ") and b"/archive?" in line:
                    self.server.hold()
                engine.sendall(data)
            engine.shutdown(socket.SHUT_WR)
            back.join()


def _pass_on(source, target):
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def between():
    """One for the time of a `with` block; whoever is started in it, or looks at the environment, goes by it."""
    # not pytest's tmp_path: a Unix socket's path has at most 107 characters
    with tempfile.TemporaryDirectory(prefix="spawner-limits-") as folder, Between(Path(folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = server.host
        try:
            yield server
        finally:
            os.environ.pop("DOCKER_HOST")
            os.environ |= {"DOCKER_HOST": before} if before is not None else {}
            server.shutdown()
            thread.join()
