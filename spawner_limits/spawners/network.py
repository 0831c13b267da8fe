"""`users_network()`: a network for users' servers, on which no server reaches another one."""

from __future__ import annotations

import sys
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spawner_limits.clients.docker import DockerEngine
from spawner_limits.clients.engine import RefusedError
from spawner_limits.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

NETWORK = "spawner-limits"
ICC = "com.docker.network.bridge.enable_icc"


def users_network(name: str = NETWORK, *, root: Path = Path("/")) -> tuple[str, str]:
    """A network for users' servers, on which no server reaches another one; it is made where it is not there.

    Its name, for `c.DockerSpawner.network_name`, and the host's address on it, for `c.JupyterHub.hub_ip`: there servers
    reach a hub that runs on the host. It stays when the hub ends: others may use it. `root`: what `/proc` is below.

    Errors: UnreachableError when the engine does not answer; UsageError where a network of that name lets servers reach
    one another, or the engine can't make one that does not.
    """
    engine = DockerEngine()
    try:
        network = engine.network(name) or engine.make_network(name, {ICC: "false"})
    except RefusedError as error:
        raise UsageError(f"the engine can't make the network {name}: {error.words}") from error
    finally:
        engine.close()
    if network is None:
        raise UsageError(f"the network {name} was removed as soon as it was made; start the hub again")
    driver = network["Driver"]
    if driver != "bridge" or is_open(network):
        what = f"{ICC} is not false" if driver == "bridge" else f"its driver is {driver}, not bridge"
        raise UsageError(
            f"on the network {name} servers would reach one another ({what}); remove it when no container uses it "
            f"(docker network rm {name}), and it is made anew, or give users_network() another name"
        )
    if (problem := unfiltered(root)) is not None:
        print(f"spawner-limits: {problem}", file=sys.stderr)  # noqa: T201
    config = next(config for config in network["IPAM"]["Config"] if ":" not in config["Subnet"])
    # left to itself, Docker takes the subnet's first address, and some versions do not say so
    return name, str(config.get("Gateway") or next(ip_network(config["Subnet"]).hosts()))


def unfiltered(root: Path = Path("/")) -> str | None:
    """Why servers on one bridge reach one another all the same; `None` where nothing of this host says so."""
    file = root / "proc/sys/net/bridge/bridge-nf-call-iptables"
    # not there: the engine is on another host, or else it would have refused to make the network
    if not file.exists() or file.read_text().strip() == "1":
        return None
    return (
        f"servers reach one another, as the kernel filters nothing within a bridge; run sysctl net.bridge.{file.name}=1"
    )


def is_open(network: Mapping[str, Any]) -> bool:
    """Whether containers reach one another on a network, as the engine tells of it."""
    return network["Driver"] == "bridge" and (network["Options"] or {}).get(ICC) != "false"
