"""Each fuzzer runs for a while and finds nothing. A longer run by hand is told in the fuzzers' own first lines."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from spawner_limits.limits import FIELDS
from spawner_limits.policy import keys
from spawner_limits.policy.parse import parse
from tests.fuzz.samples import POLICIES, WHOLE

ROOT = Path(__file__).parents[2]
SECONDS = {"short": 5, "long": 120}
LEAST_RUNS_S = 10
"""in a second, on a slow machine"""


@pytest.mark.parametrize(
    "key", dict.fromkeys((*keys.SECTIONS, *keys.RULES["groups"].keys, *FIELDS, *keys.HOST, *keys.SERVERS))
)
def test_the_seeds_have_every_key(key):
    """A fuzzer hardly finds a key by itself."""
    assert f"{key}:" in WHOLE
    assert WHOLE in POLICIES
    assert parse(WHOLE.encode(), "limits.yaml")


@pytest.mark.parametrize(
    "seconds", [SECONDS["short"], pytest.param(SECONDS["long"], marks=pytest.mark.soak)], ids=SECONDS
)
@pytest.mark.parametrize("name", ["fuzz_policy", "fuzz_request", "fuzz_edit"])
def test_nothing_is_found(name, seconds, tmp_path):
    """Bytes from which our code raises what it should not are shown, with the traceback."""
    assert importlib.util.find_spec("atheris"), (
        "no atheris for this Python, so nothing was fuzzed; use 3.11 to 3.14 on x86-64"
    )
    flags = (f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1")
    run = subprocess.run(
        [sys.executable, "-m", f"tests.fuzz.{name}", tmp_path, *flags],
        capture_output=True,
        cwd=ROOT,
        timeout=60 + seconds * 10,
        check=False,
    )
    told = run.stderr.decode("utf-8", "replace") + run.stdout.decode("utf-8", "replace")
    found = [file.read_bytes() for file in tmp_path.iterdir() if file.is_file() and file.name != "words"]
    assert (run.returncode, found) == (0, []), f"{found}\n{traceback_in(told)}"
    assert runs_in(told) > LEAST_RUNS_S * seconds, told[-2000:]


def traceback_in(told):
    """The part that says what was raised, and by whom."""
    _, mark, traceback = told.partition("=== Uncaught Python exception: ===")
    return (mark + traceback)[-6000:] or told[-2000:]


def runs_in(told):
    """How many inputs were tried."""
    (line,) = [line for line in told.splitlines() if line.startswith("stat::number_of_executed_units:")]
    return int(line.split()[-1])
