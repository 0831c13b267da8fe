"""What all tests share: a real engine, whose absence fails the suite, and images that docker/build.sh made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from docker.utils import kwargs_from_env

import docker
from spawner_limits.engines import labels
from spawner_limits.kernel.cgroups import find
from spawner_limits.kernel.reader import Reader

ROOT = Path(__file__).parents[1]
MINIMAL = "spawner-limits/singleuser:minimal"
TENSORFLOW = "spawner-limits/singleuser:tensorflow"
COMMAND = shutil.which("spawner-limits", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
"""beside this Python, else on the path, as in a guest"""
pytest_plugins = ["tests.phases", "tests.guest.fixtures"]


def pytest_configure():
    """Started in the background, as by some CI, Ctrl-C would be ignored here and by all that the tests start.

    So would a closed terminal under nohup.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def kernel(found):
    """What the Linux kernel shows of a running container; `found`: what `docker inspect` says of it."""
    with Reader(find(found["State"]["Pid"], container_id=found["Id"])) as reader:
        return reader.read_limits()


@pytest.fixture(scope="session")
def client(request):
    """A client of the engine. Without one nothing here means anything, so the whole run fails."""
    try:
        engine = docker.APIClient(**kwargs_from_env(), version="auto", timeout=60)
        engine.ping()
    except docker.errors.DockerException as error:
        told = f"no Docker engine answers, so nothing can be tested ({error}); run docker/engine.sh"
        if hasattr(request.config, "workerinput"):  # xdist takes a worker that exits for one that crashed
            pytest.fail(told, pytrace=False)
        pytest.exit(told, returncode=4)
    yield engine
    engine.close()


@pytest.fixture
def leaves_nothing(client):
    """No container outlives the `verify` that made it."""
    yield
    makers = {name: maker for name, maker in trials(client).items() if not Path("/proc", maker).exists()}
    # what another test's run removed before its end was listed, and its maker gone, too
    assert [name for name in trials(client) if name in makers] == []


def trials(client):
    """The id of the process that made it, by the name of each container that somebody presses in."""
    found = client.containers(all=True, filters={"label": labels.TRIAL})
    return {one["Names"][0]: one["Labels"][labels.TRIAL].partition(".")[0] for one in found}


def committed():
    """The files of the project: all that .gitignore leaves."""
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()] + [".git"]
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not any(fnmatch(name, pattern) for pattern in ignored)]
        yield from (Path(folder, name) for name in files if not any(fnmatch(name, pattern) for pattern in ignored))


def spawner_limits(*arguments, timeout=300, **environment):
    """Run the command as an administrator would."""
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
        check=False,
    )
