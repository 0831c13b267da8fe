"""`Request`: what a server asks for itself, from the spawn form or JupyterHub's REST API alike. It can only lower."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spawner_limits.errors import RequestError
from spawner_limits.limits import FIELDS
from spawner_limits.policy import keys, messages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.limits import Value

SIZE = "size"
KEYS = (SIZE, *keys.REQUESTABLE)
_MAX_TEXT = 200
_MAX_KEYS = 1_000
_INITIALS = frozenset(key[0] for key in keys.REQUESTABLE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One server's wishes, read and not yet judged."""

    size: str | None = None
    """the name of a preset"""
    limits: Mapping[str, Value | None] = field(default_factory=dict)
    """field → value in its base unit; `None` is the word `unlimited`: as much as one may have"""

    @classmethod
    def read(cls, options: object) -> Request:
        """The request in JupyterHub's `user_options`; keys of others (`image`, `profile`) are theirs.

        RequestError names the key: it is nearly one of ours, or its value is not what the policy file would take.
        """
        if not options:
            return cls()
        if not isinstance(options, dict):
            raise RequestError("user_options", f"found {type(options).__name__}; expected an object")
        if len(options) > _MAX_KEYS:  # each is compared with ours, and the hub waits
            raise RequestError("user_options", f"found {len(options)} keys; expected at most {_MAX_KEYS}")
        for key in options:
            _refuse_slip(key)
        size = _text(SIZE, options[SIZE]) if options.get(SIZE) is not None else None
        asked = {name: options[name] for name in keys.REQUESTABLE if options.get(name) is not None}
        return cls(size=size or None, limits={name: _value(name, given) for name, given in asked.items()})


def without_ours(options: object) -> dict[str, Any]:
    """`user_options` without the keys that `Request.read` reads or refuses."""
    if not isinstance(options, dict) or len(options) > _MAX_KEYS:
        return {}
    return {key: value for key, value in options.items() if key not in KEYS and _slip_of(key) is None}


def _slip_of(key: object) -> str | None:
    """The key of ours that can only have been meant; nobody's slip is the first letter: `gpu_limit` is another's."""
    if not isinstance(key, str) or key in KEYS or key in FIELDS or key.strip()[:1].lower() not in _INITIALS:
        return None
    near = messages.near(key, keys.REQUESTABLE)
    return near if near is not None and near[0] == key.strip()[0].lower() else None


def _refuse_slip(key: object) -> None:
    """RequestError for a slip of one of our keys: unread, it would give more than was asked for."""
    if (near := _slip_of(key)) is not None:
        raise RequestError(messages.dotted((str(key),)), f'unknown key; did you mean "{near}"?')


def _value(name: str, given: object) -> Value | None:
    text = _text(name, given)
    try:
        return FIELDS[name].value(text)
    except ValueError as error:
        raise RequestError(name, f"found {messages.shown(text)}; {error}") from None


def _text(name: str, given: object) -> str:
    """A value as the policy file would write it; forms send lists of one text."""
    if isinstance(given, list) and len(given) == 1:
        (given,) = given
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise RequestError(name, f"found {_kind(given)}; {_expected(name)}")
    try:
        # whole floats are how JavaScript writes 2
        text = str(int(given)) if isinstance(given, float) and given.is_integer() else str(given)
    except ValueError:  # Python's own limit, sys.get_int_max_str_digits
        raise RequestError(name, f"found a number of thousands of digits; {_expected(name)}") from None
    if len(text) > _MAX_TEXT:
        raise RequestError(name, f"found {messages.shown(text)}; {_expected(name)}")
    return text


def _expected(name: str) -> str:
    return "expected the name of a size" if name == SIZE else FIELDS[name].expected


def _kind(given: object) -> str:
    kinds = {bool: "true or false", list: "a list", dict: "an object", type(None): "nothing"}
    return kinds.get(type(given), type(given).__name__)
