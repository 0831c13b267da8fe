"""`Limits`, what one server may use, and the table of its fields. Knows no file, no engine and no Linux kernel."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import partial
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
    """How one field is written, checked, shown and proved."""

    name: str
    words: str
    """what a person calls it: "memory", "CPU", "processes" """
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
    promised: bool = False
    """whether it is kept for a server, who has none unless a rule says so; else it is what nobody may exceed"""
    base_unit: str = ""
    """of the value, as keys of JSON carry it: "bytes" """
    effect: str = ""
    """for documentation: what it does"""
    proof: str = ""
    """for documentation: how it is seen that it holds"""
    expected: str = field(init=False)
    """what may be written, as `read` says it: 'expected a size such as "512M" or "1.5G", or "unlimited"'"""

    def __post_init__(self) -> None:
        """Ask once what is expected: a file is read a million times."""
        try:
            self.parse("")
        except ValueError as error:
            object.__setattr__(self, "expected", f"{error}{self._or_unlimited}")

    @property
    def json_key(self) -> str:
        """`mem_limit_bytes`."""
        return self.name if self.name.endswith(f"_{self.base_unit}") else f"{self.name}_{self.base_unit}"

    @property
    def _or_unlimited(self) -> str:
        return ', or "unlimited"' if self.unlimited else ""

    def read(self, text: str) -> Value:
        """The value in `text`, which is not the word "unlimited". ValueError says what was expected."""
        try:
            return self._within_bounds(self.parse(text))
        except ValueError as error:
            raise ValueError(f"{error}{self._or_unlimited}") from None

    def value(self, text: str) -> Value | None:
        """As `read`; `None` for the word "unlimited", where that means something."""
        return None if self.unlimited and text == "unlimited" else self.read(text)

    def _within_bounds(self, value: Value) -> Value:
        if self.minimum is not None and value < self.minimum:  # type: ignore[operator]  # bounds are of the value's type
            raise ValueError(f"expected at least {self.tell(self.minimum)}{self.bound}")
        if self.maximum is not None and value > self.maximum:  # type: ignore[operator]
            raise ValueError(f"expected at most {self.tell(self.maximum)}{self.bound}")
        return value


def _size(value: Value) -> str:
    return units.format_size(int(value))


def _cores(value: Value) -> str:
    return units.format_cores(float(value))


_PRESSED = "`verify` presses on it"
READ_BACK = "read back from the Linux kernel"
_MEMORY = partial(
    Field,
    unit="bytes",
    parse=units.parse_size,
    # linuxMinMemory, moby daemon/daemon_unix.go: it holds for the limit and for the reservation
    minimum=6 * units.MIB,
    bound=" (Docker starts no container with less)",
    tell=_size,
    base_unit="bytes",
)
_CPU = partial(
    Field,
    unit="cores",
    parse=units.parse_cores,
    # below 0.01 core the quota is under 1000 µs, which the Linux kernel refuses
    minimum=0.01,
    bound=" (the Linux kernel counts no less)",
    tell=_cores,
    base_unit="cores",
)
_COUNT = partial(Field, parse=units.parse_count)

FIELDS: Mapping[str, Field] = {
    row.name: row
    for row in (
        _MEMORY(name="mem_limit", words="memory", effect="most memory", proof=f"{_PRESSED}: peak, and OOM kills"),
        _MEMORY(
            name="memswap_limit",
            words="memory + swap",
            effect="most memory and swap together; equal to `mem_limit` unless given",
            proof=f"{_PRESSED}: peak",
        ),
        _COUNT(
            name="mem_swappiness",
            words="swappiness",
            unit="0 to 100",
            base_unit="percent",
            minimum=0,
            maximum=100,
            unlimited=False,
            effect="how readily the Linux kernel swaps",
            proof=READ_BACK,
        ),
        _MEMORY(
            name="mem_guarantee",
            words="memory kept",
            unlimited=False,  # nobody can be promised memory or cores without end
            promised=True,
            effect="memory kept for the server when the host is short of it",
            proof=READ_BACK,
        ),
        _CPU(name="cpu_limit", words="CPU", effect="most cores", proof=f"{_PRESSED}: CPU time and throttled periods"),
        _CPU(
            name="cpu_guarantee",
            words="CPU kept",
            unlimited=False,
            promised=True,
            effect="cores kept for the server when the host is busy",
            proof="`explain`: Docker refuses it",
        ),
        _COUNT(
            name="cpu_period",
            words="CPU period",
            unit="microseconds",
            base_unit="us",
            minimum=1_000,
            maximum=1_000_000,
            bound=" (the Linux kernel's cpu.cfs_period_us)",
            unlimited=False,
            effect="the time over which `cpu_limit` is counted",
            proof=f"{_PRESSED}: throttled periods",
        ),
        _COUNT(
            name="cpu_shares",
            words="CPU shares",
            unit="weight",
            base_unit="weight",
            # sched(7): MIN_SHARES and MAX_SHARES
            minimum=2,
            maximum=262_144,
            bound=" (the Linux kernel's cpu.shares)",
            unlimited=False,
            effect="weight against other servers when the host is busy",
            proof="`verify`: a contest of known weights",
        ),
        Field(
            name="cpuset_cpus",
            words="CPU set",
            unit="CPU numbers",
            parse=units.parse_cpuset,
            base_unit="cpus",
            effect="the CPUs that may be used",
            proof=f"{_PRESSED}: CPU time",
        ),
        _COUNT(
            name="pids_limit",
            words="processes",
            unit="processes",
            base_unit="processes",
            minimum=1,
            # PID_MAX_LIMIT of 64-bit kernels, include/linux/threads.h: pids.max takes no more (EINVAL)
            maximum=4_194_304,
            bound=" (the Linux kernel's pids.max)",
            effect="most processes and threads",
            proof=f"{_PRESSED}: refused forks",
        ),
    )
}
assert tuple(FIELDS) == tuple(one.name for one in fields(Limits)), "Limits and FIELDS differ"  # noqa: S101


def tell(name: str, value: Value | None) -> str:
    """A field's value for people: "1.00 GiB", "0.50 cores", "unlimited"."""
    return "unlimited" if value is None else FIELDS[name].tell(value)
