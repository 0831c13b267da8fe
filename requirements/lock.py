"""`make lock`: exact versions and hashes of all Python packages that the project's own commands install.

Arguments go to `uv pip compile`: `--upgrade` renews all, `--upgrade-package NAME` one; none: what is missing.
`newest FILE` or `oldest FILE`: instead, a lock for development on this machine of the newest or oldest that is allowed.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[1]
DEV = "requirements/dev.txt"
MINIMAL = "docker/singleuser/requirements-minimal"
TENSORFLOW = "docker/singleuser/requirements-tensorflow"
LOCKS = {
    "requirements/uv.txt": ("requirements/uv.in",),
    DEV: ("pyproject.toml", "requirements/build.in", "--extra", "dev"),
    "requirements/hub.txt": ("pyproject.toml", "requirements/build.in", "-c", DEV),
    "requirements/guest.txt": ("pyproject.toml", "requirements/guest.in", "-c", DEV),
    "requirements/upstream.txt": ("pyproject.toml", "requirements/build.in", "requirements/upstream.in", "-c", DEV),
    f"{MINIMAL}.txt": (f"{MINIMAL}.in",),
    # every virtual environment has setuptools, and what lies in a layer below can't be replaced without a trace
    f"{TENSORFLOW}.txt": (f"{TENSORFLOW}.in", "-c", f"{MINIMAL}.txt", "--no-emit-package", "setuptools"),
}
"""lock file → what it is made from, in the order in which they need each other"""
COMPILE = (
    *(str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--generate-hashes"),
    # building an sdist fetches what no lock names
    "--no-build",
    *("--custom-compile-command", "make lock"),
)
EVERYWHERE = ("--universal", "--python-version", "3.11", "--fork-strategy", "fewest")
"""for all Pythons at once, and one version for all: with `--target`, pip asks the host's Python which line applies"""
RESOLUTIONS = {"newest": "highest", "oldest": "lowest-direct"}
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
"""pip's setting → uv's variable. Not `extra-index-url`: the hashes are those of one index, which anybody can have."""


def index_settings(told: str) -> dict[str, str]:
    """The variables that make uv use pip's index. `told`: the output of `pip config list`."""
    settings = dict(line.split("=", 1) for line in told.splitlines())
    found: dict[str, str] = {}
    # pip's own order: the environment beats a command's section, which beats the global one
    for section in ("global.", "install.", ":env:."):
        for key, variable in PIP_TO_UV.items():
            if f"{section}{key}" in settings:
                found[variable] = " ".join(ast.literal_eval(settings[f"{section}{key}"]).split())
    return found


def environment() -> Mapping[str, str]:
    """Uv's: pip's settings, where nothing sets its own."""
    command = (sys.executable, "-m", "pip", "config", "list")
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {**index_settings(told), "UV_PYTHON_DOWNLOADS": "never", **os.environ}


def commands(arguments: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """What writes the lock files, or one lock alone, for this machine."""
    match arguments:
        case ["newest" | "oldest" as which, file]:
            yield (*COMPILE, *LOCKS[DEV], "--upgrade", "--resolution", RESOLUTIONS[which], "--output-file", file)
        case _:
            for lock, sources in LOCKS.items():
                yield (*COMPILE, *EVERYWHERE, *sources, *arguments, "--output-file", lock)


def main(arguments: Sequence[str]) -> int:
    """Write the lock files; gives the exit code."""
    settings = environment()
    ended = (subprocess.run(command, cwd=ROOT, env=settings, check=False) for command in commands(arguments))
    return next((one.returncode for one in ended if one.returncode), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
