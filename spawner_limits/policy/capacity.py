"""What servers hold together, against what their user and their host may have. Pure: who holds what is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits import units

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
class Holding:
    """What one server holds while it runs."""

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
    def of(cls, container: str, entitlement: Entitlement) -> Holding:
        """What a container with this entitlement holds."""
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
class Amount:
    """What of one resource there is for servers, and how much of it they hold."""

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
        return units.format_size(int(amount)) if self.resource == "memory" else units.format_cores(amount)

    def fits(self, asked: float) -> bool:
        """Whether there is room for `asked` beside what is held."""
        return self.held + asked <= self.capacity + _SLACK


@dataclass(frozen=True, kw_only=True, slots=True)
class Full:
    """Why there is no room for a server."""

    fact: str
    """what is full, and what was asked, for people"""
    remedy: str
    """what can be done, and when to try again"""
    reason: str
    """"servers": the user's own are too many or too much; "capacity": the host's"""


def room(host: Host | None, machine: Machine, holdings: Iterable[Holding]) -> tuple[Amount, ...]:
    """What the host has for servers and what they hold, of each resource that the policy has counted."""
    if host is None:
        return ()
    held = tuple(holdings)
    amounts = []
    if host.memory_overcommit is not None:
        memory = max(0, machine.memory_bytes - host.reserve_memory) * host.memory_overcommit
        amounts.append(Amount(resource="memory", capacity=memory, held=_memory(held)))
    if host.cpu_overcommit is not None:
        cores = max(0.0, machine.cores - host.reserve_cpus) * host.cpu_overcommit
        amounts.append(Amount(resource="CPU", capacity=cores, held=_cores(held)))
    return tuple(amounts)


def full(
    entitlement: Entitlement, container: str, host: Host | None, machine: Machine, holdings: Iterable[Holding]
) -> Full | None:
    """Why the server of this entitlement can't be started as `container` beside those that hold something.

    `None`: it can. An earlier container of that name is not counted: this one takes its place.
    """
    others = [one for one in holdings if one.container != container]
    own = [one for one in others if one.user == entitlement.user]
    return _own_full(entitlement, own) or _host_full(entitlement.limits, room(host, machine, others))


def _own_full(entitlement: Entitlement, own: Sequence[Holding]) -> Full | None:
    most = {key: grant.value for key, grant in entitlement.servers.items()}
    count, names = most.get("count"), ", ".join(one.server or "the default one" for one in own)
    if isinstance(count, int) and len(own) >= count:
        running = f"{len(own)} run ({names})" if own else "none runs"
        return Full(
            fact=f"{_may_run(count)}, and {running}; the rule is {entitlement.servers['count'].origin}",
            remedy="Stop one of them first." if own else "",
            reason="servers",
        )
    held = {"memory": _memory(own), "CPU": _cores(own)}
    for resource, key in LIMITS.items():
        value, asked = most.get(key), getattr(entitlement.limits, key)
        if not isinstance(value, int | float) or asked is None:
            continue
        amount = Amount(resource=resource, capacity=value, held=held[resource])
        if not amount.fits(asked):
            hold = "hold" if len(own) > 1 else "holds"
            told = f"{names} {hold} {amount.tell(amount.held)}, and this one asks for {amount.tell(asked)}"
            return Full(
                fact=f"Your servers may hold {amount.tell(value)} of {resource} together; {told}; "
                f"the rule is {entitlement.servers[key].origin}",
                remedy="Stop one of them first, or start a smaller one.",
                reason="servers",
            )
    return None


def _host_full(limits: Limits, amounts: Iterable[Amount]) -> Full | None:
    for amount in amounts:
        asked = getattr(limits, LIMITS[amount.resource])
        if asked is None or amount.fits(asked):
            continue
        told = f"asks for {amount.tell(asked)} of {amount.resource}, and {amount.tell(amount.left)}"
        smaller = " or pick a smaller size" if amount.left > 0 else ""
        return Full(
            fact=f"This host is full: the server {told} of {amount.tell(amount.capacity)} are left",
            remedy=f"Try again when another server has stopped{smaller}.",
            reason="capacity",
        )
    return None


def _may_run(count: int) -> str:
    return "You may run no server" if count == 0 else f"You may run {count} server{'' if count == 1 else 's'}"


def _memory(holdings: Iterable[Holding]) -> int:
    return sum(one.mem_limit or 0 for one in holdings)


def _cores(holdings: Iterable[Holding]) -> float:
    return sum(one.cpu_limit or 0.0 for one in holdings)
