"""The hub's REST API: who its users are, in which groups, and which servers it knows; start one, and stop one.

A token needs no more scopes than what is asked of the hub with it; each method names its own.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from spawner_limits.clients.engine import whose
from spawner_limits.deadline import GRACE_S, Deadline, OvertimeError
from spawner_limits.errors import LimitsError, UnreachableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_STOP_S = 60
_LOOK_S = 0.3
_START_S = 120
_QUIET_S = 10
"""JupyterHub lets a progress stream be heard every 8 s (`keepalive_interval`)"""
_FIRST_ANSWER_S = 10
_NOBODY_BEHIND = (requests.codes.bad_gateway, requests.codes.unavailable, requests.codes.gateway_timeout)
"""a proxy's answers while the hub behind it does not run"""
_PAGE = 200
_PAGED = {"Accept": "application/jupyterhub-pagination+json"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """One user, as the hub lets the token's owner know of them."""

    name: str
    groups: tuple[str, ...] | None = None
    """`None`: the token may not read them"""
    servers: tuple[str, ...] | None = None
    """of those that run, or are starting or stopping; empty for the default one. `None`: the token may not read them"""


class StrangerError(UnreachableError):
    """A hub answers, and does not know the token."""


def answers(url: str) -> bool:
    """Whether a hub, or anything else but a proxy without one, answers at `url`; nobody's token is sent."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, timeout=_FIRST_ANSWER_S).status_code not in _NOBODY_BEHIND
        except requests.RequestException:
            return False


class Hub:
    """One hub's REST API, with one token."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 60) -> None:
        """`url`: with `/hub/api` at its end. UnreachableError when none answers there, StrangerError when not to us."""
        self._url, self._timeout_s, self._deadline = url.rstrip("/"), timeout_s, Deadline()
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"token {token}"
        # a proxy of the environment would take the token along
        self._session.trust_env = False
        self._refuse_strangers(self._call("GET", "/user", timeout_s=min(timeout_s, _FIRST_ANSWER_S)))

    def until(self, deadline: Deadline) -> Hub:
        """The same hub, waited for until then, and no longer: OvertimeError."""
        bound = copy(self)
        bound._deadline = deadline  # noqa: SLF001  of this class
        return bound

    def _refuse_strangers(self, answer: requests.Response) -> None:
        """What answers must be a hub's API, and it must know the token's owner."""
        if answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            raise StrangerError(f"the hub at {self._url} does not accept the token; see JUPYTERHUB_API_TOKEN")
        try:
            owner = answer.json() if answer.ok else None
        except ValueError:
            owner = None
        if not isinstance(owner, dict):
            seen = f"HTTP {answer.status_code}"
            raise UnreachableError(f"what answers at {self._url} is no hub's API ({seen}); --hub ends in /hub/api")

    def _call(self, method: str, path: str, *, timeout_s: float | None = None, **more: Any) -> requests.Response:
        within = self._deadline.within(timeout_s or self._timeout_s)
        try:
            return self._session.request(method, self._url + path, timeout=within, **more)
        except requests.RequestException as error:
            self._deadline.check(f"what the hub was asked for ({method} {path})")
            raise UnreachableError(f"no hub answers at {self._url}; is it started, and is --hub right?") from error

    # -- who there is --------------------------------------------------------------------------------------------

    def model(self, user: str) -> dict[str, Any]:
        """What the hub knows of a user. Scopes: `read:users`, and `read:servers` for the servers in it.

        UsageError when it knows none of that name.
        """
        response = self._call("GET", _path(user))
        if response.status_code == requests.codes.not_found:
            raise UsageError(f"the hub knows no user {user!r}")
        if response.status_code == requests.codes.forbidden:
            raise UnreachableError(f"the hub's token may not read the user {user!r}; it needs the scope read:users")
        self._refuse(response, f"the hub says nothing about {user!r}")
        model: dict[str, Any] = response.json()
        return model

    def active(self) -> tuple[Person, ...]:
        """The users who have a server that runs, or is starting or stopping.

        Scopes: `list:users`; with `read:users:groups` also their groups, with `read:servers` also their servers.
        """
        found: list[Person] = []
        offset: int | None = 0
        while offset is not None:
            asked = {"state": "active", "offset": offset, "limit": _PAGE}
            response = self._call("GET", "/users", params=asked, headers=_PAGED)
            self._refuse(response, "the hub does not list its users")
            page = response.json()
            found += map(_person, page["items"])
            following = page["_pagination"]["next"]
            offset = None if following is None else int(following["offset"])
        return tuple(found)

    # -- their servers -------------------------------------------------------------------------------------------

    def running(self, user: str, server: str = "") -> bool:
        """Whether a server runs, or is starting or stopping. Scopes: `read:servers`; errors as `model`."""
        return server in self.servers(user)

    def servers(self, user: str) -> tuple[str, ...]:
        """The names of the user's servers that run, or are starting or stopping; empty for the default one.

        Scopes: `read:servers`; errors as `model`.
        """
        model = self.model(user)
        if "servers" not in model:  # none are `{}`
            raise UnreachableError(f"the hub's token may not read the servers of {user!r}; it needs read:servers")
        return tuple(model["servers"])

    def container(self, user: str, server: str = "") -> str:
        """The whole id of the container that a server runs in, which the hub's spawner has in its state.

        Scopes: `read:users`, `read:servers`, `admin:server_state`. UsageError when no such server runs, or in none;
        else as `model`.
        """
        name = whose(user, server)
        if server not in self.servers(user):
            raise UsageError(f"the hub runs no server of {name}")
        model = self.model(user)["servers"].get(server, {})
        if "state" not in model:
            raise UnreachableError(
                f"the hub's token may not read which container the server of {name} runs in; it needs the scope "
                "admin:server_state"
            )
        found = (model["state"] or {}).get("object_id")
        if not found:
            raise UsageError(f"the hub has no container for the server of {name}; is its spawner LimitedDockerSpawner?")
        return str(found)

    @contextmanager
    def server(self, user: str, tell: Callable[[str], None]) -> Iterator[None]:
        """The user's default server, started for the time of the block if it does not run.

        It is stopped within `GRACE_S` of the deadline, or it is told that the hub is still at it. Scopes: `servers`,
        `read:users`.
        """
        if self.running(user):
            yield
            return
        try:
            self._start(user, tell)
            yield
        finally:
            try:
                self.until(self._deadline.later(GRACE_S)).stop(user)
            except OvertimeError:
                tell(f"the hub was told to stop the server of {user}, which still runs; look whether it does")

    def _start(self, user: str, tell: Callable[[str], None]) -> None:
        response = self._call("POST", _path(user, ""), timeout_s=_START_S)
        self._refuse(response, f"the hub does not start the server of {user}")
        if response.status_code == requests.codes.accepted:
            self._await_ready(user, tell)

    def _await_ready(self, user: str, tell: Callable[[str], None]) -> None:
        with self._call("GET", f"{_path(user, '')}/progress", stream=True, timeout_s=_QUIET_S) as response:
            self._refuse(response, f"the hub does not say how the server of {user} starts")
            for line in self._lines(response, user):
                event = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
                if event.get("failed"):
                    raise LimitsError(f"the server of {user} did not start: {event.get('message', 'no reason given')}")
                if event.get("ready"):
                    return
                if event:
                    tell(event.get("message", ""))
        raise LimitsError(f"the hub stopped telling how the server of {user} starts")

    def _lines(self, response: requests.Response, user: str) -> Iterator[bytes]:
        what = f"the start of the server of {user}"
        try:
            for line in response.iter_lines():
                self._deadline.check(what)
                yield line
        except requests.RequestException as error:
            self._deadline.check(what)
            raise UnreachableError(f"the hub at {self._url} stopped telling how the server of {user} starts") from error

    def stop(self, user: str, server: str = "") -> None:
        """Stop a server, and wait until the hub has done so; nothing where it runs none of that name.

        Scopes: `delete:servers`, `read:servers`. LimitsError, in the hub's words, when it does not.
        """
        what = f"the server {server!r} of {user}" if server else f"the server of {user}"
        response = self._call("DELETE", _path(user, server))
        if response.status_code == requests.codes.not_found:
            return
        if self.running(user, server):
            self._refuse(response, f"the hub does not stop {what}")
        end = time.monotonic() + _STOP_S
        while self.running(user, server):
            self._deadline.check(f"the end of {what}")
            if time.monotonic() > end:
                raise LimitsError(f"{what} still runs {_STOP_S} s after it was told to stop")
            time.sleep(_LOOK_S)

    def _refuse(self, response: requests.Response, what: str) -> None:
        if response.ok:
            return
        try:
            why = response.json()["message"]
        except (ValueError, KeyError) as error:  # not the hub's words: a proxy that finds none
            raise UnreachableError(f"{what}: HTTP {response.status_code} {response.reason}") from error
        missing_scope = response.status_code == requests.codes.forbidden and "scope" in str(why)
        raise (UnreachableError if missing_scope else LimitsError)(f"{what}: {why}")


def _path(user: str, server: str | None = None) -> str:
    """The address of a user, or of one of their servers; the default one has a path of its own."""
    own = f"/users/{quote(user, safe='')}"
    if server is None:
        return own
    return f"{own}/servers/{quote(server, safe='')}" if server else f"{own}/server"


def _person(model: Mapping[str, Any]) -> Person:
    groups, servers = model.get("groups"), model.get("servers")
    return Person(
        name=str(model["name"]),
        groups=None if groups is None else tuple(groups),
        servers=None if servers is None else tuple(servers),
    )
