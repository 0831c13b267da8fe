"""The administrator's file → `Policy`, or every mistake in it at once. What may stand where is in `keys`.

Decides nothing about users: that is `resolve`. YAML itself is `yaml_tree`'s.
"""

from __future__ import annotations

import codecs
import gc
import hashlib
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from spawner_limits.errors import PolicyError, Problem
from spawner_limits.limits import Field
from spawner_limits.policy import constraints, cross_checks, keys, messages
from spawner_limits.policy.keys import Keys, Names, Text
from spawner_limits.policy.model import Host, Policy, Rule, Setting, group_key
from spawner_limits.policy.yaml_tree import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from yaml.events import NodeEvent

    from spawner_limits.policy.keys import Held
    from spawner_limits.policy.yaml_tree import Path as Keyed

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
    found = _Reader(document, name).sections(root)
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


class _Reader:
    """One document on its way to a policy."""

    def __init__(self, document: Document, file: str) -> None:
        self._document = document
        self._file = file
        self._values: dict[tuple[str, str], Any] = {}
        """(name, text) → value: a file of many users has few different ones"""
        self._places: dict[Keyed, tuple[int, int]] = {}
        """path → line and column of the sections, of each group, and of its `priority`"""

    def sections(self, root: NodeEvent) -> dict[str, Any]:
        """The sections that are there, as `Policy` has them; `None` where it is no value."""
        found: dict[str, Any] = {}
        if self._document.is_mapping(root, (), f"expected a mapping with {', '.join(keys.SECTIONS)}"):
            for name, node in self._document.entries((), known=keys.SECTIONS, elsewhere=_IN_A_RULE):
                self._places[(name,)] = _place(node)
                found[name] = self._section(name, node)
            if "version" not in found:
                self._document.problem(root, ("version",), f'missing; expected "version: {keys.VERSION}"')
            self._places[()] = _place(root)
            for line, column, path, message in cross_checks.mistakes(found, self._places, self._document.blamed()):
                self._document.mistake(line, column, path, message)
        found.pop("version", None)
        return found

    def _section(self, name: str, node: NodeEvent) -> Any:
        found: Any = self._read(keys.SECTIONS[name].holds, node, (name,))
        match name:
            case "host":
                return Host(**{key: setting.value for key, setting in found.values.items()})
            case "best_effort":
                return frozenset(found.value)
            case "ceiling":
                self._refuse_unlimited(found)
        return _bare(found)

    def _refuse_unlimited(self, ceiling: Rule) -> None:
        for key, setting in ceiling.values.items():
            if setting.value is None:
                message = 'found "unlimited"; expected a limit, or no such line: a ceiling only lowers'
                self._document.mistake(setting.line, setting.column, ("ceiling", key), message)

    def _read(self, held: Held, node: NodeEvent, path: Keyed) -> Setting | Rule | dict[str, Rule] | None:
        """What stands at a key; `None` where it is no value."""
        if isinstance(held, Field | Text):
            return self._setting(held, node, path)
        if isinstance(held, Names):
            return self._at(node, self._names(held, node, path))
        return self._rule(held, node, path) if held.same is None else self._rules(held, held.same, node, path)

    def _rules(self, held: Keys, same: Callable[[str], str], node: NodeEvent, path: Keyed) -> dict[str, Rule]:
        rules: dict[str, Rule] = {}
        if self._document.is_mapping(node, path, 'expected names below it, each with its fields; "{}" means none'):
            for name, below in self._document.entries(path, same=same):
                key = same(name)
                if path == ("groups",):
                    self._places[(*path, key)] = _place(below)
                rules[key] = self._rule(held, below, (*path, name))
        return rules

    def _rule(self, held: Keys, node: NodeEvent, path: Keyed) -> Rule:
        """A mapping's keys; those below `servers` are this rule's, too, by their dotted names."""
        values: dict[str, Setting] = {}
        more: dict[str, Any] = {}
        nodes: dict[str, NodeEvent] = {}
        if self._document.is_mapping(node, path, held.expected):
            for key, below in self._document.entries(path, known=held.keys, elsewhere=_ANYWHERE):
                nodes[key] = below
                found = self._read(held.keys[key].holds, below, (*path, key))
                if key in _BESIDE:
                    more[key] = _bare(found)
                elif isinstance(found, Setting):
                    values[key] = found
                elif isinstance(found, Rule):
                    values |= {f"{key}.{name}": setting for name, setting in found.values.items()}
            for key in held.required:
                if key not in nodes:
                    self._document.problem(node, (*path, key), f"missing; {keys.UNTIL}")
        if "priority" in nodes:
            self._places[path[0], group_key(path[1]), "priority"] = _place(nodes["priority"])
        if len(values) > 1:
            self._fit(values, nodes, path)
        return Rule(name=_name(path), values=values, **more)

    def _setting(self, held: Field | Text, node: NodeEvent, path: Keyed) -> Setting | None:
        text = self._document.scalar(node, path, held.expected)
        if text is None:
            return None
        written = held.name, text
        if written not in self._values:
            try:
                self._values[written] = held.value(text)
            except ValueError as error:
                self._document.problem(node, path, f"found {messages.shown(text)}; {error}")
                return None
        return self._at(node, self._values[written])

    def _at(self, node: NodeEvent, value: Any) -> Setting:
        line, column = _place(node)
        return Setting(value=value, file=self._file, line=line, column=column)

    def _names(self, held: Names, node: NodeEvent, path: Keyed) -> tuple[str, ...]:
        """The different names of a list."""
        names: dict[str, None] = {}
        if self._document.is_list(node, path, held.expected):
            for item in self._document.items(path):
                name = self._document.scalar(item, path, "expected a name")
                if name in names:
                    self._document.problem(item, path, f"found {messages.shown(name)} twice; expected each name once")
                elif name is not None and held.known and name not in held.known:
                    self._document.problem(
                        item, path, f"found {messages.shown(name)}; {messages.nearest(name, held.known)}"
                    )
                elif name is not None:
                    names[name] = None
        return tuple(names)

    def _fit(self, values: Mapping[str, Setting], nodes: Mapping[str, Any], path: Keyed) -> None:
        """Note what one rule asks for that can't be had together."""

        def texts(*names: str) -> Iterator[str]:
            return (messages.shown(nodes[name].value) for name in names)

        for pair in constraints.NEVER_ABOVE:
            low, high = values.get(pair.low), values.get(pair.high)
            if low is not None and high is not None and constraints.above(low.value, high.value):
                found, limit = texts(pair.low, pair.high)
                message = f"found {found}, above {pair.high} {limit}; expected at most as much ({pair.why})"
                self._document.problem(nodes[pair.low], (*path, pair.low), message)
        cores, period = values.get("cpu_limit"), values.get("cpu_period")
        if cores and period and (least := constraints.too_short(cores.value, period.value)):
            found, limit = texts("cpu_period", "cpu_limit")
            message = f"found {found}, too short for cpu_limit {limit}; expected at least {least} ({constraints.QUOTA})"
            self._document.problem(nodes["cpu_period"], (*path, "cpu_period"), message)


def _place(node: NodeEvent) -> tuple[int, int]:
    mark: Any = node.start_mark
    return mark.line + 1, mark.column + 1


def _bare(found: Any) -> Any:
    """A value without its place."""
    return found.value if isinstance(found, Setting) else found


def _name(path: Keyed) -> str:
    """A rule's name for people: "defaults", "group students", "user alice, temporarily"."""
    whose = path[0] if len(path) == 1 else f"{path[0].removesuffix('s')} {path[1]}"
    return f"{whose}, temporarily" if path[2:] == ("temporarily",) else whose


_BESIDE = frozenset({"until", "priority", "temporarily"})
"""keys of a rule that say when and how it counts"""
_RULE, _GROUP = keys.RULES["defaults"].keys, keys.RULES["groups"].keys
_ANYWHERE = dict.fromkeys((*keys.SECTIONS, *_GROUP), "")
_IN_A_RULE = (
    dict.fromkeys(_GROUP, "it belongs in groups or users")
    | {"priority": "it belongs in groups"}
    | dict.fromkeys(_RULE, "it belongs in defaults, groups or users")
)
_NOTHING = Rule(name="defaults", values={})
