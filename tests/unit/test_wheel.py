"""The wheel carries all that an installation needs: code, notebook, data, licences, templates, commands."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path

import pytest

import spawner_limits

ROOT = Path(__file__).parents[2]
DATA_SHA256 = "014ff4b1a855c54d171d1a732e76e818a722746d3e3ea044422d7275ec6227a5"
INFO = f"jupyterhub_spawner_limits-{spawner_limits.__version__}.dist-info"
NOTEBOOK = ("MNIST-LICENSE.md", "mnist.ipynb", "mnist_2k_500.npz")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as `pip install .` would with the locked build backend, and unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    built = subprocess.run(
        [*command, "--wheel-dir", folder, ROOT], capture_output=True, text=True, timeout=120, check=False
    )
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("*.whl")
    assert file.name == f"jupyterhub_spawner_limits-{spawner_limits.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def files(folder):
    """Path → sha256 of every file below a folder that neither Python nor Jupyter made."""
    made = {"__pycache__", ".ipynb_checkpoints"}
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and made.isdisjoint(path.parts))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_the_package_is_whole(wheel):
    """Every file of the package is in it, byte for byte: code, templates, styles, py.typed; and no other."""
    notebook = {f"notebook/{name}": digest for name, digest in files(ROOT / "notebook").items()}
    ours = {name: one for name, one in files(ROOT / "spawner_limits").items() if not name.startswith("notebook/")}
    assert files(wheel / "spawner_limits") == ours | notebook
    assert {one.name for one in wheel.iterdir()} == {"spawner_limits", INFO}


CARRIED = (
    "py.typed",
    "report/chart.svg.j2",
    "report/page.css",
    "report/page.html.j2",
    "spawners/templates/not_running.html",
    "spawners/templates/spawn_pending.html",
    *(f"bench/probes/{one.name}" for one in (ROOT / "spawner_limits" / "bench" / "probes").glob("*.py")),
    *(f"notebook/{name}" for name in NOTEBOOK),
)


@pytest.mark.parametrize("name", CARRIED)
def test_what_is_not_code_is_in_it(wheel, name):
    """The files that nothing imports."""
    assert (wheel / "spawner_limits" / name).is_file()


def test_the_data_is_genuine(wheel):
    """The MNIST digits are the ones that the project started from, and their licence is beside them."""
    data = wheel / "spawner_limits" / "notebook" / "mnist_2k_500.npz"
    assert hashlib.sha256(data.read_bytes()).hexdigest() == DATA_SHA256
    assert DATA_SHA256 in data.with_name("MNIST-LICENSE.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["LICENSE", "notebook/MNIST-LICENSE.md"])
def test_licences(wheel, name):
    """Both licences are where installers look for them."""
    assert (wheel / INFO / "licenses" / name).read_bytes() == (ROOT / name).read_bytes()


def test_entry_points(wheel):
    """The command, and the name by which JupyterHub finds the spawner."""
    found = ConfigParser()
    found.read(wheel / INFO / "entry_points.txt")
    assert {section: dict(found[section]) for section in found.sections()} == {
        "console_scripts": {"spawner-limits": "spawner_limits.cli.main:main"},
        "jupyterhub.spawners": {"limited-docker": "spawner_limits.spawners.docker:LimitedDockerSpawner"},
    }


def test_metadata(wheel):
    """Name, version, Python and licence are as the project says."""
    found = Parser().parsestr((wheel / INFO / "METADATA").read_text(encoding="utf-8"))
    names = ("Name", "Version", "Requires-Python", "License-Expression")
    assert {name: found[name] for name in names} == {
        "Name": "jupyterhub-spawner-limits",
        "Version": spawner_limits.__version__,
        "Requires-Python": ">=3.11",
        "License-Expression": "BSD-3-Clause",
    }


PROGRAM = """
import pathlib, spawner_limits
from spawner_limits.spawners.notebook import packaged
print(pathlib.Path(spawner_limits.__file__).parent)
for name, content in sorted(packaged().items()):
    print(name, len(content))
"""


def python(site, folder, *arguments, ends=(0, "")):
    """What Python says with an unpacked wheel before all else on its path, started somewhere else.

    `ends`: the exit code, and what is on stderr.
    """
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "error", *arguments]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == ends
    return ended.stdout.splitlines()


def test_the_notebook_is_found_from_an_installation(wheel, tmp_path):
    """Installed anywhere, the package finds its own notebook, data and licence, not the checkout's."""
    site = shutil.copytree(wheel, tmp_path / "a site")
    for size, name in enumerate(NOTEBOOK):
        (site / "spawner_limits" / "notebook" / name).write_bytes(bytes(size))
    assert python(site, tmp_path, "-c", PROGRAM) == [
        str(site / "spawner_limits"),
        *(f"{name} {size}" for size, name in enumerate(NOTEBOOK)),
    ]


COMMAND = "from spawner_limits.cli.main import main; main()"


def test_the_command_runs_from_an_installation(wheel, tmp_path):
    """The command starts, and knows its version."""
    assert python(wheel, tmp_path, "-c", COMMAND, "--version") == [spawner_limits.__version__]


def test_the_benchmarks_are_not_in_it(wheel, tmp_path):
    """What only a checkout can do says so, before the engine is asked."""
    message = "experiment overhead is in the project's checkout, not in this installation; run it there"
    ends = (2, f"spawner-limits: {message}\n")
    assert python(wheel, tmp_path, "-c", COMMAND, "experiment", "overhead", ends=ends) == []
