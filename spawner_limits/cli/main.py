"""The command `spawner-limits`: its verbs, and how it ends. stdout is the result, stderr the rest.

Exit codes: 0 fine · 1 a check failed · 2 usage, or an invalid policy · 3 unknown · 4 engine or hub not reachable.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from spawner_limits import __version__
from spawner_limits.cli import apply, check, conformance, experiment, explain, init, plan, ps, set_, stop, verify
from spawner_limits.errors import LimitsError, PolicyError
from spawner_limits.proof import interrupt

if TYPE_CHECKING:
    from collections.abc import Sequence


class FaultError(LimitsError):
    """What we did not think of."""

    exit_code = 3


app = typer.Typer(
    help="Limits for JupyterHub's Docker servers, proved from the Linux kernel's counters.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    _wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("init")(init.init)
app.command("check")(check.check)
app.command("explain")(explain.explain)
app.command("set")(set_.set_)
app.command("verify")(verify.verify)
app.command("ps")(ps.ps)
app.command("plan")(plan.plan)
app.command("apply")(apply.apply)
app.command("stop")(stop.stop)
app.command("conformance")(conformance.conformance)
app.command("experiment")(experiment.experiment)


def main() -> NoReturn:
    """Run the command; a mistake of the user's ends in one message and an exit code, never in a traceback."""
    interrupt.heed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # as stderr does: a file's name need not be text, nor the terminal know every character
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        run(sys.argv[1:])
    except Exception as error:  # noqa: BLE001  told in full
        # a fault of ours; Python's own exit code for it, 1, would say that a limit does not hold
        traceback.print_exc()
        sys.exit(_ended(FaultError(f"{type(error).__name__}: this is a fault of ours, and nothing is known")))


def run(arguments: Sequence[str]) -> NoReturn:
    """Run a verb with its arguments; SystemExit has the exit code."""
    try:
        app(list(arguments))
    except LimitsError as error:
        sys.exit(_ended(error))
    except KeyboardInterrupt:
        sys.exit(interrupt.EXIT_CODE)
    except BrokenPipeError:
        # whoever read our output has gone; there is nobody left to tell, and nothing may be flushed to them at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    raise AssertionError  # typer always exits


def _ended(error: LimitsError) -> int:
    message = f"spawner-limits: {error}"
    if isinstance(error, PolicyError):  # its lines begin with the place, for editors to jump to
        count = len(error.problems)
        message = f"{error}\nspawner-limits: {'1 mistake' if count == 1 else f'{count} mistakes'} in the policy"
    print(message, file=sys.stderr)  # noqa: T201
    return error.exit_code
