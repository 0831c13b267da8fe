"""Changes that leave a policy a policy and a request a request more often than changed bytes do."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.fuzz.samples import KEYS, OPTIONS, POLICIES, VALUES, VALUES_OF

if TYPE_CHECKING:
    import random

_PAIR = re.compile(r"([\w\".]+): *([^\s,{}\[\]]+|\[[^\]]*\])")
_LINES = [line for text in POLICIES for line in text.splitlines(keepends=True)]


def changed_policy(data: bytes, chance: random.Random) -> bytes:
    """One or two lines or values of a policy are other ones."""
    text = data.decode("utf-8", "replace")
    for _ in range(chance.randint(1, 2)):
        text = chance.choice((_other_value, _other_value, _one_more, _one_less, _copied))(text, chance)
    return text.encode()


def _other_value(text: str, chance: random.Random) -> str:
    """The value of a key is another one, of those that the key takes more often than not."""
    pairs = [*_PAIR.finditer(text)]
    if not pairs:
        return text
    pair = chance.choice(pairs)
    return text[: pair.start(2)] + _value(pair[1], chance) + text[pair.end(2) :]


def _value(key: str, chance: random.Random) -> str:
    known = VALUES_OF.get(key, VALUES)
    return chance.choice(known if chance.random() < 9 / 10 else VALUES)


def _one_more(text: str, chance: random.Random) -> str:
    """A key is added beside another one."""
    pairs = [*_PAIR.finditer(text)]
    if not pairs:
        return text
    pair, key = chance.choice(pairs), chance.choice(KEYS)
    before = text[text.rfind("\n", 0, pair.start()) + 1 : pair.start()]
    between = ", " if before.strip() else f"\n{before}"
    return f"{text[: pair.start()]}{key}: {_value(key, chance)}{between}{text[pair.start() :]}"


def _one_less(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    if lines:
        del lines[chance.randrange(len(lines))]
    return "".join(lines)


def _copied(text: str, chance: random.Random) -> str:
    """A line of any policy, here."""
    lines = text.splitlines(keepends=True)
    lines.insert(chance.randint(0, len(lines)), chance.choice(_LINES))
    return "".join(lines)


def changed_request(data: bytes, chance: random.Random) -> bytes:
    """One value of the options is another one; what is no object becomes one."""
    try:
        options = json.loads(data)
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict):
        options = dict(chance.choice(OPTIONS))
    key = chance.choice([*options, *KEYS, *OPTIONS[0]])
    options[key] = _option(key, chance)
    return json.dumps(options, indent=0).encode()


def _option(key: str, chance: random.Random) -> object:
    text = _value(key, chance)
    shapes = (text, [text], {text: text}, _number(text), [_number(text)], [text, text], text * 30)
    return chance.choice(shapes)


def _number(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return float(text) if text in {"nan", "inf"} else text
