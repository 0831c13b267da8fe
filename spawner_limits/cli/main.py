"""The command `spawner-limits`: its verbs, and how it ends. stdout is the result, stderr the rest.

A verb's module is imported when that verb is asked for: --help and a policy's verbs need not wait for the docker SDK.
Exit codes: 0 fine · 1 a check failed · 2 usage, or an invalid policy · 3 unknown · 4 engine or hub not reachable.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from spawner_limits import __version__, interrupt
from spawner_limits.errors import LimitsError, PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERBS: Mapping[str, tuple[str, str]] = {
    "init": (
        "init:init",
        "Write a commented limits.yaml to begin with, and limits.schema.json, by which editors complete it.",
    ),
    "check": (
        "check:check",
        "Say what is wrong with a policy, what it comes to, and what in it is probably a mistake. Needs no engine.",
    ),
    "explain": (
        "explain:explain",
        "Say what a server of a user gets and which line of the policy gave it; then what the engine is told for it.",
    ),
    "set": (
        "set_:set_",
        "Change a rule in the policy file; comments and layout stay, and only a policy that can be used is written.",
    ),
    "verify": (
        "verify:verify",
        "Press on each limit, read the Linux kernel's counters meanwhile, and say which limits held.",
    ),
    "ps": (
        "ps:ps",
        "Show each running server: its limits, when they were attested, whether they still hold, and its OOM kills.",
    ),
    "plan": ("plan:plan", "Compare each running server with the policy as it is now, and say what `apply` would do."),
    "apply": (
        "apply:apply",
        "Change the limits of running servers to what the policy gives them now. Nothing is restarted or removed.",
    ),
    "stop": (
        "stop:stop",
        "List everything of a user that runs, and stop it: through the hub what the hub knows, so that it knows.",
    ),
    "conformance": (
        "conformance:conformance",
        "Say for each case of a list whether the limit really holds on this host, from the Linux kernel's own files.",
    ),
    "experiment": (
        "experiment:experiment",
        "Do one experiment on this host, in containers that are removed afterwards, and say what one sees and why.",
    ),
}
"""verb → its function below `spawner_limits.cli`, and the first line of that function's docstring, for --help"""


class Verb(TyperCommand):
    """What is known of a verb before its module is imported."""

    def __init__(self, name: str, function: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self.function = function

    def load(self) -> Any:
        """The command that the verb's own function makes."""
        module, _, function = self.function.partition(":")
        verb = typer.Typer(add_completion=False)
        verb.command(self.name)(getattr(import_module(f"spawner_limits.cli.{module}"), function))
        return typer.main.get_command(verb)

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Hand over to that command: it reads the arguments, and is what runs."""
        return self.load().make_context(*args, **extra)


class Verbs(TyperGroup):
    """All of them, in the order of --help."""

    def __init__(self, **attributes: Any) -> None:
        verbs = {name: Verb(name, function, summary) for name, (function, summary) in VERBS.items()}
        super().__init__(**attributes | {"commands": verbs})


class FaultError(LimitsError):
    """What we did not think of."""

    exit_code = 3


app = typer.Typer(
    cls=Verbs,
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
