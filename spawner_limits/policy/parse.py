"""The administrator's file → `Policy`, or every mistake in it at once. What a key means is in the tables below.

Decides nothing about users: that is `resolve`. YAML itself is `document`'s.
"""

from __future__ import annotations

import codecs
import gc
import hashlib
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from spawner_limits.errors import PolicyError, Problem
from spawner_limits.limits import FIELDS
from spawner_limits.policy import constraints, cross_checks, keys, messages
from spawner_limits.policy.model import Host, Policy, Rule, Setting, group_key, user_key
from spawner_limits.policy.yaml_tree import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from yaml.events import NodeEvent, ScalarEvent

    from spawner_limits.limits import Field, Value
    from spawner_limits.policy.model import Given
    from spawner_limits.policy.yaml_tree import Path as Keys

T = TypeVar("T")

VERSION = "1"
MAX_BYTES = 64 << 20
_LARGE_BYTES = 1 << 20
_EXAMPLE = '"{version: 1, defaults: {mem_limit: 1G, cpu_limit: 1, pids_limit: 256}}"'
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
    with _uncollected(len(data)):
        found = _sections(Document(_decode(data, name), name), name)
    given: dict[str, Any] = {"defaults": _NOTHING, "groups": {}, "users": {}}
    given |= {key: value for key, value in found.items() if value is not None}
    return Policy(file=name, sha256=hashlib.sha256(data).hexdigest(), **given)


def _sections(document: Document, name: str) -> dict[str, Any]:
    root = document.root()
    if root is None:
        _refuse(name, _EMPTY, line=1, column=1)
    found = _Walk(document, name).sections(root)
    document.end()
    return found


@contextmanager
def _uncollected(size: int) -> Iterator[None]:
    """Keep Python from looking for garbage among a million new values: a quarter of the time, and there is none.

    What a large file leaves is not looked through later either: that would hold up the hub for 0.3 s each time.
    """
    collects = gc.isenabled()
    large = size > _LARGE_BYTES
    if large:
        gc.collect(1)
    gc.disable()
    try:
        yield
    finally:
        if large:
            gc.freeze()
        if collects:
            gc.enable()


def _refuse(name: str, message: str, *, line: int | None = None, column: int | None = None) -> NoReturn:
    raise PolicyError((Problem(file=name, line=line, column=column, path="", message=message),))


def _decode(data: bytes, name: str) -> str:
    # editors on Windows put a byte order mark in front; "utf-8-sig" would count an error's place from after it
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        _refuse(name, f"not UTF-8: byte 0x{data[error.start]:02x}; save the file as UTF-8", line=line, column=column)


class _Walk:
    """One document on its way to a policy."""

    def __init__(self, document: Document, file: str) -> None:
        self._document = document
        self._file = file
        self._values: dict[tuple[str, str], Value | None] = {}
        """(field, text) → value: a file of many users has few different ones"""
        self._places: dict[Keys, tuple[int, int]] = {}
        """path → line and column of `defaults`, of each group, and of its `priority`"""

    def sections(self, root: NodeEvent) -> dict[str, Any]:
        """The sections that are there, each as its reader in the table below leaves it; `None` where it is no value."""
        found: dict[str, Any] = {}
        if self._document.is_mapping(root, (), f"expected a mapping with {', '.join(SECTIONS)}"):
            for name, node in self._document.entries((), known=SECTIONS, elsewhere=_IN_A_RULE):
                found[name] = SECTIONS[name](self, node)
            if "version" not in found:
                self._document.problem(root, ("version",), f'missing; expected "version: {VERSION}"')
            self._places[()] = _place(root)
            for line, column, path, message in cross_checks.mistakes(found, self._places, self._document.blamed()):
                self._document.mistake(line, column, path, message)
        found.pop("version", None)
        return found

    # -- sections ------------------------------------------------------------------------------------------------

    def version(self, node: NodeEvent) -> None:
        self._scalar(node, ("version",), _version, f"expected {VERSION}")

    def defaults(self, node: NodeEvent) -> Rule:
        self._places[("defaults",)] = _place(node)
        return self._rule(node, ("defaults",), "defaults", _RULE)

    def groups(self, node: NodeEvent) -> dict[str, Rule]:
        return self._rules(node, ("groups",), "group", _GROUP, group_key)

    def users(self, node: NodeEvent) -> dict[str, Rule]:
        return self._rules(node, ("users",), "user", _USER, user_key)

    def sizes(self, node: NodeEvent) -> dict[str, Rule]:
        return self._rules(node, ("sizes",), "size", _SIZE, str)

    def ceiling(self, node: NodeEvent) -> Rule:
        rule = self._rule(node, ("ceiling",), "ceiling", _CEILING)
        for key, setting in rule.values.items():
            if setting.value is None:
                message = 'found "unlimited"; expected a limit, or no such line: a ceiling only lowers'
                self._document.mistake(setting.line, setting.column, ("ceiling", key), message)
        return rule

    def host(self, node: NodeEvent) -> Host:
        given = self._fields(node, ("host",), keys.HOST)
        return Host(**{key: setting.value for key, setting in given.items()})  # type: ignore[arg-type]  # of the table

    def combine(self, node: NodeEvent) -> str | None:
        return self._scalar(node, ("combine",), keys.read_combine, f"expected one of {', '.join(keys.COMBINE)}")

    def contact(self, node: NodeEvent) -> str | None:
        return self._scalar(node, ("contact",), keys.read_contact, 'expected one line such as "hub@example.org"')

    def auto_apply(self, node: NodeEvent) -> bool | None:
        return self._scalar(node, ("auto_apply",), keys.read_flag, "expected true or false")

    def best_effort(self, node: NodeEvent) -> frozenset[str]:
        return frozenset(
            self._names(node, ("best_effort",), 'expected a list of fields such as "[cpu_guarantee]"', FIELDS)
        )

    # -- rules ---------------------------------------------------------------------------------------------------

    def _rules(
        self, node: NodeEvent, path: Keys, kind: str, known: Collection[str], same: Callable[[str], str]
    ) -> dict[str, Rule]:
        rules: dict[str, Rule] = {}
        if self._document.is_mapping(node, path, _A_SECTION):
            for name, rule in self._document.entries(path, same=same):
                if known is _GROUP:
                    self._places[(*path, same(name))] = _place(rule)
                rules[same(name)] = self._rule(rule, (*path, name), f"{kind} {name}", known)
        return rules

    def _rule(self, node: NodeEvent, path: Keys, name: str, known: Collection[str]) -> Rule:
        values: dict[str, Setting] = {}
        written: dict[str, ScalarEvent] = {}
        more: dict[str, Any] = {}
        if self._document.is_mapping(node, path, _A_RULE):
            for key, given in self._document.entries(path, known=known, elsewhere=_ANYWHERE):
                if key in FIELDS:
                    setting = self._setting(FIELDS, key, given, (*path, key))
                    if setting is not None:
                        values[key], written[key] = setting, cast("ScalarEvent", given)
                else:
                    more[key] = _MORE[key](self, given, (*path, key), values)
            if known is _TEMPORARY and "until" not in more:
                self._document.problem(node, (*path, "until"), f"missing; {keys.UNTIL}")
        if len(values) > 1:
            self._fit(values, written, path)
        return Rule(name=name, values=values, **{key: more[key] for key in more if more[key] is not None})

    def _until(self, node: NodeEvent, path: Keys, _: dict[str, Setting]) -> datetime | None:
        return self._scalar(node, path, keys.read_until, keys.UNTIL)

    def _priority(self, node: NodeEvent, path: Keys, _: dict[str, Setting]) -> int | None:
        self._places[(path[0], group_key(path[1]), path[2])] = _place(node)
        return self._scalar(node, path, lambda text: int(keys.PRIORITY.read(text)), keys.PRIORITY.expected)

    def _temporarily(self, node: NodeEvent, path: Keys, _: dict[str, Setting]) -> Rule:
        kind, name = path[0].removesuffix("s"), path[1]
        return self._rule(node, path, f"{kind} {name}, temporarily", _TEMPORARY)

    def _servers(self, node: NodeEvent, path: Keys, values: dict[str, Setting]) -> None:
        given = self._fields(node, path, keys.SERVERS)
        values.update({keys.SERVERS_PREFIX + key: setting for key, setting in given.items()})

    def _sizes(self, node: NodeEvent, path: Keys, values: dict[str, Setting]) -> None:
        names = self._names(node, path, 'expected a list of sizes such as "[small, large]"')
        values["sizes"] = self._at(node, names)

    def _default_size(self, node: NodeEvent, path: Keys, values: dict[str, Setting]) -> None:
        text = self._document.scalar(node, path, "expected one of the sizes")
        if text is not None:
            values["default_size"] = self._at(node, text)

    def _thread_hints(self, node: NodeEvent, path: Keys, values: dict[str, Setting]) -> None:
        setting = self._setting(keys.FLAGS, keys.HINTS, node, path)
        if setting is not None:
            values[keys.HINTS] = setting

    # -- values --------------------------------------------------------------------------------------------------

    def _fields(self, node: NodeEvent, path: Keys, table: Mapping[str, Field]) -> dict[str, Setting]:
        found: dict[str, Setting] = {}
        if self._document.is_mapping(node, path, f"expected {', '.join(table)} below it"):
            for key, given in self._document.entries(path, known=table, elsewhere=_ANYWHERE):
                setting = self._setting(table, key, given, (*path, key))
                if setting is not None:
                    found[key] = setting
        return found

    def _setting(self, table: Mapping[str, Field], key: str, node: NodeEvent, path: Keys) -> Setting | None:
        text = self._document.scalar(node, path, _EXPECTED[table[key].name])
        if text is None:
            return None
        field, written = table[key], (table[key].name, text)
        if written not in self._values:
            try:
                self._values[written] = field.value(text)
            except ValueError as error:
                self._document.problem(node, path, f"found {messages.shown(text)}; {error}")
                return None
        return self._at(node, self._values[written])

    def _at(self, node: NodeEvent, value: Given) -> Setting:
        line, column = _place(node)
        return Setting(value=value, file=self._file, line=line, column=column)

    def _scalar(self, node: NodeEvent, path: Keys, read: Callable[[str], T], expected: str) -> T | None:
        text = self._document.scalar(node, path, expected)
        try:
            return None if text is None else read(text)
        except ValueError as error:
            self._document.problem(node, path, f"found {messages.shown(text or '')}; {error}")
            return None

    def _names(
        self, node: NodeEvent, path: Keys, expected: str, known: Collection[str] | None = None
    ) -> tuple[str, ...]:
        """The different names of a list."""
        names: dict[str, None] = {}
        if self._document.is_list(node, path, expected):
            for item in self._document.items(path):
                name = self._document.scalar(item, path, "expected a name")
                if name in names:
                    self._document.problem(item, path, f"found {messages.shown(name)} twice; expected each name once")
                elif name is not None and known is not None and name not in known:
                    self._document.problem(
                        item, path, f"found {messages.shown(name)}; {messages.nearest(name, tuple(known))}"
                    )
                elif name is not None:
                    names[name] = None
        return tuple(names)

    def _fit(self, values: Mapping[str, Setting], written: Mapping[str, ScalarEvent], path: Keys) -> None:
        """Note what one rule asks for that can't be had together."""
        for pair in constraints.NEVER_ABOVE:
            if pair.low not in values or pair.high not in values:
                continue
            if constraints.above(_value(values, pair.low), _value(values, pair.high)):
                found, limit = messages.shown(written[pair.low].value), messages.shown(written[pair.high].value)
                message = f"found {found}, above {pair.high} {limit}; expected at most as much ({pair.why})"
                self._document.problem(written[pair.low], (*path, pair.low), message)
        if "cpu_limit" not in values or "cpu_period" not in values:
            return
        if least := constraints.too_short(_value(values, "cpu_limit"), _value(values, "cpu_period")):
            found, limit = messages.shown(written["cpu_period"].value), messages.shown(written["cpu_limit"].value)
            message = f"found {found}, too short for cpu_limit {limit}; expected at least {least} ({constraints.QUOTA})"
            self._document.problem(written["cpu_period"], (*path, "cpu_period"), message)


def _place(node: NodeEvent) -> tuple[int, int]:
    mark: Any = node.start_mark
    return mark.line + 1, mark.column + 1


def _value(values: Mapping[str, Setting], field: str) -> Value | None:
    return cast("Value | None", values[field].value)


def _version(text: str) -> str:
    if text != VERSION:
        raise ValueError(f"expected {VERSION}")
    return text


SECTIONS: Mapping[str, Callable[[_Walk, NodeEvent], Any]] = {
    "version": _Walk.version,
    "contact": _Walk.contact,
    "combine": _Walk.combine,
    "best_effort": _Walk.best_effort,
    "auto_apply": _Walk.auto_apply,
    "host": _Walk.host,
    "ceiling": _Walk.ceiling,
    "sizes": _Walk.sizes,
    "defaults": _Walk.defaults,
    "groups": _Walk.groups,
    "users": _Walk.users,
}
"""section → its reader"""

_MORE: Mapping[str, Callable[[_Walk, NodeEvent, Keys, dict[str, Setting]], Any]] = {
    "servers": _Walk._servers,  # noqa: SLF001  the class's own table
    "sizes": _Walk._sizes,  # noqa: SLF001
    "default_size": _Walk._default_size,  # noqa: SLF001
    keys.HINTS: _Walk._thread_hints,  # noqa: SLF001
    "until": _Walk._until,  # noqa: SLF001
    "priority": _Walk._priority,  # noqa: SLF001
    "temporarily": _Walk._temporarily,  # noqa: SLF001
}
"""key of a rule that is no field → its reader"""

_RULE = (*FIELDS, "servers", "sizes", "default_size", *keys.FLAGS)
# in the order in which messages list them, and found at once: there are a hundred thousand users
_TEMPORARY = dict.fromkeys((*_RULE, "until"))
_USER = dict.fromkeys((*_RULE, "until", "temporarily"))
_GROUP = dict.fromkeys((*_USER, "priority"))
_ANYWHERE = dict.fromkeys((*SECTIONS, *_GROUP), "")
_IN_A_RULE = (
    dict.fromkeys(_GROUP, "it belongs in groups or users")
    | {"priority": "it belongs in groups"}
    | dict.fromkeys(_RULE, "it belongs in defaults, groups or users")
)
_CEILING = keys.CAPPED
_SIZE = keys.REQUESTABLE
_EXPECTED = {
    field.name: field.expected for table in (FIELDS, keys.SERVERS, keys.HOST, keys.FLAGS) for field in table.values()
}
_NOTHING = Rule(name="defaults", values={})
_A_RULE = 'expected fields below it, such as "mem_limit: 1G"; "{}" means none'
_A_SECTION = 'expected names below it, each with its fields; "{}" means none'
