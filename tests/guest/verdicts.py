"""Our own command in a guest: what `verify` and `conformance` say there.

What others on this machine disturb is UNKNOWN and is tried again, so often; a HELD or a BROKEN never is.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.busy import TRIES
from tests.guest.guest import IMAGE, GuestError

if TYPE_CHECKING:
    from tests.guest.guest import Guest

HOG = "held = [bytearray(b'1') * (1 << 20) for _ in range(100)]"
FORKS = "for i in $(seq 40); do sleep 3 & done; wait"
BURN = "for i in 1 2; do (timeout 12 sh -c 'while :; do :; done') & done; wait"
SECONDS = 900


def verified(guest: Guest, *arguments: str) -> dict[str, tuple[str, str]]:
    """Field → outcome and reason, as `verify --image` finds them."""
    for _ in range(TRIES):
        ran = guest.run(["spawner-limits", "verify", "--image", IMAGE, "--json", "-", *arguments], timeout=150)
        assert ran.code in {0, 1, 3}, ran.stderr
        (trial,) = json.loads(ran.stdout)["trials"]
        found = {one["field"]: (one["outcome"], one["reason"]) for one in trial["verdicts"]}
        if all(outcome != "UNKNOWN" for outcome, _ in found.values()):
            break
    return found


def report(guest: Guest, *options: str) -> dict[str, Any]:
    """What the conformance suite says. GuestError when it says nothing."""
    whole = _run(guest, *options)
    for _ in range(TRIES - 1):
        again = [str(one["number"]) for one in whole["cases"] if one["outcome"] == "UNKNOWN" and one["control"]]
        if not again:
            break
        better = {one["number"]: one for one in _run(guest, "--only", ",".join(again))["cases"]}
        whole["cases"] = [better.get(one["number"], one) for one in whole["cases"]]
    return whole


def experiment(guest: Guest, name: str) -> tuple[int, dict[str, Any] | None, str]:
    """Exit code, report and errors of an experiment."""
    for _ in range(TRIES):
        ran = guest.run(["spawner-limits", "experiment", name, "--image", IMAGE, "--json", "-"], timeout=280)
        document = json.loads(ran.stdout) if ran.stdout else None
        if document is None or document["outcome"] != "UNKNOWN":
            break
    return ran.code, document, ran.stderr


def _run(guest: Guest, *options: str) -> dict[str, Any]:
    ran = guest.run(["spawner-limits", "conformance", "--image", IMAGE, "--json", "-", *options], timeout=SECONDS)
    if ran.code not in (0, 1, 3):
        raise GuestError(f"the suite ended with {ran.code}: {ran.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found
