"""`make compat`: the tests that packages matter to, with the locked, the newest and the oldest allowed releases.

Ends with 0 when all pass with each, 1 when one does not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.compat.table import as_text, installed
from tests.upstream.outcomes import Outcomes, read

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = {"locked": ".venv", "newest": ".venv-newest", "oldest": ".venv-oldest"}
TESTS = ("tests/unit", "tests/integration/test_translation.py", "tests/e2e/test_spawn.py::test_a_server_has_its_limits")
"""all that need no engine, and a short real part"""
EASED = {
    # an old release may use what a new one of another package deprecates; a user never sees that
    "oldest": ("-W", "default::DeprecationWarning")
}


def tested(name: str, folder: Path) -> Outcomes:
    """Run the tests in an environment."""
    began, report = time.monotonic(), folder / f"{name}.xml"
    place = ROOT / ENVIRONMENTS[name] / "bin"
    path = f"{place}{os.pathsep}{os.environ['PATH']}"
    options = ("-q", "-p", "no:cacheprovider", f"--junitxml={report}", *EASED.get(name, ()))
    command = (place / "python", "-m", "pytest", *options, *TESTS)
    with (folder / f"{name}.log").open("w") as log:
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, stdout=log, check=False)
    say(f"{name}: {time.monotonic() - began:.0f} s")
    # pytest that could not begin writes no report; what it said is all there is
    return read(report.read_text()) if report.exists() else sys.exit((folder / f"{name}.log").read_text())


def packages(name: str) -> dict[str, str]:
    """Name → version of what an environment has."""
    python = ROOT / ENVIRONMENTS[name] / "bin/python"
    command = (python, "-m", "pip", "list", "--format", "freeze", "--exclude-editable")
    return installed(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def say(what: str) -> None:
    """Tell how it goes."""
    print(f"compat: {what}", file=sys.stderr, flush=True)  # noqa: T201


def main() -> int:
    """The command; gives its exit code."""
    with tempfile.TemporaryDirectory(prefix="spawner-limits-compat-") as folder:
        outcomes = {name: tested(name, Path(folder)) for name in ENVIRONMENTS}
    print(as_text({name: packages(name) for name in ENVIRONMENTS}, outcomes))  # noqa: T201  the result
    return int(any(one.status == "failed" for found in outcomes.values() for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
