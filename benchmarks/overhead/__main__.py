"""`python -m benchmarks.overhead`: the experiment from a shell. The table on stdout, the rest on stderr."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path

from benchmarks.overhead.experiment import MARGIN, PAIRS, SECONDS, measure, named
from benchmarks.overhead.report import record
from benchmarks.overhead.table import table
from benchmarks.overhead.workloads import WORKLOADS
from spawner_limits import interrupt
from spawner_limits.clients.own_containers import Engine, reachable
from spawner_limits.errors import LimitsError
from spawner_limits.experiments.overhead import IMAGE

_SEEDS = 1 << 32


def main() -> int:
    """Run it; the exit code."""
    arguments = _arguments()
    interrupt.heed()
    try:
        return _measured(arguments)
    except LimitsError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return interrupt.EXIT_CODE


def _measured(arguments: argparse.Namespace) -> int:
    workloads = named(arguments.only)
    engine = Engine()
    with reachable():
        engine.sweep()
        overhead = measure(
            engine,
            arguments.image,
            pairs=arguments.pairs,
            margin=arguments.margin / 100,
            seed=arguments.seed if arguments.seed is not None else secrets.randbelow(_SEEDS),
            workloads=workloads,
            seconds=arguments.seconds,
            say=_say,
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(record(overhead), indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(table(overhead) + "\n")
    return overhead.exit_code


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--image", default=IMAGE)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of runs of each program (%(default)s)")
    parser.add_argument("--margin", type=float, default=MARGIN * 100, help="of equivalence, in percent (%(default)g)")
    parser.add_argument("--seed", type=int, help="of the order and the bootstrap; drawn and told when left out")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="no pair is begun after them (%(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="|".join(one.key for one in WORKLOADS))
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
