"""The rows of the adversary on this host, by the command line on the real engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager

import pytest

from tests.adversary.rows import HOG, HONEST, NOISE, ROWS, disturbed, outcomes, python, wrong
from tests.busy import TRIES, is_busy
from tests.conftest import MINIMAL, spawner_limits

pytestmark = pytest.mark.alone
"""it measures CPU time"""


def verified(*arguments):
    ran = spawner_limits("verify", "--image", MINIMAL, "--json", "-", *arguments, timeout=90)
    return ran, json.loads(ran.stdout)


@pytest.mark.parametrize(("limits", "load", "expected"), ROWS.values(), ids=ROWS)
def test_what_was_not_pressed_is_not_held_and_what_holds_is_not_broken(limits, load, expected):
    """UNKNOWN for the one, HELD or at worst UNKNOWN for the other; and the exit code says the same.

    What should be HELD by a measurement of CPU, and was disturbed, is tried again.
    """
    for _ in range(TRIES):
        ran, document = verified(*limits, "--", *load)
        if not disturbed(document, expected):
            break
    otherwise = wrong(document, expected)
    assert otherwise == {} or (otherwise.keys() == disturbed(document, expected) and is_busy()), otherwise
    found = {outcome for outcome, _ in outcomes(document).values()}
    assert ran.returncode == (1 if "BROKEN" in found else 3 if "UNKNOWN" in found else 0)


@pytest.mark.parametrize("load", [("true",), ("sleep", "2")])
def test_a_control_whose_load_does_nothing_has_no_power(load):
    """The files of a container without limits are BROKEN by themselves: that proves nothing of the judge."""
    ran, document = verified("--mem-limit", "96M", "--control", "--", *load)
    assert ran.returncode == 1
    assert [trial["control"] for trial in document["trials"]] == [False, True]


def test_a_control_has_power_where_its_load_went_past_the_limit():
    """The same hog lives where there is no limit."""
    ran, _ = verified("--mem-limit", "96M", "--control", "--", *python(HOG, 200, 1))
    assert ran.returncode == 0


@contextmanager
def noise(command):
    """Something goes on on this host meanwhile."""
    with subprocess.Popen(["sh", "-c", command], start_new_session=True) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.soak
@pytest.mark.parametrize("load", HONEST)
@pytest.mark.parametrize("beside", NOISE)
@pytest.mark.parametrize("time", range(4))
def test_noise_breaks_nothing(beside, load, time):  # noqa: ARG001  to have each so often
    """What holds is at worst UNKNOWN."""
    limits, command = HONEST[load]
    with noise(NOISE[beside]):
        _, document = verified(*limits, "--", *command)
    assert "BROKEN" not in {outcome for outcome, _ in outcomes(document).values()}, outcomes(document)
