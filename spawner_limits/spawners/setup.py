"""`setup(c, "limits.yaml")`: the one call for `jupyterhub_config.py`, and what a hub beside its engine needs."""

from __future__ import annotations

import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from spawner_limits.errors import PolicyError, UnreachableError
from spawner_limits.policy.file import load


def setup(c: Any, policy_file: str | Path) -> None:
    """Have the hub start every server through `LimitedDockerSpawner`, under the policy in `policy_file`.

    A relative path counts from the configuration file that calls this. Mistakes in the policy are printed and the hub
    starts all the same, for its administrator to mend them: until then every spawn is refused.
    """
    caller = sys._getframe(1).f_globals.get("__file__")  # noqa: SLF001  the configuration file, as traitlets runs it
    path = (Path(caller).parent if caller else Path.cwd()).resolve() / policy_file
    c.JupyterHub.spawner_class = "limited-docker"
    c.LimitedDockerSpawner.policy_file = str(path)
    # a container that is kept would be started again with its old limits
    c.DockerSpawner.remove = True
    try:
        load(path)
    except PolicyError as error:
        print(f"{error}\nspawner-limits: every spawn is refused until this is mended", file=sys.stderr)  # noqa: T201


def bridge_address() -> str:
    """The host's address on Docker's default network: where containers reach a hub that runs on the host.

    Errors: UnreachableError when the engine does not answer.
    """
    import docker.errors  # noqa: PLC0415

    import docker  # noqa: PLC0415  0.2 s, and only needed here

    try:
        network = docker.from_env().networks.get("bridge")
    except docker.errors.DockerException as error:
        raise UnreachableError(
            f"the Docker engine does not answer ({error}); start it with docker/engine.sh"
        ) from error
    (config,) = (one for one in network.attrs["IPAM"]["Config"] if ":" not in one["Subnet"])
    # left to itself, Docker takes the subnet's first address, and some versions do not say so
    return str(config.get("Gateway") or next(ip_network(config["Subnet"]).hosts()))
