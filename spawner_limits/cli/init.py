"""`spawner-limits init`: a policy to begin with, the schema that lets editors complete it, and the hub's two lines."""

from __future__ import annotations

import json as text
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spawner_limits.cli import output
from spawner_limits.errors import UsageError
from spawner_limits.policy.schema import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType

POLICY, SCHEMA = "limits.yaml", "limits.schema.json"
HUB = ("from spawner_limits import setup", "", f'setup(c, "{POLICY}")')
"""lines of jupyterhub_config.py"""

# "#key:" is YAML that waits to be used, "# Words" are words; with every such # taken away it is a policy too
TEXT = """\
# yaml-language-server: $schema=limits.schema.json
#
# What each user's JupyterHub server may use. Field by field: whoever has a rule of their own gets it; else their
# groups'; else the defaults; and never more than the ceiling. A change counts at the next spawn.
# Sizes are powers of 1024 (512M, 1.5G), CPU is in cores (0.5), and "unlimited" is the only way to have no limit.
# After each change: spawner-limits check limits.yaml
version: 1

# Whom to ask, for the page that refuses a spawn
#contact: hub@example.org

# A user in several groups gets the most (or: least; first, by each group's own priority) of what they give
combine: most

# Everybody
defaults:
  mem_limit: 512M # and no swap, unless memswap_limit (memory and swap together) is above it
  cpu_limit: 0.5
  pids_limit: 256 # processes and threads: no fork bomb takes the host
#  cpu_shares: 1024 # weight against other servers when the host is busy
#  sizes: [small, large] # what may be picked on the spawn page; it only lowers what a rule gives
#  default_size: small
#  thread_hints: false # servers are not told how many threads fit their cpu_limit (OMP_NUM_THREADS and the like)
#  servers: # all servers of one user together
#    count: 2
#    mem_limit: 1G

# JupyterHub's groups, by name
groups: {}
#  students:
#    mem_limit: 768M
#    until: 2030-03-31 # the rule counts to the end of that day
#  staff:
#    mem_limit: 1.5G
#    cpu_limit: 1.5

# Users, by name; for two hours: spawner-limits set user:alice mem_limit=1.5G --for 2h
users: {}
#  alice:
#    mem_limit: 1G

# What nobody gets more than, whatever the rules above say
#ceiling:
#  mem_limit: 2G
#  cpu_limit: 1.5

# Named choices for the spawn page
#sizes:
#  small:
#    mem_limit: 256M
#    cpu_limit: 0.25
#  large:
#    mem_limit: 1G

# Spawns that would not fit on the host beside those that run are refused
#host:
#  reserve_memory: 512M # for the hub and the system
#  reserve_cpus: 0.25
#  reserve_processes: 1000 # of those that the Linux kernel can have
#  memory_overcommit: 1
#  cpu_overcommit: 4 # cores can be shared, memory can't

# Fields without which a server may start where the engine can't hold them; else the spawn is refused
#best_effort: [cpu_guarantee]

# Let the Hub service apply a changed policy to the servers that run
#auto_apply: true
"""


def init(
    directory: Annotated[Path, typer.Argument(help="Where to write; beside jupyterhub_config.py is best.")] = Path(),
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Write a commented limits.yaml to begin with, and limits.schema.json, by which editors complete it.

    Then say what to add to jupyterhub_config.py. A file that is there already is never overwritten.
    """
    contents = {POLICY: TEXT, SCHEMA: text.dumps(schema(), indent=2) + "\n"}
    paths = _write(directory, contents)
    if json:
        output.show_json({"written": [str(path) for path in paths], "jupyterhub_config": list(HUB)})
    else:
        output.show(*_told(paths))


def _write(directory: Path, contents: Mapping[str, str]) -> list[Path]:
    """Write all of the files, or none."""
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such directory; make it first")
    paths = [directory / name for name in contents]
    there = [str(path) for path in paths if path.is_symlink() or path.exists()]
    if there:
        raise UsageError(f"{' and '.join(there)}: there already, and not overwritten; nothing is written")
    made: list[Path] = []
    try:
        for path, content in zip(paths, contents.values(), strict=True):
            with path.open("x", encoding="utf-8") as stream:
                made.append(path)
                stream.write(content)
    except OSError as error:
        for path in made:
            with suppress(OSError):  # what can't be written may not be removable either
                path.unlink()
        raise UsageError(f"{error.filename or directory}: can't be written: {error.strerror}") from error
    return paths


def _told(paths: list[Path]) -> Iterator[RenderableType]:
    yield f"wrote {' and '.join(map(str, paths))}"
    yield ""
    yield output.heading(f"Add to jupyterhub_config.py ({POLICY} beside it, else with its path):")
    yield ""
    for line in HUB:
        yield output.indented(line, by=4)
    yield ""
    yield output.heading(f"Then change {POLICY} to your needs, and see what it comes to:")
    yield ""
    yield output.indented(f"spawner-limits check {paths[0]}", by=4)
