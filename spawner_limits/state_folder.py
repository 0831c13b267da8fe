"""Where this account keeps what it knows of containers, for as long as the host is up."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

VARIABLE = "SPAWNER_LIMITS_RECORDS"
_OF_ROOT = Path("/run/spawner-limits")


def state_folder() -> Path:
    """`SPAWNER_LIMITS_RECORDS`, else root's place, else a directory of this account's own."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    if os.geteuid() == 0:
        return _OF_ROOT
    own = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(own) / f"spawner-limits-{os.geteuid()}"
