"""The lock files: complete, with hashes, in the ranges, of no host; and nothing is installed without one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from requirements.lock import DEV, LOCKS, MINIMAL, TENSORFLOW, index_settings
from tests import locks

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BACKEND = PYPROJECT["build-system"]["requires"]
RUNTIME = PYPROJECT["project"]["dependencies"]
DEVELOPMENT = PYPROJECT["project"]["optional-dependencies"]["dev"]


def asked(path):
    """What an .in file asks for."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


ASKED = {
    "requirements/uv.txt": asked("requirements/uv.in"),
    DEV: [*RUNTIME, *DEVELOPMENT, *BACKEND, *asked("requirements/build.in")],
    "requirements/hub.txt": [*RUNTIME, *BACKEND, *asked("requirements/build.in")],
    "requirements/guest.txt": [*RUNTIME, *asked("requirements/guest.in")],
    "requirements/upstream.txt": [*RUNTIME, *BACKEND, *asked("requirements/upstream.in")],
    f"{MINIMAL}.txt": asked(f"{MINIMAL}.in"),
    f"{TENSORFLOW}.txt": asked(f"{TENSORFLOW}.in"),
}
every_lock = pytest.mark.parametrize("path", LOCKS)


def test_every_lock_is_known():
    """Those that `make lock` writes are those in the project."""
    written = [*ROOT.glob("requirements/*.txt"), *ROOT.glob("docker/**/*requirements*.txt")]
    assert {str(one.relative_to(ROOT)) for one in written} == set(LOCKS) == set(ASKED)


@pytest.mark.parametrize(
    ("path", "requirement"),
    [(path, one) for path, wanted in ASKED.items() for one in wanted],
)
def test_what_is_asked_for_is_locked(path, requirement):
    """At a version that the range allows."""
    wanted = Requirement(requirement)
    found = locks.read(path)[canonicalize_name(wanted.name)]
    assert [one.version for one in found if not wanted.specifier.contains(one.version)] == []


@every_lock
def test_hashes(path):
    """Every package has at least one, of SHA-256."""
    found = [one for entries in locks.read(path).values() for one in entries]
    assert [one.text for one in found if not one.hashes] == []
    assert [one for entry in found for one in entry.hashes if not re.fullmatch("sha256:[0-9a-f]{64}", one)] == []


@every_lock
def test_a_lock_names_no_place(path):
    """No index, no host, no path of a machine."""
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.findall(r".*(?:://|--(?:extra-)?index-url|--find-links|--trusted-host|^# +/|[ =]/).*", text) == []


def test_the_guests_python_may_be_another():
    """One version of each package for all Pythons: pip asks the host's Python which line applies, not the guest's."""
    text = (ROOT / "requirements/guest.txt").read_text(encoding="utf-8")
    # a backport for a Python that is older than the guest's, which does no harm there
    lines = [line for line in text.splitlines() if "python_full_version" in line or "python_version" in line]
    assert [line.partition("==")[0] for line in lines] == ["overrides"]


def test_the_guest_gets_what_the_package_needs():
    """A hub runs there: nothing of pyproject.toml is left out."""
    names = {Requirement(one).name for one in RUNTIME}
    assert names <= locks.versions("requirements/guest.txt").keys()


def test_one_version_of_what_several_have():
    """Hub, guest and dockerspawner's suite run with what the tests run with; TensorFlow with what is below it."""
    dev, minimal = locks.versions(DEV), locks.versions(f"{MINIMAL}.txt")
    others = dict.fromkeys(("requirements/hub.txt", "requirements/guest.txt", "requirements/upstream.txt"), dev)
    for path, wanted in {**others, f"{TENSORFLOW}.txt": minimal}.items():
        found = locks.versions(path)
        common = found.keys() & wanted.keys()
        assert len(common) > 5
        assert {name: found[name] for name in common} == {name: wanted[name] for name in common}


def test_the_backend_is_asked_for_once_more():
    """What builds the package is locked in the range that pyproject.toml says."""
    assert set(BACKEND) <= set(asked("requirements/build.in"))


# -- nothing is installed without a lock -------------------------------------------------------------------------------

PLACES = (".ci", "benchmarks", "demo", "docker", "docs", "requirements", "spawner_limits", "tests")
PROGRAM = re.compile(r"Makefile|Dockerfile|run|init|.*\.(?:py|sh)")
# in backticks it is prose
INSTALLS = re.compile(r"(?<!`)\b_?pip\b.*\b(?:install|download|wheel)\b")
LOCAL = {"--no-index", "--no-deps", "--no-build-isolation"}
"""our own package, with what builds it at hand: nothing is fetched"""


def commands():
    """Each command of the project's programs that lets pip install something, with its file; split lines are joined."""
    files = [ROOT / "Makefile", *(one for place in PLACES for one in sorted((ROOT / place).rglob("*")))]
    for file in files:
        if file.is_file() and PROGRAM.fullmatch(file.name) and file != Path(__file__):
            text = re.sub(r"\\\n *", "", file.read_text(encoding="utf-8"))
            yield from (
                f"{file.relative_to(ROOT)}: {line.strip()}" for line in text.splitlines() if INSTALLS.search(line)
            )


def unlocked(command):
    """Whether it may fetch what no lock names."""
    return "--require-hashes" not in command and not set(re.findall("--[a-z-]+", command)) >= LOCAL


def test_nothing_is_installed_without_a_lock():
    """Each pip that fetches something does so with hashes; the others fetch nothing."""
    found = list(commands())
    assert [one for one in found if unlocked(one)] == []
    # so that it can't pass by finding nothing
    assert {one.partition(":")[0] for one in found} >= {
        "Makefile",
        "docker/singleuser/Dockerfile",
        "tests/guest/build.sh",
    }


@pytest.mark.parametrize(
    ("command", "is_unlocked"),
    [
        ("pip install -q docker", True),
        ("pip install -r requirements/dev.txt", True),
        ("pip install -e .", True),
        ("pip install --no-deps --no-index -e .", True),
        ("pip install --no-deps --no-index --no-build-isolation -e .", False),
        ("pip install --require-hashes -r requirements/dev.txt", False),
    ],
)
def test_what_counts_as_locked(command, is_unlocked):
    """Hashes, or no index and nothing to build with but what is there."""
    assert unlocked(command) == is_unlocked


# -- the index ---------------------------------------------------------------------------------------------------------

TOLD = """\
:env:.default-timeout='180'
global.cert='/here/ca.crt'
global.extra-index-url='https://other.example/simple'
global.index-url='https://one.example/simple'
global.trusted-host='\\none.example\\ntwo.example'
install.index-url='https://two.example/simple'
"""


def test_uv_uses_the_index_of_pip():
    """As pip does: the environment beats a command's section, which beats the global one. No further index."""
    assert index_settings(TOLD) == {
        "SSL_CERT_FILE": "/here/ca.crt",
        "UV_DEFAULT_INDEX": "https://two.example/simple",
        "UV_HTTP_TIMEOUT": "180",
        "UV_INSECURE_HOST": "one.example two.example",
    }


def test_without_settings_uv_uses_its_own():
    """An empty configuration gives nothing."""
    assert index_settings("") == {}
