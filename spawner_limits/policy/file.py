"""The administrator's file → `Policy`, or every mistake in it at once. What a key means is in the tables below.

Decides nothing about users: that is `resolve`. YAML itself is `document`'s.
"""

from __future__ import annotations

import gc
import hashlib
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

from spawner_limits.errors import PolicyError, Problem
from spawner_limits.limits import FIELDS
from spawner_limits.policy import relations, words
from spawner_limits.policy.document import Document
from spawner_limits.policy.model import Policy, Rule, Setting, group_key, user_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from yaml.events import NodeEvent, ScalarEvent

    from spawner_limits.limits import Value
    from spawner_limits.policy.document import Path as Keys

VERSION = "1"
MAX_BYTES = 64 << 20
_EXAMPLE = '"{version: 1, defaults: {mem_limit: 1G, cpu_limit: 1}}"'
_EMPTY = f"empty: expected a policy such as {_EXAMPLE}, see docs/policy.md"


def load(path: Path, *, name: str | None = None) -> Policy:
    """The policy in a regular file of at most 64 MiB; messages call it `name`, or else by its path.

    PolicyError with every problem: the file can't be read, is not YAML, or is not a policy.
    """
    name = str(path) if name is None else name
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a directory" if path.is_dir() else "no regular file"
            _refuse(name, f"{kind}; expected a policy file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        _refuse(name, "no such file; expected a policy file, see docs/policy.md")
    except OSError as error:
        _refuse(name, f"can't be read: {error.strerror}; expected a policy file that this account may read")
    if len(data) > MAX_BYTES:
        _refuse(name, f"above {MAX_BYTES >> 20} MiB; expected a smaller policy file")
    return parse(data, name)


def parse(data: bytes, name: str) -> Policy:
    """The policy in a file's bytes; messages call it `name`. PolicyError with every problem, each at its place."""
    with _uncollected():
        found = _sections(Document(_decode(data, name), name), name)
    return Policy(
        file=name,
        sha256=hashlib.sha256(data).hexdigest(),
        defaults=found.get("defaults", Rule(name="defaults", values={})),
        groups=found.get("groups", {}),
        users=found.get("users", {}),
    )


def _sections(document: Document, name: str) -> dict[str, Any]:
    root = document.root()
    if root is None:
        _refuse(name, _EMPTY, line=1, column=1)
    found = _Walk(document, name).sections(root)
    document.end()
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python from looking for garbage among a million new values: a quarter of the time, and there is none."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _refuse(name: str, message: str, *, line: int | None = None, column: int | None = None) -> NoReturn:
    raise PolicyError((Problem(file=name, line=line, column=column, path="", message=message),))


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")  # editors on Windows put a byte order mark in front
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        _refuse(name, f"not UTF-8: byte 0x{data[error.start]:02x}; save the file as UTF-8", line=line, column=column)


class _Walk:
    """One document on its way to a policy."""

    def __init__(self, document: Document, file: str) -> None:
        self._document = document
        self._file = file
        self._values: dict[tuple[str, str], Value | None] = {}
        """(field, text) → value: a file of many users has few different ones"""

    def sections(self, root: NodeEvent) -> dict[str, Any]:
        """The sections that are there, each as its reader in the table below leaves it."""
        found: dict[str, Any] = {}
        if self._document.is_mapping(root, (), f"expected a mapping with {', '.join(SECTIONS)}"):
            for name, node in self._document.entries((), known=SECTIONS):
                found[name] = SECTIONS[name](self, node)
            if "version" not in found:
                self._document.problem(root, ("version",), f'missing; expected "version: {VERSION}"')
        return found

    def version(self, node: NodeEvent) -> None:
        text = self._document.scalar(node, ("version",), f"expected {VERSION}")
        if text is not None and text != VERSION:
            self._document.problem(node, ("version",), f"found {words.shown(text)}; expected {VERSION}")

    def defaults(self, node: NodeEvent) -> Rule:
        return self._rule(node, ("defaults",), "defaults")

    def groups(self, node: NodeEvent) -> dict[str, Rule]:
        return self._rules(node, ("groups",), "group", group_key)

    def users(self, node: NodeEvent) -> dict[str, Rule]:
        return self._rules(node, ("users",), "user", user_key)

    def _rules(self, node: NodeEvent, path: Keys, kind: str, same: Callable[[str], str]) -> dict[str, Rule]:
        rules: dict[str, Rule] = {}
        if self._document.is_mapping(node, path, _A_SECTION):
            for name, rule in self._document.entries(path, same=same):
                rules[same(name)] = self._rule(rule, (*path, name), f"{kind} {name}")
        return rules

    def _rule(self, node: NodeEvent, path: Keys, name: str) -> Rule:
        values: dict[str, Setting] = {}
        written: dict[str, ScalarEvent] = {}
        if self._document.is_mapping(node, path, _A_RULE):
            for field, given in self._document.entries(path, known=FIELDS):
                setting = self._setting(field, given, (*path, field))
                if setting is not None:
                    values[field], written[field] = setting, cast("ScalarEvent", given)
        if len(values) > 1:
            self._fit(values, written, path)
        return Rule(name=name, values=values)

    def _setting(self, field: str, node: NodeEvent, path: Keys) -> Setting | None:
        text = self._document.scalar(node, path, _EXPECTED[field])
        if text is None:
            return None
        written = field, text
        if written not in self._values:
            try:
                self._values[written] = _value(field, text)
            except ValueError as error:
                self._document.problem(node, path, f"found {words.shown(text)}; {error}")
                return None
        mark: Any = node.start_mark
        return Setting(value=self._values[written], file=self._file, line=mark.line + 1, column=mark.column + 1)

    def _fit(self, values: Mapping[str, Setting], written: Mapping[str, ScalarEvent], path: Keys) -> None:
        """Note what one rule asks for that can't be had together."""
        for pair in relations.NEVER_ABOVE:
            if pair.low not in values or pair.high not in values:
                continue
            if relations.above(values[pair.low].value, values[pair.high].value):
                found, limit = words.shown(written[pair.low].value), words.shown(written[pair.high].value)
                message = f"found {found}, above {pair.high} {limit}; expected at most as much ({pair.why})"
                self._document.problem(written[pair.low], (*path, pair.low), message)
        cores, period = values.get("cpu_limit"), values.get("cpu_period")
        if cores is not None and period is not None and (least := relations.too_short(cores.value, period.value)):
            found, limit = words.shown(written["cpu_period"].value), words.shown(written["cpu_limit"].value)
            message = f"found {found}, too short for cpu_limit {limit}; expected at least {least} ({relations.QUOTA})"
            self._document.problem(written["cpu_period"], (*path, "cpu_period"), message)


def _value(field: str, text: str) -> Value | None:
    spec = FIELDS[field]
    return None if spec.unlimited and text == "unlimited" else spec.read(text)


SECTIONS: Mapping[str, Callable[[_Walk, NodeEvent], Any]] = {
    "version": _Walk.version,
    "defaults": _Walk.defaults,
    "groups": _Walk.groups,
    "users": _Walk.users,
}
"""section → its reader"""

_EXPECTED = {name: field.expected for name, field in FIELDS.items()}
_A_RULE = 'expected fields below it, such as "mem_limit: 1G"; "{}" means none'
_A_SECTION = 'expected names below it, each with its fields; "{}" means none'
