"""Change one value in a YAML text, and leave every other character as it is. Knows YAML, and nothing of limits.

The places come from the parser's events, as `document`'s do: writing a parsed file anew would reformat what people
wrote. Each result is read again before it is given back; the difference must be the one that was asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.resolver import Resolver

from spawner_limits.errors import PolicyError, Problem
from spawner_limits.policy import messages
from spawner_limits.policy.yaml_tree import MAX_DEPTH, PARSER, STEPS, is_null

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaml.events import Event

    from spawner_limits.policy.yaml_tree import Path

    Same: TypeAlias = Callable[[Path, str], str]
    Token: TypeAlias = str | type[Event] | tuple[str, str]
    """of what a text says: a scalar as it was written, a bracket, or ("&", anchor), ("*", alias), ("!", tag)"""
    Edit: TypeAlias = tuple[int, int, str]
    """from, to, and what to write there"""
    Plan: TypeAlias = tuple[list[Edit], list[Token]]
    """the edits, and what the text must say after them"""

_BOM = "\ufeff"
_STEP = 2
_BY_HAND = "this place can't be changed safely by a program; edit the file by hand"
_WRITE_OUT = "expected everything written out; edit the file by hand"

# https://yaml.org/spec/1.1/#b-char; a backslash is not among them, so they may stand in a class
_BREAKS = "\n\r\x85\u2028\u2029"
_BLANK = " \t" + _BREAKS
_BREAK = re.compile(f"\r\n|[{_BREAKS}]")
_BLANK_LINE = re.compile(f"(?:\r\n|[{_BREAKS}])[ \t]*[{_BREAKS}]")
_COMMENT_LINE = re.compile(f"(?:\r\n|[{_BREAKS}])([ \t]*)#[^{_BREAKS}]*")
_TRAILING = re.compile(f"[ \t]*(?:#[^{_BREAKS}]*)?(?=[{_BREAKS}]|\\Z)")
_COLON = re.compile(f"[{_BLANK}]*:")
# possessive: a comma in a comment is none
_COMMA = re.compile(f"(?:[{_BLANK}]|#[^{_BREAKS}]*+)*+,")
_BLANKS = re.compile("[ \t]*+(?!#)")
_BEFORE_END = re.compile(f"[ \t]*(?=[,}}{_BREAKS}]|\\Z)")
_BLOCK_SCALAR = re.compile("[|>][-+0-9]*")

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

_RESOLVER: Any = Resolver()
_STR = Resolver.DEFAULT_SCALAR_TAG
_PLAIN = re.compile(r"[\w./+]([\w ./+@%=~^-]*[\w./+@%=~^-])?|-[\w.]+")
# not strings to YAML, and still what people write without quotes
_JSON = re.compile("true|false|-?(0|[1-9][0-9]*)([.][0-9]+)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


def _as_written(_path: Path, key: str) -> str:
    return key


def put(  # noqa: PLR0913 - the last three have defaults
    text: str,
    path: Path,
    value: str,
    *,
    same: Same = _as_written,
    file: str = "the policy",
    parser: Any = PARSER,
) -> str:
    """`text` with the scalar at `path` being `value`; keys and mappings that are not there are added.

    Keys of which `same` makes one text, given the path before them, are one key. `file` is the text's name in messages.
    PolicyError when the text is not one YAML document, or when what leads to the place is not written out in mappings.
    ValueError for an empty path.
    """
    request = _Request(path=path, same=same, file=file, parser=parser)
    return _edited(text, request, lambda found: _putting(found, value))


def drop(text: str, path: Path, *, same: Same = _as_written, file: str = "the policy", parser: Any = PARSER) -> str:
    """`text` without the entry at `path`, its lines, and the comments below it that stand deeper than its key.

    A mapping that gets empty becomes `{}`. The text as it is, when there is no such entry. Errors as `put`'s.
    """
    return _edited(text, _Request(path=path, same=same, file=file, parser=parser), _dropping)


# ---- what was asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    path: Path
    same: Same
    file: str
    parser: Any

    def refuse(self, message: str, mark: Any = None) -> NoReturn:
        line, column = (None, None) if mark is None else (mark.line + 1, mark.column + 1)
        path = messages.dotted(self.path)
        raise PolicyError((Problem(file=self.file, line=line, column=column, path=path, message=message),))


def _edited(text: str, request: _Request, plan: Callable[[_Found], Plan]) -> str:
    if not request.path:
        raise ValueError("expected a path of at least one key")
    body = text.removeprefix(_BOM)
    edits, wanted = plan(_read(body, request))
    if not edits:
        return text
    result = _spliced(body, edits)
    if _said(result, request) != wanted:
        request.refuse(_BY_HAND)
    return text[: len(text) - len(body)] + result


def _said(text: str, request: _Request) -> list[Token]:
    """What a result says; nothing if it is not YAML."""
    try:
        return _read(text, replace(request, path=())).tokens
    except PolicyError:
        return []


def _spliced(text: str, edits: list[Edit]) -> str:
    parts: list[str] = []
    done = 0
    for start, end, written in sorted(edits, key=lambda one: one[:2]):
        parts += text[done:start], written
        done = end
    return "".join([*parts, text[done:]])


# ---- reading: what the text says, and where the path leads


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """One entry of a mapping on the path; places are characters from the text's start."""

    start: int
    column: int
    key_end: int
    end: int
    """after the last character of its value"""
    inner: int | None
    """the column of a mapping in block style that is its value"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Hit:
    """The entry of a mapping to which the path leads."""

    index: int
    first: int
    """the token of its key"""
    last: int
    """the token after its value's last"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Level:
    """One mapping on the path."""

    flow: bool
    start: int
    end: int
    closing: int
    """the token that ends it"""
    entries: list[_Entry]
    hit: _Hit | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """A text, what it says, and the mappings on the path, outermost first."""

    request: _Request
    text: str
    tokens: list[Token]
    levels: list[_Level]
    leaf: Any
    """the event at which the path ends, or is cut off by nothing given; `None` if there is none"""
    limit: int
    """where the document ends"""

    def rest(self) -> Path:
        """The keys that are not there yet."""
        missing = bool(self.levels) and self.levels[-1].hit is None
        return self.request.path[len(self.levels) - missing :]

    def by_hand(self) -> NoReturn:
        self.request.refuse(_BY_HAND)


def _read(text: str, request: _Request) -> _Found:
    try:
        return _Walk(text, request).document()
    except yaml.MarkedYAMLError as error:
        request.refuse(f"not YAML: {error.problem}", error.problem_mark or error.context_mark)
    except (yaml.YAMLError, UnicodeError):
        request.refuse("not YAML: a character that YAML does not allow")


class _Walk:
    """One text on its way through the parser."""

    def __init__(self, text: str, request: _Request) -> None:
        self._text, self._request = text, request
        self._tokens: list[Token] = []
        self._levels: list[_Level] = []
        self._leaf: Any = None
        self._next = request.parser(text).get_event

    def document(self) -> _Found:
        self._next()  # the stream's start
        limit = len(self._text)
        if not isinstance(self._next(), StreamEndEvent):
            self._follow(self._next(), 0)
            end: Any = self._next()
            limit = end.start_mark.index if end.explicit else limit
            if not isinstance(more := self._next(), StreamEndEvent):
                self._request.refuse("a second document; expected one in the file", more.start_mark)
        return _Found(
            request=self._request,
            text=self._text,
            tokens=self._tokens,
            levels=self._levels,
            leaf=self._leaf,
            limit=limit,
        )

    def _follow(self, event: Any, depth: int) -> int:
        """Read a node on the path: `depth` keys led to it. Where it ends."""
        if self._request.path:
            self._expect_written_out(event)
        if depth < len(self._request.path) and isinstance(event, MappingStartEvent):
            return self._mapping(event, depth)
        if depth < len(self._request.path) and not is_null(event):
            what = "a list" if isinstance(event, SequenceStartEvent) else f"found {messages.shown(event.value)}"
            self._request.refuse(f"{what}; expected a mapping on the way", event.start_mark)
        self._leaf = event
        return self._pass(event)

    def _mapping(self, start: Any, depth: int) -> int:
        self._take(start)
        entries, hit, closing = self._entries(depth)
        end = int(closing.end_mark.index) if start.flow_style else entries[-1].end
        level = _Level(
            flow=bool(start.flow_style),
            start=start.start_mark.index,
            end=end,
            closing=len(self._tokens) - 1,
            entries=entries,
            hit=hit,
        )
        self._levels.insert(0, level)  # the inner ones came first
        return end

    def _entries(self, depth: int) -> tuple[list[_Entry], _Hit | None, Any]:
        """What a mapping has, the one to which the path leads, and the event that ends it."""
        entries: list[_Entry] = []
        hit: _Hit | None = None
        wanted = self._request.same(self._request.path[:depth], self._request.path[depth])
        while not isinstance(key := self._next(), MappingEndEvent):
            first, here = len(self._tokens), self._is_wanted(key, wanted, depth)
            if here and hit is not None:
                self._request.refuse("the key is there twice; expected it once", key.start_mark)
            entries.append(self._entry(key, depth if here else None))
            if here:
                hit = _Hit(index=len(entries) - 1, first=first, last=len(self._tokens))
        self._take(key)
        return entries, hit, key

    def _entry(self, key: Any, depth: int | None) -> _Entry:
        """Read one entry; `depth` keys lead to it if it is on the path."""
        self._pass(key)
        value = self._next()
        end = self._pass(value) if depth is None else self._follow(value, depth + 1)
        start = key.start_mark
        is_block = isinstance(value, MappingStartEvent) and not value.flow_style
        return _Entry(
            start=start.index,
            column=start.column,
            key_end=key.end_mark.index,
            end=end,
            inner=value.start_mark.column if is_block else None,
        )

    def _is_wanted(self, key: Any, wanted: str, depth: int) -> bool:
        if not isinstance(key, ScalarEvent):
            return False
        if key.value == "<<" and not key.style:
            self._request.refuse(f"a merge key; {_WRITE_OUT}", key.start_mark)
        if self._request.same(self._request.path[:depth], key.value) != wanted:
            return False
        self._expect_written_out(key)
        return True

    def _expect_written_out(self, event: Any) -> None:
        if isinstance(event, AliasEvent):
            self._request.refuse(f'an alias, "*{event.anchor}"; {_WRITE_OUT}', event.start_mark)
        if event.anchor is not None:
            self._request.refuse(f'an anchor, "&{event.anchor}"; {_WRITE_OUT}', event.start_mark)
        if event.tag is not None:
            self._request.refuse(f"a YAML type, {messages.shown(event.tag)}; {_WRITE_OUT}", event.start_mark)

    def _pass(self, event: Any) -> int:
        """Read a whole node. Where it ends: a block's own end is further on, after comments."""
        last, depth = event, self._take(event)
        while depth:
            event = self._next()
            depth += self._take(event)
            if depth > MAX_DEPTH:
                self._request.refuse(f"nested more than {MAX_DEPTH} deep", event.start_mark)
            if type(event) is ScalarEvent or event.end_mark.index > event.start_mark.index:
                last = event
        return self._end(last)

    def _take(self, event: Any) -> int:
        """Note what an event says. How much deeper it leads."""
        kind = type(event)
        if kind is ScalarEvent:
            if event.anchor is not None or event.tag is not None:
                self._properties(event)
            self._tokens.append(event.value)
            return 0
        if kind is AliasEvent:
            self._tokens.append(("*", event.anchor))
            return 0
        if kind in {MappingStartEvent, SequenceStartEvent}:
            self._properties(event)
        self._tokens.append(kind)
        return STEPS[kind]

    def _properties(self, event: Any) -> None:
        named = (("&", event.anchor), ("!", event.tag))
        self._tokens += [(kind, name) for kind, name in named if name is not None]

    def _end(self, event: Any) -> int:
        """Where an event's own text ends: nothing given ends with its colon, a block of text with its last line."""
        start, end = event.start_mark.index, event.end_mark.index
        is_block = isinstance(event, ScalarEvent) and event.style in {"|", ">"}
        if is_block and "+" in _BLOCK_SCALAR.search(self._text, start)[0]:  # type: ignore[index]
            return _before_break(self._text, end)  # its blank lines are its own
        return _trimmed(self._text, end) if is_block or start == end else int(end)


# ---- places in a text


def _trimmed(text: str, at: int) -> int:
    """The place after the last character before `at` that is not blank."""
    while at and text[at - 1] in _BLANK:
        at -= 1
    return at


def _before_blanks(text: str, at: int) -> int:
    while at and text[at - 1] in " \t":
        at -= 1
    return at


def _before_break(text: str, at: int) -> int:
    """The place before the line break that ends at `at`, if one does."""
    if text[max(at - 2, 0) : at] == "\r\n":
        return at - 2
    return at - 1 if at and text[at - 1] in _BREAKS else at


def _line_end(text: str, at: int) -> int:
    found = _BREAK.search(text, at)
    return len(text) if found is None else found.start()


def _after_break(text: str, at: int) -> int:
    found = _BREAK.match(text, at)
    return at if found is None else found.end()


def _below(text: str, at: int, column: int) -> int:
    """The end of `at`'s line, or of the last of the comment lines right below it that stand at `column` or deeper."""
    at = _line_end(text, at)
    while (comment := _COMMENT_LINE.match(text, at)) and len(comment[1]) >= column:
        at = comment.end()
    return at


def _is_blank(text: str) -> bool:
    return not text.strip(_BLANK)


def _line_break(text: str, at: int) -> str:
    """The line break at `at`; where there is none, the text's first."""
    found = _BREAK.match(text, at) or _BREAK.search(text)
    return "\n" if found is None else found[0]


def _step(levels: list[_Level]) -> int:
    """By how much a mapping stands deeper than its key, as the nearest mapping on the path shows it."""
    for level in reversed(levels):
        for entry in level.entries:
            if entry.inner is not None and entry.inner > entry.column:
                return entry.inner - entry.column
    return _STEP


# ---- writing


def _key(text: str) -> str:
    return text if _is_plain(text) else _quoted(text)


def _value(text: str) -> str:
    return text if _is_plain(text) or _is_json(text) or _DATE.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _flow_value(key: str, text: str) -> str:
    """A value in braces, after a key as it is written: what is JSON stays JSON."""
    if not key.startswith('"'):
        return _value(text)
    return text if _is_json(text) else _quoted(text)


def _is_plain(text: str) -> bool:
    """Whether a text, without quotes, is one line and the same text to every reader of YAML."""
    if not text.isprintable() or _PLAIN.fullmatch(text) is None:
        return False
    return bool(_RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) == _STR)


def _is_json(text: str) -> bool:
    return _JSON.fullmatch(text) is not None


def _escaped(character: str) -> str:
    if character in _ESCAPES or character.isprintable():
        return _ESCAPES.get(character, character)
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four digits


def _block(path: Path, value: str, column: int, step: int) -> list[str]:
    """The lines of an entry in block style."""
    *above, last = (" " * (column + step * depth) + _key(key) + ":" for depth, key in enumerate(path))
    return [*above, f"{last} {_value(value)}"]


def _flow(found: _Found, value: str) -> str:
    """What is missing of the path, in flow style."""
    like_json = _is_like_json(found)
    keys = [_quoted(key) if like_json else _key(key) for key in found.rest()]
    return ": {".join(keys) + ": " + _flow_value(keys[-1], value) + "}" * (len(keys) - 1)


def _is_like_json(found: _Found) -> bool:
    """Whether the last key in the braces around the place is in double quotes."""
    for level in reversed(found.levels):
        if level.entries:
            return level.flow and found.text[level.entries[-1].start] == '"'
    return False


def _tokens(path: Path, value: str) -> list[Token]:
    """What an entry says."""
    if not path:
        return [value]
    return [path[0], *_mapping_tokens(path[1:], value)]


def _mapping_tokens(path: Path, value: str) -> list[Token]:
    return [MappingStartEvent, *_tokens(path, value), MappingEndEvent] if path else [value]


# ---- put: where the path leads decides


def _putting(found: _Found, value: str) -> Plan:
    if not found.levels:
        return [_at_root(found, value)], _mapping_tokens(found.rest(), value)
    level, rest = found.levels[-1], found.rest()
    if level.hit is None:
        said = [*found.tokens[: level.closing], *_tokens(rest, value), *found.tokens[level.closing :]]
        return _adding(found, value), said
    if not rest and _is_already(found.leaf, value):
        return [], found.tokens
    if not isinstance(found.leaf, ScalarEvent):
        what = "a mapping" if isinstance(found.leaf, MappingStartEvent) else "a list"
        found.request.refuse(f"found {what}; expected a value", found.leaf.start_mark)
    edits = _opening(found, value) if rest else _replacing(found, _instead(found, value))
    tail = found.tokens[level.hit.last :]
    return edits, [*found.tokens[: level.hit.first + 1], *_mapping_tokens(rest, value), *tail]


def _is_already(leaf: Any, value: str) -> bool:
    return isinstance(leaf, ScalarEvent) and leaf.value == value and not is_null(leaf)


def _hit(found: _Found, level: _Level) -> _Entry:
    """The entry of a mapping to which the path leads; it is there."""
    return found.by_hand() if level.hit is None else level.entries[level.hit.index]


def _instead(found: _Found, value: str) -> str:
    """A value as it is written in the place of another one."""
    level = found.levels[-1]
    if found.leaf.style == '"':
        return _quoted(value)
    return _flow_value(found.text[_hit(found, level).start], value) if level.flow else _value(value)


def _is_block_scalar(leaf: Any) -> bool:
    return leaf.style in {"|", ">"}


def _replacing(found: _Found, written: str) -> list[Edit]:
    """Write over the scalar at which the path ends."""
    start, end = found.leaf.start_mark.index, found.leaf.end_mark.index
    if _is_block_scalar(found.leaf):
        return [_replacing_block(found.text, start, end, written)]
    if start < end:
        return [(start, end, written)]
    key_end = _hit(found, found.levels[-1]).key_end
    colon = _COLON.match(found.text, key_end)
    if colon is None:
        return [(key_end, key_end, f": {written}")]  # {alice}
    blanks = _BEFORE_END.match(found.text, colon.end())
    return [(colon.end(), blanks.end() if blanks else colon.end(), f" {written}")]


def _replacing_block(text: str, start: int, end: int, written: str) -> Edit:
    """A block of text goes with its lines; a comment after its `|` and the blank lines after it stay."""
    header = _line_end(text, start)
    comment = text[start + len(_BLOCK_SCALAR.match(text, start)[0]) : header]  # type: ignore[index]
    return start, max(header, _trimmed(text, end)), written + comment


def _adding(found: _Found, value: str) -> list[Edit]:
    """Add an entry to the innermost mapping that is there."""
    level = found.levels[-1]
    if not level.flow:
        return [_adding_below(found, value)]
    if level.entries:
        return _adding_within(found.text, level, _flow(found, value))
    inside = found.text[level.start + 1 : level.end - 1]
    if not _is_blank(inside):
        space = " " if inside.startswith("#") else ""
        return [(level.start + 1, level.start + 1, _flow(found, value) + space)]
    if len(found.levels) == 1:
        return [_instead_of_root(found, level.start, level.end, value)]
    if found.levels[-2].flow:
        return [(level.start + 1, level.end - 1, _flow(found, value))]
    return _opening_block(found, found.levels[-2], (level.start, level.end), value)


def _adding_below(found: _Found, value: str) -> Edit:
    text, level = found.text, found.levels[-1]
    last, column = level.entries[-1], level.entries[0].column
    if len(found.levels) == 1:
        at = _line_end(text, max(last.end, _trimmed(text, found.limit)))
    else:
        at = _below(text, last.end, column)
    gap = [""] if _has_gap(text, level) else []
    return _lines(text, at, gap + _block(found.rest(), value, column, _step(found.levels)))


def _has_gap(text: str, level: _Level) -> bool:
    """Whether a blank line stands before the last entry."""
    if len(level.entries) == 1:
        return False
    return _BLANK_LINE.search(text, level.entries[-2].end, level.entries[-1].start) is not None


def _lines(text: str, at: int, lines: list[str]) -> Edit:
    """Lines below the one that ends at `at`."""
    line_break = _line_break(text, at)
    return at, at, "".join(line_break + line for line in lines)


def _adding_within(text: str, level: _Level, written: str) -> list[Edit]:
    """Add to a mapping in braces: on a line of its own if its last entry is, with a comma if its last entry has one."""
    last = level.entries[-1]
    comma = _COMMA.match(text, last.end)
    after = last.end if comma is None else comma.end()
    indent = text[last.start - last.column : last.start]
    if not _is_blank(indent):
        return [(after, after, f", {written}" if comma is None else f" {written},")]
    at = _line_end(text, after) if _TRAILING.match(text, after) else after
    line = _line_break(text, at) + indent + written
    return [(last.end, last.end, ","), (at, at, line)] if comma is None else [(at, at, f"{line},")]


def _opening(found: _Found, value: str) -> list[Edit]:
    """Make a mapping of nothing given: of `~`, or of a key alone."""
    level, leaf = found.levels[-1], found.leaf
    if level.flow:
        return _replacing(found, "{" + _flow(found, value) + "}")
    return _opening_block(found, level, (leaf.start_mark.index, leaf.end_mark.index), value)


def _opening_block(found: _Found, above: _Level, nothing: tuple[int, int], value: str) -> list[Edit]:
    """Lines below a key take the place of what it has; a comment on its line stays."""
    text, entry, (start, end) = found.text, _hit(found, above), nothing
    colon = _after_colon(found, entry)
    if start == end:
        start = end = colon
    else:
        start = colon if _is_blank(text[colon:start]) else _before_break(text, _before_blanks(text, start))
    step = _step(found.levels)
    lines = _block(found.rest(), value, entry.column + step, step)
    return [(start, end, ""), _lines(text, _below(text, end, entry.column + 1), lines)]


def _after_colon(found: _Found, entry: _Entry) -> int:
    colon = _COLON.match(found.text, entry.key_end)
    return found.by_hand() if colon is None else colon.end()


def _at_root(found: _Found, value: str) -> Edit:
    """The first entries of a text that has none."""
    text, leaf = found.text, found.leaf
    if leaf is not None and leaf.value:
        return _instead_of_root(found, leaf.start_mark.index, leaf.end_mark.index, value)
    lines = _block(found.rest(), value, 0, _STEP)
    if at := _trimmed(text, found.limit):
        return _lines(text, _line_end(text, at), lines)
    return 0, 0, _line_break(text, 0).join(lines) + ("" if text else "\n")


def _instead_of_root(found: _Found, start: int, end: int, value: str) -> Edit:
    line_break = _line_break(found.text, end)
    above = line_break if _is_after_text(found.text, start) else ""
    return start, end, above + line_break.join(_block(found.rest(), value, 0, _STEP))


def _is_after_text(text: str, at: int) -> bool:
    """Whether `at` is not its line's first place."""
    return bool(at) and text[at - 1] not in _BREAKS


# ---- drop


def _dropping(found: _Found) -> Plan:
    level = found.levels[-1] if found.levels else None
    if level is None or level.hit is None or len(found.levels) < len(found.request.path):
        return [], found.tokens
    gone = found.tokens[level.hit.first : level.hit.last]
    if any(token[0] == "&" for token in gone if isinstance(token, tuple)):
        found.request.refuse(f"an anchor below it; {_WRITE_OUT}", found.leaf.start_mark)
    edits = _dropping_within(found.text, level, level.hit.index) if level.flow else _dropping_lines(found, level)
    return edits, [*found.tokens[: level.hit.first], *found.tokens[level.hit.last :]]


def _dropping_lines(found: _Found, level: _Level) -> list[Edit]:
    text, entry = found.text, _hit(found, level)
    start, end = entry.start - entry.column, _below(text, entry.end, entry.column + 1)
    if not _is_blank(text[start : entry.start]):
        found.by_hand()
    if len(level.entries) > 1:
        return [_without_lines(text, start, end)]
    if len(found.levels) == 1:
        return [(start, end, "{}")]
    colon = _after_colon(found, _hit(found, found.levels[-2]))
    return [(colon, colon, " {}"), _without_lines(text, start, end)]


def _without_lines(text: str, start: int, end: int) -> Edit:
    """The last line takes the break before it along, so that a text without one at its end stays so."""
    after = _after_break(text, end)
    return (_before_break(text, start), end, "") if after == end else (start, after, "")


def _dropping_within(text: str, level: _Level, index: int) -> list[Edit]:
    """Drop from a mapping in braces: whole lines where the entry has them, else it and one of the commas around it."""
    entry = level.entries[index]
    comma = _COMMA.match(text, entry.end)
    after = entry.end if comma is None else comma.end()
    before = _COMMA.match(text, level.entries[index - 1].end) if index else None
    if _is_blank(text[level.start + 1 : entry.start] + text[after : level.end - 1]):
        return [(level.start + 1, level.end - 1, "")]
    if _is_blank(text[entry.start - entry.column : entry.start]) and _TRAILING.match(text, after):
        lines = _without_lines(text, entry.start - entry.column, _line_end(text, after))
        return [lines] if before is None or comma is not None else [(before.end() - 1, before.end(), ""), lines]
    if before is None or (index + 1 < len(level.entries) and _is_same_line(text, after, level.entries[index + 1])):
        blanks = _BLANKS.match(text, after)
        return [(entry.start, blanks.end() if blanks else after, "")]
    if _is_blank(text[before.end() : entry.start]):
        return [(before.end() - 1, entry.end, "")]
    return [(before.end() - 1, before.end(), ""), (entry.start, entry.end, "")]


def _is_same_line(text: str, after: int, entry: _Entry) -> bool:
    return _BREAK.search(text, after, entry.start) is None
