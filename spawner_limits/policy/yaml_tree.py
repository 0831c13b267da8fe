"""A YAML text as raw scalars with their positions, read once from front to back. Knows YAML, and nothing of limits.

It reads events, not `yaml.compose`: PyYAML's constructor makes False of a user called `no` and drops the first of two
equal keys; its composer ends the process (SIGSEGV, PyYAML 6.0.3) on 200 kB of "- - - -", and takes eight times as long.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from spawner_limits.errors import PolicyError, Problem
from spawner_limits.policy import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

Path: TypeAlias = tuple[str, ...]
"""the keys that lead to a node"""

# libyaml where PyYAML was built with it: ten times as fast
PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
STEPS = {MappingStartEvent: 1, SequenceStartEvent: 1, MappingEndEvent: -1, SequenceEndEvent: -1}
"""how much deeper an event leads; those that are not here lead nowhere"""
_WRITE_OUT = "expected everything written out (users of a group share values)"
MAX_DEPTH = 20
_STEP = 1 << 18
_MAX_PROBLEMS = 1_000
# all but c-printable, https://yaml.org/spec/1.1/#c-printable
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Document:
    """One text on its way through. What is not asked for is passed over; the problems are kept for `end`."""

    def __init__(self, text: str, file: str, *, parser: Any = PARSER) -> None:
        """`text` as `file` is to be called. PolicyError where it has a character that YAML does not allow."""
        self._file, self._text = file, text
        self._problems: list[Problem] = []
        self._depth = 0
        if found := _unprintable(text):
            before = text[: found.start()]
            line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
            self._give_up(line, column, f"{messages.shown(found[0])}, a character that YAML does not allow")
        self._event = parser(text).get_event
        self.key: NodeEvent
        """of the entry that was read last"""

    def root(self) -> NodeEvent | None:
        """The outermost node; `None` when there is nothing but blanks and comments."""
        self._next()  # the stream's start
        if isinstance(self._next(), StreamEndEvent):
            return None
        node: NodeEvent = self._next()
        return None if is_null(node) else node

    def entries(
        self,
        path: Path,
        *,
        known: Collection[str] | None = None,
        elsewhere: Mapping[str, str] | None = None,
        same: Callable[[str], str] = str,
    ) -> Iterator[tuple[str, NodeEvent]]:
        """Key and value of each sound entry of the mapping that was met last; each other entry is a problem.

        `known`: the keys that there are; without it every printable name will do. `elsewhere`: those that other
        mappings have, with what to say of them; what there is here where that is nothing. Keys of which `same` makes
        one text are duplicates. A value can be read only until the next entry is asked for.
        """
        depth, lines = self._depth, dict[str, int]()
        while (key := self._next()) is not None and self._depth >= depth:
            self.key = key
            if self._depth > depth:
                self._skip_to(depth)
            value: NodeEvent = self._next()
            if not _is_key(key, known):
                self.problem(key, *_wrong_key(key, path, known, elsewhere or {}))
            elif (name := same(key.value)) in lines:
                self.problem(key, (*path, key.value), _duplicate(key.value, name, lines[name]))
            else:
                lines[name] = key.start_mark.line + 1
                if _is_written_out(value):
                    yield key.value, value
                else:
                    self.problem(value, (*path, key.value), _not_written_out(value))
            if self._depth > depth:
                self._skip_to(depth)

    def items(self, path: Path) -> Iterator[NodeEvent]:
        """Each sound item of the list that was met last; each other item is a problem."""
        depth = self._depth
        while (item := self._next()) is not None and self._depth >= depth:
            if _is_written_out(item):
                yield item
            else:
                self.problem(item, path, _not_written_out(item))
            if self._depth > depth:
                self._skip_to(depth)

    def is_mapping(self, node: NodeEvent, path: Path, expected: str) -> bool:
        """Whether `entries` can be asked for; if not, that is a problem."""
        return self._is(MappingStartEvent, node, path, expected)

    def is_list(self, node: NodeEvent, path: Path, expected: str) -> bool:
        """Whether `items` can be asked for; if not, that is a problem."""
        return self._is(SequenceStartEvent, node, path, expected)

    def _is(self, kind: type[Event], node: NodeEvent, path: Path, expected: str) -> bool:
        if isinstance(node, kind):
            return True
        self.problem(node, path, f"{_found(node)}; {expected}")
        return False

    def scalar(self, node: NodeEvent, path: Path, expected: str) -> str | None:
        """The text of a scalar as it was written. `None`: there is none, and that is a problem."""
        if isinstance(node, ScalarEvent) and not is_null(node):
            return node.value
        self.problem(node, path, f"{_found(node)}; {expected}")
        return None

    def problem(self, at: Event, path: Path, message: str) -> None:
        """Note a mistake. PolicyError when there are so many that nobody would read on."""
        mark: Any = at.start_mark
        self.mistake(mark.line + 1, mark.column + 1, path, message)

    def mistake(self, line: int, column: int, path: Path, message: str) -> None:
        """As `problem`, at a line and column from 1: for what shows only when more has been read."""
        self._problems.append(self._at(line - 1, column - 1, messages.dotted(path), message))
        if len(self._problems) == _MAX_PROBLEMS:
            self._give_up(line - 1, column - 1, f"{_MAX_PROBLEMS} mistakes; the rest of the file was not read")

    def blamed(self) -> frozenset[str]:
        """The paths at which there is a problem so far, as messages write them."""
        return frozenset(one.path for one in self._problems)

    def end(self) -> None:
        """Read to the end. PolicyError with every problem, if there was one."""
        self._skip_to(0)
        self._next()  # the document's end
        more = self._next()
        if isinstance(more, DocumentStartEvent):
            self.problem(more, (), "a second document; expected one in the file")
        if self._problems:
            self._refuse()

    def _at(self, line: int, column: int, path: str, message: str) -> Problem:
        return Problem(file=self._file, line=line + 1, column=column + 1, path=path, message=message)

    def _give_up(self, line: int, column: int, message: str) -> NoReturn:
        self._problems.append(self._at(line, column, "", message))
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise PolicyError(tuple(sorted(self._problems, key=lambda one: (one.line, one.column))))

    def _next(self) -> Any:
        try:
            event = self._event()
        except yaml.MarkedYAMLError as error:
            mark: Any = error.problem_mark or error.context_mark
            self._give_up(mark.line, mark.column, self._complaint(error, mark))
        if type(event) is not ScalarEvent:  # most are
            self._depth += STEPS.get(type(event), 0)
            if self._depth > MAX_DEPTH:
                mark = event.start_mark
                self._give_up(mark.line, mark.column, f"nested more than {MAX_DEPTH} deep")
        return event

    def _skip_to(self, depth: int) -> None:
        while self._depth > depth:
            self._next()

    def _complaint(self, error: yaml.MarkedYAMLError, mark: Any) -> str:
        line = next(iter(self._text.splitlines()[mark.line :]), "")
        if line[mark.column : mark.column + 1] == "\t":
            return "a tab; YAML indents with spaces"
        return f"not YAML: {error.problem}" + (f" ({error.context})" if error.context else "")


def _unprintable(text: str) -> re.Match[str] | None:
    """The first character that YAML does not allow. In steps: a search holds up all other threads."""
    steps = (_UNPRINTABLE.search(text, start, start + _STEP) for start in range(0, len(text), _STEP))
    return next(filter(None, steps), None)


def _is_key(key: NodeEvent, known: Collection[str] | None) -> bool:
    """Whether a key is a name written out, and one that there is."""
    if not isinstance(key, ScalarEvent) or not _is_written_out(key):
        return False
    return key.value in known if known is not None else _is_name(key.value) and not _is_merge(key)


def _wrong_key(
    key: NodeEvent, path: Path, known: Collection[str] | None, elsewhere: Mapping[str, str]
) -> tuple[Path, str]:
    """The path and the message for what `_is_key` refused."""
    if not isinstance(key, ScalarEvent):
        return path, f"{_found(key)} as a key; expected a name"
    here = (*path, key.value)
    if not _is_written_out(key):
        return here, _not_written_out(key)
    if _is_merge(key):
        return here, f"a merge key; {_WRITE_OUT}"
    if known is None:
        return path, f"found {messages.shown(key.value)}; expected a name, without blanks around it"
    if key.value in elsewhere:
        return here, f"can't be given here; {elsewhere[key.value] or messages.one_of(tuple(known))}"
    return here, f"unknown key; {messages.nearest(key.value, tuple(known))}"


def _is_written_out(node: NodeEvent) -> bool:
    """Whether a node comes without YAML's references and types. An alias has an anchor, and no tag."""
    return node.anchor is None and node.tag is None  # type: ignore[attr-defined]


def _not_written_out(node: NodeEvent) -> str:
    if isinstance(node, AliasEvent):
        return f'an alias, "*{node.anchor}"; {_WRITE_OUT}'
    if node.anchor is not None:
        return f'an anchor, "&{node.anchor}"; {_WRITE_OUT}'
    kind = str(node.tag).replace("tag:yaml.org,2002:", "!!")  # type: ignore[attr-defined]
    return f"a YAML type, {messages.shown(kind)}; expected the value alone"


def _is_merge(key: ScalarEvent) -> bool:
    return key.value == "<<" and not key.style


def _duplicate(text: str, name: str, line: int) -> str:
    return f"duplicate key; first on line {line}" + ("" if name == text else f" (both are {messages.shown(name)})")


def is_null(node: NodeEvent) -> bool:
    """Whether nothing is given there, or YAML's word for that."""
    return isinstance(node, ScalarEvent) and not node.style and node.value in _NULLS


def _is_name(text: str) -> bool:
    return bool(text) and text.isprintable() and text == text.strip()


def _found(node: NodeEvent) -> str:
    if isinstance(node, AliasEvent):
        return "an alias"
    if isinstance(node, ScalarEvent):
        return "nothing given" if is_null(node) else f"found {messages.shown(node.value)}"
    return "found a mapping" if isinstance(node, MappingStartEvent) else "found a list"
