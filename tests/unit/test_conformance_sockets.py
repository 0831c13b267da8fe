"""Case 66: what its judge makes of what sockets held, and what is read of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spawner_limits.conformance.loads import LIMIT_BYTES
from spawner_limits.conformance.seen import Seen
from spawner_limits.conformance.sockets import CASES, LIMIT_FILE, PEAK_FILE, SLACK_BYTES, Buffered, Look, queued
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.proof.evidence import Host
from spawner_limits.units import GIB, MIB

(CASE,) = CASES
NO_LIMIT = "9223372036854771712"
HOST = Host(cores=2, memory_bytes=GIB, swap_bytes=0, kernel="6.18", engine="Docker 28.5.2")


def v1(limit, counted, *looks):
    """What a container of v1 came to hold, beside 5 MiB of memory that is no socket's."""
    texts = {LIMIT_FILE: limit, PEAK_FILE: None if counted is None else str(counted)}
    taken = Snapshot(monotonic_ns=0, versions={"memory": 1}, memory_current_bytes=5 * MIB)
    return Buffered(seen=Seen(host=HOST, version=1, snapshots=(taken,), texts=texts), looks=looks)


def v2(counted, *looks):
    """The same of v2, where all of it is memory."""
    taken = Snapshot(monotonic_ns=0, versions={"memory": 2}, memory_current_bytes=counted)
    return Buffered(seen=Seen(host=HOST, version=2, snapshots=(taken,)), looks=looks)


# as measured: cgroup v1, Linux 6.18, 192 MiB sent into 64 MiB
SENT = (Look(queued=0, host=MIB), Look(queued=192 * MIB, host=195 * MIB))
WITHOUT = v1(NO_LIMIT, 0, *SENT)
HELD = (Look(queued=0, host=MIB), Look(queued=66 * MIB))
LIMITED = v1(str(LIMIT_BYTES), 70_610_944, *HELD)
V2 = v2(LIMIT_BYTES, Look(queued=56 * MIB, sock=1))


def at_most(held, base=LIMITED):
    return replace(base, looks=(Look(queued=held),))


OUTCOMES = {
    "v1, as containers are made": (WITHOUT, "BROKEN", "BROKEN"),
    "v1, limited by hand": (LIMITED, "HELD", None),
    "v1, just within": (at_most(LIMIT_BYTES + SLACK_BYTES), "HELD", None),
    "v1, a byte above": (at_most(LIMIT_BYTES + SLACK_BYTES + 1), "BROKEN", "BROKEN"),
    "v1, no limit, and a load that was too small": (at_most(MIB, WITHOUT), "BROKEN", None),
    "v1, no such file": (v1(None, 70_610_944, *HELD), "UNKNOWN", None),
    "v1, limited, and not pressed": (v1(str(LIMIT_BYTES), 32 * MIB, *HELD), "UNKNOWN", None),
    "v1, limited to more": (v1(str(LIMIT_BYTES + 1), 70_610_944, *HELD), "BROKEN", None),
    "v2": (V2, "HELD", None),
    "v2, not pressed": (v2(32 * MIB, *V2.looks), "UNKNOWN", None),
    "v2, four times the memory": (at_most(192 * MIB, V2), "BROKEN", "BROKEN"),
    "v2, its sockets could not be read": (replace(V2, looks=(Look(queued=None),)), "UNKNOWN", None),
    "v2, the kernel's count could not be read": (v2(None, *V2.looks), "UNKNOWN", None),
}


def worst(outcomes):
    return next((one for one in ("BROKEN", "UNKNOWN", "HELD") if one in outcomes), None)


@pytest.mark.parametrize(("buffered", "outcome", "by_load"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcomes(buffered, outcome, by_load):
    """The worst of the verdicts, and whether the load alone shows a missing limit: that is what a control needs."""
    verdicts = CASE.judge(buffered)
    assert worst([one.outcome for one in verdicts]) == outcome, [one.reason for one in verdicts]
    assert ("BROKEN" in [one.under_load for one in verdicts]) == (by_load == "BROKEN")


REASONS = {
    "beyond": (WITHOUT, "its sockets held 192 / 64 MiB (300%), and the kernel counted 5 MiB as the container's memory"),
    "within": (LIMITED, "its sockets held 66 / 64 MiB (103%)"),
    "not pressed": (
        v2(32 * MIB, *V2.looks),
        "not pressed: its sockets held 56 / 64 MiB (88%), and the kernel counted 32 MiB",
    ),
    "not counted": (
        v1(NO_LIMIT, None, Look(queued=MIB)),
        "not pressed: its sockets held 1 / 64 MiB (2%), and the kernel counted nothing",
    ),
    "gone": (replace(V2, looks=(Look(queued=None),)), "the container's sockets could not be read"),
}


@pytest.mark.parametrize(("buffered", "reason"), REASONS.values(), ids=REASONS)
def test_reasons(buffered, reason):
    """What they held, and what the kernel made of it."""
    assert CASE.judge(buffered)[-1].reason == reason


def test_the_kernel_is_the_evidence():
    """Its files, with their raw values; nothing that the load says."""
    assert [file for one in CASE.judge(WITHOUT) for file in one.files] == [
        f"memory.kmem.tcp.limit_in_bytes = {NO_LIMIT}",
        "tx_queue and rx_queue in /proc/PID/net/tcp = 201326592",
        "memory.kmem.tcp.max_usage_in_bytes = 0",
        "/proc/net/sockstat TCP mem, of the whole host, in bytes: risen by = 203423744",
    ]


def test_the_defect_is_known_of_v1_alone():
    """On v2 the kernel counts sockets: there BROKEN is this host's own fault."""
    assert CASE.known_defect(1).startswith("cgroup v1 counts TCP memory only where")
    assert CASE.known_defect(2) == ""


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:9A3F 00000000:0000 0A 00000000:00000007 00:00000000 00000000     0        0 38161 1 00000000 100 0 0 10 0
   1: 0100007F:9A3F 0100007F:C3A4 01 00000000:0000FFCA 00:00000000 00000000     0        0 0 1 00000000 20 0 0 10 -1
   2: 0100007F:C3A4 0100007F:9A3F 01 003FC480:00000000 04:00000013 00000000     0        0 0 4 00000000 20 0 0 16 -1
"""


def test_what_connections_hold():
    """Both queues, of all but what listens, whose queues are connections."""
    assert queued(TABLE) == 0xFFCA + 0x3FC480
    assert queued(TABLE.splitlines()[0]) == 0
