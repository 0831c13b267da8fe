"""The capability cases' judges: what each says of evidence that is right, wrong, and missing."""

from __future__ import annotations

import pytest

from spawner_limits.conformance import capability, identity
from spawner_limits.conformance.identity import Controller, Membership
from spawner_limits.proof.evidence import Outcome
from spawner_limits.units import MIB

HELD, BROKEN, UNKNOWN = Outcome.HELD, Outcome.BROKEN, Outcome.UNKNOWN
CASES = {one.number: one for one in (*capability.CASES, *identity.CASES)}


def told(verdicts):
    return [(one.outcome, one.reason) for one in verdicts]


def controller(*, exists=True, listed=None):
    return Controller(name="memory", file="memory.max", exists=exists, listed=listed)


CONTROLLERS = {
    "v1": (controller(), HELD, "controller memory: there"),
    "v1, without": (controller(exists=False), BROKEN, "controller memory: no memory.max, expected there"),
    "v2": (controller(listed=True), HELD, "controller memory: there"),
    "v2, listed without its file": (
        controller(exists=False, listed=True),
        BROKEN,
        "controller memory: no memory.max, expected there",
    ),
    "v2, a file that is left of it": (
        controller(listed=False),
        BROKEN,
        "controller memory: not in cgroup.controllers, expected there",
    ),
    "v2, without": (
        controller(exists=False, listed=False),
        BROKEN,
        "controller memory: no memory.max, not in cgroup.controllers, expected there",
    ),
}


@pytest.mark.parametrize(("one", "outcome", "reason"), CONTROLLERS.values(), ids=CONTROLLERS)
def test_1_each_controller_is_there(one, outcome, reason):
    assert told(CASES[1].judge([one])) == [(outcome, reason)]


def member(paths, listed=True, wanted=None):
    return Membership(what="it", paths=paths, wanted=wanted or {"v2": "/docker/id"}, listed={"memory": listed})


HYBRID = {"memory": "/docker/id", "v2": "/"}
MEMBERS = {
    "in it": (member({"v2": "/docker/id"}), HELD, "it: in every cgroup of its container"),
    "in all of a hybrid": (member(HYBRID, wanted=HYBRID), HELD, "it: in every cgroup of its container"),
    "below it": (member({"v2": "/docker/id/init"}, listed=False), HELD, "it: in every cgroup of its container"),
    "in another's": (
        member({"v2": "/docker/other"}, listed=False),
        BROKEN,
        "it: elsewhere in v2; not in cgroup.procs of memory, expected in every cgroup of its container",
    ),
    "in one whose name begins alike": (
        member({"v2": "/docker/id2"}),
        BROKEN,
        "it: elsewhere in v2, expected in every cgroup of its container",
    ),
    "in one hierarchy elsewhere": (
        member({**HYBRID, "memory": "/"}, wanted=HYBRID),
        BROKEN,
        "it: elsewhere in memory, expected in every cgroup of its container",
    ),
    "gone": (member({}), BROKEN, "it: elsewhere in v2, expected in every cgroup of its container"),
    "not in the directory that we read": (
        member({"v2": "/docker/id"}, listed=False),
        BROKEN,
        "it: not in cgroup.procs of memory, expected in every cgroup of its container",
    ),
}


@pytest.mark.parametrize(("one", "outcome", "reason"), MEMBERS.values(), ids=MEMBERS)
@pytest.mark.parametrize("number", [2, 7])
def test_2_7_a_process_is_in_its_containers_cgroups(number, one, outcome, reason):
    assert told(CASES[number].judge(one)) == [(outcome, reason)]


SWAP = "Your kernel does not support swap limit capabilities or the cgroup is not mounted."


@pytest.mark.parametrize(
    ("warnings", "outcome", "reason"),
    [
        ((), HELD, "warnings of docker create: none"),
        ((SWAP,), BROKEN, f"warnings of docker create: {SWAP}, expected none"),
    ],
)
def test_3_a_warning_is_a_limit_dropped(warnings, outcome, reason):
    assert told(CASES[3].judge(warnings)) == [(outcome, reason)]


SWAP_DIFFERS = "MemorySwap is -1, the policy says 64 MiB"


@pytest.mark.parametrize(
    ("differing", "outcome", "reason"),
    [
        ((), HELD, "HostConfig of docker inspect: as asked"),
        ((SWAP_DIFFERS,), BROKEN, f"HostConfig of docker inspect: {SWAP_DIFFERS}, expected as asked"),
    ],
)
def test_4_the_engine_keeps_what_it_was_asked(differing, outcome, reason):
    assert told(CASES[4].judge(differing)) == [(outcome, reason)]


FLAGS = {
    **dict.fromkeys(("MemoryLimit", "SwapLimit", "CpuCfsQuota", "CpuCfsPeriod", "CPUShares", "CPUSet"), True),
    "PidsLimit": True,
    "CgroupDriver": "cgroupfs",
}
INFO = {
    "all": ({}, {}),
    "systemd": ({"CgroupDriver": "systemd"}, {}),
    "rootless without delegation": ({"CgroupDriver": "none"}, {"CgroupDriver": BROKEN}),
    "dockerd in the root cgroup": ({"SwapLimit": False}, {"SwapLimit": BROKEN}),
}


@pytest.mark.parametrize(("changes", "broken"), INFO.values(), ids=INFO)
def test_5_the_engine_can_set_every_limit(changes, broken):
    found = {one.field: one.outcome for one in CASES[5].judge({**FLAGS, **changes})}
    assert found == {**dict.fromkeys(FLAGS, HELD), **broken}


def test_5_what_the_engine_does_not_say_is_not_known():
    found = {one.field: one.outcome for one in CASES[5].judge({})}
    assert found == dict.fromkeys(FLAGS, UNKNOWN)


def test_5_says_which_limit_is_dropped():
    info = {**FLAGS, "SwapLimit": False, "Warnings": ["WARNING: No swap limit support"]}
    (verdict,) = [one for one in CASES[5].judge(info) if one.outcome is BROKEN]
    assert verdict.reason == "SwapLimit: false, so memswap_limit is dropped, with no more than a warning"
    assert verdict.files == ("SwapLimit: false", "docker info: WARNING: No swap limit support")


def test_5_the_control_is_all_of_it_off():
    assert {one.outcome for one in CASES[5].judge({**FLAGS, **CASES[5].control})} == {BROKEN}


def ancestry(above, peak, hierarchical=None):
    return capability.Ancestry(
        limits={"memory.max, 0 above": str(96 * MIB), "memory.max, 1 above": above, "memory.max, 2 above": "max"},
        hierarchical=hierarchical,
        peak_bytes=peak,
        peak_file="memory.peak",
    )


ANCESTRY = {
    "v2": (ancestry(str(48 * MIB), 48 * MIB), [HELD, HELD]),
    "v1": (ancestry(str(48 * MIB), 48 * MIB, str(48 * MIB)), [HELD, HELD, HELD]),
    "v1, that the kernel does not add up": (
        ancestry(str(48 * MIB), 96 * MIB, str(96 * MIB)),
        [HELD, BROKEN, BROKEN],
    ),
    "none above": (ancestry("max", 96 * MIB), [BROKEN, BROKEN]),
    "not pressed": (ancestry(str(48 * MIB), 47 * MIB), [HELD, UNKNOWN]),
    "a kernel without memory.peak": (ancestry(str(48 * MIB), None), [HELD, UNKNOWN]),
}


@pytest.mark.parametrize(("one", "expected"), ANCESTRY.values(), ids=ANCESTRY)
def test_6_the_least_limit_upwards_holds(one, expected):
    assert [verdict.outcome for verdict in CASES[6].judge(one)] == expected
