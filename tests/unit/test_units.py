"""Text to numbers and back: what each unit accepts, what it refuses and in which words, and how people read it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spawner_limits import units
from spawner_limits.units import GIB, KIB, MIB, TIB

SIZES = {
    "bytes": ("1048576", MIB),
    "bytes with their letter": ("1048576B", MIB),
    "kibibytes": ("7168K", 7 * MIB),
    "mebibytes": ("512M", 512 * MIB),
    "gibibytes, as JupyterHub and docker count, not 10**9": ("2G", 2_147_483_648),
    "tebibytes": ("1T", TIB),
    "lower case, as docker writes it": ("512m", 512 * MIB),
    "with B": ("2GB", 2 * GIB),
    "with iB, as Kubernetes people write it": ("2GiB", 2 * GIB),
    "with i": ("2gib", 2 * GIB),
    "a blank before the unit": ("2 GiB", 2 * GIB),
    "blanks around it": (" 2G ", 2 * GIB),
    "a fraction": ("1.5G", 3 * GIB // 2),
    "a fraction of a byte that is left over is dropped": ("0.1G", 107_374_182),
    "exact where a float is not": ("9007199254740993", 9_007_199_254_740_993),
    "a fraction, exact where a float is not": ("4095.999999999999T", 4_503_599_627_370_494),
    "the least": ("1", 1),
    "the most": ("9223372036854775807", 2**63 - 1),
    "more digits than anybody needs": (f"1.{'0' * 5000}G", GIB),
}


@pytest.mark.parametrize(("text", "size"), SIZES.values(), ids=SIZES)
def test_a_size_is_read(text: str, size: int) -> None:
    """A size is a number with one letter at most, in powers of 1024, and comes out in whole bytes."""
    assert units.parse_size(text) == size


_A_SIZE = 'expected a size such as "512M" or "1.5G"'
NO_SIZES = {
    "empty": ("", _A_SIZE),
    "a blank": (" ", _A_SIZE),
    "zero": ("0", "expected a size above 0"),
    "zero of something": ("0G", "expected a size above 0"),
    "less than a byte": ("0.0001K", "expected a size above 0"),
    "negative": ("-1", _A_SIZE),
    "with a plus": ("+1G", _A_SIZE),
    "two letters too many": ("2GBB", _A_SIZE),
    "i alone": ("2Gi5", _A_SIZE),
    "as Kubernetes writes it": ("2Gi", f'{_A_SIZE}; did you mean "2G"?'),
    "iB of nothing": ("2iB", _A_SIZE),
    "an unknown letter": ("2P", _A_SIZE),
    "a fraction of bytes": ("1.5", 'expected whole bytes, or a size such as "512M" or "1.5G"'),
    "a fraction of bytes with their letter": ("1.5B", 'expected whole bytes, or a size such as "512M" or "1.5G"'),
    "no digit before the point": (".5G", _A_SIZE),
    "no digit after the point": ("1.G", _A_SIZE),
    "an exponent": ("1e3", _A_SIZE),
    "underscores": ("1_000", _A_SIZE),
    "hexadecimal": ("0x10", _A_SIZE),
    "infinity": (".inf", _A_SIZE),
    "inf": ("inf", _A_SIZE),
    "not a number": (".nan", _A_SIZE),
    "a tab inside": ("1\tG", _A_SIZE),
    "digits of another script": ("١G", _A_SIZE),
    "a list": ("1G,2G", _A_SIZE),
    "2**63": ("9223372036854775808", "expected a size below 8 EiB"),
    "8 EiB in tebibytes": ("8388608T", "expected a size below 8 EiB"),
    "too long for int()": ("9" * 5000, "expected a size below 8 EiB"),
    "too long for float()": ("9" * 400 + ".5G", "expected a size below 8 EiB"),
}


@pytest.mark.parametrize(("text", "message"), NO_SIZES.values(), ids=NO_SIZES)
def test_what_is_no_size_is_refused(text: str, message: str) -> None:
    """Nothing is guessed: 0, signs, exponents and what other tools accept are errors that say what was expected."""
    with pytest.raises(ValueError, match=r"^expected ") as refusal:
        units.parse_size(text)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("text", "cores"), [("2", 2.0), ("0.5", 0.5), (".5", 0.5), (" 1.25 ", 1.25), ("8192", 8192.0), ("0.01", 0.01)]
)
def test_cores_are_read(text: str, cores: float) -> None:
    """Cores are a plain decimal number."""
    assert units.parse_cores(text) == cores


_SOME_CORES = 'expected a number of cores such as "0.5" or "2"'
NO_CORES = {
    "empty": ("", _SOME_CORES),
    "negative": ("-1", _SOME_CORES),
    "an exponent": ("1e3", _SOME_CORES),
    "infinity": (".inf", _SOME_CORES),
    "not a number": ("nan", _SOME_CORES),
    "millicores": ("500m", f'{_SOME_CORES}; did you mean "0.5"?'),
    "zero": ("0", "expected a number of cores above 0"),
    "zero with a point": ("0.0", "expected a number of cores above 0"),
    "more than any kernel has": ("8192.5", "expected at most 8192 cores"),
    "absurd": ("9" * 5000, "expected at most 8192 cores"),
}


@pytest.mark.parametrize(("text", "message"), NO_CORES.values(), ids=NO_CORES)
def test_what_is_no_number_of_cores_is_refused(text: str, message: str) -> None:
    """No cores, fewer, and more than the Linux kernel can have are errors."""
    with pytest.raises(ValueError, match=r"^expected ") as refusal:
        units.parse_cores(text)
    assert str(refusal.value) == message


@pytest.mark.parametrize(("text", "count"), [("0", 0), ("256", 256), (" 7 ", 7), ("9" * 18, 10**18 - 1)])
def test_a_count_is_read(text: str, count: int) -> None:
    """A count is digits alone; whether 0 makes sense is the field's to say."""
    assert units.parse_count(text) == count


NO_COUNTS = {
    "empty": ("", "expected a whole number"),
    "negative": ("-1", "expected a whole number"),
    "a fraction": ("1.5", "expected a whole number"),
    "underscores": ("1_000", "expected a whole number"),
    "an exponent": ("1e3", "expected a whole number"),
    "too long": ("9" * 19, "expected a whole number of at most 18 digits"),
    "too long for int()": ("9" * 5000, "expected a whole number of at most 18 digits"),
}


@pytest.mark.parametrize(("text", "message"), NO_COUNTS.values(), ids=NO_COUNTS)
def test_what_is_no_count_is_refused(text: str, message: str) -> None:
    """Signs, fractions and exponents are errors."""
    with pytest.raises(ValueError, match=r"^expected ") as refusal:
        units.parse_count(text)
    assert str(refusal.value) == message


CPUSETS = {
    "one": ("0", "0"),
    "a range": ("0-2", "0-2"),
    "a range of one": ("3-3", "3"),
    "both": ("0-2,5", "0-2,5"),
    "unsorted": ("5,0-2", "0-2,5"),
    "adjacent": ("0,1,2", "0-2"),
    "two adjacent, which the kernel writes as a range": ("0,1", "0-1"),
    "overlapping": ("0-2,1-3", "0-3"),
    "all that there can be": ("0-8191", "0-8191"),
}


@pytest.mark.parametrize(("text", "cpuset"), CPUSETS.values(), ids=CPUSETS)
def test_a_cpuset_is_written_as_the_kernel_writes_it(text: str, cpuset: str) -> None:
    """However a CPU list is written, it comes out as the Linux kernel prints it, so that the two can be compared."""
    assert units.parse_cpuset(text) == cpuset


NO_CPUSETS = {
    "empty": ("", 'expected CPU numbers such as "0-2,5"'),
    "falling": ("3-1", 'expected CPU numbers such as "0-2,5", each range rising'),
    "negative": ("-1", 'expected CPU numbers such as "0-2,5"'),
    "an end missing": ("0-", 'expected CPU numbers such as "0-2,5"'),
    "a comma too many": ("0,,1", 'expected CPU numbers such as "0-2,5"'),
    "blanks": ("0, 1", 'expected CPU numbers such as "0-2,5"'),
    "a word": ("all", 'expected CPU numbers such as "0-2,5"'),
    "more than any kernel has": ("8192", "expected CPU numbers below 8192, each named once"),
    "too long for int()": ("9" * 5000, "expected CPU numbers below 8192"),
    "wide ranges again and again, which would take minutes": (
        ",".join(["0-8191"] * 100_000),
        "expected CPU numbers below 8192, each named once",
    ),
}


@pytest.mark.parametrize(("text", "message"), NO_CPUSETS.values(), ids=NO_CPUSETS)
def test_what_is_no_cpuset_is_refused(text: str, message: str) -> None:
    """A range that falls and a CPU that can't be are errors, and no list takes long to refuse."""
    with pytest.raises(ValueError, match=r"^expected ") as refusal:
        units.parse_cpuset(text)
    assert str(refusal.value) == message


@given(st.frozensets(st.integers(0, 8191), min_size=1, max_size=40))
def test_a_cpuset_round_trips(cpus: frozenset[int]) -> None:
    """Numbers to text and back are the same numbers, and the text is stable."""
    text = units.format_cpuset(cpus)
    assert units.cpus_in(text) == cpus
    assert units.parse_cpuset(text) == text


@given(st.integers(1, 2**63 - 1))
def test_a_size_round_trips(size: int) -> None:
    """Whole bytes as text are the same bytes."""
    assert units.parse_size(str(size)) == size


@given(st.text(max_size=30))
@example("0\x1f")  # a blank to str.strip(), not to float()
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text, however strange, makes a parser raise anything but ValueError."""
    for parse in (units.parse_size, units.parse_cores, units.parse_count, units.parse_cpuset):
        try:
            parse(text)
        except ValueError as error:
            assert str(error).startswith("expected ")  # noqa: PT017  the message is the promise


TOLD = {
    "bytes": (units.format_size(512), "512 B"),
    "kibibytes": (units.format_size(4 * KIB), "4 KiB"),
    "mebibytes": (units.format_size(300 * MIB), "300 MiB"),
    "gibibytes with two digits": (units.format_size(3 * GIB // 2), "1.50 GiB"),
    "tebibytes": (units.format_size(2 * TIB), "2.00 TiB"),
    "nothing": (units.format_size(0), "0 B"),
    "cores": (units.format_cores(0.5), "0.50 cores"),
    "usage of cores": (units.usage("0.47 cores", "0.50 cores", 0.94), "0.47 / 0.50 cores (94%)"),
    "usage in another unit than the limit's": (
        units.usage("300 MiB", "2.00 GiB", 0.1465),
        "300 MiB / 2.00 GiB (15%)",
    ),
    "usage without a unit": (units.usage("120", "256", 0.46875), "120 / 256 (47%)"),
}


@pytest.mark.parametrize(("told", "expected"), TOLD.values(), ids=TOLD)
def test_people_read_one_form(told: str, expected: str) -> None:
    """A size, cores and usage are written the same everywhere."""
    assert told == expected
