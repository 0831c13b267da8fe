"""What servers have together, against what their user and their host may have. Pure: the allocations are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits.limits import tell

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spawner_limits.limits import Limits
    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.policy.model import Host

LIMITS = {"memory": "mem_limit", "CPU": "cpu_limit"}
"""resource → the field of which it is the sum"""
RETRY_S = 60
"""seconds after which it is worth trying again; nobody knows when a server stops"""
_SLACK = 1e-9
"""cores: the sum of ten times 0.1 is not quite 1"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """What is one server's while it runs."""

    container: str
    """its name, of which the engine has one only; users of two hubs may have one name"""
    user: str
    server: str
    """empty for the default one"""
    mem_limit: int | None
    """bytes; `None`: it is not limited, and not counted"""
    cpu_limit: float | None
    """cores; `None`: it is not limited, and not counted"""

    @classmethod
    def of(cls, container: str, entitlement: Entitlement) -> Allocation:
        """What is allocated to a container with this entitlement."""
        limits = entitlement.limits
        return cls(
            container=container,
            user=entitlement.user,
            server=entitlement.server,
            mem_limit=limits.mem_limit,
            cpu_limit=limits.cpu_limit,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What a host has, as its engine says."""

    memory_bytes: int
    cores: int
    processes: int | None = None
    """processes and threads that its Linux kernel can have; `None`: not known"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocatable:
    """What of one resource there is for servers, and how much of it is allocated."""

    resource: str
    """for people: "memory", "CPU" """
    capacity: float
    held: float

    @property
    def left(self) -> float:
        """Never below 0: servers may have been started before the host was counted, or without us."""
        return max(0.0, self.capacity - self.held)

    def tell(self, amount: float) -> str:
        """An amount for people: "1.50 GiB", "0.50 cores"."""
        return tell(LIMITS[self.resource], amount)

    def fits(self, asked: float) -> bool:
        """Whether there is room for `asked` beside what is held."""
        return self.held + asked <= self.capacity + _SLACK


@dataclass(frozen=True, kw_only=True, slots=True)
class NoCapacity:
    """Why a server can't be started."""

    fact: str
    """what is full, and what was asked, for people"""
    remedy: str
    """what can be done, and when to try again"""
    reason: str
    """"servers": the user's own are too many or too much; "capacity": the host's"""


def room(host: Host | None, machine: Machine, allocations: Iterable[Allocation]) -> tuple[Allocatable, ...]:
    """What the host has for servers and what is allocated of it, of each resource that the policy has counted."""
    if host is None:
        return ()
    allocations = tuple(allocations)
    counted = (
        ("memory", machine.memory_bytes - host.reserve_memory, host.memory_overcommit),
        ("CPU", machine.cores - host.reserve_cpus, host.cpu_overcommit),
    )
    return tuple(
        Allocatable(resource=resource, capacity=max(0, rest) * times, held=_held(allocations, resource))
        for resource, rest, times in counted
        if times is not None
    )


def admit(
    entitlement: Entitlement, container: str, host: Host | None, machine: Machine, allocations: Iterable[Allocation]
) -> NoCapacity | None:
    """Why the server of this entitlement can't be started as `container` beside these allocations; `None`: it can.

    That of an earlier container of that name is not counted: this one takes its place.
    """
    others = [other for other in allocations if other.container != container]
    own = [other for other in others if other.user == entitlement.user]
    return _beyond_own(entitlement, own) or _beyond_host(entitlement.limits, room(host, machine, others))


def _beyond_own(entitlement: Entitlement, own: Sequence[Allocation]) -> NoCapacity | None:
    most = {key: grant.value for key, grant in entitlement.servers.items()}
    count, names = most.get("count"), ", ".join(other.server or "the default one" for other in own)
    if isinstance(count, int) and len(own) >= count:
        running = f"{len(own)} run ({names})" if own else "none runs"
        return NoCapacity(
            fact=f"{_may_run(count)}, and {running}; the rule is {entitlement.servers['count'].origin}",
            remedy="Stop one of them first." if own else "",
            reason="servers",
        )
    for resource, key in LIMITS.items():
        value, asked = most.get(key), getattr(entitlement.limits, key)
        if not isinstance(value, int | float) or asked is None:
            continue
        amount = Allocatable(resource=resource, capacity=value, held=_held(own, resource))
        if not amount.fits(asked):
            hold = "hold" if len(own) > 1 else "holds"
            now = f"{names} {hold} {amount.tell(amount.held)}, and this one asks for {amount.tell(asked)}"
            return NoCapacity(
                fact=f"Your servers may hold {amount.tell(value)} of {resource} together; {now}; "
                f"the rule is {entitlement.servers[key].origin}",
                remedy="Stop one of them first, or start a smaller one.",
                reason="servers",
            )
    return None


def _beyond_host(limits: Limits, amounts: Iterable[Allocatable]) -> NoCapacity | None:
    for amount in amounts:
        asked = getattr(limits, LIMITS[amount.resource])
        if asked is None or amount.fits(asked):
            continue
        smaller = " or pick a smaller size" if amount.left > 0 else ""
        return NoCapacity(
            fact=f"This host is full: the server asks for {amount.tell(asked)} of {amount.resource}, and "
            f"{amount.tell(amount.left)} of {amount.tell(amount.capacity)} are left",
            remedy=f"Try again when another server has stopped{smaller}.",
            reason="capacity",
        )
    return None


def _held(allocations: Iterable[Allocation], resource: str) -> float:
    return sum(getattr(each, LIMITS[resource]) or 0 for each in allocations)


def _may_run(count: int) -> str:
    return "You may run no server" if count == 0 else f"You may run {count} server{'' if count == 1 else 's'}"
