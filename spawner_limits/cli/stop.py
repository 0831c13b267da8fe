"""`spawner-limits stop`: list and stop all servers of a user, and what the hub has lost sight of."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from spawner_limits.cli import hub as hubs
from spawner_limits.cli import output
from spawner_limits.clients.docker import DockerEngine
from spawner_limits.clients.hub_api import answers
from spawner_limits.lifecycle.records import usual
from spawner_limits.lifecycle.stop import find, targets
from spawner_limits.lifecycle.stop import stop as stopping

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from spawner_limits.clients.hub_api import Hub
    from spawner_limits.lifecycle.ownership import Belonging
    from spawner_limits.lifecycle.stop import Findings, Outcome

_SCOPES = "list:users, read:servers and delete:servers"
_HEAD = ("Container", "Server", "Since (UTC)", "Hub", "Image")
_WIDTHS = (22, 8, 16, 3)


def stop(  # noqa: PLR0913, PLR0917  the command's options are its interface
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose servers; the case of letters does not matter.")],
    container: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Also stop this one, which only says that it is theirs.")
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An image of the hub's servers, where none of them runs.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A network of the hub's servers, where none of them runs.")
    ] = None,
    hub: hubs.Address = hubs.DEFAULT,
    yes: Annotated[bool, typer.Option("--yes", help="Stop them without asking.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """List everything of a user that runs, and stop it: through the hub what the hub knows, so that it knows.

    Nothing that is kept after its end is removed. Containers that only say that they are the user's are listed apart.
    Exit code: 0 all stopped, 1 something was not, 2 usage, or nobody to agree, 4 engine or hub not reachable.
    """
    engine = DockerEngine()
    engine.info()  # one that does not answer is told before the hub is asked
    api = _hub(hub)
    found = find(engine, api, user, usual(), images=image or (), networks=network or ())
    wanted = targets(found, container or ())
    _agree(found, wanted, yes=yes, json=json)
    done = tuple(stopping(engine, api, found, wanted, partial(typer.echo, err=True)))
    if json:
        output.show_json(_as_object(found, done))
    else:
        output.show(*_told(done))
    raise typer.Exit(int(any(outcome.failed for outcome in done)))


def _hub(url: str) -> Hub | None:
    """The hub, or none where nothing answers: what runs can be stopped all the same."""
    if answers(url):
        return hubs.connect(url, scopes=_SCOPES)
    typer.echo(f"spawner-limits: no hub answers at {url}, so all of these are stopped without one", err=True)
    return None


def _agree(found: Findings, wanted: Sequence[Belonging], *, yes: bool, json: bool) -> None:
    """Show what there is, and go on if that may be stopped, or nothing is to be."""
    doomed = [belonging.server.name for belonging in wanted] + [_whole(found.user, name) for name in found.elsewhere]
    if not json:
        output.show(*_listing(found))
    elif doomed and not yes:
        output.show_json(_as_object(found, ()))
    if doomed:
        fact = f"These will be stopped: {', '.join(doomed)}"
        # a program that reads JSON is not asked
        hubs.agree(fact, yes=yes, asks=not json)


def _whole(user: str, server: str) -> str:
    """A server's name, as the hub has it: `alice`, `alice/second`."""
    return f"{user}/{server}" if server else user


# -- for people ----------------------------------------------------------------------------------------------------


def _listing(found: Findings) -> Iterator[RenderableType]:
    if not found.containers and not found.elsewhere:
        yield Text(f"{found.user}: no servers, and no containers that say that they are theirs")
    if found.ours or found.elsewhere:
        yield output.heading(f"Servers of {found.user}")
        here = [_row(belonging) for belonging in found.ours]
        absent = [("(not here)", name or "-", "", "yes", "") for name in found.elsewhere]
        yield output.rows([*here, *absent], *_WIDTHS, head=_HEAD)
    if found.apart:
        yield Text()
        yield output.heading(f"Not surely of this hub, and stopped only by --container NAME ({len(found.apart)})")
        for belonging in found.apart:
            yield output.rows([_row(belonging)], *_WIDTHS)
            yield from (output.indented(doubt) for doubt in belonging.doubts)
    yield Text()


def _row(belonging: Belonging) -> tuple[str, ...]:
    server = belonging.server
    since = f"{server.started:%Y-%m-%d %H:%M}" if server.started else server.state
    return server.name, server.server or "-", since, "yes" if belonging.known else "no", server.image


def _told(done: Sequence[Outcome]) -> Iterator[RenderableType]:
    for outcome in done:
        subject = outcome.container or _whole("the hub", outcome.server)
        yield Text(f"{subject}: {outcome.done}", style="red" if outcome.failed else "")
    if not done:
        yield Text("nothing to stop")


# -- for programs --------------------------------------------------------------------------------------------------


def _as_object(found: Findings, done: Sequence[Outcome]) -> dict[str, Any]:
    outcomes = {(outcome.container, outcome.server): outcome for outcome in done}
    absent = {"container": None, "reason": "no container of it on this machine", "known_to_hub": True}
    return {
        "user": found.user,
        "hub_answers": found.running is not None,
        "containers": [
            _container(belonging) | _outcome(outcomes.get((belonging.server.name, belonging.server.server)))
            for belonging in found.containers
        ]
        + [absent | {"server": name} | _outcome(outcomes.get((None, name))) for name in found.elsewhere],
    }


def _container(belonging: Belonging) -> dict[str, Any]:
    server = belonging.server
    return {
        "container": server.name,
        "server": server.server,
        "state": server.state,
        "image": server.image,
        "networks": list(server.networks),
        "started": server.started.isoformat() if server.started else None,
        "started_reason": None if server.started else "it does not run",
        "known_to_hub": belonging.known,
        "doubts": list(belonging.doubts),
    }


def _outcome(outcome: Outcome | None) -> dict[str, Any]:
    if outcome is None:
        return {"stopped": False, "told": "left as it is"}
    return {"stopped": not outcome.failed, "told": outcome.done}
