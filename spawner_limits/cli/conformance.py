"""`spawner-limits conformance`: press the whole list of cases on this host, and say what really holds here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spawner_limits import interrupt
from spawner_limits.cli import output, reports
from spawner_limits.cli.progress import progress
from spawner_limits.clients.own_containers import reachable
from spawner_limits.conformance.cases import CASES
from spawner_limits.conformance.page import listing, page_of
from spawner_limits.conformance.suite import Suite
from spawner_limits.errors import UsageError
from spawner_limits.policy.messages import near, shown
from spawner_limits.report import full_table, table, to_html, to_json, to_junit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.conformance.case import AnyCase

DEFAULT_IMAGE = "spawner-limits/singleuser:minimal"
_CHOICE = "Which cases"


def conformance(  # noqa: PLR0913, PLR0917  the command's options are its interface
    only: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Groups or numbers: cpu,memory or 8,31.", rich_help_panel=_CHOICE),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Those that take seconds.", rich_help_panel=_CHOICE)] = False,
    accept: Annotated[
        str | None,
        typer.Option(metavar="NUMBERS", help="Known: no part of the exit code.", rich_help_panel=_CHOICE),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the cases, run none.", rich_help_panel=_CHOICE)] = False,
    image: Annotated[str, typer.Option(help="What containers are made from: needs python3 and sh.")] = DEFAULT_IMAGE,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also evidence and controls.", rich_help_panel=reports.PANEL)
    ] = False,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="- is stdout", rich_help_panel=reports.PANEL)] = None,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="one page, offline", rich_help_panel=reports.PANEL)
    ] = None,
    junit: Annotated[str | None, typer.Option(metavar="FILE", help="for CI", rich_help_panel=reports.PANEL)] = None,
) -> None:
    """Say for each case of a list whether the limit really holds on this host, from the Linux kernel's own files.

    Containers are made, pressed and removed; each case has a control without the limit, which must be found BROKEN.
    Exit code: 0 all HELD, 1 one BROKEN, 2 usage, 3 one UNKNOWN, 4 engine not reachable.
    """
    wanted = reports.targets(json=json, html=html, junit=junit)
    cases = _chosen(only, quick=quick)
    accepted = set() if accept is None else _names("--accept", accept, [str(case.number) for case in CASES])
    if list_:
        if wanted:
            raise UsageError(f"--list runs nothing, so there is no report for --{next(iter(wanted))}")
        output.show(table(listing(cases)))
        raise typer.Exit
    if not image:  # Docker takes it for an image without files
        raise UsageError("--image is empty: give the name of an image")
    left_out = [case.number for case in CASES if case not in cases]
    with reachable(), progress(len(cases)) as (begin, say):
        suite = Suite(image=image, begin=begin, say=say)
        report = suite.run(cases, left_out=left_out, accepted=sorted(map(int, accepted)))
    interrupt.check()
    renderers = {"json": to_json, "html": to_html, "junit": to_junit}
    reports.write(page_of(report), wanted, table=full_table if verbose else table, renderers=renderers)
    raise typer.Exit(report.exit_code)


# -- which cases -------------------------------------------------------------------------------------------------


def _chosen(only: str | None, *, quick: bool) -> list[AnyCase]:
    """The cases that are asked for."""
    chosen = [case for case in CASES if case.quick or not quick]
    if only is not None:
        known = [*dict.fromkeys(case.group.value for case in CASES), *(str(case.number) for case in CASES)]
        names = _names("--only", only, known)
        chosen = [case for case in chosen if names & {case.group.value, str(case.number)}]
    if not chosen:
        raise UsageError(f"--quick leaves no case of --only {only}; leave out one of them")
    return chosen


def _names(option: str, text: str, known: Sequence[str]) -> set[str]:
    """What a comma separates. UsageError for what is not known, with the nearest that is."""
    names = {name.strip().lower() for name in text.split(",")}
    unknown = sorted(names - set(known))
    if unknown:
        raise UsageError("; ".join(f"{option} {shown(name)}: {_expected(name, known)}" for name in unknown))
    return names


def _expected(name: str, known: Sequence[str]) -> str:
    numbers = sorted(int(word) for word in known if word.isdigit())
    groups = tuple(word for word in known if not word.isdigit())
    found = near(name, groups, least=0.6)
    if found:
        return f"did you mean {shown(found)}?"
    return f"expected {', '.join(groups)}{' or ' if groups else ''}a case's number, {numbers[0]} to {numbers[-1]}"
