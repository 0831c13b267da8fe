"""`Limits`, what one server may use, and the table of its fields. Knows no file, no engine and no Linux kernel."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeAlias

from spawner_limits import units

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Value: TypeAlias = int | float | str


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one server may use. `None` means not limited, and only ever on purpose.

    Names are JupyterHub's (`mem_limit`, `mem_guarantee`, `cpu_limit`, `cpu_guarantee`) and the docker SDK's.
    """

    mem_limit: int | None = None
    """bytes of memory"""
    memswap_limit: int | None = None
    """bytes of memory and swap together; never below `mem_limit`"""
    mem_swappiness: int | None = None
    """0 (no swapping) to 100"""
    mem_guarantee: int | None = None
    """bytes kept for the server when memory is short"""
    cpu_limit: float | None = None
    """cores"""
    cpu_guarantee: float | None = None
    """cores kept for the server when the host is busy"""
    cpu_period: int | None = None
    """microseconds over which `cpu_limit` is counted"""
    cpu_shares: int | None = None
    """weight against other servers when the host is busy; 1024 is an ordinary one"""
    cpuset_cpus: str | None = None
    """the CPUs it may run on, as the Linux kernel writes them: "0-2,5" """
    pids_limit: int | None = None
    """processes and threads"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """How one field is written, checked and told."""

    name: str
    unit: str
    """for documentation: what the number counts"""
    parse: Callable[[str], Value]
    minimum: Value | None = None
    maximum: Value | None = None
    bound: str = ""
    """why the bounds are where they are, for the error message"""
    tell: Callable[[Value], str] = str
    unlimited: bool = True
    """False where "no limit" would mean nothing"""

    def read(self, text: str) -> Value:
        """The value in `text`. ValueError says what was expected."""
        value = self.parse(text)
        if self.minimum is not None and value < self.minimum:  # type: ignore[operator]  # bounds are of the value's type
            raise ValueError(f"expected at least {self.tell(self.minimum)}{self.bound}")
        if self.maximum is not None and value > self.maximum:  # type: ignore[operator]
            raise ValueError(f"expected at most {self.tell(self.maximum)}{self.bound}")
        return value


def _size(value: Value) -> str:
    return units.format_size(int(value))


def _cores(value: Value) -> str:
    return units.format_cores(float(value))


_ENGINE_MINIMUM = " (Docker starts no container with less)"
_PERIOD = " (the Linux kernel's cpu.cfs_period_us)"

FIELDS: Mapping[str, Field] = {
    field.name: field
    for field in (
        # linuxMinMemory, moby daemon/daemon_unix.go
        Field(
            name="mem_limit",
            unit="bytes",
            parse=units.parse_size,
            minimum=6 * units.MIB,
            bound=_ENGINE_MINIMUM,
            tell=_size,
        ),
        Field(
            name="memswap_limit",
            unit="bytes",
            parse=units.parse_size,
            minimum=6 * units.MIB,
            bound=_ENGINE_MINIMUM,
            tell=_size,
        ),
        Field(name="mem_swappiness", unit="0 to 100", parse=units.parse_count, maximum=100, unlimited=False),
        Field(
            name="mem_guarantee",
            unit="bytes",
            parse=units.parse_size,
            minimum=6 * units.MIB,
            bound=_ENGINE_MINIMUM,
            tell=_size,
        ),
        # below 0.01 core the quota is under 1000 µs, which the Linux kernel refuses
        Field(name="cpu_limit", unit="cores", parse=units.parse_cores, minimum=0.01, tell=_cores),
        Field(name="cpu_guarantee", unit="cores", parse=units.parse_cores, minimum=0.01, tell=_cores),
        Field(
            name="cpu_period",
            unit="microseconds",
            parse=units.parse_count,
            minimum=1_000,
            maximum=1_000_000,
            bound=_PERIOD,
            unlimited=False,
        ),
        # sched(7): MIN_SHARES and MAX_SHARES
        Field(name="cpu_shares", unit="weight", parse=units.parse_count, minimum=2, maximum=262_144, unlimited=False),
        Field(name="cpuset_cpus", unit="CPU numbers", parse=units.parse_cpuset),
        Field(name="pids_limit", unit="processes", parse=units.parse_count, minimum=1),
    )
}
assert tuple(FIELDS) == tuple(field.name for field in fields(Limits))  # noqa: S101  one table, one type


def tell(name: str, value: Value | None) -> str:
    """A field's value for people: "1.00 GiB", "0.50 cores", "unlimited"."""
    return "unlimited" if value is None else FIELDS[name].tell(value)
