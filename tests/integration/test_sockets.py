"""Socket buffers on this host's Linux kernel: held where they are counted, and seen where they are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spawner_limits.clients.own_containers import Engine
from spawner_limits.conformance.loads import LIMIT_BYTES, LIMITED, under
from spawner_limits.conformance.sockets import CASES, LIMIT_FILE, buffered
from spawner_limits.conformance.suite import measure
from spawner_limits.conformance.trial import Bench
from spawner_limits.proof.evidence import Outcome
from tests.conftest import MINIMAL
from tests.kernel_files import only_v1

(CASE,) = CASES
pytestmark = only_v1("v2 counts sockets by itself, as case 66 shows")


@pytest.fixture
def bench():
    return Bench(Engine(), MINIMAL)


def test_as_containers_are_made_they_are_no_memory(bench):
    """Three times the limit in buffers, of which the kernel counts nothing as the container's: a known defect."""
    found = measure(CASE, bench)
    assert (found.outcome, found.defect) == (Outcome.BROKEN, CASE.defect)
    # what is on its way is in the queues of both ends
    assert found.figures["socket buffers: socket_bytes"] == pytest.approx(3 * LIMIT_BYTES, rel=0.05)
    assert found.figures["socket buffers: memory_bytes"] < LIMIT_BYTES // 2
    assert found.control.has_power


def test_with_the_limit_written_they_are_held(bench):
    """The same load and judge; the control, which has none, is BROKEN."""
    written = replace(LIMITED, behind={LIMIT_FILE: str(LIMIT_BYTES)})
    found = measure(replace(CASE, press=lambda bench: buffered(bench, written)), bench)
    assert (found.outcome, found.defect, found.control.outcome) == (Outcome.HELD, "", Outcome.BROKEN), found.reason
    # each socket's least buffers are counted above it
    assert LIMIT_BYTES <= found.figures["socket buffers: counted_bytes"] < LIMIT_BYTES * 1.25


def test_a_limit_of_the_parent_alone_holds_nothing(bench):
    """A container's sockets are counted only where its own file was written, with whatever number."""
    with bench.parent() as parent:
        inside = under(parent, LIMITED)
        assert _worst(bench, inside, parent) is Outcome.BROKEN
        endless = {LIMIT_FILE: str((1 << 62) + 1)}
        assert _worst(bench, replace(inside, behind=endless), parent) is Outcome.HELD


def _worst(bench, setting, parent):
    """What the judge says of the buffers of a container whose parent cgroup is limited."""
    with bench.container(network_mode="none", cgroup_parent=parent) as first:
        assert first.write(LIMIT_FILE, str(LIMIT_BYTES), above=1) is None
        return CASE.judge(buffered(bench, setting))[-1].outcome
