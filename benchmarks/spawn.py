"""`python -m benchmarks.spawn [--json]`: what a spawn takes beside the stock DockerSpawner's, in the same rounds.

Ends with 1 where a target is not met.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import os
import random
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.paired import Pairs
from benchmarks.spawners import burst, yard
from benchmarks.table import Target, ms, ms_interval, ratio, table, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.spawners import Yard

SCHEMA_VERSION = 1
COUNTS = (1, 10, 100)
ROUNDS = (30, 8, 3)
ADDED_S = 0.1
ADDED_PART = 0.03
ATTESTED_S = 0.01
_ATTESTATION = "attestation, and its record"
STEPS: Mapping[str, str] = {
    "_decide": "policy, entitlement, translation",
    "_refuse_overrides": "the hub's configuration compared",
    "_copy_notebook": "notebook copied",
    "protection.hold": "cgroup above all servers",
    "attest_limits": _ATTESTATION,
    "protection.look": "cgroup and network looked at",
}
"""method of the spawner, or of a part of it → what it does"""
ROOM = ("machine", "holdings", "check")
"""methods of `Admission`"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spawns:
    """So many spawns at the same moment. A round's time is the median of its spawns."""

    count: int
    pairs: Pairs
    last: Pairs
    """until the last one had its address"""
    attested_s: tuple[float, ...]
    """by our own records: asking the engine, reading the kernel's files, comparing"""
    steps: Mapping[str, float]
    """of one spawn alone: what ours does beside DockerSpawner, medians of seconds; empty for several"""

    @property
    def most_s(self) -> float:
        """What may be added."""
        return max(ADDED_S, ADDED_PART * self.pairs.theirs_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """One run."""

    load: float
    """the machine's load average over a minute, before"""
    spawns: tuple[Spawns, ...]

    def targets(self) -> tuple[Target, ...]:
        """The time that is added, of each number of spawns; and what attestation takes of it."""
        added = (
            Target(what=f"added to {one.count} at a time, median", figure=one.pairs.added.median * 1e3,
                   most=round(one.most_s * 1e3, 1), unit="ms")
            for one in self.spawns
        )  # fmt: skip
        attested = (
            Target(what=_ATTESTATION, figure=one.steps[_ATTESTATION] * 1e3, most=ATTESTED_S * 1e3, unit="ms")
            for one in self.spawns
            if one.steps
        )
        return (*added, *attested)


class Stopwatch:
    """Takes the time of some methods of a thing; one within another is not counted twice."""

    def __init__(self) -> None:
        """Nothing is watched yet."""
        self.took: dict[str, float] = defaultdict(float)
        self._is_inside = False

    def watch(self, thing: Any, method: str, step: str) -> None:
        """From now on; the method may be a coroutine's."""
        inner = getattr(thing, method)
        timed = self._awaited if inspect.iscoroutinefunction(inner) else self._called
        setattr(thing, method, partial(timed, inner, step))

    async def _awaited(self, inner: Callable[..., Any], step: str, *arguments: Any) -> Any:
        if self._is_inside:
            return await inner(*arguments)
        self._is_inside, begin = True, time.perf_counter()
        try:
            return await inner(*arguments)
        finally:
            self._is_inside = False
            self.took[step] += time.perf_counter() - begin

    def _called(self, inner: Callable[..., Any], step: str, *arguments: Any) -> Any:
        begin = time.perf_counter()
        try:
            return inner(*arguments)
        finally:
            self.took[step] += time.perf_counter() - begin


def measure(place: Yard, counts: Sequence[int], rounds: Sequence[int]) -> tuple[Spawns, ...]:
    """For each number of spawns so many rounds; what is asked only once is asked before."""
    return asyncio.run(_measured(place, counts, rounds))


async def _measured(place: Yard, counts: Sequence[int], rounds: Sequence[int]) -> tuple[Spawns, ...]:
    for one in (place.ours(1), place.stock(1)):
        await burst(one)
        place.clear()
    return tuple([await _spawns(place, *one) for one in zip(counts, rounds, strict=True)])


async def _spawns(place: Yard, count: int, rounds: int) -> Spawns:
    chance = random.Random(count)  # noqa: S311  not for secrets
    found: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
    watches: list[Stopwatch] = []
    attested: list[float] = []
    for number in range(rounds):
        _say(f"{count} at a time, round {number + 1} of {rounds}")
        for whose in chance.sample(("ours", "theirs"), 2):
            spawners = place.ours(count) if whose == "ours" else place.stock(count)
            if whose == "ours" and count == 1:
                watches.append(_watched(spawners[0]))
            found[whose].append(await burst(spawners))
            if whose == "ours":
                attested += [_attested_s(one) for one in spawners]
            place.clear()
    return Spawns(
        count=count,
        pairs=_pairs(found, median),
        last=_pairs(found, max),
        attested_s=tuple(attested),
        steps={step: median(watch.took[step] for watch in watches) for step in dict.fromkeys(_steps()) if watches},
    )


def _steps() -> tuple[str, ...]:
    return (*STEPS.values(), "room on the host")


def _watched(spawner: Any) -> Stopwatch:
    watch = Stopwatch()
    for name, step in STEPS.items():
        part, _, method = name.rpartition(".")
        watch.watch(getattr(spawner, part) if part else spawner, method, step)
    for method in ROOM:
        spawner.state.admission.__dict__.pop(method, None)  # of the round before
        watch.watch(spawner.state.admission, method, "room on the host")
    return watch


def _attested_s(spawner: Any) -> float:
    (record,) = (one for one in spawner.state.records.of(spawner.container_id) if one.event == "attested")
    return float(record.details["seconds"])


def _pairs(found: Mapping[str, Sequence[Sequence[float]]], of: Callable[[Sequence[float]], float]) -> Pairs:
    return Pairs(ours=tuple(map(of, found["ours"])), theirs=tuple(map(of, found["theirs"])))


def _say(what: str) -> None:
    print(what, file=sys.stderr)  # noqa: T201  progress


# -- what is printed ---------------------------------------------------------------------------------------------


def as_text(figures: Figures) -> str:
    """Plain tables, and whether each target is held."""
    steps = [_steps_table(one) for one in figures.spawns if one.steps]
    tables = (_compared(figures.spawns), _until_last(figures.spawns), *steps, verdicts(figures.targets()))
    return "\n\n".join((f"load average before: {figures.load:.1f}", *(table(rows) for rows in tables)))


def _compared(spawns: Sequence[Spawns]) -> list[tuple[str, ...]]:
    head = ("at a time", "rounds", "DockerSpawner", "ours", "added (95%)", "ratio (95%)", "attested in")
    return [head, *(_compared_row(one) for one in spawns)]


def _compared_row(one: Spawns) -> tuple[str, ...]:
    pairs = one.pairs
    times = ms(pairs.theirs_s), ms(pairs.ours_s), ms_interval(pairs.added), ratio(pairs.ratio)
    return str(one.count), str(len(pairs.ours)), *times, ms(median(one.attested_s))


def _until_last(spawns: Sequence[Spawns]) -> list[tuple[str, ...]]:
    head = ("until the last of", "DockerSpawner", "ours", "ratio (95%)")
    rows = [
        (str(one.count), f"{one.last.theirs_s:.2f} s", f"{one.last.ours_s:.2f} s", ratio(one.last.ratio))
        for one in spawns
    ]
    return [head, *rows]


def _steps_table(one: Spawns) -> list[tuple[str, ...]]:
    slowest_first = sorted(one.steps.items(), key=lambda step: -step[1])
    return [("what ours does in one spawn", "median"), *((step, ms(seconds)) for step, seconds in slowest_first)]


def as_json(figures: Figures) -> str:
    """The same for programs."""
    whole = {
        "schema_version": SCHEMA_VERSION,
        "python": sys.version.split()[0],
        "jupyterhub": version("jupyterhub"),
        "dockerspawner": version("dockerspawner"),
        **asdict(figures),
        "targets": [{**asdict(one), "is_held": one.is_held} for one in figures.targets()],
    }
    return json.dumps(whole, indent=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="spawns at the same moment")
    parser.add_argument("--rounds", type=int, nargs="+", default=ROUNDS, help="rounds of each of them")
    given = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    with yard() as place:
        figures = Figures(load=load, spawns=measure(place, given.counts, given.rounds))
    print(as_json(figures) if given.json else as_text(figures))  # noqa: T201  the result
    return 0 if all(one.is_held for one in figures.targets()) else 1


if __name__ == "__main__":
    sys.exit(main())
