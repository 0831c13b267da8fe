"""Our own tests in a guest with cgroup v2: the unit tests, and those of the engine's that are marked `v2`.

What the guest is without: a network, a package index, stress-ng, and a CPU whose times mean anything.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import MINIMAL, ROOT, committed
from tests.guest.containers import docker
from tests.guest.guest import SINGLEUSER

pytestmark = pytest.mark.soak
# in parts, as no file of the project names a machine's place for it
CHECKOUT = str(Path("/", "srv", "checkout"))
FILES_AT_ONCE = 50
PYTEST = (
    *("python3", "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider"),
    # an emulated CPU is up to 30 times slower: neither this project's bounds nor hypothesis's mean anything
    *("--longest", "3600", "--hypothesis-profile", "ci"),
    # the guest's Python deprecates more than the oldest one that we support
    *("-W", "ignore::DeprecationWarning"),
)
# it builds the wheel, by pip and with the build backend
UNIT = ("--ignore", "tests/unit/test_wheel.py", "tests/unit")
ENGINE = ("-m", "v2", "tests/integration")
SUITES = {
    # what pytest is told, how many must pass at least, so that none is lost unseen, seconds
    "the unit tests": (UNIT, 3600, 7200),
    "the engine's": (ENGINE, 70, 5400),
}


@pytest.fixture(scope="module")
def guest(guests):
    """One with this checkout, and the small image of a single-user server by the name that tests have for it."""
    found = guests("v2")
    paths = list(committed())
    for begin in range(0, len(paths), FILES_AT_ONCE):
        some = paths[begin : begin + FILES_AT_ONCE]
        found.run(["true"], {f"{CHECKOUT}/{path.relative_to(ROOT)}": path.read_bytes() for path in some})
    # files are sent, and links are not
    made = found.run(["ln", "-sfn", "../notebook", f"{CHECKOUT}/spawner_limits/notebook"])
    assert made.code == 0, made.stderr
    docker(found, "tag", SINGLEUSER, MINIMAL)
    return found


@pytest.mark.parametrize(("options", "least", "seconds"), SUITES.values(), ids=SUITES)
def test_they_pass_on_cgroup_v2(guest, options, least, seconds):
    """All of them, and none is missing; what is about v1 alone is left out by its own word."""
    ran = guest.run(["sh", "-c", 'cd "$0" && exec "$@"', CHECKOUT, *PYTEST, *options], timeout=seconds)
    told = ran.stdout[-6000:] + ran.stderr[-2000:]
    assert ran.code == 0, told
    passed = re.search(r"\b(\d+) passed", ran.stdout.splitlines()[-1])
    assert passed, told
    assert int(passed[1]) >= least, told
    skipped = re.findall(r"^SKIPPED .*", ran.stdout, flags=re.MULTILINE)
    assert [line for line in skipped if "cgroup v1 only: " not in line] == [], told
