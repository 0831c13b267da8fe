"""Which containers are a hub's, which only say so, and what `stop` would then stop."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from spawner_limits.clients.engine import Server
from spawner_limits.engines import labels
from spawner_limits.errors import UsageError
from spawner_limits.lifecycle.ownership import Known, belongings
from spawner_limits.lifecycle.stop import Findings, targets
from spawner_limits.policy.parse import parse
from spawner_limits.policy.resolve import resolve

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
IMAGE, NETWORK = "lab:1", "users"
RULES = {"version": 1, "defaults": {"mem_limit": "1G", "cpu_limit": "1", "pids_limit": "100"}}


def entitled(user, server, file):
    """What the hub with that policy file gives a server."""
    return resolve(parse(json.dumps(RULES).encode(), file), user, server=server, now=NOW)


def container(name, user="ann", server="", *, file="limits.yaml", lacks=(), **more):
    """A running container, as the hub's spawner makes it, but for what is said otherwise."""
    entitlement = more.pop("entitlement", entitled(user, server, file))
    given = {
        labels.USER: user,
        labels.SERVER: server,
        labels.POLICY: entitled(user, server, file).policy_sha256,
        labels.ENTITLEMENT: "" if entitlement is None else entitlement.to_json(),
    }
    said = {"image": IMAGE, "networks": (NETWORK,), "state": "running", "runs": True, "started": NOW, "asked": {}}
    return Server(
        **{"id": name, "name": name, "user": user, "server": server, "entitlement": entitlement, **said, **more},
        labels={label: text for label, text in given.items() if label not in lacks},
    )


def judged(*containers, running=(("ann", ""), ("bob", "")), attested=(), **more):
    """What each one is: "known" to the hub, "stray", or the doubts."""
    known = Known(running=None if running is None else frozenset(running), attested=attested)
    found = belongings(containers, known, **more)
    return {one.server.name: list(one.doubts) or ("known" if one.known else "stray") for one in found}


ANN, BOB = container("ann"), container("bob", "bob")
COMPARE = "there is no server of the hub here to compare its image and networks with; see --image and --network"
JUDGED = {
    "what the hub runs": ((ANN, BOB), {}, {"ann": "known", "bob": "known"}),
    "a name in other letters": ((container("ann", "Ann"),), {}, {"ann": "known"}),
    "what the hub has lost sight of": (
        (ANN, container("lost", server="lost")),
        {},
        {"ann": "known", "lost": "stray"},
    ),
    "another user's, by whom the hub's are known": (
        (container("lost"), BOB),
        {"running": [("bob", "")]},
        {"lost": "stray", "bob": "known"},
    ),
    "one that has ended": (
        (ANN, container("kept", server="kept", state="exited", runs=False)),
        {},
        {"ann": "known", "kept": "stray"},
    ),
    "another image": (
        (ANN, container("db", server="x", image="postgres")),
        {},
        {"ann": "known", "db": ["its image postgres is none of the hub's"]},
    ),
    "another network": (
        (ANN, container("db", server="x", networks=("bridge", "other"))),
        {},
        {"ann": "known", "db": ["it is on none of the hub's networks (users)"]},
    ),
    "one network more": (
        (ANN, container("x", server="x", networks=("a", NETWORK))),
        {},
        {"ann": "known", "x": "stray"},
    ),
    "another hub's, with a user of that name": (
        (ANN, BOB, container("theirs", file="/other/limits.yaml")),
        {},
        {"ann": "known", "bob": "known", "theirs": ["it was started under another policy (/other/limits.yaml)"]},
    ),
    "a label alone": (
        (BOB, container("x", lacks=(labels.SERVER, labels.POLICY), file="limits.yaml")),
        {},
        {"bob": "known", "x": [f"it has no label {labels.SERVER}, {labels.POLICY}"]},
    ),
    "an entitlement that can't be read": (
        (BOB, container("x", entitlement=None, problem="its label is no JSON")),
        {},
        {"bob": "known", "x": ["its label is no JSON"]},
    ),
    "somebody else's entitlement": (
        (BOB, container("x", entitlement=entitled("bob", "", "limits.yaml"))),
        {},
        {"bob": "known", "x": [f"its label {labels.USER} is 'ann', its entitlement says 'bob'"]},
    ),
    "another server's entitlement": (
        (BOB, container("x", server="a", entitlement=entitled("ann", "b", "limits.yaml"))),
        {},
        {"bob": "known", "x": [f"its label {labels.SERVER} is 'a', its entitlement says 'b'"]},
    ),
    "another policy's entitlement": (
        (BOB, container("x", entitlement=replace(entitled("ann", "", "limits.yaml"), policy_sha256="0" * 64))),
        {},
        {
            "bob": "known",
            "x": [f"its label {labels.POLICY} is {ANN.labels[labels.POLICY]!r}, its entitlement says {'0' * 64!r}"],
        },
    ),
    "a whole copy of the labels, on another image": (
        (ANN, BOB, container("copy", image="postgres")),
        {},
        {"ann": "known", "bob": "known", "copy": ["its image postgres is none of the hub's"]},
    ),
    "a whole copy, and nothing else to know the hub's by": (
        (ANN, container("copy", image="postgres")),
        {},
        {"ann": [COMPARE], "copy": [COMPARE]},
    ),
    "the same, where one was attested": (
        (ANN, container("copy", image="postgres")),
        {"attested": ["ann"], "running": None},
        {"ann": "stray", "copy": ["its image postgres is none of the hub's"]},
    ),
    "no hub, and none was attested": ((ANN,), {"running": None}, {"ann": [COMPARE]}),
    "no hub, and somebody says what is the hub's": (
        (ANN, container("db", server="x", image="postgres")),
        {"running": None, "images": [IMAGE], "networks": [NETWORK]},
        {"ann": "stray", "db": ["its image postgres is none of the hub's"]},
    ),
    "no hub, and only the image is said": ((ANN,), {"running": None, "images": [IMAGE]}, {"ann": [COMPARE]}),
    "no hub, and one was attested": (
        (ANN, BOB),
        {"running": None, "attested": ["bob"]},
        {"ann": "stray", "bob": "stray"},
    ),
    "no hub, and those of two were attested": (
        (ANN, container("x", "x", file="/other.yaml")),
        {"running": None, "attested": ["ann", "x"]},
        {"ann": [COMPARE], "x": [COMPARE]},
    ),
    "what was attested goes before what is only said": (
        (container("ann", image="postgres"), BOB),
        {"attested": ["bob"]},
        {"ann": ["its image postgres is none of the hub's"], "bob": "known"},
    ),
}


@pytest.mark.parametrize(("containers", "more", "wanted"), JUDGED.values(), ids=JUDGED)
def test_whose_a_container_is(containers, more, wanted):
    """By the hub, by attestation, or by being like those; a label alone is worth nothing."""
    assert judged(*containers, **more) == wanted


REMNANT = {"state": "created", "runs": False, "goes": True}
STOPPED = {
    "a running one": ({}, (), True),
    "a paused one": ({"state": "paused"}, (), True),
    "one that is kept after its end": ({"state": "exited", "runs": False}, (), False),
    "one that was never started, and was to be removed": (REMNANT, (), True),
    "one that was never started, and was to be kept": ({"state": "created", "runs": False}, (), False),
    "a doubtful one": ({"image": "postgres"}, (), False),
    "a doubtful one that is named": ({"image": "postgres"}, ("x",), True),
    "a doubtful one that was never started": ({"image": "postgres"} | REMNANT, ("x",), False),
}


@pytest.mark.parametrize(("more", "named", "stopped"), STOPPED.values(), ids=STOPPED)
def test_what_is_stopped(more, named, stopped):
    """What runs and is the hub's, or is named; and what a start that was cut short has left."""
    known = Known(running=frozenset({("bob", "")}), attested=())
    one, _ = belongings((container("x", server="x", **more), BOB), known)
    wanted = targets(Findings(user="ann", running=(), containers=(one,)), named)
    assert [target.server.name for target in wanted] == (["x"] if stopped else [])


def test_a_name_that_is_not_there_is_refused():
    """All at once, and nothing is stopped then."""
    with pytest.raises(UsageError) as refused:
        targets(Findings(user="ann", running=(), containers=()), ["b", "a"])
    assert str(refused.value) == "--container a, b: no container of that name says that it is of ann"


def test_what_the_hub_runs_elsewhere():
    """A server of which there is no container on this engine is stopped through the hub all the same."""
    (one, _) = belongings((ANN, BOB), Known(running=frozenset({("ann", ""), ("ann", "far")}), attested=()))
    assert Findings(user="ann", running=("", "far"), containers=(one,)).elsewhere == ("far",)
