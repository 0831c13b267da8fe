"""Many servers start at the same moment, on the real engine; none waits for what only another one has to wait for."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.spawners import burst, yard
from spawner_limits.kernel.host import meminfo
from spawner_limits.lifecycle.attest import attest
from spawner_limits.spawners.engine_threads import THREADS
from spawner_limits.units import MIB
from tests.between import between
from tests.conftest import kernel
from tests.kernel_files import memory_limit_bytes

MANY = 50
# so many at once hold up whatever runs beside them
pytestmark = pytest.mark.alone


@pytest.fixture
def place(client):
    """Spawners without a hub; nothing of them is left."""
    with yard() as made:
        yield made
    assert client.containers(all=True, filters={"name": f"^/{made.prefix}-"}) == []


def test_fifty_servers_start_at_once(client, place):
    """Each inside its limits by the Linux kernel, each attested, each with the notebook; nobody is refused."""
    spawners = place.ours(MANY)
    took = asyncio.run(burst(spawners))
    assert len(took) == MANY
    for spawner in spawners:
        shown = kernel(client.inspect_container(spawner.container_id))
        assert memory_limit_bytes(shown) == 32 * MIB
        assert attest(spawner.enforcement.expect, shown, swap_bytes=meminfo()["SwapTotal"]) == ()
        assert [one.event for one in place.records.of(spawner.container_id)] == ["attested"]
        assert any("mnist.ipynb, mnist_2k_500.npz, MNIST-LICENSE.md copied" in one["message"] for one in spawner._told)


def test_copies_that_wait_hold_up_no_other_start(place):
    """As many of them as there are threads for quick work; who waits for no copy starts meanwhile, and is attested."""
    count = THREADS

    async def beside(server):
        slow = asyncio.ensure_future(burst(place.ours(count)))
        with server.holding():
            await asyncio.to_thread(server.await_held, count)
            (spawner,) = place.ours(1, copy_notebook=False)
            await burst([spawner])
            assert (server.held, server.copied) == (count, 0)
        await slow
        return spawner

    with between() as server:
        spawner = asyncio.run(beside(server))
    assert [one.event for one in place.records.of(spawner.container_id)] == ["attested"]
