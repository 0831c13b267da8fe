"""The overhead benchmark without an engine: figures from real output, estimates by hand, statements at their edges."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.overhead.as_experiment import as_experiment
from benchmarks.overhead.estimate import (
    Estimate,
    Finding,
    Pair,
    estimate,
    finding,
    quantile,
    ratio,
    resampled,
)
from benchmarks.overhead.experiment import named, programs_of, schedule
from benchmarks.overhead.pair import Side
from benchmarks.overhead.report import Overhead, Row, published, record, row
from benchmarks.overhead.table import table
from benchmarks.overhead.workloads import (
    HPCC,
    HPCC_INPUT,
    WORKLOADS,
    XZ,
    Better,
    FigureError,
    best,
    cpu_seconds,
    disturbed,
)
from spawner_limits.errors import UsageError
from spawner_limits.proof.evidence import Host, Outcome

DATA = Path(__file__).parents[1] / "data" / "overhead"
"""what the programs printed in a container of the image"""
SUMMARY = (DATA / "hpcc-summary.txt").read_text(encoding="utf-8")
TIMES = (DATA / "xz-times.txt").read_text(encoding="utf-8")
LZMA, LINPACK, RANDOM_ACCESS, STREAM = WORKLOADS

# -- figures -----------------------------------------------------------------------------------------------------------

FIGURES = {"lzma": (TIMES, 2.326), "linpack": (SUMMARY, 0.031952), "randomaccess": (SUMMARY, 0.123356)}
FIGURES["stream"] = (SUMMARY, 38.4017)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda one: one.key)
def test_figures_of_real_output(workload):
    """Each workload finds its figure in what its program really printed."""
    output, figure = FIGURES[workload.key]
    assert workload.figure(output) == pytest.approx(figure, abs=1e-9)


NO_FIGURE = {
    "xz without times": (cpu_seconds, "xz: (stdin): No space left\n", "no times in its output: 'xz: (stdin): No space"),
    "hpcc that was cut off": (best("HPL_Tflops"), "", "hpcc does not say Success=1, but nothing of it"),
    "hpcc that failed its checks": (best("HPL_Tflops"), "Success=0\nHPL_Tflops=9\n", "not say Success=1, but 0"),
    "hpcc without Linpack": (best("HPL_Tflops"), "Success=1\n", "hpcc's summary has no HPL_Tflops"),
}


@pytest.mark.parametrize(("figure", "output", "said"), NO_FIGURE.values(), ids=NO_FIGURE)
def test_no_figure(figure, output, said):
    """A figure that is not there is an error that says so, and never a zero."""
    with pytest.raises(FigureError) as raised:
        figure(output)
    assert said in str(raised.value)


DISTURBED = {
    "all of its core": (HPCC, "elapsed 13.020 user 12.500 system 0.400\n", False),
    "just enough": (HPCC, "elapsed 10.000 user 9.000 system 0.500\n", False),
    "not enough": (HPCC, "elapsed 10.000 user 9.000 system 0.499\n", True),
    "half of it": (HPCC, "elapsed 26.000 user 12.500 system 0.400\n", True),
    "real output of a busy machine": (HPCC, SUMMARY, True),
    "CPU time is the figure": (XZ, "elapsed 26.000 user 2.500 system 0.400\n", False),
}


@pytest.mark.parametrize(("program", "output", "expected"), DISTURBED.values(), ids=DISTURBED)
def test_disturbed(program, output, expected):
    """A run that is timed by the clock must have had 95 % of a core."""
    assert disturbed(program, output) is expected


def test_the_input_of_hpcc():
    """One process, and the lines that hpcc reads by their place."""
    lines = [line.split("  ")[0].strip() for line in HPCC_INPUT.splitlines()]
    assert (len(lines), lines[4:6], lines[9:12], lines[31]) == (36, ["2", "4000 4000"], ["1", "1", "1"], "-")
    assert "HPL_N=4000\n" in SUMMARY


def test_published():
    """The published figures are those of the report, as the table shows them."""
    shown = [
        (one.title, published(one.published.docker_percent), published(one.published.kvm_percent)) for one in WORKLOADS
    ]
    assert shown == [
        ("LZMA", "−4 %", "−22 %"),
        ("Linpack", "−0 %", "−17 %"),
        ("RandomAccess", "−2 %", "−1 %"),
        ("STREAM", "−0 … −3 %", "−1 … −3 %"),
    ]


# -- the order ---------------------------------------------------------------------------------------------------------


def test_schedule():
    """Every round has each program once; the order within a round, and within a pair, is random."""
    turns = schedule([XZ, HPCC], 200, seed=1)
    rounds = [(one, other) for one, other in zip(turns[::2], turns[1::2], strict=True)]
    assert all({one.program, other.program} == {XZ, HPCC} for one, other in rounds)
    assert all(set(turn.order) == set(Side) for turn in turns)
    assert 70 < sum(one.program == XZ for one, _ in rounds) < 130
    assert 160 < Counter(turn.order[0] for turn in turns)[Side.NATIVE] < 240


def test_a_seed_repeats_an_order():
    """The same seed gives the same order, another one another."""
    assert schedule([XZ, HPCC], 9, seed=5) == schedule([XZ, HPCC], 9, seed=5) != schedule([XZ, HPCC], 9, seed=6)


def test_one_run_for_three_workloads():
    """A run of hpcc gives three figures, so it is run once for them."""
    assert programs_of(WORKLOADS) == (XZ, HPCC)
    assert programs_of(named(["stream", "linpack"])) == (HPCC,)


def test_named():
    """Workloads come in the table's order; nothing asked for is all of them; an unknown one is refused."""
    assert (named(["stream", "lzma"]), named([])) == ((LZMA, STREAM), WORKLOADS)
    with pytest.raises(UsageError, match=r"^streem: no such workload; there are lzma, linpack, randomaccess, stream$"):
        named(["streem"])


# -- estimates ---------------------------------------------------------------------------------------------------------


def test_ratio():
    """Above 1 the container did better: with a rate, and with a time."""
    assert ratio(Pair(native=100.0, container=96.0), Better.HIGHER) == 0.96
    assert ratio(Pair(native=2.4, container=2.5), Better.LOWER) == 0.96


QUANTILES = {
    "the lowest": (0.0, 1.0),
    "on a value": (0.25, 2.0),
    "between two": (0.05, 1.2),
    "the median": (0.5, 3.0),
    "the highest": (1.0, 5.0),
}


@pytest.mark.parametrize(("share", "expected"), QUANTILES.values(), ids=QUANTILES)
def test_quantile(share, expected):
    """Between two neighbours in proportion."""
    assert quantile([1.0, 2.0, 3.0, 4.0, 5.0], share) == pytest.approx(expected)


ESTIMATES = {
    "one": ([0.9], Estimate(median=0.9, low=0.9, high=0.9, deviation=None)),
    "all the same": ([1.0] * 9, Estimate(median=1.0, low=1.0, high=1.0, deviation=0.0)),
    # the median of a sample is 1, 2 or 3 in 1, 2 and 1 of 4 samples
    "two": ([3.0, 1.0], Estimate(median=2.0, low=1.0, high=3.0, deviation=2**0.5)),
    # three of five draws or more are the lowest in 5.8 % of the samples, which is more than 5 %
    "five": ([5.0, 1.0, 4.0, 2.0, 3.0], Estimate(median=3.0, low=1.0, high=5.0, deviation=2.5**0.5)),
    # four of seven or more are the lowest in 1.0 %, one of the two lowest in 10.8 %
    "seven": ([7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], Estimate(median=4.0, low=2.0, high=6.0, deviation=(14 / 3) ** 0.5)),
}


@pytest.mark.parametrize(("ratios", "expected"), ESTIMATES.values(), ids=ESTIMATES)
def test_estimate(ratios, expected):
    """The median, and its bootstrap interval of 90 % as it comes out by hand."""
    found = estimate(ratios, seed=7)
    assert (found.median, found.low, found.high) == (expected.median, expected.low, expected.high)
    assert found.deviation == (None if expected.deviation is None else pytest.approx(expected.deviation))


def test_no_pair_no_estimate():
    """Nothing is said of nothing."""
    assert estimate([], seed=1) is None


def test_a_seed_repeats_an_estimate():
    """The bootstrap is seeded; another seed moves the interval by little."""
    ratios = [random.Random(3).gauss(1, 0.04) for _ in range(16)]
    one, other = estimate(ratios, seed=1), estimate(ratios, seed=2)
    assert one == estimate(ratios, seed=1)
    assert (other.low, other.high) == (pytest.approx(one.low, abs=0.005), pytest.approx(one.high, abs=0.005))


def test_resampled():
    """So many medians of samples as long as the values, in order."""
    medians = resampled([1.0, 2.0, 9.0], random.Random(1), 50)
    assert (len(medians), medians, set(medians)) == (50, sorted(medians), {1.0, 2.0, 9.0})


def test_the_interval_covers_the_median():
    """Of 400 experiments with 16 pairs each, the interval of 90 % has the truth in 85 % to 97 %."""
    source = random.Random(11)
    found = [estimate([source.gauss(0.98, 0.04) for _ in range(16)], seed=one, resamples=300) for one in range(400)]
    assert 0.85 < sum(one.low <= 0.98 <= one.high for one in found) / len(found) < 0.97


# -- statements --------------------------------------------------------------------------------------------------------


def between(low, high, median=None):
    """An estimate with that interval."""
    return Estimate(median=(low + high) / 2 if median is None else median, low=low, high=high, deviation=0.01)


FINDINGS = {
    "around one": (between(0.99, 1.01), 5, Finding.EQUIVALENT),
    "on both bounds of the margin": (between(0.95, 1.05), 5, Finding.EQUIVALENT),
    "slower, but within the margin": (between(0.96, 0.98), 5, Finding.EQUIVALENT),
    "just below the margin": (between(0.9499, 1.0), 5, Finding.UNDECIDED),
    "just above the margin": (between(1.0, 1.0501), 5, Finding.UNDECIDED),
    "slower, across the margin": (between(0.94, 0.96), 5, Finding.SLOWER),
    "slower, up to nothing": (between(0.94, 0.9999), 5, Finding.SLOWER),
    "faster, across the margin": (between(1.0001, 1.06), 5, Finding.FASTER),
    "too few pairs": (between(0.99, 1.01), 4, Finding.UNDECIDED),
    "no pair": (None, 0, Finding.UNDECIDED),
}


@pytest.mark.parametrize(("found", "pairs", "expected"), FINDINGS.values(), ids=FINDINGS)
def test_finding(found, pairs, expected):
    """Equivalent by the whole interval within the margin, slower by the whole of it below one, else not decided."""
    assert finding(found, pairs, 0.05) is expected


STATEMENTS = {
    "equivalent": (between(0.99, 1.01), 16, 0.05, "equivalent within ±5 %"),
    "equivalent, a margin with a half": (between(0.99, 1.01), 16, 0.025, "equivalent within ±2.5 %"),
    "slower": (between(0.958, 0.98, 0.969), 16, 0.03, "slower by 3.1 % (2.0 … 4.2 %)"),
    "faster": (between(1.02, 1.08, 1.06), 16, 0.05, "faster by 6.0 % (2.0 … 8.0 %)"),
    "undecided": (between(0.93, 1.02), 8, 0.05, "not decided with 8 pairs: −7.0 … +2.0 %"),
    "too few": (between(1.0, 1.0), 1, 0.05, "not decided with 1 pair: +0.0 … +0.0 %, at least 5 are needed"),
    "none": (None, 0, 0.05, "not decided: no pair"),
}


@pytest.mark.parametrize(("found", "pairs", "margin", "said"), STATEMENTS.values(), ids=STATEMENTS)
def test_statement(found, pairs, margin, said):
    """The sentence that goes with a finding."""
    judged = Row(
        workload=LZMA,
        pairs=(Pair(native=1.0, container=1.0),) * pairs,
        margin=margin,
        estimate=found,
        finding=finding(found, pairs, margin),
    )
    assert judged.statement == said


# -- the report --------------------------------------------------------------------------------------------------------

HOST = Host(cores=2, memory_bytes=1 << 34, swap_bytes=0, kernel="6.1.0", engine="Docker 20.10.24, cgroup v1")


def test_disturbed_pairs_are_told():
    """A statement says how many pairs were left out; without any left nothing is decided."""
    found = [row(STREAM, pairs, 0.05, seed=1, disturbed=3) for pairs in ([], [Pair(native=1.0, container=1.0)] * 5)]
    assert [(one.finding, one.statement) for one in found] == [
        (Finding.UNDECIDED, "not decided: no pair; 3 pairs disturbed"),
        (Finding.EQUIVALENT, "equivalent within ±5 %; 3 pairs disturbed"),
    ]


def overhead(*rows):
    """A run that gave these rows."""
    return Overhead(
        rows=rows,
        host=HOST,
        image="spawner-limits/overhead",
        seed=7,
        margin=0.05,
        pairs=5,
        started="2026-11-22T06:00:00+00:00",
        seconds=301.4,
        version="0.1.0",
    )


def pairs_of(*ratios):
    """Pairs with a time of 2 s in the container and these ratios."""
    return [Pair(native=2 * one, container=2.0) for one in ratios]


EQUIVALENT = row(LZMA, pairs_of(0.99, 0.98, 1.0, 1.01, 1.02), 0.05, seed=1)
SLOWER = row(LINPACK, [Pair(native=1.0, container=one) for one in (0.84, 0.85, 0.86, 0.87, 0.88)], 0.05, seed=1)
UNDECIDED = row(STREAM, [Pair(native=1.0, container=one) for one in (0.9, 1.2, 1.0, 1.01, 1.02)], 0.05, seed=1)
NONE = row(RANDOM_ACCESS, [], 0.05, seed=1)

TABLE = """\
A container against a chroot into the same image, margin ±5 %
(below zero the container is slower)

                                           sd of          published   published
Workload       Median      90 % interval  a pair Pairs       Docker KVM untuned
LZMA           +0.0 %      −2.0 … +2.0 %   1.6 %     5         −4 %       −22 %
  equivalent within ±5 %
Linpack       −14.0 %    −16.0 … −12.0 %   1.6 %     5         −0 %       −17 %
  slower by 14.0 % (12.0 … 16.0 %)
RandomAccess        –                  –       –     0         −2 %        −1 %
  not decided: no pair
STREAM         +1.0 %    −10.0 … +20.0 %  10.9 %     5    −0 … −3 %   −1 … −3 %
  not decided with 5 pairs: −10.0 … +20.0 %

              −10.0 %             0             +10.0 %
LZMA                    ┆     ├───●───┤     ┆
Linpack       ◂         ┆         │         ┆
RandomAccess            ┆         │         ┆
STREAM        ├─────────────────────●─────────────────▸
              ● median  ├┤ 90 % interval  ┆ margin  ◂▸ beyond

LZMA: CPU time of xz -2 --threads=0 over 24 MiB of the image's own files
Linpack: HPL with N = 4000, one thread, the faster of two
RandomAccess: updates of a table of 64 MiB, one thread, the faster of two
STREAM: triad over 128 MB, one thread, the fastest of twenty
2 cores, Linux 6.1.0, Docker 20.10.24, cgroup v1
image spawner-limits/overhead, seed 7
started 2026-11-22T06:00:00+00:00, took 301 s, spawner-limits 0.1.0
published: Felter et al., IBM Research Report RC25482, 2014"""


def test_table():
    """All of it, in 80 columns."""
    drawn = table(overhead(EQUIVALENT, SLOWER, NONE, UNDECIDED))
    assert drawn == TABLE
    assert max(map(len, drawn.splitlines())) <= 80


EXIT_CODES = {
    "all equivalent": ((EQUIVALENT, EQUIVALENT), 0),
    "one not decided": ((EQUIVALENT, UNDECIDED), 3),
    "one slower": ((EQUIVALENT, SLOWER, UNDECIDED), 1),
    "one not run": ((EQUIVALENT, NONE), 3),
    "nothing": ((), 3),
}


@pytest.mark.parametrize(("rows", "code"), EXIT_CODES.values(), ids=EXIT_CODES)
def test_exit_code(rows, code):
    """1 where something is slower, 3 where something is not decided, else 0."""
    assert overhead(*rows).exit_code == code


def test_as_an_experiment():
    """Four figures a workload; a slower one is BROKEN, and what is not decided UNKNOWN."""
    found = as_experiment(overhead(EQUIVALENT, SLOWER, NONE))
    assert [(one.part, one.key, one.value, one.number) for one in found.figures[::4]] == [
        ("LZMA", "median_ratio", "+0.0 %", 1.0),
        ("Linpack", "median_ratio", "−14.0 %", 0.86),
        ("RandomAccess", "median_ratio", "–", None),
    ]
    assert [(one.part, one.verdict.outcome, one.verdict.reason) for one in found.judged] == [
        ("LZMA", Outcome.HELD, "equivalent within ±5 %"),
        ("Linpack", Outcome.BROKEN, "slower by 14.0 % (12.0 … 16.0 %)"),
        ("RandomAccess", Outcome.UNKNOWN, "not decided: no pair"),
    ]
    assert (found.name, found.findings[0]) == ("overhead", "LZMA: equivalent within ±5 %.")


def test_record():
    """It goes through JSON; ratios and pairs are those of the rows, and what is not known is null."""
    told = json.loads(json.dumps(record(overhead(EQUIVALENT, NONE))))
    assert {name: told[name] for name in ("schema_version", "seed", "margin_ratio", "pairs", "seconds")} == {
        "schema_version": 1,
        "seed": 7,
        "margin_ratio": 0.05,
        "pairs": 5,
        "seconds": 301.4,
    }
    first, second = told["workloads"]
    assert first == {
        "workload": "lzma",
        "measured": LZMA.measured,
        "unit": "s",
        "better": "lower",
        "pairs": [{"native": 2 * one, "container": 2.0} for one in (0.99, 0.98, 1.0, 1.01, 1.02)],
        "median_ratio": 1.0,
        "low_ratio": 0.98,
        "high_ratio": 1.02,
        "disturbed_pairs": 0,
        "deviation_ratio": pytest.approx(0.0158, abs=1e-4),
        "finding": "equivalent",
        "statement": "equivalent within ±5 %",
        "published": {"docker_slower_percent": [4, 4], "kvm_untuned_slower_percent": [22, 22]},
    }
    assert (second["median_ratio"], second["pairs"], second["finding"]) == (None, [], "undecided")
