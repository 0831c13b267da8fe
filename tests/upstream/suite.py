"""dockerspawner's own test suite: fetched from its sdist, run with or without `LimitedDockerSpawner`, and removed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import docker.errors
from dockerspawner import DockerSpawner

from spawner_limits.errors import LimitsError
from spawner_limits.interrupt import uninterrupted
from spawner_limits.lifecycle import cgroup_parent
from tests import locks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from docker import DockerClient

Class = Literal["stock", "ours"]
"""whose class is in DockerSpawner's place"""

ROOT = Path(__file__).parents[2]
SHA256 = {"14.0.0": "5641d4763ecc78c1b1c3c7621bfe88c055596893e43be7f66ee0dccac06c1d2a"}
"""of the sdist, for the versions with which this was tested"""
LOCK = "requirements/upstream.txt"
"""of the suite, of `jupyterhub.tests`, which it imports, and of our package"""
IMAGE = "spawner-limits/singleuser:minimal"
USUAL = DockerSpawner.image.default_value
SUITES_IMAGES = (USUAL, *(f"{USUAL.rpartition(':')[0]}:{tag}" for tag in ("4", "4.0")), "busybox:1.29.1")
"""what the suite starts; ours takes the name of those that are not there"""
TOUCHED = (*SUITES_IMAGES, "busybox:latest")
"""tags that it changes, where it can pull"""
POLICY = """\
version: 1
# cpu_limit: the suite sets its own, and looks for it
defaults: {mem_limit: 1T, cpu_limit: unlimited, pids_limit: 100000}
"""
USER = "nobody"
"""as whom SystemUserSpawner is tested by root: Jupyter does not run as root"""
TEST_S = 120
RUN_S = 1200
STOP_S = 30
PACKAGES_S = 600
_CGROUP_TRIES = 50
_VARIABLE = "SPAWNER_LIMITS_UPSTREAM"


class SuiteError(LimitsError):
    """The suite could not be run, so that nothing can be said."""

    exit_code = 3


# -- what is fetched ---------------------------------------------------------------------------------------------


def cache() -> Path:
    """Where the environment is kept from run to run."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SPAWNER_LIMITS_CACHE") or Path(home, "spawner-limits"), "upstream")


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Wait until nobody else compares on this machine: two runs would move each other's tags."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "running.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another comparison on this machine")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetched(folder: Path, python: Path) -> Path:
    """The suite of the locked dockerspawner, unpacked below `folder`. SuiteError where it can't be had."""
    (locked,) = locks.read(LOCK)["dockerspawner"]
    release = locked.version
    if version("dockerspawner") != release:
        raise SuiteError(f"dockerspawner {version('dockerspawner')} is installed here, and {release} is locked")
    (folder / "dockerspawner.txt").write_text(locked.text)
    sdist = ("--no-deps", "--no-binary", "dockerspawner", "--no-build-isolation", "--dest", str(folder))
    _pip(python, "download", *sdist, "--require-hashes", "-r", str(folder / "dockerspawner.txt"))
    (sdist,) = folder.glob("dockerspawner-*.tar.gz")
    _check(release, hashlib.sha256(sdist.read_bytes()).hexdigest())
    with tarfile.open(sdist) as tar:
        tar.extractall(folder, filter="data")
    return folder / f"dockerspawner-{release}"


def _check(release: str, found: str) -> None:
    wanted = SHA256.get(release)
    if wanted is None:
        say(f"dockerspawner {release} is not among the tested versions ({', '.join(SHA256)}); its sdist is {found}")
    elif wanted != found:
        raise SuiteError(
            f"the sdist of dockerspawner {release} has sha256 {found}, not {wanted}; nothing of it was run"
        )


def environment(folder: Path) -> Path:
    """The Python of an environment with our package and what the suite needs. SuiteError."""
    place, stamp = folder / "venv", folder / "venv.sha256"
    python = place / "bin/python"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = hashlib.sha256(json.dumps([(ROOT / LOCK).read_text(), sys.version, project]).encode())
    if stamp.exists() and stamp.read_text() == wanted.hexdigest() and python.exists():
        return python
    say("installing what the suite needs")
    stamp.unlink(missing_ok=True)
    _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(place)])
    _pip(python, "install", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(ROOT / LOCK))
    _pip(python, "install", "--no-index", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    stamp.write_text(wanted.hexdigest())
    return python


def _pip(python: Path, *arguments: str) -> None:
    _run([sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", *arguments])


def _run(command: Sequence[str]) -> None:
    # pip --python is two processes
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, told = process.communicate(timeout=PACKAGES_S)
    except subprocess.TimeoutExpired:
        told = f"it takes longer than {PACKAGES_S} s"
    finally:
        _killed(process)
    if process.returncode:
        raise SuiteError(f"{' '.join(command[:5])} … failed:\n{told[-2000:]}")


# -- one run -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What a run gives."""

    report: str
    """pytest's, in JUnit's form"""
    output: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """The suite, ready to run."""

    source: Path
    python: Path
    work: Path
    """a directory for what the runs leave"""
    client: DockerClient

    plugins: tuple[str, ...] = ("tests.upstream.fixtures",)
    """modules that are loaded into both runs"""

    def run(self, which: Class, tests: Sequence[str]) -> Ran:
        """Run these tests with that class. SuiteError where pytest gives no report."""
        prefix = f"upstream-{secrets.token_hex(4)}"
        folder = self.work / prefix
        with _tags(self.client, prefix), _swept(self.client, prefix):
            return self._run(which, tests, folder, prefix)

    def _run(self, which: Class, tests: Sequence[str], folder: Path, prefix: str) -> Ran:
        surroundings = self._surroundings(folder, prefix)
        report, log = folder / "report.xml", folder / "log"
        begin = time.monotonic()
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*self._command(which, report), *tests],
                cwd=self.source,
                env=surroundings,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            ended = _awaited(process)
        output = log.read_text(errors="replace")
        if not ended or not report.exists():
            why = "gave no report" if ended else f"did not end within {RUN_S} s"
            raise SuiteError(f"the run with the {which} class {why}; its output ends with:\n{output[-2000:]}")
        return Ran(report=report.read_text(), output=output, seconds=time.monotonic() - begin)

    def _command(self, which: Class, report: Path) -> list[str]:
        plugins = (*self.plugins, *(("tests.upstream.ours",) if which == "ours" else ()))
        settings = ("addopts=", "asyncio_mode=auto", "asyncio_default_test_loop_scope=module", "junit_family=xunit2")
        return [
            # not `python -m`: the sdist's own dockerspawner would be imported from the directory
            str(self.python.with_name("pytest")),
            *(word for one in plugins for word in ("-p", one)),
            *(word for one in settings for word in ("-o", one)),
            *("-p", "no:cacheprovider", "--timeout", str(TEST_S), f"--junitxml={report}", "-q", "-rA"),
        ]

    def _surroundings(self, folder: Path, prefix: str) -> dict[str, str]:
        homes, policy = folder / "homes", folder / "limits.yaml"
        user = USER if os.geteuid() == 0 else os.environ.get("LOGNAME", USER)
        (homes / user).mkdir(parents=True)
        for one in (homes, homes / user):
            # whoever the server runs as
            one.chmod(0o777)
        policy.write_text(POLICY)
        told = {
            "prefix": prefix,
            "hub_ip": _bridge(self.client),
            "homes": str(homes),
            "policy": str(policy),
            "image": IMAGE,
            "images": SUITES_IMAGES,
        }
        ours = {
            "PYTHONPATH": str(ROOT),
            "LOGNAME": user,
            "SPAWNER_LIMITS_RECORDS": str(folder / "records"),
            _VARIABLE: json.dumps(told),
        }
        # Debian's proxy has its libraries there, where a node from elsewhere does not look
        return {"NODE_PATH": "/usr/share/nodejs"} | os.environ | ours


def _awaited(process: subprocess.Popen[bytes]) -> bool:
    """Whether it ended by itself, in time; it has ended in any case, also when this is interrupted."""
    try:
        process.wait(RUN_S)
    except subprocess.TimeoutExpired:
        return False
    else:
        return True
    finally:
        with uninterrupted():
            _ended(process)


def _ended(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # pytest stops its hub then
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    _killed(process)


def _killed(process: subprocess.Popen[Any]) -> None:
    """Whatever is left of its session is gone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _bridge(client: DockerClient) -> str:
    (config,) = (one for one in client.networks.get("bridge").attrs["IPAM"]["Config"] if ":" not in one["Subnet"])
    # left to itself, Docker takes the subnet's first address, and some versions do not say so
    return str(config.get("Gateway") or next(ip_network(config["Subnet"]).hosts()))


# -- what a run leaves -------------------------------------------------------------------------------------------


@contextmanager
def _tags(client: DockerClient, prefix: str) -> Iterator[None]:
    """The tags that the suite changes are as they were before."""
    before = {name: _image_id(client, name) for name in TOUCHED}
    keepers = [(image, f"{prefix}:{number}") for number, image in enumerate(filter(None, before.values()))]
    try:
        for image, keeper in keepers:
            client.api.tag(image, *keeper.split(":"))
        yield
    finally:
        with uninterrupted():
            for name, image in before.items():
                _restore(client, name, image)
            for _, keeper in keepers:
                _untag(client, keeper)


def _image_id(client: DockerClient, name: str) -> str | None:
    try:
        return str(client.images.get(name).id)
    except docker.errors.ImageNotFound:
        return None


def _restore(client: DockerClient, name: str, image: str | None) -> None:
    if image is None:
        _untag(client, name)
    else:
        client.api.tag(image, *name.rsplit(":", 1))


def _untag(client: DockerClient, name: str) -> None:
    with suppress(docker.errors.ImageNotFound):
        client.images.remove(name)


@contextmanager
def _swept(client: DockerClient, prefix: str) -> Iterator[None]:
    """Whatever bears the prefix is gone afterwards."""
    try:
        yield
    finally:
        with uninterrupted():
            _end_strays(prefix)
            _remove_containers(client, prefix)
            for one in _others(client, prefix):
                one.remove()
            _remove_cgroup(prefix)


def _remove_containers(client: DockerClient, prefix: str) -> None:
    for container in client.api.containers(all=True, filters={"name": f"^/{prefix}-"}):
        try:
            client.api.remove_container(container["Id"], force=True, v=True)
        except docker.errors.APIError as error:
            if error.status_code not in {404, 409}:  # the engine removes it already
                raise


def _others(client: DockerClient, prefix: str) -> Iterator[Any]:
    named = {"name": prefix}
    if client.info()["Swarm"]["LocalNodeState"] == "active":
        yield from client.services.list(filters=named)
    yield from client.networks.list(filters=named)
    yield from client.volumes.list(filters=named)


def _end_strays(prefix: str) -> None:
    """The hub's proxy has a session of its own, so that it outlives a hub that was killed."""
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is not ours to read
            if f'"prefix": "{prefix}"'.encode() in environ.read_bytes():
                os.kill(int(environ.parent.name), signal.SIGKILL)


def _remove_cgroup(prefix: str) -> None:
    for left in reversed(range(_CGROUP_TRIES)):
        try:
            return cgroup_parent.remove(prefix)
        except OSError:  # the engine says that a container is gone before the Linux kernel does
            if not left:
                raise
            time.sleep(0.1)
    return None


def say(what: str) -> None:
    """Tell how it goes."""
    print(f"upstream: {what}", file=sys.stderr, flush=True)  # noqa: T201
