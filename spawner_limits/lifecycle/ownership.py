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
        images=frozenset(images) | {one.image for one in own},
        networks=frozenset(networks) | {network for one in own for network in one.networks},
        policies=frozenset().union(*map(policy_files, own)),
    )
    return tuple(_judged(one, known, marks) for one in servers)


def policy_files(one: Server) -> frozenset[str]:
    """The policy file that a server was started under, by its label; empty where that can't be read."""
    grants = {} if one.entitlement is None else one.entitlement.grants
    # what a request lowered has no file
    return frozenset(filter(None, (grant.file for grant in grants.values())))


def _judged(one: Server, known: Known, marks: Hallmarks) -> Belonging:
    doubts = (*_slips(one), *_strangeness(one, marks))
    said = one.runs and _key(one) in (known.running or ())
    return Belonging(server=one, known=said and not doubts, doubts=doubts)


def _own(servers: Iterable[Server], known: Known) -> tuple[Server, ...]:
    """Those that are the hub's beyond their labels."""
    complete = [one for one in servers if not any(_slips(one))]
    attested = [one for one in complete if one.id in known.attested]
    if known.running is None:
        # of several hubs there is no telling which one is meant
        return tuple(attested) if len(frozenset().union(*map(policy_files, attested))) == 1 else ()
    claims = Counter(_key(one) for one in complete if one.runs)
    said = [one for one in complete if one.runs and _key(one) in known.running and claims[_key(one)] == 1]
    # none: records that this account can't read
    return tuple(one for one in said if one in attested) or tuple(said)


def _key(one: Server) -> tuple[str, str]:
    return user_key(one.user), one.server


def _slips(one: Server) -> Iterator[str]:
    """Where its labels are not what `LimitedDockerSpawner` writes."""
    if missing := [label for label in _LABELS if label not in one.labels]:
        yield f"it has no label {', '.join(missing)}"
    elif one.entitlement is None:
        yield one.problem
    else:
        told, policy = one.entitlement, one.labels[labels.POLICY]
        wrote = {labels.USER: told.user, labels.SERVER: told.server, labels.POLICY: told.policy_sha256}
        said = {labels.USER: one.user, labels.SERVER: one.server, labels.POLICY: policy}
        for label in (one for one in said if said[one] != wrote[one]):
            yield f"its label {label} is {said[label]!r}, its entitlement says {wrote[label]!r}"


def _strangeness(one: Server, marks: Hallmarks) -> Iterator[str]:
    """What no container of the hub has."""
    if not marks.images or not marks.networks:
        yield "there is no server of the hub here to compare its image and networks with; see --image and --network"
        return
    if one.image not in marks.images:
        yield f"its image {one.image} is none of the hub's"
    if not marks.networks.intersection(one.networks):
        yield f"it is on none of the hub's networks ({', '.join(sorted(marks.networks))})"
    if marks.policies and (files := policy_files(one)) and not marks.policies & files:
        yield f"it was started under another policy ({', '.join(sorted(files))})"
