"""The hub as a proof needs it: start a user's server through its REST API, and stop it again."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from spawner_limits.errors import LimitsError, UnreachableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_STOP_S = 60
_FIRST_ANSWER_S = 10


class Hub:
    """One hub's REST API, with a token that has the scopes `servers` and `read:users`."""

    def __init__(self, url: str, token: str) -> None:
        """`url`: with `/hub/api` at its end. UnreachableError when no hub answers there, or not to this token."""
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"token {token}"
        # a proxy of the environment would take the token along
        self._session.trust_env = False
        self._refuse_strangers(self._call("GET", "/user", timeout_s=_FIRST_ANSWER_S))

    def _refuse_strangers(self, answer: requests.Response) -> None:
        """What answers must be a hub's API, and it must know the token's owner."""
        if answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            raise UnreachableError(f"the hub at {self._url} does not accept the token; see JUPYTERHUB_API_TOKEN")
        try:
            owner = answer.json() if answer.ok else None
        except ValueError:
            owner = None
        if not isinstance(owner, dict):
            seen = f"HTTP {answer.status_code}"
            raise UnreachableError(f"what answers at {self._url} is no hub's API ({seen}); --hub ends in /hub/api")

    def _call(self, method: str, path: str, *, stream: bool = False, timeout_s: float = 60) -> requests.Response:
        try:
            return self._session.request(method, self._url + path, stream=stream, timeout=timeout_s)
        except requests.RequestException as error:
            raise UnreachableError(f"no hub answers at {self._url}; is it started, and is --hub right?") from error

    def model(self, user: str) -> dict[str, Any]:
        """What the hub knows of a user. UsageError when it knows none of that name."""
        response = self._call("GET", f"/users/{quote(user, safe='')}")
        if response.status_code == requests.codes.not_found:
            raise UsageError(f"the hub knows no user {user!r}")
        if response.status_code == requests.codes.forbidden:
            raise UnreachableError(f"the hub's token may not read the user {user!r}; it needs the scope read:users")
        self._refuse(response, f"the hub says nothing about {user!r}")
        model: dict[str, Any] = response.json()
        return model

    def running(self, user: str) -> bool:
        """Whether the user's default server runs, or is about to."""
        return "" in self.model(user).get("servers", {})

    @contextmanager
    def server(self, user: str, tell: Callable[[str], None]) -> Iterator[None]:
        """The user's default server, started for the time of the block if it does not run."""
        if self.running(user):
            yield
            return
        try:
            self._start(user, tell)
            yield
        finally:
            self._stop(user)

    def _start(self, user: str, tell: Callable[[str], None]) -> None:
        path = f"/users/{quote(user, safe='')}/server"
        response = self._call("POST", path, timeout_s=120)
        self._refuse(response, f"the hub does not start the server of {user}")
        if response.status_code == requests.codes.accepted:
            self._await_ready(user, path, tell)

    def _await_ready(self, user: str, path: str, tell: Callable[[str], None]) -> None:
        with self._call("GET", f"{path}/progress", stream=True, timeout_s=300) as response:
            self._refuse(response, f"the hub does not say how the server of {user} starts")
            for line in response.iter_lines():
                event = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
                if event.get("failed"):
                    raise LimitsError(f"the server of {user} did not start: {event.get('message', 'no reason given')}")
                if event.get("ready"):
                    return
                if event:
                    tell(event.get("message", ""))
        raise LimitsError(f"the hub stopped telling how the server of {user} starts")

    def _stop(self, user: str) -> None:
        path = f"/users/{quote(user, safe='')}/server"
        self._call("DELETE", path)
        end = time.monotonic() + _STOP_S
        while self.running(user):
            if time.monotonic() > end:
                raise LimitsError(f"the server of {user} still runs {_STOP_S} s after it was told to stop")
            time.sleep(0.3)

    def _refuse(self, response: requests.Response, what: str) -> None:
        if response.ok:
            return
        try:
            why = response.json()["message"]
        except (ValueError, KeyError) as error:  # not the hub's words: a proxy that finds none
            raise UnreachableError(f"{what}: HTTP {response.status_code} {response.reason}") from error
        missing_scope = response.status_code == requests.codes.forbidden and "scope" in str(why)
        raise (UnreachableError if missing_scope else LimitsError)(f"{what}: {why}")
