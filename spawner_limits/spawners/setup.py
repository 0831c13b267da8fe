"""`setup(c, "limits.yaml")`: the one call for `jupyterhub_config.py`, and what a hub beside its engine needs."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from http import HTTPStatus
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from spawner_limits.errors import PolicyError, UnreachableError, UsageError
from spawner_limits.policy.parse import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker import APIClient

TEMPLATES = Path(__file__).parent / "templates"
"""the hub's pages that tell why a server is not there"""
NETWORK = "spawner-limits"
ICC = "com.docker.network.bridge.enable_icc"
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
    from spawner_limits.service import keeper  # noqa: PLC0415  only needed here

    own = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    command = [sys.executable, "-m", keeper.__name__]
    environment = own | {keeper.POLICY_VARIABLE: path}
    c.JupyterHub.services.append({"name": keeper.NAME, "command": command, "environment": environment})
    c.JupyterHub.load_roles.append({"name": keeper.NAME, "services": [keeper.NAME], "scopes": list(keeper.SCOPES)})


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


def users_network(name: str = NETWORK, *, root: Path = Path("/")) -> tuple[str, str]:
    """A network for users' servers, on which no server reaches another one; it is made where it is not there.

    Its name, for `c.DockerSpawner.network_name`, and the host's address on it, for `c.JupyterHub.hub_ip`: there servers
    reach a hub that runs on the host. It stays when the hub ends: others may use it. `root`: what `/proc` is below.

    Errors: UnreachableError when the engine does not answer; UsageError where a network of that name lets servers reach
    one another, or the engine can't make one that does not.
    """
    import docker.errors  # noqa: PLC0415  0.2 s, and only needed here
    from docker.utils import kwargs_from_env  # noqa: PLC0415

    import docker  # noqa: PLC0415

    try:
        with closing(docker.APIClient(**kwargs_from_env(), version="auto")) as client:
            network = _found(client, name) or _made(client, name)
    except docker.errors.APIError as error:
        raise UsageError(f"the engine can't make the network {name}: {error.explanation}") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise UnreachableError(
            f"the Docker engine does not answer ({error}); start it with docker/engine.sh"
        ) from error
    _refuse_open(network)
    if (problem := unfiltered(root)) is not None:
        print(f"spawner-limits: {problem}", file=sys.stderr)  # noqa: T201
    return name, _address(network)


def unfiltered(root: Path = Path("/")) -> str | None:
    """Why servers on one bridge reach one another all the same; `None` where nothing of this host says so."""
    file = root / "proc/sys/net/bridge/bridge-nf-call-iptables"
    # not there: the engine is on another host, or else it would have refused to make the network
    if not file.exists() or file.read_text().strip() == "1":
        return None
    return (
        f"servers reach one another, as the kernel filters nothing within a bridge; run sysctl net.bridge.{file.name}=1"
    )


def _found(client: APIClient, name: str) -> Mapping[str, Any] | None:
    """The oldest network of that name: an engine may have several, made at the same moment."""
    # the filter finds parts of names too
    found = [one for one in client.networks(names=[name]) if one["Name"] == name]
    return min(found, key=lambda one: (one["Created"], one["Id"]), default=None)


def _made(client: APIClient, name: str) -> Mapping[str, Any]:
    import docker.errors  # noqa: PLC0415

    try:
        own = client.create_network(name, driver="bridge", options={ICC: "false"}, check_duplicate=True)["Id"]
    except docker.errors.APIError as error:
        if error.status_code != HTTPStatus.CONFLICT:
            raise
        own = None
    oldest = _found(client, name)
    if oldest is None:
        raise UsageError(f"the network {name} was removed as soon as it was made; start the hub again")
    if own not in {None, oldest["Id"]}:
        client.remove_network(own)
    return oldest


def is_open(network: Mapping[str, Any]) -> bool:
    """Whether containers reach one another on a network, as the engine tells of it."""
    return network["Driver"] == "bridge" and (network["Options"] or {}).get(ICC) != "false"


def _refuse_open(network: Mapping[str, Any]) -> None:
    name, driver = network["Name"], network["Driver"]
    if driver != "bridge" or is_open(network):
        what = f"{ICC} is not false" if driver == "bridge" else f"its driver is {driver}, not bridge"
        raise UsageError(
            f"on the network {name} servers would reach one another ({what}); remove it when no container uses it "
            f"(docker network rm {name}), and it is made anew, or give users_network() another name"
        )


def _address(network: Mapping[str, Any]) -> str:
    config = next(one for one in network["IPAM"]["Config"] if ":" not in one["Subnet"])
    # left to itself, Docker takes the subnet's first address, and some versions do not say so
    return str(config.get("Gateway") or next(ip_network(config["Subnet"]).hosts()))
