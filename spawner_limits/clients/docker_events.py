"""The engine's events about containers, followed for as long as the hub runs, over any restart of the engine."""

from __future__ import annotations

import json
import time
from collections import deque
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event as Flag
from threading import Thread
from typing import TYPE_CHECKING, Any

import requests
from urllib3.exceptions import ReadTimeoutError

from spawner_limits.clients.docker import translated
from spawner_limits.engines import labels
from spawner_limits.errors import LimitsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from docker import APIClient
    from spawner_limits.clients.docker import DockerEngine

_ACTIONS = ("start", "oom", "kill", "die", "destroy")
_CONNECT_S = 10
_SILENCE_S = 60
"""after so long without a word the stream is opened anew: a connection over a network may be dead without a sign"""
_BACK_OFF_S = (0.1, 0.2, 0.5, 1, 2, 5)
_OVERLAP_S = 5
"""asked for again at a new connection; what was heard already is left out"""
_REMEMBERED = 512
"""events; the engine itself remembers 256"""
_NS = 10**9


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What happened to one container."""

    container: str
    action: str
    at: datetime
    """by the engine's clock, in UTC"""
    exit_code: int | None = None
    """of `die`"""
    signal: int | None = None
    """of `kill`: what the engine was asked to send"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Connected:
    """The stream was opened: what happened while it was not may have been missed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """The engine does not answer; said once until it does again."""

    why: str


class Stream:
    """Calls `hear` with each thing that happens, in a thread of its own."""

    def __init__(self, engine: DockerEngine, hear: Callable[[Event | Connected | Lost], None]) -> None:
        """Events count from now on, though nothing is connected yet."""
        self._engine, self._hear = engine, hear
        self._since = time.time()
        self._heard: deque[tuple[int, str, str]] = deque(maxlen=_REMEMBERED)
        self._closing = Flag()
        self._response: requests.Response | None = None
        self._thread = Thread(target=self._run, name="spawner-limits-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and the connection with it."""
        self._closing.set()
        if (response := self._response) is not None:
            # urllib3 2.3 and later; before, it ends with the next event, or after `_SILENCE_S`
            with suppress(AttributeError, OSError, ValueError):
                response.raw.shutdown()
        self._thread.join(_CONNECT_S)

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                with closing(self._engine.connect()) as client, self._opened(client) as response:
                    failures = 0
                    self._hear(Connected())
                    self._follow(response)
            except requests.ReadTimeout:  # silence
                continue
            # the last: cut off in the middle of an event
            except (LimitsError, requests.RequestException, OSError, ValueError) as error:
                if not failures and not self._closing.is_set():
                    self._hear(Lost(why=str(error)))
                failures += 1
            self._closing.wait(_BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)])

    def _opened(self, client: APIClient) -> requests.Response:
        """A response that goes on for ever. The SDK's own stream can't be closed without a warning."""
        asked = {"since": f"{self._since - _OVERLAP_S:.6f}", "filters": _filters(label=labels.USER)}
        self._response = client.get(_url(client), params=asked, stream=True, timeout=(_CONNECT_S, _SILENCE_S))
        self._response.raise_for_status()
        return self._response

    def _follow(self, response: requests.Response) -> None:
        try:
            for line in response.iter_lines():
                if self._closing.is_set():
                    return
                self._pass_on(json.loads(line))
        except requests.ConnectionError as error:
            # how requests tells of silence
            if not (error.args and isinstance(error.args[0], ReadTimeoutError)):
                raise

    def _pass_on(self, message: Mapping[str, Any]) -> None:
        key = (message["timeNano"], message["Actor"]["ID"], message["Action"])
        if key not in self._heard:
            self._heard.append(key)
            self._since = max(self._since, message["timeNano"] / _NS)
            self._hear(_event(message))


def past(engine: DockerEngine, container: str) -> tuple[Event, ...]:
    """What the engine remembers of one container, from the oldest on. UnreachableError, RefusedError."""
    asked = {"since": "1", "until": f"{time.time():.6f}", "filters": _filters(container=container)}
    # each such address is another one to the SDK, which would keep a connection for it
    headers = {"Connection": "close"}
    with translated(), engine.api.get(_url(engine.api), params=asked, timeout=_CONNECT_S, headers=headers) as response:
        response.raise_for_status()
        return tuple(_event(json.loads(line)) for line in response.text.splitlines())


def last_run(events: Iterable[Event]) -> list[Event]:
    """Those since the container was started the last time: one that is kept lives more than once."""
    found: list[Event] = []
    for event in events:
        found = [] if event.action == "start" else [*found, event]
    return found


def _url(client: APIClient) -> str:
    return f"{client.base_url}/v{client.api_version}/events"


def _filters(**more: str) -> str:
    return json.dumps({"type": ["container"], "event": _ACTIONS, **{name: [value] for name, value in more.items()}})


def _event(message: Mapping[str, Any]) -> Event:
    attributes = message["Actor"]["Attributes"]
    return Event(
        container=message["Actor"]["ID"],
        action=message["Action"],
        at=datetime.fromtimestamp(message["timeNano"] / _NS, UTC),
        exit_code=_number(attributes.get("exitCode")),
        signal=_number(attributes.get("signal")),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
