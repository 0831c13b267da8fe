"""Which containers nobody has, and what becomes of them: decided by the hub's database and the engine's word alone."""

from __future__ import annotations

import pytest

from spawner_limits.clients.engine import Server
from spawner_limits.engines import labels
from spawner_limits.lifecycle.orphans import Claim, orphans

NOBODY = "the hub's database has no such server"
CUT_SHORT = "the hub ended while it was starting it"
ANOTHER = "the hub has another container for this server"


def container(state="running", user="ann", server="", *, name="one", goes=True, given=None):
    return Server(
        id=f"id-{name}", name=name, user=user, server=server, image="i", networks=(), state=state,
        runs=state in ("running", "paused"), started=None,
        labels={labels.USER: user, labels.SERVER: server} if given is None else given,
        asked={}, goes=goes, entitlement=None,
    )  # fmt: skip


ANN = {"user": "ann", "server": ""}
CASES = {
    "a server that the hub has": (container(), [Claim(**ANN, container="id-one")], None),
    "one that it is starting or stopping": (container("created"), [Claim(**ANN)], None),
    "one that it has forgotten": (container(), [], ("stopped", NOBODY)),
    "one that it has forgotten, paused": (container("paused"), [], ("stopped", NOBODY)),
    "one that it has forgotten, and that is kept": (container(goes=False), [], ("stopped", NOBODY)),
    "another server of the same user": (container(server="lab"), [Claim(**ANN)], ("stopped", NOBODY)),
    "the same server of another user": (container(user="ben"), [Claim(**ANN)], ("stopped", NOBODY)),
    "a second container of one server": (container(), [Claim(**ANN, container="id-two")], ("stopped", ANOTHER)),
    "a start that was cut short": (container(), [Claim(**ANN, is_handed_over=False)], ("killed", CUT_SHORT)),
    "a start that was cut short, of the one that was kept": (
        container(goes=False), [Claim(**ANN, container="id-one", is_handed_over=False)], ("killed", CUT_SHORT),
    ),
    "one that was made, and never started": (
        container("created"), [Claim(**ANN, is_handed_over=False)],
        ("removed, as it was never started", CUT_SHORT),
    ),
    "one that was made to be kept, and never started": (
        container("created", goes=False), [Claim(**ANN, is_handed_over=False)], None,
    ),
    "one that has ended and is kept": (container("exited", goes=False), [], None),
    "one that the engine is removing": (container("removing"), [], None),
    "one without a user": (container(given={}), [], None),
}  # fmt: skip


@pytest.mark.parametrize(("found", "claims", "wanted"), CASES.values(), ids=CASES)
def test_what_becomes_of_it(found, claims, wanted):
    """Nothing that the hub has, or is at, or that is kept, is removed."""
    made = orphans([found], claims)
    assert [(one.fate.value, one.why) for one in made] == ([] if wanted is None else [wanted])
