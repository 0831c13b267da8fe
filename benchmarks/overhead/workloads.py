"""The workloads: what is run, which figure of it counts, and what was published of it. No I/O.

They are those of Felter et al., "An Updated Performance Comparison of Virtual Machines and Linux Containers",
IBM Research Report RC25482 (2014). One run of hpcc gives the figures of three.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from spawner_limits.errors import LimitsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class FigureError(LimitsError):
    """A program ended well, and its output has not the figure that it should have."""


class Better(StrEnum):
    """Which figure is the better one."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A command, run the same way on both sides. Whatever it needs, it makes and removes itself."""

    name: str
    command: tuple[str, ...]
    cores: float | None = None
    """how many it never rests on; `None` where its figures are CPU time, which other work hardly changes"""
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """By how many percent a workload was slower there than natively: the least and the most."""

    docker_percent: tuple[int, int]
    kvm_percent: tuple[int, int]
    """KVM as it comes, not tuned"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One row of the table."""

    key: str
    """as it is asked for by name"""
    title: str
    program: Program
    measured: str
    """what the figure is, in a sentence's part"""
    figure: Callable[[str], float]
    """from what the program printed. FigureError where it is not there"""
    unit: str
    better: Better
    published: Published | None = None


# -- times -------------------------------------------------------------------------------------------------------------

CALM = 0.95
"""so much of the cores that it wants a run must have got, or its wall-clock figures say what other work left"""
_FORMAT = "elapsed %3R user %3U system %3S"
_TIMES = re.compile(r"^elapsed (\d+\.\d+) user (\d+\.\d+) system (\d+\.\d+)$", re.MULTILINE)


def _times(output: str) -> tuple[float, float]:
    """Elapsed and CPU seconds, as the shell told them: "elapsed 1.206 user 2.351 system 0.052"."""
    found = _TIMES.search(output)
    if found is None:
        raise FigureError(f'no times in its output: {output.strip()[-200:]!r}; expected "elapsed … user … system …"')
    return float(found[1]), float(found[2]) + float(found[3])


def cpu_seconds(output: str) -> float:
    """User and system time."""
    return _times(output)[1]


def disturbed(program: Program, output: str) -> bool:
    """Whether other work held the CPU that this run wanted, so that a clock says nothing of the program.

    A container competes as one of all containers, a chroot with all of them as a whole: on a busy host the two get
    different shares of the CPU, which is not what a container costs.
    """
    if program.cores is None:
        return False
    elapsed, used = _times(output)
    return used < CALM * program.cores * elapsed


# -- xz ----------------------------------------------------------------------------------------------------------------

INPUT_BYTES = 24 << 20
_COMPRESS = f"""
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
find /usr/lib /usr/share -type f -print0 | LC_ALL=C sort -z | xargs -0 cat 2>/dev/null |
    head -c {INPUT_BYTES} > "$directory/input"
TIMEFORMAT='{_FORMAT}'
{{ time xz -2 --threads=0 --block-size=1MiB --stdout < "$directory/input" > /dev/null; }} 2>&1
"""


# -- hpcc --------------------------------------------------------------------------------------------------------------

LINPACK_N = 4000
"""hpcc sizes the other tests by it: 128 MB for the vectors of STREAM, 64 MiB for RandomAccess's table.

Less would measure a processor's cache instead of its memory. Most of a run's 14 s go to tests that hpcc can't be told
to leave out.
"""
_INPUT = (
    ("HPLinpack benchmark input file", ""),
    ("overhead", ""),
    ("HPL.out", "output file name"),
    ("8", "device out (file)"),
    ("2", "number of problem sizes: twice the same, and hpcc reports the faster one"),
    (f"{LINPACK_N} {LINPACK_N}", "N"),
    ("1", "number of block sizes"),
    ("128", "NB"),
    ("0", "process mapping (row-major)"),
    ("1", "number of process grids"),
    ("1", "P"),
    ("1", "Q"),
    ("16.0", "threshold of the residual"),
    ("1", "number of panel factorisations"),
    ("2", "PFACT (right)"),
    ("1", "number of recursive stopping criteria"),
    ("4", "NBMIN"),
    ("1", "number of panels in recursion"),
    ("2", "NDIV"),
    ("1", "number of recursive panel factorisations"),
    ("1", "RFACT (Crout)"),
    ("1", "number of broadcasts"),
    ("1", "BCAST (1rM)"),
    ("1", "number of lookahead depths"),
    ("1", "DEPTH"),
    ("2", "SWAP (mix)"),
    ("64", "swapping threshold"),
    ("0", "L1 (transposed)"),
    ("0", "U (transposed)"),
    ("1", "equilibration"),
    ("8", "memory alignment in doubles"),
    ("-", "ignored"),
    ("0", "number of additional problem sizes for PTRANS"),
    ("0", "values"),
    ("0", "number of additional block sizes for PTRANS"),
    ("0", "values"),
)
HPCC_INPUT = "".join(f"{value:<30} {meaning}".rstrip() + "\n" for value, meaning in _INPUT)
"""hpccinf.txt"""
_CHALLENGE = f"""
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
cd "$directory" && printf %s "$1" > hpccinf.txt || exit 1
TIMEFORMAT='{_FORMAT}'
{{ time hpcc >&2; }} 2> said || {{ cat said >&2; exit 1; }}
grep '^elapsed ' said
sed -n '/^Begin of Summary/,/^End of Summary/p' hpccoutf.txt
"""


def summary(output: str) -> Mapping[str, str]:
    """The summary of hpccoutf.txt: lines of "name=value"."""
    return {name: value for name, given, value in (line.partition("=") for line in output.splitlines()) if given}


def best(*names: str) -> Callable[[str], float]:
    """The highest of these figures of hpcc's summary: other work on the machine only ever lowers them."""

    def figure(output: str) -> float:
        values = summary(output)
        if values.get("Success") != "1":
            raise FigureError(f"hpcc does not say Success=1, but {values.get('Success', 'nothing of it')}")
        missing = [name for name in names if name not in values]
        if missing:
            raise FigureError(f"hpcc's summary has no {', '.join(missing)}")
        return max(float(values[name]) for name in names)

    return figure


# -- the table ---------------------------------------------------------------------------------------------------------

XZ = Program(name="xz", command=("bash", "-c", _COMPRESS))
HPCC = Program(
    name="hpcc",
    command=("bash", "-c", _CHALLENGE, "bash", HPCC_INPUT),
    cores=1.0,
    # one process, started without mpirun: it needs no daemon of MPI's beside it, and talks to nobody but itself
    environment={"OMPI_MCA_ess_singleton_isolated": "1", "OMPI_MCA_btl": "self", "OPENBLAS_NUM_THREADS": "1"},
)
WORKLOADS: tuple[Workload, ...] = (
    Workload(
        key="lzma",
        title="LZMA",
        program=XZ,
        measured="CPU time of xz -2 --threads=0 over 24 MiB of the image's own files",
        figure=cpu_seconds,
        unit="s",
        better=Better.LOWER,
        published=Published(docker_percent=(4, 4), kvm_percent=(22, 22)),
    ),
    Workload(
        key="linpack",
        title="Linpack",
        program=HPCC,
        measured=f"HPL with N = {LINPACK_N}, one thread, the faster of two",
        figure=best("HPL_Tflops"),
        unit="Tflop/s",
        better=Better.HIGHER,
        published=Published(docker_percent=(0, 0), kvm_percent=(17, 17)),
    ),
    Workload(
        key="randomaccess",
        title="RandomAccess",
        program=HPCC,
        measured="updates of a table of 64 MiB, one thread, the faster of two",
        figure=best("StarRandomAccess_GUPs", "SingleRandomAccess_GUPs"),
        unit="Gup/s",
        better=Better.HIGHER,
        published=Published(docker_percent=(2, 2), kvm_percent=(1, 1)),
    ),
    Workload(
        key="stream",
        title="STREAM",
        program=HPCC,
        measured="triad over 128 MB, one thread, the fastest of twenty",
        figure=best("StarSTREAM_Triad", "SingleSTREAM_Triad"),
        unit="GB/s",
        better=Better.HIGHER,
        published=Published(docker_percent=(0, 3), kvm_percent=(1, 3)),
    ),
)
