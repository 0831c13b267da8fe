"""`spawner-limits init`: a policy that is right as it is, teaches every section, and overwrites nothing."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from spawner_limits.cli.init import TEXT
from spawner_limits.policy import keys
from spawner_limits.policy.parse import parse
from tests.unit.command import run

__all__ = ["run"]

SMALL = ("--memory", "4G", "--cores", "2", "--strict")
"""a host that it must fit"""
WHOLE = re.sub(r"(?m)^(groups|users): \{\}$", r"\1:", re.sub(r"(?m)^#( *[a-z_]+:)", r"\1", TEXT))
"""with every commented line taken into use"""


def files():
    return {path.name: path.read_bytes() for path in Path().iterdir()}


def test_what_it_says(run):
    """Whole, at 80 columns."""
    ended = run("init")
    assert (ended.code, ended.stderr) == (0, "")
    assert (
        ended.stdout
        == """\
wrote limits.yaml and limits.schema.json

Add to jupyterhub_config.py (limits.yaml beside it, else with its path):

    from spawner_limits import setup

    setup(c, "limits.yaml")

Then change limits.yaml to your needs, and see what it comes to:

    spawner-limits check limits.yaml
"""
    )


def test_what_it_writes(run):
    """Two files; the policy's first line leads editors to the schema, which is JSON."""
    run("init")
    assert set(files()) == {"limits.yaml", "limits.schema.json"}
    assert Path("limits.yaml").read_text(encoding="utf-8").splitlines()[0] == (
        "# yaml-language-server: $schema=limits.schema.json"
    )
    assert json.loads(files()["limits.schema.json"])["type"] == "object"


def test_the_policy_has_no_warnings(run):
    """On a host of 2 cores and 4 GiB, as it is."""
    run("init")
    ended = run("check", *SMALL, "--json")
    assert (ended.code, ended.json["warnings"]) == (0, [])


def test_every_commented_line_can_be_used(run):
    """Without the # they make a policy that has no warnings either."""
    Path("limits.yaml").write_text(WHOLE, encoding="utf-8")
    ended = run("check", *SMALL, "--json")
    assert (ended.code, ended.json["warnings"]) == (0, [])


def test_it_teaches_every_section():
    """And the keys of a host, and of what all servers of a user hold together."""
    policy = parse(WHOLE.encode(), "limits.yaml")
    assert {section for section in keys.SECTIONS if not re.search(rf"^{section}:", WHOLE, flags=re.MULTILINE)} == set()
    assert {key for key in keys.HOST if f"{key}:" not in WHOLE} == set()
    assert {"servers.count", "servers.mem_limit", "sizes", "default_size"} <= set(policy.defaults.values)
    assert (policy.contact, policy.combine) == ("hub@example.org", "most")


def test_it_is_short():
    """A page or two, in lines that fit."""
    assert len(TEXT.splitlines()) < 80
    assert max(map(len, TEXT.splitlines())) <= 120


def test_json(run):
    """What was written, and the hub's lines."""
    assert run("init", "--json").json == {
        "schema_version": 1,
        "written": ["limits.yaml", "limits.schema.json"],
        "jupyterhub_config": ["from spawner_limits import setup", "", 'setup(c, "limits.yaml")'],
    }


@pytest.mark.parametrize("name", ["limits.yaml", "limits.schema.json"])
@pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
def test_it_never_overwrites(run, name, kind):
    """Whatever is there stays, and the other file is not written either."""
    there = Path(name)
    {"file": there.touch, "directory": there.mkdir, "dangling link": lambda: there.symlink_to("nowhere")}[kind]()
    ended = run("init")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == f"spawner-limits: {name}: there already, and not overwritten; nothing is written\n"
    assert [path.name for path in Path().iterdir()] == [name]
    assert not Path("nowhere").exists()


def test_no_such_directory(run):
    """It makes none."""
    ended = run("init", "hub")
    assert (ended.code, ended.stderr) == (2, "spawner-limits: hub: no such directory; make it first\n")
    assert not Path("hub").exists()


def test_a_directory_that_can_not_be_written_to(run):
    """The cause is told."""
    ended = run("init", "/proc/self")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == "spawner-limits: /proc/self/limits.yaml: can't be written: No such file or directory\n"


def test_the_second_file_can_not_be_written(run, monkeypatch):
    """Then the first is taken away again."""
    real = Path.open

    def full(path, *arguments, **options):
        if path.name == "limits.schema.json":
            raise OSError(28, os.strerror(28), str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    ended = run("init")
    assert (ended.code, ended.stderr) == (
        2,
        "spawner-limits: limits.schema.json: can't be written: No space left on device\n",
    )
    assert files() == {}
