"""The experiment: both sides run the same programs in pairs and in random order; what came of it is estimated."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks.overhead.estimate import Pair
from benchmarks.overhead.pair import RUN_S, Side, places
from benchmarks.overhead.report import Overhead, row
from benchmarks.overhead.workloads import WORKLOADS, disturbed
from spawner_limits import __version__
from spawner_limits.bench.host import host_of
from spawner_limits.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.overhead.pair import Place
    from benchmarks.overhead.workloads import Program, Workload
    from spawner_limits.clients.own_containers import Engine

PAIRS = 16
MARGIN = 0.05
SECONDS = 900
_MARGIN_S = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One pair of one program, and which side goes first."""

    program: Program
    order: tuple[Side, Side]


def schedule(programs: Sequence[Program], pairs: int, seed: int) -> tuple[Turn, ...]:
    """So many pairs of each program: pair by pair, the programs within one in random order, and so its two sides."""
    source = random.Random(seed)  # noqa: S311  it keeps no secret
    return tuple(
        Turn(program=program, order=_order(source))
        for _ in range(pairs)
        for program in source.sample(programs, len(programs))
    )


def _order(source: random.Random) -> tuple[Side, Side]:
    first, second = source.sample(tuple(Side), 2)
    return first, second


def programs_of(workloads: Sequence[Workload]) -> tuple[Program, ...]:
    """Each once, however many figures it gives."""
    return tuple(dict.fromkeys(one.program for one in workloads))


def named(keys: Sequence[str]) -> tuple[Workload, ...]:
    """The workloads with these keys, or all when there are none. UsageError for one that is not known."""
    known = {one.key: one for one in WORKLOADS}
    for key in keys:
        if key not in known:
            raise UsageError(f"{key}: no such workload; there are {', '.join(known)}")
    return tuple(one for one in WORKLOADS if not keys or one.key in keys)


def measure(  # noqa: PLR0913  each is an option of the command
    engine: Engine,
    image: str,
    *,
    pairs: int = PAIRS,
    margin: float = MARGIN,
    seed: int,
    workloads: Sequence[Workload] = WORKLOADS,
    seconds: int = SECONDS,
    say: Callable[[str], None],
) -> Overhead:
    """Run every workload in so many pairs; no pair is begun once `seconds` are over. Leaves nothing behind.

    `margin`: a share, 0.05 for ±5 %.

    Errors: UsageError for what can't be asked for, an image that is not there, or a user who is not root;
    LimitsError when a program fails.
    """
    _need(pairs, margin, workloads)
    started, began = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    turns = schedule(programs_of(workloads), pairs, seed)
    say(f"making a container of {image}, and a copy of its files for the native side")
    with places(engine, image, seconds + 2 * RUN_S + _MARGIN_S) as sides:
        _warm_up(sides, workloads, say)
        found = _run(sides, turns, workloads, began + seconds, say)
    return Overhead(
        rows=tuple(row(one, found.pairs[one.key], margin, seed, found.disturbed[one.program]) for one in workloads),
        host=host_of(engine),
        image=image,
        seed=seed,
        margin=margin,
        pairs=pairs,
        started=started,
        seconds=time.monotonic() - began,
        version=__version__,
    )


def _need(pairs: int, margin: float, workloads: Sequence[Workload]) -> None:
    if pairs < 1:
        raise UsageError(f"{pairs} pairs: at least 1 is needed")
    if not 0 < margin < 1:
        raise UsageError(f"a margin of {margin:g} can't be: it is a share, 0.05 for ±5 %")
    if not workloads:
        raise UsageError("no workload was asked for")


def _warm_up(sides: Mapping[Side, Place], workloads: Sequence[Workload], say: Callable[[str], None]) -> None:
    """Once on each side, not counted: the first run reads the files from the disk."""
    for program in programs_of(workloads):
        say(f"{program.name}: warming up")
        for place in sides.values():
            place.run(program)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    pairs: Mapping[str, list[Pair]]
    """workload → its pairs"""
    disturbed: Counter[Program]
    """program → pairs of runs that don't count"""


def _run(
    sides: Mapping[Side, Place],
    turns: Sequence[Turn],
    workloads: Sequence[Workload],
    end: float,
    say: Callable[[str], None],
) -> _Found:
    found = _Found(pairs={one.key: [] for one in workloads}, disturbed=Counter())
    for number, turn in enumerate(turns, 1):
        if time.monotonic() > end:
            say(f"the time is over: {len(turns) - number + 1} of {len(turns)} pairs of runs are left out")
            break
        said = {side: sides[side].run(turn.program) for side in turn.order}
        for line in _counted(found, turn.program, said, workloads):
            say(f"{number}/{len(turns)} {line}")
    return found


def _counted(found: _Found, program: Program, said: Mapping[Side, str], workloads: Sequence[Workload]) -> Iterator[str]:
    """Add the figures of a pair of runs, or that it was disturbed; what is to be told of it."""
    if any(disturbed(program, one) for one in said.values()):
        found.disturbed[program] += 1
        yield f"{program.name}: other work held the CPU, so this pair does not count"
        return
    for one in workloads:
        if one.program == program:
            pair = _pair(one, said)
            found.pairs[one.key].append(pair)
            yield _told(one, pair)


def _pair(workload: Workload, said: Mapping[Side, str]) -> Pair:
    return Pair(native=workload.figure(said[Side.NATIVE]), container=workload.figure(said[Side.CONTAINER]))


def _told(workload: Workload, pair: Pair) -> str:
    return f"{workload.title}: native {pair.native:.4g} {workload.unit}, container {pair.container:.4g} {workload.unit}"
