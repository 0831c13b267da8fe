"""`spawner-limits experiment`: one thing that administrators try by hand, with figures, a chart and what one sees."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from spawner_limits import __version__, interrupt
from spawner_limits.cli import reports
from spawner_limits.clients.own_containers import Engine, reachable
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.trial import Bench
from spawner_limits.errors import UsageError
from spawner_limits.experiments.experiment import Done, Stage
from spawner_limits.experiments.listed import EXPERIMENTS, Entry
from spawner_limits.experiments.page import page_of
from spawner_limits.policy.messages import nearest, shown
from spawner_limits.report import table, to_html, to_json


def experiment(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="cpu, memory, swap, swappiness, sharing, shares, oom or overhead.")
    ],
    image: Annotated[
        str | None, typer.Option(help="What containers are made from, instead of spawner-limits/singleuser:minimal.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=2, max=15, help="How long each part of cpu, sharing and shares is watched: 7."),
    ] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="- is stdout", rich_help_panel=reports.PANEL)] = None,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="one page, offline", rich_help_panel=reports.PANEL)
    ] = None,
) -> None:
    """Do one experiment on this host, in containers that are removed afterwards, and say what one sees and why.

    What a limit does there is judged as by verify, from the Linux kernel's own files.
    Exit code: 0 done, 1 a limit was BROKEN, 2 usage, 3 could not be shown here, 4 engine not reachable.
    """
    wanted = reports.targets(json=json, html=html, junit=None)
    if image == "":  # Docker takes it for an image without files
        raise UsageError("--image is empty: give the name of an image")
    done = _done(name, image, seconds)
    interrupt.check()
    reports.write(page_of(done), wanted, table=table, renderers={"json": to_json, "html": to_html})
    raise typer.Exit(done.exit_code)


def _done(name: str, image: str | None, seconds: float | None) -> Done:
    if name not in EXPERIMENTS:
        raise UsageError(f"{shown(name)}: no such experiment; {nearest(name, tuple(EXPERIMENTS))}")
    entry = EXPERIMENTS[name]
    if seconds is not None and entry.seconds is None:
        raise UsageError(f"--seconds: {name} ends by itself; it is for cpu, sharing and shares")
    if entry.needs is not None:
        entry.needs()
    try:
        with reachable():
            return _run(entry, image or entry.image, seconds or entry.seconds or 0.0)
    except CannotError as error:
        remedy = f"; {error.remedy}" if error.remedy else ""
        raise CannotError(f"experiment {name}: {error}{remedy}") from error


def _run(entry: Entry, image: str, seconds: float) -> Done:
    engine = Engine()
    engine.sweep()
    bench = Bench(engine, image)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    stage = Stage(bench=bench, seconds=seconds, say=lambda text: console.print(text, markup=False))
    found = entry.run(stage)
    return Done(
        experiment=found,
        host=bench.host,
        image=image,
        started=started,
        seconds=time.monotonic() - began,
        version=__version__,
    )
