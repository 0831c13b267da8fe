"""`python -m benchmarks.policy [--json]`: measures all in one run, and ends with 1 where a target is not met."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import made, resolution
from benchmarks.table import Target, table, verdicts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.resolution import Resolution

SCHEMA_VERSION = 1
ROOT = Path(__file__).parents[1]
USERS = (10, 100, 1_000, 10_000, 100_000)
MEMBERSHIPS = (1, 5, 50)
REPEATS = 3
"""fresh processes for each load"""
ROUNDS = 15
PEOPLE = 200
"""resolved in each round"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """Loading and validating one file, each time in a fresh process."""

    users: int
    file_bytes: int
    seconds: float
    """the least of the repeats: what else runs on the machine only adds"""
    median_seconds: float
    peak_bytes: int
    """of the whole process, the most of the repeats"""
    before_bytes: int
    """of which before the load: Python and what it imports"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reload:
    """For how long an event loop was held up, at most, while a thread reads the largest file anew."""

    users: int
    held_up_s: tuple[float, ...]
    """of each reload"""
    took_s: tuple[float, ...]
    counting_s: float
    """the same beside a thread that only counts: what any thread of Python does on this machine"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """One run."""

    loads: tuple[Load, ...]
    resolutions: tuple[Resolution, ...]
    reload: Reload

    def targets(self) -> tuple[Target, ...]:
        """Of the largest policy; a resolution's is its slowest case with so many groups, in any policy."""
        largest = self.loads[-1]
        slowest = {one.case.memberships: 0.0 for one in self.resolutions}
        for one in self.resolutions:
            slowest[one.case.memberships] = max(slowest[one.case.memberships], one.ours_us)
        return (
            Target(what="load", figure=largest.seconds, most=3, unit="s"),
            Target(what="memory", figure=largest.peak_bytes / 1e6, most=500, unit="MB"),
            *(_resolved_target(groups, time) for groups, time in slowest.items()),
            Target(what="reload, the longest hold-up", figure=max(self.reload.held_up_s) * 1e3, most=50, unit="ms"),
        )


def _resolved_target(groups: int, slowest_us: float) -> Target:
    what = f"resolution in {groups} group{'' if groups == 1 else 's'}, the slowest case"
    return Target(what=what, figure=slowest_us, most=50, unit="µs")


def measure(users: Sequence[int], *, repeats: int, rounds: int, people: int) -> Figures:
    """Everything, for policies of so many users."""
    with tempfile.TemporaryDirectory() as folder:
        files = [_written(Path(folder), count) for count in users]
        return Figures(
            loads=tuple(_load(count, file, repeats) for count, file in zip(users, files, strict=True)),
            resolutions=tuple(_resolutions(users, rounds, people)),
            reload=_reload(users[-1], files[-1]),
        )


def _written(folder: Path, users: int) -> Path:
    file = folder / f"limits-{users}.yaml"
    file.write_text(made.policy(users, sized=False), encoding="utf-8")
    return file


def _load(users: int, file: Path, repeats: int) -> Load:
    _say(f"load {users:,} users")
    told = [_fresh("load", file) for _ in range(repeats)]
    seconds = [one["seconds"] for one in told]
    return Load(
        users=users,
        file_bytes=file.stat().st_size,
        seconds=min(seconds),
        median_seconds=median(seconds),
        peak_bytes=max(one["peak_bytes"] for one in told),
        before_bytes=max(one["peak_before_bytes"] for one in told),
    )


def _resolutions(users: Sequence[int], rounds: int, people: int) -> Iterator[Resolution]:
    for count in users:
        _say(f"resolve among {count:,} users")
        yield from resolution.measured(count, MEMBERSHIPS, rounds=rounds, people=people)


def _reload(users: int, file: Path) -> Reload:
    _say(f"reload {users:,} users")
    told = _fresh("reload", file)
    return Reload(
        users=users, held_up_s=tuple(told["held_up_s"]), took_s=tuple(told["took_s"]), counting_s=told["counting_s"][0]
    )


def _fresh(what: str, file: Path) -> Any:
    command = (sys.executable, "-m", "benchmarks.fresh", what, file)
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout)


def _say(what: str) -> None:
    print(what, file=sys.stderr)  # noqa: T201  progress


# -- what is printed ---------------------------------------------------------------------------------------------


def as_text(figures: Figures) -> str:
    """Plain tables, and whether each target is held."""
    measured = _loads(figures.loads), _compared(figures.resolutions), _held_up(figures.reload)
    tables = (*measured, verdicts(figures.targets()))
    return "\n\n".join(table(rows) for rows in tables)


def _loads(loads: Sequence[Load]) -> list[tuple[str, ...]]:
    head = ("users", "file", "load, least", "median", "peak memory", "of it before")
    return [head, *(_load_row(one) for one in loads)]


def _load_row(one: Load) -> tuple[str, ...]:
    seconds = f"{one.seconds:.3f} s", f"{one.median_seconds:.3f} s"
    return f"{one.users:,}", _megabytes(one.file_bytes), *seconds, *map(_megabytes, (one.peak_bytes, one.before_bytes))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _compared(resolutions: Sequence[Resolution]) -> list[tuple[str, ...]]:
    head = ("users", "in groups", "size and ceiling", "resolve", "group_overrides", "ratio")
    return [head, *(_compared_row(one) for one in resolutions)]


def _compared_row(one: Resolution) -> tuple[str, ...]:
    case = one.case
    asked = f"{case.users:,}", str(case.memberships), "yes" if case.sized else "no"
    return *asked, f"{one.ours_us:.1f} µs", f"{one.theirs_us:.1f} µs", f"{one.ratio:.3f}"


def _held_up(reload: Reload) -> list[tuple[str, ...]]:
    head = ("reload of", "event loop held up, least", "median", "most", "counting thread", "took, median")
    held = reload.held_up_s
    times = (min(held), median(held), max(held), reload.counting_s)
    row = (f"{reload.users:,} users", *(f"{time * 1e3:.1f} ms" for time in times), f"{median(reload.took_s):.1f} s")
    return [head, row]


def as_json(figures: Figures) -> str:
    """The same for programs."""
    whole = {
        "schema_version": SCHEMA_VERSION,
        "python": sys.version.split()[0],
        "jupyterhub": version("jupyterhub"),
        "groups": made.GROUPS,
        **asdict(figures),
        "targets": [{**asdict(one), "is_held": one.is_held} for one in figures.targets()],
    }
    return json.dumps(whole, indent=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--users", type=int, nargs="+", default=USERS, help="sizes of the policies, rising")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="loads of each policy")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of resolutions")
    parser.add_argument("--people", type=int, default=PEOPLE, help="resolved in each round")
    given = parser.parse_args(arguments)
    figures = measure(given.users, repeats=given.repeats, rounds=given.rounds, people=given.people)
    print(as_json(figures) if given.json else as_text(figures))  # noqa: T201  the result
    return 0 if all(one.is_held for one in figures.targets()) else 1


if __name__ == "__main__":
    sys.exit(main())
