"""`make demo`'s program, interrupted; and this test run itself without an engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("leaves_nothing")


def descendants(pid):
    """The ids of all processes below one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def is_running(pid):
    """Whether there is such a process; one that has ended may stay a zombie until init has waited for it."""
    with suppress(OSError):
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize(
    ("until", "number"),
    [("starting the hub", signal.SIGINT), ("pressing with", signal.SIGINT), ("pressing with", signal.SIGTERM)],
)
def test_an_interrupted_demonstration_leaves_nothing(client, tmp_path, until, number):
    """Ctrl-C at any time: exit code 130, and no hub, proxy, container or traceback is left."""
    before = {container["Id"] for container in client.containers(all=True)}
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "demo"],
            cwd=tmp_path,
            stderr=said,
            stdout=said,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    end = time.monotonic() + 90
    while until not in (tmp_path / "said").read_text():
        assert process.poll() is None, (tmp_path / "said").read_text()
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(1)
    below = descendants(process.pid)
    process.send_signal(number)
    assert process.wait(90) == 130
    said = (tmp_path / "said").read_text()
    assert "Traceback" not in said, said
    assert said.endswith("demo: interrupted; nothing is left behind\n")
    assert [pid for pid in below if is_running(pid)] == []
    left = [one["Names"] for one in client.containers(all=True) if one["Id"] not in before]
    assert [names for names in left if "/demo-" in names[0]] == []


@pytest.mark.parametrize(("options", "code"), [((), 4), (("-n", "2"), 1)], ids=["one after the other", "side by side"])
def test_without_an_engine_the_tests_fail(options, code):
    """A run without an engine is not green, and says what to do."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, "tests/integration/test_hardened_image.py"],
        cwd=ROOT,
        env={**os.environ, "DOCKER_HOST": "unix:///nonexistent.sock"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code
    assert "no Docker engine answers, so nothing can be tested" in run.stdout
    assert "run docker/engine.sh" in run.stdout
