"""The table of fields: for each what it takes, its bounds with their reasons, and how its value is told."""

from __future__ import annotations

import pytest

from spawner_limits.limits import FIELDS, Limits, tell
from spawner_limits.units import GIB, MIB

READ = {
    "mem_limit": ("1G", GIB, "1.00 GiB"),
    "memswap_limit": ("1.5G", 3 * GIB // 2, "1.50 GiB"),
    "mem_swappiness": ("0", 0, "0"),
    "mem_guarantee": ("6M", 6 * MIB, "6 MiB"),
    "cpu_limit": ("0.5", 0.5, "0.50 cores"),
    "cpu_guarantee": ("0.01", 0.01, "0.01 cores"),
    "cpu_period": ("100000", 100_000, "100000"),
    "cpu_shares": ("1024", 1024, "1024"),
    "cpuset_cpus": ("1,0", "0-1", "0-1"),
    "pids_limit": ("4194304", 4_194_304, "4194304"),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_value_is_read_and_told(field: str) -> None:
    """Every field reads its text into its base unit, and tells it to people."""
    text, value, told = READ[field]
    assert FIELDS[field].read(text) == value
    assert tell(field, value) == told


_SIZE = 'expected a size such as "512M" or "1.5G"'
_CORES = 'expected a number of cores such as "0.5" or "2"'
EXPECTED = {
    "mem_limit": f'{_SIZE}, or "unlimited"',
    "memswap_limit": f'{_SIZE}, or "unlimited"',
    "mem_swappiness": "expected a whole number",
    "mem_guarantee": _SIZE,
    "cpu_limit": f'{_CORES}, or "unlimited"',
    "cpu_guarantee": _CORES,
    "cpu_period": "expected a whole number",
    "cpu_shares": "expected a whole number",
    "cpuset_cpus": 'expected CPU numbers such as "0-2,5", or "unlimited"',
    "pids_limit": 'expected a whole number, or "unlimited"',
}


def test_a_field_says_what_it_takes() -> None:
    """What may be written, with the word `unlimited` where that means something: not for weights and promises."""
    assert {name: field.expected for name, field in FIELDS.items()} == EXPECTED


_DOCKER = "(Docker starts no container with less)"
OUT_OF_BOUNDS = {
    "memory below Docker's least": ("mem_limit", "6291455", f'expected at least 6 MiB {_DOCKER}, or "unlimited"'),
    "memory and swap below it": ("memswap_limit", "5M", f'expected at least 6 MiB {_DOCKER}, or "unlimited"'),
    "guaranteed memory below it": ("mem_guarantee", "5M", f"expected at least 6 MiB {_DOCKER}"),
    "too eager to swap": ("mem_swappiness", "101", "expected at most 100"),
    "too few cores": (
        "cpu_limit",
        "0.009",
        'expected at least 0.01 cores (the Linux kernel counts no less), or "unlimited"',
    ),
    "too few cores guaranteed": (
        "cpu_guarantee",
        "0.009",
        "expected at least 0.01 cores (the Linux kernel counts no less)",
    ),
    "too short a period": ("cpu_period", "999", "expected at least 1000 (the Linux kernel's cpu.cfs_period_us)"),
    "too long a period": ("cpu_period", "1000001", "expected at most 1000000 (the Linux kernel's cpu.cfs_period_us)"),
    "too light": ("cpu_shares", "1", "expected at least 2 (the Linux kernel's cpu.shares)"),
    "too heavy": ("cpu_shares", "262145", "expected at most 262144 (the Linux kernel's cpu.shares)"),
    "no process at all": ("pids_limit", "0", 'expected at least 1 (the Linux kernel\'s pids.max), or "unlimited"'),
    "more processes than there can be": (
        "pids_limit",
        "4194305",
        'expected at most 4194304 (the Linux kernel\'s pids.max), or "unlimited"',
    ),
}


@pytest.mark.parametrize(("field", "text", "message"), OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_a_value_out_of_bounds_is_refused(field: str, text: str, message: str) -> None:
    """What the engine or the Linux kernel would refuse at the start is refused in the file, with the reason."""
    with pytest.raises(ValueError, match=r"^expected ") as refusal:
        FIELDS[field].read(text)
    assert str(refusal.value) == message


def test_no_limit_is_told_as_the_word_that_the_file_has_for_it() -> None:
    """`None` is "unlimited"."""
    assert tell("mem_limit", None) == "unlimited"


def test_nothing_is_limited_unless_it_is_said() -> None:
    """`Limits()` has every field of the table, and each is None."""
    assert {name: getattr(Limits(), name) for name in FIELDS} == dict.fromkeys(FIELDS)
