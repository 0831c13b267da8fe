"""Text to numbers and back: sizes, cores, counts. Nowhere else is a unit converted.

Sizes are JupyterHub's and docker's: powers of 1024 (`2G` = 2147483648), one letter; `B` or `iB` may follow.
"""

from __future__ import annotations

import re

KIB, MIB, GIB, TIB = (1 << shift for shift in (10, 20, 30, 40))
_FACTORS = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB}
_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]+))? ?(?:([kmgt])(?:i?b)?|b)?", re.ASCII | re.IGNORECASE)
_CORES = re.compile(r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+", re.ASCII)
_COUNT = re.compile(r"[0-9]+", re.ASCII)
_CPUSET = re.compile(r"[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*", re.ASCII)
_MAX_BYTES = (1 << 63) - 1  # the kernel and the engine hold sizes in a signed 64-bit number
_MAX_DIGITS = 18  # below 2**63
_KUBE_SIZE = re.compile(r"[0-9]+[KMGT]i", re.ASCII)
_KUBE_CORES = re.compile(r"([0-9]{1,6})m", re.ASCII)
"""as Kubernetes writes a size, and thousandths of a core"""
_MAX_CPU = 1 << 13  # NR_CPUS of the largest distribution kernels


def parse_size(text: str) -> int:
    """Bytes in `text` ("512M", "1.5G", "2GiB", "1048576"). ValueError says what was expected; 0 is refused."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        hint = f'; did you mean "{text.strip()[:-1]}"?' if _KUBE_SIZE.fullmatch(text.strip()) else ""
        raise ValueError(f'expected a size such as "512M" or "1.5G"{hint}')
    whole, fraction, unit = match[1], match[2] or "", match[3]
    if fraction and unit is None:
        raise ValueError('expected whole bytes, or a size such as "512M" or "1.5G"')
    if len(whole) > _MAX_DIGITS + 1:  # int() refuses thousands of digits in words of its own
        raise ValueError("expected a size below 8 EiB")
    fraction = fraction[:_MAX_DIGITS]
    # in whole numbers: a float holds a size exactly only up to 2**53; what is left under a byte is dropped
    size = int(whole + fraction) * _FACTORS[(unit or "").lower()] // int(10 ** len(fraction))
    if size < 1:
        raise ValueError("expected a size above 0")
    if size > _MAX_BYTES:
        raise ValueError("expected a size below 8 EiB")
    return size


def parse_cores(text: str) -> float:
    """Cores in `text` ("0.5", "2"). ValueError says what was expected; 0 is refused."""
    if _CORES.fullmatch(text.strip()) is None:
        found = _KUBE_CORES.fullmatch(text.strip())
        hint = f'; did you mean "{int(found[1]) / 1000:g}"?' if found else ""
        raise ValueError(f'expected a number of cores such as "0.5" or "2"{hint}')
    cores = float(text.strip())
    if cores <= 0:
        raise ValueError("expected a number of cores above 0")
    if cores > _MAX_CPU:
        raise ValueError(f"expected at most {_MAX_CPU} cores")
    return cores


def parse_count(text: str) -> int:
    """A whole number without sign in `text`. ValueError says what was expected."""
    if _COUNT.fullmatch(text.strip()) is None:
        raise ValueError("expected a whole number")
    if len(text.strip()) > _MAX_DIGITS:
        raise ValueError(f"expected a whole number of at most {_MAX_DIGITS} digits")
    return int(text.strip())


def parse_cpuset(text: str) -> str:
    """A list of CPUs ("0-2,5") as the Linux kernel writes it back: sorted, adjacent ones joined.

    ValueError says what was expected.
    """
    if _CPUSET.fullmatch(text.strip()) is None:
        raise ValueError('expected CPU numbers such as "0-2,5"')
    return format_cpuset(cpus_in(text.strip()))


def cpus_in(cpuset: str) -> frozenset[int]:
    """The CPU numbers of a list such as "0-2,5". ValueError where a range falls or a number is absurd."""
    cpus: set[int] = set()
    named = 0
    for part in cpuset.split(","):
        first, _, last = part.partition("-")
        if max(len(first), len(last)) > len(str(_MAX_CPU)):
            raise ValueError(f"expected CPU numbers below {_MAX_CPU}")
        low, high = int(first), int(last or first)
        if low > high:
            raise ValueError('expected CPU numbers such as "0-2,5", each range rising')
        named += high - low + 1
        # together, or a long list of wide ranges would take minutes
        if high >= _MAX_CPU or named > _MAX_CPU:
            raise ValueError(f"expected CPU numbers below {_MAX_CPU}, each named once")
        cpus.update(range(low, high + 1))
    return frozenset(cpus)


def format_cpuset(cpus: frozenset[int]) -> str:
    """CPU numbers as the Linux kernel prints them (`%*pbl`): "0-2,5"."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and parts[-1][-1] == cpu - 1:
            parts[-1][1:] = [cpu]
        else:
            parts.append([cpu])
    return ",".join("-".join(map(str, part)) for part in parts)


_UNITS = ((TIB, "TiB", 2), (GIB, "GiB", 2), (MIB, "MiB", 0), (KIB, "KiB", 0), (1, "B", 0))


def format_size(size: int) -> str:
    """Bytes for people: "1.00 GiB", "300 MiB", "512 B"."""
    return _in_unit_of(size, size)


def _in_unit_of(size: int, other: int) -> str:
    factor, unit, digits = next((row for row in _UNITS if other >= row[0]), _UNITS[-1])
    return f"{size / factor:.{digits}f} {unit}"


def size_usage(used: int, limit: int) -> str:
    """Bytes against their limit, both in the limit's unit: `0.41 / 1.00 GiB (41%)`."""
    return usage(_in_unit_of(used, limit), format_size(limit), used / limit)


def cores_usage(used: float, limit: float) -> str:
    """Cores against their limit: `0.47 / 0.50 cores (94%)`."""
    return usage(format_cores(used), format_cores(limit), used / limit)


def format_cores(cores: float) -> str:
    """Cores for people: "0.50 cores"."""
    return f"{cores:.2f} cores"


def usage(used: str, limit: str, fraction: float) -> str:
    """The one form in which usage is told: `0.47 / 0.50 cores (94%)`. A unit that both share is said once."""
    used_number, _, used_unit = used.partition(" ")
    return f"{used_number if used_unit == limit.partition(' ')[2] else used} / {limit} ({fraction:.0%})"
