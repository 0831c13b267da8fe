"""Stop everything of a user: through the hub what it knows, on the engine what it does not. Removes no files."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits.clients.engine import GoneError, RefusedError, SlowError
from spawner_limits.errors import LimitsError, UnreachableError, UsageError
from spawner_limits.lifecycle.ownership import Known, belongings
from spawner_limits.policy.model import user_key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from spawner_limits.clients.docker import DockerEngine
    from spawner_limits.clients.engine import Server
    from spawner_limits.clients.hub_api import Hub
    from spawner_limits.lifecycle.ownership import Belonging
    from spawner_limits.lifecycle.records import Records


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What there is of one user."""

    user: str
    running: tuple[str, ...] | None
    """names of the servers that the hub runs, empty for the default one; `None`: no hub answered"""
    containers: tuple[Belonging, ...]
    """all that say that they are the user's"""

    @property
    def ours(self) -> tuple[Belonging, ...]:
        """Those that the hub made."""
        return tuple(container for container in self.containers if not container.doubts)

    @property
    def apart(self) -> tuple[Belonging, ...]:
        """Those that only say so."""
        return tuple(container for container in self.containers if container.doubts)

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Servers that the hub runs, and of which no container was found here."""
        here = {container.server.server for container in self.containers if container.known}
        return tuple(name for name in self.running or () if name not in here)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one container, or of a server that the hub runs elsewhere."""

    container: str | None
    """its name; `None`: there is none on this machine"""
    server: str
    """empty for the default one"""
    done: str
    """"stopped and removed through the hub" and the like, or why it was not"""
    failed: bool = False


def find(  # noqa: PLR0913  whose, and what is known of the hub
    engine: DockerEngine,
    hub: Hub | None,
    user: str,
    records: Records,
    *,
    images: Collection[str] = (),
    networks: Collection[str] = (),
) -> Findings:
    """Look for all that is the user's; `images` and `networks` are the hub's, beside those of its servers.

    UsageError: there is no such user. Errors else: UnreachableError, RefusedError, OSError, those of the
    hub.
    """
    servers = engine.servers()
    known = Known(
        running=None if hub is None else _running(hub),
        attested={server.id for server in servers if _is_attested(server, records)},
    )
    judged = belongings(servers, known, images=images, networks=networks)
    theirs = tuple(container for container in judged if user_key(container.server.user) == user_key(user))
    return Findings(user=user, running=None if hub is None else _names(hub, user, theirs), containers=theirs)


def _is_attested(server: Server, records: Records) -> bool:
    try:
        return any(record.event == "attested" for record in records.of(server.id))
    except PermissionError:  # another account's, such as the hub's: then it is judged by what the hub says
        return False


def _running(hub: Hub) -> frozenset[tuple[str, str]]:
    people = hub.active()
    if any(person.servers is None for person in people):
        raise UnreachableError("the hub's token may not read its users' servers; it needs the scope read:servers")
    return frozenset((user_key(person.name), server) for person in people for server in person.servers or ())


def _names(hub: Hub, user: str, theirs: Sequence[Belonging]) -> tuple[str, ...]:
    try:
        return hub.servers(user)
    except UsageError:
        if theirs:  # of somebody whom the hub has forgotten
            return ()
        raise


def targets(findings: Findings, named: Collection[str]) -> tuple[Belonging, ...]:
    """What will be stopped: all of the hub's that is not at rest, and what else is named. UsageError for no such."""
    if unknown := set(named) - {container.server.name for container in findings.containers}:
        raise UsageError(
            f"--container {', '.join(sorted(unknown))}: no container of that name says that it is of {findings.user}"
        )
    return tuple(
        container
        for container in findings.containers
        if not is_at_rest(container) and (not container.doubts or container.server.name in named)
    )


def is_at_rest(container: Belonging) -> bool:
    """Whether there is nothing to stop: it has ended and is kept, or was never started and is not surely the hub's."""
    return not container.server.runs and not _is_remnant(container)


def _is_remnant(container: Belonging) -> bool:
    """Whether a start that was cut short has left it: it holds nothing but what its image has."""
    return container.server.state == "created" and container.server.goes and not container.doubts


def stop(
    engine: DockerEngine, hub: Hub | None, findings: Findings, wanted: Sequence[Belonging], say: Callable[[str], None]
) -> Iterator[Outcome]:
    """Stop it: first what the hub knows, through it; then what still runs. `say` gets what is waited for."""
    refused: dict[str, str] = {}
    if hub is not None:
        for name in findings.running or ():
            say(f"stopping {f'the server {name!r}' if name else 'the server'} of {findings.user} through the hub")
            try:
                hub.stop(findings.user, name)
            except LimitsError as error:
                refused[name] = str(error)
    for name in findings.elsewhere:
        done = refused.get(name, "stopped through the hub")
        yield Outcome(container=None, server=name, done=done, failed=name in refused)
    for container in wanted:
        say(f"stopping {container.server.name}")
        yield _stopped(engine, container, refused)


def _stopped(engine: DockerEngine, container: Belonging, refused: Mapping[str, str]) -> Outcome:
    name, server = container.server.name, container.server.server
    if container.known and server in refused:  # not behind its back
        return Outcome(container=name, server=server, done=refused[server], failed=True)
    try:
        done = _end(engine, container)
    except RefusedError as error:
        return Outcome(container=name, server=server, done=error.words, failed=True)
    except SlowError:
        return Outcome(container=name, server=server, done="the engine does not end it", failed=True)
    return Outcome(container=name, server=server, done=f"{done} through the hub" if container.known else done)


def _end(engine: DockerEngine, container: Belonging) -> str:
    server = container.server
    if not server.goes:
        engine.stop(server.id)
        return "stopped and kept"
    # the hub, or the engine by itself, may be faster
    with suppress(GoneError):
        if _is_remnant(container):
            engine.remove(server.id)
        else:
            engine.stop(server.id)
            engine.wait_removed(server.id)
    return "stopped and removed"
