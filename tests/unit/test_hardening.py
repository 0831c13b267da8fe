"""What a container gets beside its limits, and what becomes of it where the administrator says something else."""

from __future__ import annotations

import pytest

from spawner_limits.spawners.hardening import hardening, loosened
from spawner_limits.units import GIB, MIB

OURS = {"security_opt": ["no-new-privileges"], "cap_drop": ["ALL"], "shm_size": 64 * MIB}
PRIVILEGED = "has every capability and every device of the host, and can lift its own limits"
INSTEAD = ", which counts instead of the hardening's"

CASES = {
    "nothing of theirs": ({}, GIB, OURS, ()),
    "memory that is not limited": ({}, None, OURS, ()),
    "a small server: half of its memory": ({}, 96 * MIB, OURS | {"shm_size": 48 * MIB}, ()),
    "what has nothing to do with it": ({"dns": ["10.0.0.1"]}, GIB, OURS, ()),
    "a larger /dev/shm": (
        {"shm_size": "1g"},
        GIB,
        {"security_opt": ["no-new-privileges"], "cap_drop": ["ALL"]},
        (f"extra_host_config has shm_size '1g'{INSTEAD}",),
    ),
    "Docker's usual capabilities": (
        {"cap_drop": []},
        GIB,
        {"security_opt": ["no-new-privileges"], "shm_size": 64 * MIB},
        (f"extra_host_config has cap_drop []{INSTEAD}",),
    ),
    "one capability on top of none": ({"cap_add": ["NET_RAW"]}, GIB, OURS, ()),
    "another security option is joined": (
        {"security_opt": ["seccomp=strict.json"]},
        GIB,
        OURS | {"security_opt": ["seccomp=strict.json", "no-new-privileges"]},
        (),
    ),
    "new privileges, explicitly": (
        {"security_opt": ["no-new-privileges=false"]},
        GIB,
        {"cap_drop": ["ALL"], "shm_size": 64 * MIB},
        (f"extra_host_config has security_opt ['no-new-privileges=false']{INSTEAD}",),
    ),
    "no security options, explicitly": (
        {"security_opt": []},
        GIB,
        {"cap_drop": ["ALL"], "shm_size": 64 * MIB},
        (f"extra_host_config has security_opt []{INSTEAD}",),
    ),
    "a privileged container": (
        {"privileged": True},
        GIB,
        OURS,
        (f"extra_host_config has privileged True: a server {PRIVILEGED}",),
    ),
    "a container that is not privileged": ({"privileged": False}, GIB, OURS, ()),
    "the host's processes": (
        {"pid_mode": "host"},
        GIB,
        OURS,
        ("extra_host_config has pid_mode 'host': a server sees and can signal the host's processes",),
    ),
}


@pytest.mark.parametrize(("theirs", "mem_limit", "added", "told"), CASES.values(), ids=CASES)
def test_what_is_added_and_what_is_told(theirs, mem_limit, added, told):
    """What the administrator says explicitly, wins, and the log says so."""
    assert hardening(theirs, mem_limit) == added
    assert loosened(theirs) == told
