"""Whose is a container that carries our labels? Anyone who may start containers can write labels. Pure.

A hub's own containers are those that alone can be what the hub says runs, and that were attested on this host where
some were; without a hub, those that were attested. What else says that it belongs to a user must be like them. Several
hubs may share an engine, and have users of the same name: each has a policy file of its own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits.engines import labels
from spawner_limits.policy.model import user_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from spawner_limits.clients.engine import Server

_LABELS = (labels.USER, labels.SERVER, labels.POLICY, labels.ENTITLEMENT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hallmarks:
    """What the containers of a hub have in common; a container needs one of each."""

    images: frozenset[str]
    networks: frozenset[str]
    policies: frozenset[str]
    """the policy files that they were started under"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What is known of a hub's own containers, from elsewhere than their labels."""

    running: Collection[tuple[str, str]] | None
    """`user_key` and server of all that the hub says runs; `None`: no hub answered"""
    attested: Collection[str]
    """ids of the containers whose limits the hub's spawner has attested on this host"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Belonging:
    """One container, and whether it is the hub's."""

    server: Server
    known: bool
    """to the hub, as the server that it says runs"""
    doubts: tuple[str, ...]
    """why it is not taken for one of the hub's; empty: it is"""


def belongings(
    servers: Iterable[Server], known: Known, *, images: Iterable[str] = (), networks: Iterable[str] = ()
) -> tuple[Belonging, ...]:
    """All containers with our labels, judged. `images`, `networks`: the hub's, where somebody says so."""
    servers = tuple(servers)
    own = _own(servers, known)
    marks = Hallmarks(
        images=frozenset(images) | {server.image for server in own},
        networks=frozenset(networks) | {network for server in own for network in server.networks},
        policies=frozenset().union(*map(policy_files, own)),
    )
    return tuple(_judged(server, known, marks) for server in servers)


def policy_files(server: Server) -> frozenset[str]:
    """The policy file that a server was started under, by its label; empty where that can't be read."""
    grants = {} if server.entitlement is None else server.entitlement.grants
    # what a request lowered has no file
    return frozenset(filter(None, (grant.file for grant in grants.values())))


def _judged(server: Server, known: Known, marks: Hallmarks) -> Belonging:
    doubts = (*_slips(server), *_strangeness(server, marks))
    said = server.runs and _key(server) in (known.running or ())
    return Belonging(server=server, known=said and not doubts, doubts=doubts)


def _own(servers: Iterable[Server], known: Known) -> tuple[Server, ...]:
    """Those that are the hub's beyond their labels."""
    complete = [server for server in servers if not any(_slips(server))]
    attested = [server for server in complete if server.id in known.attested]
    if known.running is None:
        # of several hubs there is no telling which is meant
        return tuple(attested) if len(frozenset().union(*map(policy_files, attested))) == 1 else ()
    claims = Counter(_key(server) for server in complete if server.runs)
    said = [
        server for server in complete if server.runs and _key(server) in known.running and claims[_key(server)] == 1
    ]
    # none: records that this account can't read
    return tuple(server for server in said if server in attested) or tuple(said)


def _key(server: Server) -> tuple[str, str]:
    return user_key(server.user), server.server


def _slips(server: Server) -> Iterator[str]:
    """Where its labels are not what `LimitedDockerSpawner` writes."""
    if missing := [label for label in _LABELS if label not in server.labels]:
        yield f"it has no label {', '.join(missing)}"
    elif server.entitlement is None:
        yield server.problem
    else:
        given, policy = server.entitlement, server.labels[labels.POLICY]
        wrote = {labels.USER: given.user, labels.SERVER: given.server, labels.POLICY: given.policy_sha256}
        said = {labels.USER: server.user, labels.SERVER: server.server, labels.POLICY: policy}
        for label, text in said.items():
            if text != wrote[label]:
                yield f"its label {label} is {text!r}, its entitlement says {wrote[label]!r}"


def _strangeness(server: Server, marks: Hallmarks) -> Iterator[str]:
    """What no container of the hub has."""
    if not marks.images or not marks.networks:
        yield "there is no server of the hub here to compare its image and networks with; see --image and --network"
        return
    if server.image not in marks.images:
        yield f"its image {server.image} is none of the hub's"
    if not marks.networks.intersection(server.networks):
        yield f"it is on none of the hub's networks ({', '.join(sorted(marks.networks))})"
    if marks.policies and (files := policy_files(server)) and not marks.policies & files:
        yield f"it was started under another policy ({', '.join(sorted(files))})"
