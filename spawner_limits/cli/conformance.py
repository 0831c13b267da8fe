"""`spawner-limits conformance`: press the whole list of cases on this host, and say what really holds here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spawner_limits.bench import interrupt
from spawner_limits.cli import output, reports
from spawner_limits.errors import UsageError
from spawner_limits.policy.messages import near, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from spawner_limits.conformance.case import AnyCase, ConformanceReport

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
    cases, left_out = _chosen(only, quick=quick)
    accepted = _accepted(accept)
    if list_:
        if wanted:
            raise UsageError(f"--list runs nothing, so there is no report for --{next(iter(wanted))}")
        output.show(_listed(cases))
        raise typer.Exit
    if not image:  # Docker takes it for an image without files
        raise UsageError("--image is empty: give the name of an image")
    report = _run(image, cases, left_out, accepted)
    interrupt.check()
    _write(report, wanted, verbose=verbose)
    raise typer.Exit(report.exit_code)


# -- which cases -------------------------------------------------------------------------------------------------


def _chosen(only: str | None, *, quick: bool) -> tuple[list[AnyCase], list[int]]:
    """The cases that are asked for, and the numbers of the others."""
    # the docker SDK takes 0.2 s to import, which the other verbs need not wait for
    from spawner_limits.conformance.cases import CASES  # noqa: PLC0415

    names = None if only is None else _names("--only", only, _known(CASES))
    chosen = [one for one in CASES if (names is None or names & _names_of(one)) and (one.quick or not quick)]
    if not chosen:
        raise UsageError(f"--quick leaves no case of --only {only}; leave out one of them")
    return chosen, [one.number for one in CASES if one not in chosen]


def _known(cases: Sequence[AnyCase]) -> list[str]:
    """Groups, as the list has them, and numbers."""
    return [*dict.fromkeys(one.group.value for one in cases), *(str(one.number) for one in cases)]


def _names_of(case: AnyCase) -> set[str]:
    return {case.group.value, str(case.number)}


def _accepted(accept: str | None) -> list[int]:
    from spawner_limits.conformance.cases import CASES  # noqa: PLC0415

    if accept is None:
        return []
    return sorted(int(name) for name in _names("--accept", accept, [str(one.number) for one in CASES]))


def _names(option: str, text: str, known: Sequence[str]) -> set[str]:
    """What a comma separates. UsageError for what is not known, with the nearest that is."""
    names = {name.strip().lower() for name in text.split(",")}
    unknown = sorted(names - set(known))
    if unknown:
        raise UsageError("; ".join(f"{option} {shown(name)}: {_expected(name, known)}" for name in unknown))
    return names


def _expected(name: str, known: Sequence[str]) -> str:
    numbers = sorted(int(one) for one in known if one.isdigit())
    groups = tuple(one for one in known if not one.isdigit())
    found = near(name, groups, least=0.6)
    if found:
        return f"did you mean {shown(found)}?"
    return f"expected {', '.join(groups)}{' or ' if groups else ''}a case's number, {numbers[0]} to {numbers[-1]}"


def _listed(cases: Sequence[AnyCase]) -> RenderableType:
    from spawner_limits.conformance.page import listing  # noqa: PLC0415
    from spawner_limits.report import table  # noqa: PLC0415

    return table(listing(cases))


# -- run, and tell -----------------------------------------------------------------------------------------------


def _run(image: str, cases: Sequence[AnyCase], left_out: list[int], accepted: list[int]) -> ConformanceReport:
    from spawner_limits.bench.engine import reachable  # noqa: PLC0415
    from spawner_limits.cli.progress import progress  # noqa: PLC0415
    from spawner_limits.conformance.suite import Suite  # noqa: PLC0415

    with reachable(), progress(len(cases)) as (begin, say):
        return Suite(image=image, begin=begin, say=say).run(cases, left_out=left_out, accepted=accepted)


def _write(report: ConformanceReport, wanted: dict[str, str], *, verbose: bool) -> None:
    from spawner_limits.conformance.page import page_of  # noqa: PLC0415
    from spawner_limits.report import full_table, table, to_html, to_json, to_junit  # noqa: PLC0415

    drawn = full_table if verbose else table
    reports.write(page_of(report), wanted, table=drawn, renderers={"json": to_json, "html": to_html, "junit": to_junit})
