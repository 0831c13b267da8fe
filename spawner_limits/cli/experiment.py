"""`spawner-limits experiment`: one thing that administrators try by hand, with figures, a chart and what one sees."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from spawner_limits import __version__
from spawner_limits.bench import interrupt
from spawner_limits.cli import reports
from spawner_limits.errors import UsageError
from spawner_limits.policy.messages import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from spawner_limits.experiments.experiment import Done
    from spawner_limits.experiments.listed import Entry


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
    _write(done, wanted)
    raise typer.Exit(done.exit_code)


def _done(name: str, image: str | None, seconds: float | None) -> Done:
    # the docker SDK takes 0.2 s to import, which the other verbs need not wait for
    from spawner_limits.bench.engine import reachable  # noqa: PLC0415
    from spawner_limits.conformance.case import CannotError  # noqa: PLC0415

    entry = _entry(name)
    if seconds is not None and entry.seconds is None:
        raise UsageError(f"--seconds: {name} ends by itself; it is for cpu, sharing and shares")
    try:
        with reachable():
            return _run(entry, image or entry.image, seconds or entry.seconds or 0.0)
    except CannotError as error:
        remedy = f"; {error.remedy}" if error.remedy else ""
        raise CannotError(f"experiment {name}: {error}{remedy}") from error


def _entry(name: str) -> Entry:
    from spawner_limits.experiments.listed import EXPERIMENTS  # noqa: PLC0415

    if name not in EXPERIMENTS:
        raise UsageError(f"{shown(name)}: no such experiment; {nearest(name, tuple(EXPERIMENTS))}")
    return EXPERIMENTS[name]


def _run(entry: Entry, image: str, seconds: float) -> Done:
    from spawner_limits.bench.engine import Engine  # noqa: PLC0415
    from spawner_limits.conformance.trial import Bench  # noqa: PLC0415
    from spawner_limits.experiments.experiment import Done, Stage  # noqa: PLC0415

    engine = Engine()
    engine.sweep()
    bench = Bench(engine, image)
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    found = entry.run(Stage(bench=bench, seconds=seconds, say=_say()))
    return Done(
        experiment=found,
        host=bench.host,
        image=image,
        started=started,
        seconds=time.monotonic() - began,
        version=__version__,
    )


def _say() -> Callable[[str], None]:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    return lambda text: console.print(text, markup=False)


def _write(done: Done, wanted: dict[str, str]) -> None:
    from spawner_limits.experiments.page import page_of  # noqa: PLC0415
    from spawner_limits.report import table, to_html, to_json  # noqa: PLC0415

    reports.write(page_of(done), wanted, table=table, renderers={"json": to_json, "html": to_html})
