"""The command finds a verb by its name, and imports no other."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest

from spawner_limits.cli.main import VERBS, Verb
from tests.unit.command import run

__all__ = ["run"]

IMPORTED = """
import sys
from spawner_limits.cli.main import VERBS, run
try:
    run(sys.argv[1:])
except SystemExit:
    pass
modules = {name: f"spawner_limits.cli.{function.partition(':')[0]}" for name, (function, _) in VERBS.items()}
print([name for name, module in modules.items() if module in sys.modules])
"""


@pytest.mark.parametrize("name", VERBS)
def test_the_help_of_all_verbs_says_what_each_says(name):
    """The line of a verb in `--help` is the first one of its own."""
    function, summary = VERBS[name]
    verb = Verb(name, function, summary).load()
    assert (verb.name, inspect.cleandoc(verb.help).splitlines()[0]) == (name, summary)


def test_every_verb_is_in_the_help(run):
    """In the table's order."""
    assert re.findall(r"^│ (\w+)", run("--help").stdout, flags=re.MULTILINE) == [*VERBS]


@pytest.mark.parametrize(
    ("arguments", "verbs"),
    [
        (["--help"], []),
        (["--version"], []),
        (["chek"], []),
        (["check", "--help"], ["check"]),
        (["verify", "--no-such-option"], ["verify"]),
    ],
    ids=" ".join,
)
def test_only_the_verb_that_is_asked_for_is_imported(arguments, verbs):
    """`--help` and a mistake wait for no other verb's libraries."""
    ended = subprocess.run([sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == str(verbs)


def test_a_verb_that_there_is_not(run):
    """The nearest is named."""
    ended = run("chek")
    assert (ended.code, ended.stdout) == (2, "")
    assert "No such command 'chek'. Did you mean 'check'?" in ended.stderr
