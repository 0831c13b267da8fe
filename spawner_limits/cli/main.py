"""The command `spawner-limits`: its verbs, and how it ends. stdout is the result, stderr the rest.

Exit codes: 0 fine · 1 a check failed · 2 usage, or an invalid policy · 3 unknown · 4 engine or hub not reachable.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from spawner_limits import __version__
from spawner_limits.cli import verify
from spawner_limits.errors import LimitsError
from spawner_limits.proof import interrupt

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


app.command("verify")(verify.verify)


def main() -> NoReturn:
    """Run the command; a mistake of the user's ends in one message and an exit code, never in a traceback."""
    interrupt.heed()
    try:
        app()
    except LimitsError as error:
        sys.exit(_ended(str(error), error.exit_code))
    except KeyboardInterrupt:
        sys.exit(interrupt.EXIT_CODE)
    except BrokenPipeError:
        # whoever read our output has gone; there is nobody left to tell, and nothing may be flushed to them at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    raise AssertionError  # typer always exits


def _ended(message: str, code: int) -> int:
    print(f"spawner-limits: {message}", file=sys.stderr)  # noqa: T201
    return code
