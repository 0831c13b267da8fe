"""`user_options` of any kind: refused with `RequestError`, or read; and then a server gets no more than without it.

The bytes are read as JSON, as JupyterHub's REST API does, and else make an object of any shape.
`python -m tests.fuzz.fuzz_request FOLDER -max_total_time=300`
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import atheris

from tests.fuzz.harness import fuzz

with atheris.instrument_imports(include=["spawner_limits"]):
    from spawner_limits.errors import RequestError
    from spawner_limits.policy import constraints, keys
    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.policy.parse import parse
    from spawner_limits.policy.resolve import resolve
    from spawner_limits.policy.user_options import KEYS, Request, without_ours
    from tests.fuzz.mutation import changed_request
    from tests.fuzz.samples import REQUESTS, VALUES, WHOLE

POLICY = parse(WHOLE.encode(), "limits.yaml")
NOW = datetime(2029, 6, 1, tzinfo=UTC)
PEOPLE = (("nobody", ()), ("alice", ("students", "the staff")), ("bob", ("the staff",)), ("no", ("students",)))
DEPTH = 4
LENGTH = 40


def check(data: bytes) -> None:
    """Raise if these bytes, as options, show a mistake of ours."""
    for options in (from_json(data), from_bytes(atheris.FuzzedDataProvider(data))):
        try:
            check_options(options)
        except BaseException as error:
            error.add_note(f"user_options: {options!r:.2000}")
            raise


def from_json(data: bytes) -> Any:
    """What the hub reads; `None` where it answers by itself that it is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def from_bytes(source: Any, depth: int = DEPTH) -> Any:
    """Any object that JSON may have, with our keys in it more often than not."""
    kinds = (_word, _word, _text, _long, _number, _truth, *(() if depth == 0 else (_list, _object, _object)))
    return source.PickValueInList(list(kinds))(source, depth - 1)


def _word(source: Any, _: int) -> Any:
    return source.PickValueInList(list(VALUES))


def _text(source: Any, _: int) -> Any:
    return source.ConsumeUnicode(LENGTH)


def _long(source: Any, _: int) -> Any:
    return source.ConsumeUnicode(LENGTH) * source.ConsumeIntInRange(0, LENGTH)


def _number(source: Any, _: int) -> Any:
    return source.ConsumeFloat() if source.ConsumeBool() else source.ConsumeInt(source.ConsumeIntInRange(1, LENGTH))


def _truth(source: Any, _: int) -> Any:
    return source.PickValueInList([None, True, False])


def _list(source: Any, depth: int) -> Any:
    return [from_bytes(source, depth) for _ in range(source.ConsumeIntInRange(0, 3))]


def _object(source: Any, depth: int) -> Any:
    return {name(source): from_bytes(source, depth) for _ in range(source.ConsumeIntInRange(0, len(KEYS) + 2))}


def name(source: Any) -> str:
    """A key: one of ours, nearly one of ours, or any."""
    known: str = source.PickValueInList([*KEYS, ""])
    if source.ConsumeBool():
        return known
    cut = source.ConsumeIntInRange(0, len(known))
    return f"{known[:cut]}{source.ConsumeUnicode(2)}{known[cut + source.ConsumeIntInRange(0, 1) :]}"


def check_options(options: Any) -> None:
    """It is read or refused; refused options are never kept."""
    rest = without_ours(options)
    assert not rest.keys() & set(KEYS)
    assert Request.read(rest) == Request()
    try:
        request = Request.read(options)
    except RequestError as error:
        check_told(error)
        return
    for user, groups in PEOPLE:
        check_person(user, groups, request)


def check_told(error: RequestError, *, unless: bool = False) -> None:
    """A refusal is one line, and has its reason."""
    assert str(error).isprintable(), str(error)
    assert not unless, f"refused without reason: {error}"


def check_person(user: str, groups: tuple[str, ...], request: Request) -> None:
    """A size that may not be picked is refused; everything else gives at most what one has without asking."""
    usual = resolve(POLICY, user, groups, now=NOW)
    try:
        got = resolve(POLICY, user, groups, now=NOW, request=request)
    except RequestError as error:
        check_told(error, unless=request.size in usual.sizes)
        return
    assert Entitlement.from_json(got.to_json()) == got
    if request.size in {None, usual.size}:
        for field in keys.REQUESTABLE:
            assert not constraints.above(got.grants[field].value, usual.grants[field].value), field


if __name__ == "__main__":
    words = [json.dumps(word) for word in (*KEYS, *VALUES)]
    fuzz(check, seeds=[text.encode() for text in REQUESTS], words=[*words, *VALUES], mutated=changed_request)
