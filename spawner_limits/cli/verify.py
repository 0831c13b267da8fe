"""`spawner-limits verify`: press on servers or on an image, and say which limits held."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spawner_limits import interrupt
from spawner_limits.cli import hub as hubs
from spawner_limits.cli import reports
from spawner_limits.cli.usage_line import live
from spawner_limits.clients.own_containers import Engine, reachable
from spawner_limits.deadline import Deadline
from spawner_limits.errors import UsageError
from spawner_limits.limits import FIELDS, Limits
from spawner_limits.report import table, to_html, to_json, to_junit
from spawner_limits.verify.page import page_of
from spawner_limits.verify.run import Prover

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.clients.hub_api import Hub
    from spawner_limits.proof.evidence import Report

_SCOPES = "servers, read:users and admin:server_state"
_LIMITS = "Limits of a container made from --image"


def _limit(name: str) -> Any:
    return typer.Option(help=f"{FIELDS[name].unit}, as in the policy file", rich_help_panel=_LIMITS, metavar="VALUE")


def verify(  # noqa: PLR0913, PLR0917  the command's options are its interface
    subjects: Annotated[
        list[str] | None,
        typer.Argument(metavar="USER... | -- COMMAND", help="Users of the hub; or with --image, what presses there."),
    ] = None,
    image: Annotated[str | None, typer.Option(help="Press on a container of this image, without a hub.")] = None,
    mem_limit: Annotated[str | None, _limit("mem_limit")] = None,
    memswap_limit: Annotated[str | None, _limit("memswap_limit")] = None,
    mem_swappiness: Annotated[str | None, _limit("mem_swappiness")] = None,
    mem_guarantee: Annotated[str | None, _limit("mem_guarantee")] = None,
    cpu_limit: Annotated[str | None, _limit("cpu_limit")] = None,
    cpu_period: Annotated[str | None, _limit("cpu_period")] = None,
    cpu_shares: Annotated[str | None, _limit("cpu_shares")] = None,
    cpuset_cpus: Annotated[str | None, _limit("cpuset_cpus")] = None,
    pids_limit: Annotated[str | None, _limit("pids_limit")] = None,
    control: Annotated[
        bool, typer.Option("--control", help="Also press without limits: the judge must find those BROKEN.")
    ] = False,
    hub: hubs.Address = hubs.DEFAULT,
    timeout: Annotated[
        int, typer.Option(min=10, help="Seconds for each trial; it ends 10 s later, whatever hangs.")
    ] = 600,
    yes: Annotated[bool, typer.Option("--yes", help="Press on servers that are running, without asking.")] = False,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="- is stdout", rich_help_panel=reports.PANEL)] = None,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="one page, offline", rich_help_panel=reports.PANEL)
    ] = None,
    junit: Annotated[str | None, typer.Option(metavar="FILE", help="for CI", rich_help_panel=reports.PANEL)] = None,
) -> None:
    """Press on each limit, read the Linux kernel's counters meanwhile, and say which limits held.

    With users: their servers are started through the hub where they don't run, and the notebook in them is executed.
    With --image: a container is made with the limits given, and COMMAND, or else the notebook, is run in it.
    Exit code: 0 all HELD, 1 one BROKEN, 2 usage, 3 one UNKNOWN, 4 engine or hub not reachable.
    """
    given = {name: value for name, value in locals().items() if name in FIELDS and value is not None}
    wanted = reports.targets(json=json, html=html, junit=junit)
    subjects = subjects or []
    if image is not None:
        report = _verify_image(image, _limits(given), subjects, control=control, seconds=timeout)
    elif given:
        raise UsageError("limits are given with --image; those of users are in the policy")
    elif not subjects:
        raise UsageError("name the users whose limits are to be verified, or an --image")
    else:
        report = _verify_users(hub, subjects, control=control, seconds=timeout, yes=yes)
    interrupt.check()
    renderers = {"json": to_json, "html": to_html, "junit": to_junit}
    reports.write(page_of(report), wanted, table=table, renderers=renderers)
    raise typer.Exit(report.exit_code)


def _limits(given: dict[str, str]) -> Limits:
    values: dict[str, Any] = {}
    for name, text in given.items():
        try:
            values[name] = FIELDS[name].value(text)
        except ValueError as error:
            raise UsageError(f"--{name.replace('_', '-')} {text or '(empty)'}: {error}") from error
    if all(value is None for value in values.values()):
        raise UsageError("give at least one limit, such as --mem-limit 1G")
    values.setdefault("memswap_limit", values.get("mem_limit"))
    _refuse_impossible(values)
    return Limits(**values)


def _refuse_impossible(values: dict[str, Any]) -> None:
    memory, total, cores = values.get("mem_limit"), values["memswap_limit"], values.get("cpu_limit")
    if total is not None and (memory is None or total < memory):
        raise UsageError("--memswap-limit counts memory and swap together: it needs a --mem-limit that is not above it")
    if cores is None and values.get("cpu_period") is not None:
        raise UsageError("--cpu-period is what --cpu-limit is counted over: it needs one")
    here = os.cpu_count() or 1
    if cores is not None and cores > here:
        raise UsageError(f"--cpu-limit {cores:g}: this host has {here} cores, so the limit could never bind")


def _verify_image(image: str, limits: Limits, command: Sequence[str], *, control: bool, seconds: int) -> Report:
    if not image:  # Docker takes it for an image without files
        raise UsageError("--image is empty: give the name of an image")
    engine = Engine(connect_by=Deadline.after(seconds))
    with reachable(), live() as watch:
        _sweep(engine, seconds)
        prover = Prover(engine=engine, seconds=seconds, watch=watch)
        return prover.verify_image(image, limits, command, control=control)


def _verify_users(url: str, users: Sequence[str], *, control: bool, seconds: int, yes: bool) -> Report:
    hub, engine = hubs.connect(url, scopes=_SCOPES), Engine(connect_by=Deadline.after(seconds))
    with reachable():
        _sweep(engine, seconds)
    _ask(hub.until(Deadline.after(seconds)), users, yes=yes)
    with reachable(), live() as watch:
        prover = Prover(engine=engine, seconds=seconds, watch=watch)
        return prover.verify_users(hub, users, control=control)


def _sweep(engine: Engine, seconds: int) -> None:
    with engine.until(Deadline.after(seconds)) as bound:
        bound.sweep()


def _ask(hub: Hub, users: Sequence[str], *, yes: bool) -> None:
    """Ask before a load is put on a server that somebody may be working in."""
    running = [user for user in users if hub.running(user)]
    if running:
        hubs.agree(f"These servers are running and will be pressed to their limits: {', '.join(running)}", yes=yes)
