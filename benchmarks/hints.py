"""`python -m benchmarks.hints [--json]`: what hints for threads do for a load in half a core, in turns with none.

Each round runs every side in an order drawn anew, in one container with a quota of 0.5 cores. The ratio is that of two
runs of one round. CPU time and throttling are the Linux kernel's own counters of that container.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.hinted import OPENBLAS
from benchmarks.overhead.estimate import Estimate, estimate
from benchmarks.table import table
from spawner_limits.clients.own_commands import Command
from spawner_limits.clients.own_containers import Engine
from spawner_limits.engines.docker import translate
from spawner_limits.errors import LimitsError
from spawner_limits.kernel.reader import Reader
from spawner_limits.limits import Limits
from spawner_limits.policy.entitlement import Entitlement, Grant
from spawner_limits.spawners.thread_env import THREADS, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from spawner_limits.clients.own_containers import Container
    from spawner_limits.kernel.snapshot import Snapshot

SCHEMA_VERSION = 1
ROOT = Path(__file__).parents[1]
IMAGE = "spawner-limits/singleuser:tensorflow"
LIMITS = Limits(mem_limit=3 << 29, cpu_limit=0.5, pids_limit=256)
LARGE = "16"
"""threads, as on a host of 16 CPUs"""
LOADS = {
    "matrix": "products of 512 × 512 (NumPy, OpenBLAS)",
    "training": "epochs of the notebook's training (TensorFlow)",
}
ROUNDS = 10
SECONDS = 5.0
SEED = 1
_RUN_S = 240
_TICK_S = 0.01


def _hinted() -> Mapping[str, str]:
    """What the spawner gives to a server with these limits."""
    grants = {"cpu_limit": Grant(value=LIMITS.cpu_limit, rule="defaults", file="", line=None)}
    return environment(Entitlement(user="", server="", groups=(), grants=grants, policy_sha256=""))


SIDES: Mapping[str, Mapping[str, str]] = {
    "hints": _hinted(),
    "none": {},
    "16 threads": {**{name: LARGE for name in THREADS if name.startswith("TF_")}, OPENBLAS: LARGE},
}
"""side → environment: what the spawner gives; nothing, so that libraries count this host's CPUs; as on a larger host"""
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run of one side."""

    rate: float
    """how often its work was done in a second"""
    threads: int
    """of the process, at its end"""
    cpu_s: float
    """CPU time for each time its work was done"""
    throttled: float
    """share of the periods in which the quota was used up"""
    waited_s: float
    """time for which its threads were held back, for each second: more than 1 where several were"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One load: its rounds, and how many times faster it was with hints than without."""

    load: str
    runs: Mapping[str, tuple[Run, ...]]
    """side → one run for each round"""
    faster: Mapping[str, Estimate | None]
    """side without hints → the rounds' ratio of rates, hints to it: the median with its interval"""


def measure(loads: Sequence[str], *, rounds: int, seconds: float) -> Iterator[Comparison]:
    """Every load, on this machine's engine. LimitsError when a run fails."""
    engine = Engine()
    shown = {ROOT / "notebook": "/notebook", ROOT / "benchmarks" / "hinted.py": "/hinted.py"}
    binds = {str(path): {"bind": place, "mode": "ro"} for path, place in shown.items()}
    config = {**translate(LIMITS, version=engine.cgroup_version).ask, "network_mode": "none", "binds": binds}
    for load in loads:
        life = int(rounds * len(SIDES) * _RUN_S)
        with engine.trial_container(IMAGE, host_config=config, environment={}, seconds=life) as container:
            yield _compared(load, list(_rounds(engine, container, load, rounds, seconds)))


def _rounds(
    engine: Engine, container: Container, load: str, rounds: int, seconds: float
) -> Iterator[Mapping[str, Run]]:
    source = random.Random(SEED)  # noqa: S311  it keeps no secret
    with Reader(engine.cgroup(container)) as reader:
        for number in range(1, rounds + 1):
            _say(f"{load}: round {number} of {rounds}")
            order = source.sample([*SIDES], len(SIDES))
            yield {side: _run(engine, container, reader, (load, SIDES[side], seconds)) for side in order}


def _run(engine: Engine, container: Container, reader: Reader, what: tuple[str, Mapping[str, str], float]) -> Run:
    load, variables, seconds = what
    program = ("python", "/hinted.py", load, str(seconds))
    command = Command(engine, container, program, environment={**_QUIET, **variables})
    try:
        _await(command, "go")
        before = reader.read()
        _await(command, "}")
        after = reader.read()
        _await(command, None)
    finally:
        command.stop()
    return _figures(json.loads(command.stdout.partition("\n")[2]), before, after)


def _await(command: Command, text: str | None) -> None:
    """Until it has printed that; `None`: until its end. LimitsError when it ends before, or takes too long."""
    end = time.monotonic() + _RUN_S
    while command.running and (text is None or text not in command.stdout):
        if time.monotonic() > end:
            raise LimitsError(f"it took longer than {_RUN_S} s")
        time.sleep(_TICK_S)
    if text is not None and text not in command.stdout:
        raise LimitsError(f"it ended with {command.exit_code}: {command.stderr[-300:]}")


def _figures(told: Mapping[str, float], before: Snapshot, after: Snapshot) -> Run:
    def rise(name: str) -> int:
        first, last = getattr(before, name), getattr(after, name)
        if first is None or last is None:
            raise LimitsError(f"{name} can't be read: {after.unread.get(name)}")
        return int(last - first)

    return Run(
        rate=told["done"] / told["seconds"],
        threads=int(told["threads"]),
        cpu_s=rise("cpu_usage_ns") / 1e9 / told["done"],
        throttled=rise("nr_throttled") / max(1, rise("nr_periods")),
        waited_s=rise("throttled_ns") / 1e9 / told["seconds"],
    )


def _compared(load: str, rounds: Sequence[Mapping[str, Run]]) -> Comparison:
    return Comparison(
        load=load,
        runs={side: tuple(one[side] for one in rounds) for side in SIDES},
        faster={
            side: estimate([one["hints"].rate / one[side].rate for one in rounds], SEED)
            for side in SIDES
            if side != "hints"
        },
    )


def _say(what: str) -> None:
    print(what, file=sys.stderr)  # noqa: T201  progress


# -- what is printed ---------------------------------------------------------------------------------------------------


def as_text(comparisons: Sequence[Comparison]) -> str:
    """A table a load: medians, and how many times faster it is with hints, with the interval of 90 %."""
    return "\n\n".join(f"{LOADS[one.load]}\n{table(_rows(one))}" for one in comparisons)


def _rows(comparison: Comparison) -> list[tuple[str, ...]]:
    head = ("", "threads", "a second", "CPU time each", "periods throttled", "held back", "hints are faster by")
    return [head, *(_row(side, runs, comparison.faster.get(side)) for side, runs in comparison.runs.items())]


def _row(side: str, runs: Sequence[Run], faster: Estimate | None) -> tuple[str, ...]:
    middle = {name: median(getattr(run, name) for run in runs) for name in Run.__dataclass_fields__}
    return (
        side,
        f"{middle['threads']:.0f}",
        f"{middle['rate']:.2f}",
        f"{middle['cpu_s'] * 1e3:.1f} ms",
        f"{middle['throttled']:.0%}",
        f"{middle['waited_s']:.2f} s/s",
        "–" if faster is None else f"{faster.median:.2f} ({faster.low:.2f} … {faster.high:.2f})",
    )


def as_json(comparisons: Sequence[Comparison]) -> str:
    """The same for programs, with every run."""
    whole = {
        "schema_version": SCHEMA_VERSION,
        "image": IMAGE,
        "limits": asdict(LIMITS),
        "sides": SIDES,
        "seed": SEED,
        "comparisons": [asdict(replace(one, runs=dict(one.runs))) for one in comparisons],
    }
    return json.dumps(whole, indent=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=[*LOADS], help="what is run")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each side")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for which each run works")
    given = parser.parse_args(arguments)
    comparisons = [*measure(given.loads, rounds=given.rounds, seconds=given.seconds)]
    print(as_json(comparisons) if given.json else as_text(comparisons))  # noqa: T201  the result
    return 0


if __name__ == "__main__":
    sys.exit(main())
