"""docs/commands.md shows what the commands really say: each is run, in order, on the policy that the page has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.unit.command import run

__all__ = ["run"]

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
TEXT = PAGE.read_text(encoding="utf-8")
POLICY = re.search(r"^```yaml\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)[1]
SHOWN = re.findall(r"^```console\n\$ spawner-limits (.*?)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
TIMES = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d UTC|T\d\d:\d\dZ)")


def timeless(text):
    """What `--for` says depends on when it was run."""
    return TIMES.sub("TIME", text)


def shown(run, command):
    """What a terminal would show."""
    ended = run(*shlex.split(command))
    return ended.stdout + ended.stderr


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_the_page_shows_what_is_said(run, command, output):
    """Word for word, at 80 columns."""
    Path("limits.yaml").write_text(POLICY, encoding="utf-8")
    Path("hub").mkdir()
    assert timeless(shown(run, command)) == timeless(output)


def test_each_command_is_shown():
    """The four verbs of this page."""
    assert {command.split()[0] for command, _ in SHOWN} == {"init", "check", "explain", "set"}


def test_it_fits_a_narrow_terminal():
    """No line of a result is above 80 characters; a mistake is one line, for editors to jump to."""
    lines = [line for _, output in SHOWN for line in output.splitlines() if not line.startswith("limits.yaml:")]
    assert [line for line in lines if len(line) > 80] == []
