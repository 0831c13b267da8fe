"""The rows of the adversary on the host that most people have; and one that stands still now and then."""

from __future__ import annotations

import json
import threading
import time

import pytest

from tests.adversary.rows import HELD, HONEST, NEVER_BROKEN, NOISE, ROWS, disturbed, outcomes, wrong
from tests.busy import TRIES, is_busy
from tests.guest.guest import IMAGE

pytestmark = pytest.mark.soak

_SWAP = "swap: memory alone comes near a limit of both"
_LIMITS, _LOAD, _EXPECTED = ROWS[_SWAP]
# this host has swap: the load may use up the 1 MiB of it, and presses on both then
HERE = ROWS | {_SWAP: (_LIMITS, _LOAD, {**_EXPECTED, "memswap_limit": NEVER_BROKEN})}
_BESIDE = """
sh -c "$0" >/dev/null 2>&1 &
noise=$!
"$@"
code=$?
kill -9 $noise $(ps -o pid= --ppid $noise)
exit $code
"""


def verified(guest, *arguments, beside="sleep 600"):
    """The report of a run of `verify` in the guest, beside some command."""
    command = ["spawner-limits", "verify", "--image", IMAGE, "--json", "-", *arguments]
    ran = guest.run(["sh", "-c", _BESIDE, beside, *command], timeout=200)
    assert ran.code in {0, 1, 3}, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize(("limits", "load", "expected"), HERE.values(), ids=HERE)
def test_what_was_not_pressed_is_not_held_and_what_holds_is_not_broken(systemd, limits, load, expected):
    """As on any other host; what should be HELD, and was disturbed, is tried again."""
    for _ in range(TRIES):
        document = verified(systemd, *limits, "--", *load)
        found = outcomes(document)
        if all(found[field][0] != "UNKNOWN" for field, right in expected.items() if right == HELD):
            break
    otherwise = wrong(document, expected)
    assert otherwise == {} or (otherwise.keys() == disturbed(document, expected) and is_busy()), otherwise


@pytest.mark.parametrize("load", HONEST)
@pytest.mark.parametrize("beside", NOISE)
def test_noise_breaks_nothing(systemd, beside, load):
    """What holds is at worst UNKNOWN."""
    limits, command = HONEST[load]
    found = outcomes(verified(systemd, *limits, "--", *command, beside=NOISE[beside]))
    assert "BROKEN" not in {outcome for outcome, _ in found.values()}, found


@pytest.mark.parametrize("load", HONEST)
@pytest.mark.parametrize("seconds", [0.3, 1.5, 4])
def test_a_machine_that_stands_still_breaks_nothing(systemd, seconds, load):
    """As a host that suspends, or that has no CPU time."""
    limits, command = HONEST[load]
    found = []
    with_pauses = threading.Thread(target=lambda: found.append(outcomes(verified(systemd, *limits, "--", *command))))
    with_pauses.start()
    while with_pauses.is_alive():
        time.sleep(2)
        with systemd.paused():
            time.sleep(seconds)
    assert found, "verify gave no report"
    assert "BROKEN" not in {outcome for outcome, _ in found[0].values()}, found
