"""What a trial runs in a container, a command or the notebook, and what a load says of itself."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from spawner_limits.spawners.notebook import NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.limits import Limits

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # IPython's tracebacks have them, wherever they go
_LINES, LONGEST = 40, 400
EXECUTED = ("jupyter", "nbconvert", "--execute", NAME)
"""what the notebook's execution is called in reports"""

# the executed copy goes to a directory of its own: a user's notebook stays as it is
_EXECUTE = """
[ -f "$1" ] || { echo "the notebook was not copied: $1 is not in the container; the hub's log says why" >&2; exit 1; }
d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
cd "$(dirname "$1")" || exit 1
MNIST_EVIDENCE="$d/evidence" jupyter nbconvert --to notebook --execute --output-dir "$d" "$(basename "$1")"
code=$?
cat "$d/evidence" 2>/dev/null
exit $code
"""


def execution(path: str) -> tuple[str, ...]:
    """The command that executes the notebook at that path in a container."""
    return ("sh", "-c", _EXECUTE, "sh", path)


def called(command: Sequence[str]) -> tuple[str, ...]:
    """A command as people know it."""
    return EXECUTED if _EXECUTE in command else tuple(command)


def said(stdout: str) -> tuple[str, ...]:
    """The sentences in what a load printed: of the notebook's records the sentence, of others the line."""
    return tuple(map(_sentence, stdout.strip().splitlines()[-_LINES:]))


def _sentence(line: str) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        return line[:LONGEST]
    return str(record["say"] if isinstance(record, dict) and "say" in record else line)[:LONGEST]


def promises(limits: Limits) -> dict[str, str]:
    """What the hub would tell the server of its limits."""
    given = {"MEM_LIMIT": limits.mem_limit, "CPU_LIMIT": limits.cpu_limit, "PIDS_LIMIT": limits.pids_limit}
    return {name: str(value) for name, value in given.items() if value is not None}


def complaint(stdout: str, stderr: str) -> str:
    """The last line that a load which failed has printed; empty where it said nothing."""
    lines = _COLOURS.sub("", stderr or stdout).strip().splitlines()
    return lines[-1].strip() if lines else ""
