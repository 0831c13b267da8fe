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
    from collections.abc import Callable, Collection, Iterator, Sequence

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
        return tuple(one for one in self.containers if not one.doubts)

    @property
    def apart(self) -> tuple[Belonging, ...]:
        """Those that only say so."""
        return tuple(one for one in self.containers if one.doubts)

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Servers that the hub runs, and of which no container was found here."""
        here = {one.server.server for one in self.containers if one.known}
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
    all_of_them = engine.servers()
    known = Known(
        running=None if hub is None else _running(hub),
        attested={one.id for one in all_of_them if _is_attested(one, records)},
    )
    judged = belongings(all_of_them, known, images=images, networks=networks)
    theirs = tuple(one for one in judged if user_key(one.server.user) == user_key(user))
    return Findings(user=user, running=None if hub is None else _names(hub, user, theirs), containers=theirs)


def _is_attested(one: Server, records: Records) -> bool:
    try:
        return any(record.event == "attested" for record in records.of(one.id))
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
    if unknown := set(named) - {one.server.name for one in findings.containers}:
        raise UsageError(
            f"--container {', '.join(sorted(unknown))}: no container of that name says that it is of {findings.user}"
        )
    return tuple(
        one for one in findings.containers if not is_at_rest(one) and (not one.doubts or one.server.name in named)
    )


def is_at_rest(one: Belonging) -> bool:
    """Whether there is nothing to stop: it has ended and is kept, or was never started and is not surely the hub's."""
    return not one.server.runs and not _is_remnant(one)


def _is_remnant(one: Belonging) -> bool:
    """Whether a start that was cut short has left it: it holds nothing but what its image has."""
    return one.server.state == "created" and one.server.goes and not one.doubts


def stop(
    engine: DockerEngine, hub: Hub | None, findings: Findings, wanted: Sequence[Belonging], say: Callable[[str], None]
) -> Iterator[Outcome]:
    """Stop it: first what the hub knows, through it; then what still runs. `say` is told what is waited for."""
    refused = {}
    for name in findings.running or () if hub is not None else ():
        say(f"stopping {_called(name)} of {findings.user} through the hub")
        try:
            hub.stop(findings.user, name)  # type: ignore[union-attr]  # as above
        except LimitsError as error:
            refused[name] = str(error)
    for name in findings.elsewhere:
        done = refused.get(name, "stopped through the hub")
        yield Outcome(container=None, server=name, done=done, failed=name in refused)
    for one in wanted:
        say(f"stopping {one.server.name}")
        yield _stopped(engine, one, refused)


def _called(server: str) -> str:
    return f"the server {server!r}" if server else "the server"


def _stopped(engine: DockerEngine, one: Belonging, refused: dict[str, str]) -> Outcome:
    container, name = one.server, one.server.server
    if one.known and name in refused:  # not behind its back
        return Outcome(container=container.name, server=name, done=refused[name], failed=True)
    try:
        done = _gone(engine, one) if one.server.goes else _halted(engine, one)
    except RefusedError as error:
        return Outcome(container=container.name, server=name, done=error.words, failed=True)
    except SlowError:
        return Outcome(container=container.name, server=name, done="the engine does not end it", failed=True)
    return Outcome(container=container.name, server=name, done=f"{done} through the hub" if one.known else done)


def _halted(engine: DockerEngine, one: Belonging) -> str:
    engine.stop(one.server.id)
    return "stopped and kept"


def _gone(engine: DockerEngine, one: Belonging) -> str:
    # the hub, or the engine by itself, may be faster
    with suppress(GoneError):
        if _is_remnant(one):
            engine.remove(one.server.id)
        else:
            engine.stop(one.server.id)
            engine.wait_removed(one.server.id)
    return "stopped and removed"
