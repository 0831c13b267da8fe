"""A CPU load that every image can run: `sh`, busy for some seconds, and then at its end whoever is left to stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spawner_limits.clients.own_commands import Command

if TYPE_CHECKING:
    from spawner_limits.clients.own_containers import Container, Engine

_SCRIPT = """
end=$(($(date +%s) + $0))
while [ "$(date +%s)" -lt $end ]; do i=0; while [ $i -lt 99999 ]; do i=$((i+1)); done; done
"""


def burning(seconds: int) -> tuple[str, ...]:
    """The command that keeps one CPU busy for so long."""
    return ("sh", "-c", _SCRIPT, str(seconds))


def burner(engine: Engine, container: Container, seconds: int) -> Command:
    """Keep one CPU busy from inside the container. UsageError when it can't run a command at all."""
    return Command(engine, container, burning(seconds))
