"""What else has a hand in containers' limits on this host: dockerd by its own cgroup, systemd by a reload."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from spawner_limits import interrupt

_RELOAD = ("systemctl", "daemon-reload")
_RELOAD_S = 60
_SETTLED_S = 1.0
"""for systemd, which answers before it has written all limits"""


def engine_cgroup(root: Path = Path("/")) -> str | None:
    """The v2 cgroup that dockerd itself lives in, "/" for the root; `None` where it can't be found."""
    try:
        pid = int((root / "run" / "docker.pid").read_text(encoding="ascii"))
        lines = (root / "proc" / str(pid) / "cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reload:
    """Whether systemd read its units anew, and why not."""

    done: bool
    applies: bool = True
    """False: systemd does not write these containers' limits"""
    why: str = ""


def reloaded(driver: str, booted: Path = Path("/run/systemd/system")) -> Reload:
    """Have systemd read its units anew, as the installation of a package does, where it manages containers.

    `booted`: there while systemd is PID 1, by sd_booted(3).
    """
    if driver != "systemd":
        why = f"the engine's cgroup driver is {driver}, so systemd does not write its containers' limits"
        return Reload(done=False, applies=False, why=why)
    if not booted.is_dir():
        return Reload(done=False, applies=False, why="systemd is not PID 1 here")
    try:
        ran = subprocess.run(_RELOAD, capture_output=True, text=True, timeout=_RELOAD_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Reload(done=False, why=str(error))
    interrupt.pause(_SETTLED_S)
    return Reload(done=ran.returncode == 0, why=ran.stderr.strip())
