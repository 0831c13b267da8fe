"""Room on a host: what is counted, and that nobody gets the last place twice. On the real engine."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from spawner_limits.clients.docker import DockerEngine
from spawner_limits.engines import labels
from spawner_limits.lifecycle.records import usual
from spawner_limits.policy.parse import parse
from spawner_limits.policy.resolve import resolve
from spawner_limits.spawners.admission import Admission, FullError, look
from spawner_limits.spawners.engine_threads import EngineThreads
from spawner_limits.units import MIB
from tests.conftest import MINIMAL

POLICY = """
version: 1
host: {{reserve_memory: {reserve}, cpu_overcommit: unlimited}}
defaults: {{mem_limit: 64M, cpu_limit: 0.5, pids_limit: 100}}
"""
NAME = "test-places"
# each container on the engine takes room
pytestmark = pytest.mark.alone


def entitlement(user, policy=None):
    """What a user gets."""
    policy = policy or parse(POLICY.format(reserve=1).encode(), "limits.yaml")
    return resolve(policy, user, now=datetime.now(UTC))


def room_for(client, servers):
    """A policy that leaves room for so many servers of 64 MiB beside those that run now."""
    held = sum(one.mem_limit or 0 for one in look(DockerEngine.over(client), usual()))
    reserve = client.info()["MemTotal"] - held - servers * 64 * MIB
    return parse(POLICY.format(reserve=reserve).encode(), "limits.yaml")


def created(client, name, given):
    """A container that carries an entitlement."""
    host = client.create_host_config(mem_limit="96m", cpu_period=100_000, cpu_quota=25_000)
    told = {labels.ENTITLEMENT: given, labels.USER: "zoe", labels.SERVER: "lab"}
    return client.create_container(MINIMAL, ["sleep", "60"], name=f"{NAME}-{name}", labels=told, host_config=host)["Id"]


@pytest.fixture(autouse=True)
def clean(client):
    """Nothing of ours before, and nothing afterwards."""
    yield
    for container in client.containers(all=True, filters={"name": f"^/{NAME}-"}):
        client.remove_container(container["Id"], force=True)


@contextmanager
def hub():
    """The admission as one hub's process sees them."""
    engine = DockerEngine()
    yield Admission(engine, EngineThreads(), usual())
    engine.close()


def ours(client, **options):
    """What the containers of this test hold, by their names."""
    found = look(DockerEngine.over(client), options.pop("records", None) or usual(), **options)
    return {one.container: one for one in found if one.container.startswith(NAME)}


def test_what_runs_and_what_is_about_to_is_counted(client):
    """Whoever started it; what has ended is not, nor what was created long ago and never started."""
    running, waiting, ended = (created(client, name, entitlement(name).to_json()) for name in ("a", "b", "c"))
    client.start(running)
    client.start(ended)
    client.kill(ended)
    assert client.inspect_container(waiting)["State"]["Status"] == "created"
    found = ours(client)
    assert set(found) == {f"{NAME}-a", f"{NAME}-b"}
    assert (found[f"{NAME}-a"].user, found[f"{NAME}-a"].mem_limit) == ("a", 64 * MIB)
    assert set(ours(client, now=lambda: time.time() + 600)) == {f"{NAME}-a"}


def test_a_label_that_can_not_be_read_is_no_way_round(client):
    """Then the container's own limits count."""
    client.start(created(client, "forged", '{"schema_version": 99}'))
    holding = ours(client)[f"{NAME}-forged"]
    assert (holding.user, holding.server, holding.mem_limit, holding.cpu_limit) == ("zoe", "lab", 96 * MIB, 0.25)


async def start(client, admission, policy, name):
    """Start a server as the spawner does: a place, the container, a second look. How it went."""
    container, given = f"{NAME}-{name}", entitlement(name, policy)
    try:
        async with admission.reserved(given, container, policy.host):
            await asyncio.to_thread(created, client, name, given.to_json())
            try:
                await admission.check(given, container, policy.host)
            except FullError:
                await asyncio.to_thread(client.remove_container, container, force=True)
                raise
            await asyncio.to_thread(client.start, container)
    except FullError:
        return False
    return True


@pytest.mark.parametrize("room", [1, 3])
def test_one_hub_fills_its_host_and_no_more(client, room):
    """Twelve spawns at one moment: as many start as there is room for."""
    policy = room_for(client, room)

    async def burst(admission):
        return await asyncio.gather(*(start(client, admission, policy, f"one{number}") for number in range(12)))

    with hub() as admission:
        assert sum(asyncio.run(burst(admission))) == room
    assert len(ours(client)) == room


def test_two_hubs_never_fill_it_twice(client):
    """Two processes that know nothing of each other: the second look finds what the other has created meanwhile.

    All that were created at one moment may so be refused; what room is then left is given to who comes later.
    """
    policy, room = room_for(client, 3), 3

    async def burst(*hubs):
        return await asyncio.gather(*(start(client, hubs[n % 2], policy, f"two{n}") for n in range(12)))

    async def later(places):
        return [await start(client, places, policy, f"late{n}") for n in range(room + 1)]

    with hub() as first, hub() as second:
        went = sum(asyncio.run(burst(first, second)))
        assert len(ours(client)) == went <= room
        assert went + sum(asyncio.run(later(first))) == room
    assert len(ours(client)) == room


def test_a_server_takes_its_own_place_again(client):
    """A container of the same name is not counted beside itself, and a place is given back when a start fails."""
    policy = room_for(client, 1)

    async def twice(admission):
        given, container = entitlement("again", policy), f"{NAME}-again"
        with suppress(ZeroDivisionError):
            async with admission.reserved(given, container, policy.host):
                assert [one.container for one in await admission.holdings() if one.user == "again"] == [container]
                raise ZeroDivisionError
        assert [one for one in await admission.holdings() if one.user == "again"] == []
        async with admission.reserved(given, container, policy.host):
            await admission.check(given, container, policy.host)

    with hub() as admission:
        asyncio.run(twice(admission))


def test_nothing_is_counted_where_the_policy_says_nothing(client):
    """Without `host` and `servers` the engine is not even asked."""
    policy = replace(room_for(client, 0), host=None)
    admission = Admission(DockerEngine({"base_url": "tcp://127.0.0.1:1", "version": "1.41"}), EngineThreads(), usual())

    async def spawn():
        async with admission.reserved(entitlement("free", policy), NAME, policy.host):
            await admission.check(entitlement("free", policy), NAME, policy.host)

    asyncio.run(spawn())
