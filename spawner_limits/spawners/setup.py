"""`setup(c, "limits.yaml")`: the one call for `jupyterhub_config.py`, and what a hub beside its engine needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from spawner_limits.errors import PolicyError
from spawner_limits.lifecycle import hub_service
from spawner_limits.policy.parse import load
from spawner_limits.spawners.network import users_network

__all__ = ["setup", "users_network"]

TEMPLATES = Path(__file__).parent / "templates"
"""the hub's pages that tell why a server is not there"""
OOM_SCORE_ADJ = -900
"""nine tenths of the host's memory less on its account; -1000 would never end it, not even if it were what leaks"""


ENVIRONMENT = (
    "DOCKER_HOST",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "SPAWNER_LIMITS_RECORDS",
    "XDG_RUNTIME_DIR",
    "TMPDIR",
)
"""what decides which engine is asked and where records are; the hub gives a service nothing of its own environment"""


def setup(c: Any, policy_file: str | Path, *, oom_score_adj: int | None = OOM_SCORE_ADJ, service: bool = False) -> None:
    """Have the hub start every server through `LimitedDockerSpawner`, under the policy in `policy_file`.

    A relative path counts from the configuration file that calls this. Mistakes in the policy are printed and the hub
    starts all the same, for its administrator to mend them: until then every spawn is refused.

    `oom_score_adj`: how the OOM killer sees the hub and its proxy (-1000 to 1000, proc_pid_oom_score_adj(5)); `None`
    leaves it. Servers don't inherit it: they are the engine's processes.

    `service`: also have the hub run the service that applies a changed policy to running servers, if the policy has
    `auto_apply: true`. It is added to `c.JupyterHub.services` and `c.JupyterHub.load_roles`: assign these before, or
    add to them afterwards, as what is assigned later takes its place.
    """
    caller = sys._getframe(1).f_globals.get("__file__")  # noqa: SLF001  the configuration file, as traitlets runs it
    path = (Path(caller).parent if caller else Path.cwd()).resolve() / policy_file
    c.JupyterHub.spawner_class = "limited-docker"
    c.LimitedDockerSpawner.policy_file = str(path)
    _add_templates(c)
    # a container that is kept would be started again with its old limits
    c.DockerSpawner.remove = True
    if service:
        add_service(c, str(path))
    try:
        load(path)
    except PolicyError as error:
        print(f"{error}\nspawner-limits: every spawn is refused until this is mended", file=sys.stderr)  # noqa: T201
    if oom_score_adj is not None and (problem := protect(oom_score_adj)) is not None:
        print(f"spawner-limits: {problem}", file=sys.stderr)  # noqa: T201


def add_service(c: Any, path: str) -> None:
    """Have the hub run the service that applies the policy at `path`, with the least scopes that it can do with."""
    own = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    command = [sys.executable, "-m", hub_service.MODULE]
    environment = own | {hub_service.POLICY_VARIABLE: path}
    c.JupyterHub.services.append({"name": hub_service.NAME, "command": command, "environment": environment})
    c.JupyterHub.load_roles.append(
        {"name": hub_service.NAME, "services": [hub_service.NAME], "scopes": list(hub_service.SCOPES)}
    )


def _add_templates(c: Any) -> None:
    """Before JupyterHub's own templates, and after the administrator's."""
    paths = c.JupyterHub.template_paths
    if isinstance(paths, list):
        paths.append(str(TEMPLATES))
    else:  # not set: what traitlets adds to the default, JupyterHub's own
        paths.insert(0, str(TEMPLATES))


def protect(oom_score_adj: int, *, root: Path = Path("/")) -> str | None:
    """Make this process less of a victim to the OOM killer, with those that it will start; say why that can't be."""
    file = root / "proc/self/oom_score_adj"
    try:
        if int(file.read_text()) > oom_score_adj:
            file.write_text(str(oom_score_adj))
    except OSError as error:
        return (
            f"the hub is not protected from the OOM killer ({error.strerror}: it takes CAP_SYS_RESOURCE); set "
            f"OOMScoreAdjust={oom_score_adj} in its systemd unit, or oom_score_adj=None in setup()"
        )
    return None
