"""`python -m benchmarks.apply [--json]`: how soon a changed policy is in force in running containers.

Beside it, in the same rounds, the SDK's `docker update` alone: it decides nothing and reads nothing back. Ends with 1
where a target is not met.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.paired import Pairs
from benchmarks.spawners import IMAGE, yard
from benchmarks.table import Target, ms, ratio, table, verdicts
from spawner_limits.clients.docker import DockerEngine
from spawner_limits.engines import labels
from spawner_limits.engines.docker import translate
from spawner_limits.kernel.cgroups import find
from spawner_limits.lifecycle.apply import apply_all, plans
from spawner_limits.lifecycle.hub_service import POLICY_VARIABLE
from spawner_limits.lifecycle.node import Node
from spawner_limits.lifecycle.plan import entitle
from spawner_limits.policy.parse import parse
from spawner_limits.policy.resolve import resolve
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.spawners import Yard
    from spawner_limits.clients.engine import Server
    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.policy.model import Policy

SCHEMA_VERSION = 1
COUNTS = (1, 10, 100)
ROUNDS = 7
MOST_S = 5.0
_POLICY = "version: 1\nauto_apply: true\ndefaults: {{mem_limit: {size}M, cpu_limit: 0.5, pids_limit: 100}}\n"
_FIRST_MIB = 32
_THREADS = 8
_SETTLED_S = 1.5
"""after which the service looks at a container that has just been started"""
_GIVE_UP_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """So many running containers, each of which is given another limit of memory in each turn. Seconds, by round."""

    count: int
    plan_s: tuple[float, ...]
    """all are looked at, and what is to change is decided"""
    one_by_one: Pairs
    """plan and apply, beside the SDK's updates one after another"""
    threads: Pairs
    """the same, beside the SDK's updates in eight threads"""
    service_s: tuple[float, ...]
    """from the changed file until the Linux kernel shows the last container's new limit: the Hub service"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """One run."""

    load: float
    """the machine's load average over a minute, before"""
    changes: tuple[Changes, ...]

    def targets(self) -> tuple[Target, ...]:
        """The slowest round of the most containers."""
        most = self.changes[-1]
        what = f"a changed file in {most.count} containers, the slowest round"
        return (Target(what=what, figure=max(most.service_s), most=MOST_S, unit="s"),)


@dataclass(frozen=True, kw_only=True, slots=True)
class Herd:
    """Running containers that carry our labels."""

    place: Yard
    path: Path
    """of the policy"""
    node: Node
    containers: tuple[str, ...]
    files: tuple[Path, ...]
    """the Linux kernel's, with the limit of memory of each"""
    sizes: Iterator[int]
    """MiB, none of which comes twice"""

    def policy(self, size: int) -> Policy:
        """One that gives everybody so many MiB."""
        return parse(_POLICY.format(size=size).encode(), str(self.path))

    def ours(self) -> tuple[float, float]:
        """Seconds for the plan, and for the plan and its doing."""
        size, users = next(self.sizes), [f"{self.place.prefix}-{number}" for number in range(len(self.containers))]
        policy, begin = self.policy(size), time.perf_counter()

        def entitled(server: Server, in_force: Entitlement | None) -> Entitlement:
            return entitle(policy, server, in_force, None, now=datetime.now(UTC))

        found = self.node.engine.servers(users=users)
        made = plans(found, self.node, entitled)
        planned = time.perf_counter()
        done = apply_all(self.node, made)
        took = time.perf_counter() - begin
        if not all(one.holds for one in done) or not self.shows(size):
            raise RuntimeError(f"{size} MiB were not applied to all")
        return planned - begin, took

    def one_by_one(self) -> float:
        """Seconds for the SDK's updates, one after another."""
        return self._updated(lambda update: [update(one) for one in self.containers])

    def in_threads(self) -> float:
        """Seconds for the SDK's updates, eight at a time."""
        with ThreadPoolExecutor(_THREADS) as pool:
            return self._updated(lambda update: list(pool.map(update, self.containers)))

    def _updated(self, each: Callable[[Callable[[str], Any]], object]) -> float:
        size = next(self.sizes)
        limit: Any = size * MIB
        begin = time.perf_counter()
        each(lambda one: self.place.client.update_container(one, mem_limit=limit, memswap_limit=limit + 1))
        took = time.perf_counter() - begin
        if not self.shows(size):
            raise RuntimeError(f"{size} MiB were not set everywhere")
        return took

    def by_service(self) -> float:
        """Seconds from the change of the file until the kernel shows it everywhere; the service must run."""
        size = next(self.sizes)
        new = self.path.with_suffix(".new")
        new.write_text(_POLICY.format(size=size), encoding="utf-8")
        begin = time.perf_counter()
        new.replace(self.path)
        while not self.shows(size):
            if time.perf_counter() - begin > _GIVE_UP_S:
                raise RuntimeError(f"the service did not apply {size} MiB to all in {_GIVE_UP_S} s")
            time.sleep(0.005)
        return time.perf_counter() - begin

    def shows(self, size: int) -> bool:
        """Whether the Linux kernel has that limit everywhere; in the order in which they are likely to be done last."""
        return all(int(file.read_text()) == size * MIB for file in reversed(self.files))


def measure(place: Yard, counts: Sequence[int], rounds: int) -> tuple[Changes, ...]:
    """For each number of containers so many rounds."""
    return tuple(_changes(place, one, rounds) for one in counts)


def _changes(place: Yard, many: int, rounds: int) -> Changes:
    chance = random.Random(many)  # noqa: S311  not for secrets
    found: dict[str, list[Any]] = {"ours": [], "one_by_one": [], "in_threads": [], "by_service": []}
    with _herd(place, many) as herd, _service(herd):
        for number in range(rounds):
            _say(f"{many} containers, round {number + 1} of {rounds}")
            for turn in chance.sample(sorted(found), len(found)):
                found[turn].append(getattr(herd, turn)())
    took = tuple(both for _, both in found["ours"])
    return Changes(
        count=many,
        plan_s=tuple(planned for planned, _ in found["ours"]),
        one_by_one=Pairs(ours=took, theirs=tuple(found["one_by_one"])),
        threads=Pairs(ours=took, theirs=tuple(found["in_threads"])),
        service_s=tuple(found["by_service"]),
    )


# -- containers, and the service -----------------------------------------------------------------------------------


@contextmanager
def _herd(place: Yard, many: int) -> Iterator[Herd]:
    _say(f"start {many} containers")
    path, sizes = place.folder / "applied.yaml", count(_FIRST_MIB)
    path.write_text(_POLICY.format(size=next(sizes)), encoding="utf-8")
    policy = parse(path.read_bytes(), str(path))
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            containers = tuple(pool.map(lambda number: _started(place, policy, number), range(many)))
        yield Herd(
            place=place,
            path=path,
            node=Node.here(DockerEngine.over(place.client), place.records),
            containers=containers,
            files=tuple(_limit_file(place, one) for one in containers),
            sizes=sizes,
        )
    finally:
        place.clear()


def _started(place: Yard, policy: Policy, number: int) -> str:
    """A container as the hub's spawner makes it."""
    user = f"{place.prefix}-{number}"
    entitlement = resolve(policy, user, (), now=datetime.now(UTC))
    given = {
        labels.USER: user,
        labels.SERVER: "",
        labels.POLICY: entitlement.policy_sha256,
        labels.ENTITLEMENT: entitlement.to_json(),
    }
    limits = place.client.create_host_config(**translate(entitlement.limits).ask)
    made = place.client.create_container(IMAGE, ["sleep", "3600"], name=user, labels=given, host_config=limits)
    place.client.start(made["Id"])
    return str(made["Id"])


def _limit_file(place: Yard, container: str) -> Path:
    pid = DockerEngine.over(place.client).process(container)
    cgroup = find(pid, container_id=container, controllers=("memory",))
    name = "memory.max" if cgroup.versions["memory"] == 2 else "memory.limit_in_bytes"  # noqa: PLR2004
    return cgroup.directories["memory"] / name


@contextmanager
def _service(herd: Herd) -> Iterator[None]:
    """The Hub service, whose hub does not answer: groups are those of each server's start."""
    own = {"JUPYTERHUB_API_URL": "http://127.0.0.1:9/hub/api", "JUPYTERHUB_API_TOKEN": "none"}
    own |= {POLICY_VARIABLE: str(herd.path), "SPAWNER_LIMITS_RECORDS": str(herd.place.records.directory)}
    time.sleep(_SETTLED_S)
    with (herd.place.folder / "service.log").open("wb") as log:
        command = [sys.executable, "-m", "spawner_limits.service.keeper"]
        process = subprocess.Popen(command, env={**os.environ, **own}, stderr=log)
        try:
            herd.by_service()  # it has started, and has looked at all once
            yield
        finally:
            process.terminate()
            process.wait()


def _say(what: str) -> None:
    print(what, file=sys.stderr)  # noqa: T201  progress


# -- what is printed ---------------------------------------------------------------------------------------------


def as_text(figures: Figures) -> str:
    """Plain tables, and whether each target is held."""
    tables = _compared(figures.changes), _by_service(figures.changes), verdicts(figures.targets())
    return "\n\n".join((f"load average before: {figures.load:.1f}", *(table(rows) for rows in tables)))


def _compared(changes: Sequence[Changes]) -> list[tuple[str, ...]]:
    head = ("containers", "plan", "plan and apply", "each", "updates, one by one", "ratio (95%)", "in 8 threads",
            "ratio (95%)")  # fmt: skip
    return [head, *(_compared_row(one) for one in changes)]


def _compared_row(one: Changes) -> tuple[str, ...]:
    took = one.threads.ours_s
    ours = ms(median(one.plan_s)), ms(took), ms(took / one.count)
    alone, threads = one.one_by_one, one.threads
    return str(one.count), *ours, ms(alone.theirs_s), ratio(alone.ratio), ms(threads.theirs_s), ratio(threads.ratio)


def _by_service(changes: Sequence[Changes]) -> list[tuple[str, ...]]:
    head = ("a changed file in", "least", "median", "most")
    return [head, *((f"{one.count} containers", *_spread(one.service_s)) for one in changes)]


def _spread(seconds: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"{one:.2f} s" for one in (min(seconds), median(seconds), max(seconds)))


def as_json(figures: Figures) -> str:
    """The same for programs."""
    whole: Mapping[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "python": sys.version.split()[0],
        **asdict(figures),
        "targets": [{**asdict(one), "is_held": one.is_held} for one in figures.targets()],
    }
    return json.dumps(whole, indent=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="running containers, rising")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of each of them")
    given = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    with yard() as place:
        figures = Figures(load=load, changes=measure(place, given.counts, given.rounds))
    print(as_json(figures) if given.json else as_text(figures))  # noqa: T201  the result
    return 0 if all(one.is_held for one in figures.targets()) else 1


if __name__ == "__main__":
    sys.exit(main())
