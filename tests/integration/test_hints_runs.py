"""The benchmark of hints on the real engine: each side is run and counted; no time is asserted."""

from __future__ import annotations

import json

import pytest

from benchmarks.hints import SIDES, main


@pytest.mark.usefixtures("leaves_nothing")
def test_it_runs(capsys):
    """With hints there is one thread; as on a larger host there are sixteen."""
    assert main(["--loads", "matrix", "--rounds", "1", "--seconds", "0.5", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    runs = {side: one for side, (one,) in found["runs"].items()}
    assert set(runs) == set(SIDES)
    assert (runs["hints"]["threads"], runs["16 threads"]["threads"]) == (1, 16)
    assert all(min(one["rate"], one["cpu_s"]) > 0 for one in runs.values())
