"""Which container is a user's server: the one that the hub names by its id, started with limits by its spawner.

Hubs may share an engine, and have users of the same name. Labels say no more than which limits a start gave: those that
a container has from its image, such as one made by `docker commit`, were given by no start, and count for nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spawner_limits.clients.engine import GoneError, whose
from spawner_limits.engines import labels
from spawner_limits.errors import UsageError
from spawner_limits.policy.entitlement import Entitlement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.clients.hub_api import Hub
    from spawner_limits.clients.own_containers import Container, Engine

_SHORT = 12


def server_of(engine: Engine, hub: Hub, user: str, server: str = "") -> Container:
    """The running container of a user's server; its labels are those that it was created with.

    Errors: UsageError when the hub's container is not on this engine, does not run, or carries no limits of a start;
    else as `Hub.container`.
    """
    named = hub.container(user, server)
    try:
        engine.docker.inspected(named)
    except GoneError as error:
        raise UsageError(
            f"the hub says that the server of {whose(user, server)} is the container {named[:_SHORT]}, which is not "
            f"on this engine{_others(engine, user, server)}; run verify on the machine that it runs on"
        ) from error
    found = engine.inspect(named)
    given = _given(engine, found)
    if labels.ENTITLEMENT not in given:
        why = "carries no limits: is it started by LimitedDockerSpawner?"
        if labels.ENTITLEMENT in found.labels:
            why = (
                f"carries no limits but those that its image {found.image} has as a label ({labels.ENTITLEMENT}); "
                "start it from an image without that label"
            )
        raise UsageError(f"the container {found.name} of {whose(user, server)} {why}")
    try:
        entitlement = Entitlement.from_json(given[labels.ENTITLEMENT])
    except ValueError as error:
        raise UsageError(f"the label {labels.ENTITLEMENT} of the container {found.name}: {error}") from error
    if (entitlement.user, entitlement.server) != (user, server):
        raise UsageError(
            f"the hub says that the container {found.name} is the server of {whose(user, server)}, its labels say that "
            f"of {whose(entitlement.user, entitlement.server)}; stop that server, and have the hub start it anew"
        )
    return replace(found, labels=given)


def replaced(hub: Hub, user: str, container: Container, server: str = "") -> str | None:
    """Why what was pressed tells nothing of the user's server: it is another container by now; `None`: it still is it.

    Errors as `Hub.container`, but UsageError for none.
    """
    try:
        now = hub.container(user, server)
    except UsageError as error:
        return f"the server was stopped while it was pressed: {error}"
    if now == container.id:
        return None
    was, is_now = container.id[:_SHORT], now[:_SHORT]
    return f"the server was started anew while it was pressed: it was the container {was}, and is {is_now}"


def _given(engine: Engine, container: Container) -> Mapping[str, str]:
    """The labels of a container's creation. Of one that is its image's, nobody knows whether it was given, too."""
    try:
        its = engine.docker.image(container.image_id).get("Labels") or {}
    except GoneError as error:
        raise UsageError(
            f"the image of the container {container.name} is no longer on this engine, so nobody can tell its labels "
            "from the container's; have the hub start the server anew"
        ) from error
    return {name: text for name, text in container.labels.items() if its.get(name) != text}


def _others(engine: Engine, user: str, server: str) -> str:
    """Containers that say they are this server, and aren't: such as another hub's."""
    wanted = [f"{labels.USER}={user}", f"{labels.SERVER}={server}"]
    found = engine.docker.listed(label=wanted, status=["running"])
    names = sorted(container["Names"][0].lstrip("/") for container in found)
    return f" (here, but not this hub's: {', '.join(names)})" if names else ""
