"""One value of a text is changed, and every other character stays: cases with their exact texts, and properties."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spawner_limits.errors import PolicyError
from spawner_limits.policy.model import user_key
from spawner_limits.policy.yaml_edit import drop, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALICE = ("users", "alice", "mem_limit")
BOB = ("users", "bob", "mem_limit")
PARSERS = (yaml.CSafeLoader, yaml.SafeLoader)


def same(path: tuple[str, ...], key: str) -> str:
    """User names are compared as the hub writes them."""
    return user_key(key) if path == ("users",) else key


def refusal(call: Callable[[], str]) -> str:
    """What is said of a text that can't be edited."""
    with pytest.raises(PolicyError) as error:
        call()
    return str(error.value)


# ---- put

REPLACED = {
    "a plain value": (("a",), "a: 1\nb: 2\n", "a: 2G\nb: 2\n"),
    "a comment after the value stays": (("a",), "a: 1  # one\n", "a: 2G  # one\n"),
    "tabs in a comment": (("a",), "a: 1 #\tone\t\n", "a: 2G #\tone\t\n"),
    "more blanks before the value": (("a",), "a:    1\nlong: 1\n", "a:    2G\nlong: 1\n"),
    "single quotes go": (("a",), "a: '1' # one\n", "a: 2G # one\n"),
    "double quotes stay": (("a",), 'a: "1"\n', 'a: "2G"\n'),
    "a quoted key": (("no",), '"no": 1\n', '"no": 2G\n'),
    "no newline at the end": (("a",), "a: 1", "a: 2G"),
    "the lines of Windows": (("b",), "a: 1\r\nb: 1 # c\r\nc: 1\r\n", "a: 1\r\nb: 2G # c\r\nc: 1\r\n"),
    "a lone carriage return": (("b",), "a: 1\rb: 1\r", "a: 1\rb: 2G\r"),
    "a byte order mark": (("a",), "\ufeffa: 1\n", "\ufeffa: 2G\n"),
    "letters of two, three and four bytes before": (
        ("b",),
        "# é 日 😀\nä: 😀 # 😀\nb: 1\n",
        "# é 日 😀\nä: 😀 # 😀\nb: 2G\n",
    ),
    "a line separator in a comment": (("b",), "a: 1 # x\u2028# y\nb: 1\n", "a: 1 # x\u2028# y\nb: 2G\n"),
    "three levels down": (
        ALICE,
        "users:\n  # hers\n  alice:\n\n    mem_limit: 1G # now\n",
        "users:\n  # hers\n  alice:\n\n    mem_limit: 2G # now\n",
    ),
    "steps of four": (
        ALICE,
        "users:\n    alice:\n        mem_limit: 1G\n",
        "users:\n    alice:\n        mem_limit: 2G\n",
    ),
    "a user in braces": (
        ALICE,
        "users:\n  alice: {mem_limit: 1G, cpu_limit: 1} # hers\n  bob: {}\n",
        "users:\n  alice: {mem_limit: 2G, cpu_limit: 1} # hers\n  bob: {}\n",
    ),
    "all in braces": (ALICE, "{users: {alice: {mem_limit: 1G}}}", "{users: {alice: {mem_limit: 2G}}}"),
    "JSON stays JSON": (("a",), '{"a":1, "b": "x"}', '{"a":"2G", "b": "x"}'),
    "between directives and the end": (
        ("a",),
        "%YAML 1.1\n--- # start\na: 1\n... # end\n# after\n",
        "%YAML 1.1\n--- # start\na: 2G\n... # end\n# after\n",
    ),
    "a value on the next line": (("a",), "a: # c\n  1\nb: 1\n", "a: # c\n  2G\nb: 1\n"),
    "a plain value over two lines": (("a",), "a: p\n  q # c\nb: 1\n", "a: 2G # c\nb: 1\n"),
    "a quoted value over two lines": (("a",), "a: 'p\n\n  q' # c\nb: 1\n", "a: 2G # c\nb: 1\n"),
    "a block of text": (("a",), "a: | # c\n  p\n\n  q\n\n# z\nb: 1\n", "a: 2G # c\n\n# z\nb: 1\n"),
    "a folded block, chomped, at the end": (("a",), "b: 1\na: >-2\n    p\n   q", "b: 1\na: 2G"),
    "a block that keeps its blank lines": (("a",), "a: |+\r\n  p\r\n\r\n\r\nb: 1\r\n", "a: 2G\r\n\r\n\r\nb: 1\r\n"),
    "an empty block": (("a",), "a: | # c\n\nb: 1\n", "a: 2G # c\n\nb: 1\n"),
    "nothing given": (("a",), "a:\nb: 1\n", "a: 2G\nb: 1\n"),
    "nothing given, with a comment": (("a",), "a:   # c\nb: 1\n", "a: 2G   # c\nb: 1\n"),
    "null": (("a",), "a: ~ # c\n", "a: 2G # c\n"),
    "nothing given in braces": (("a",), "{a: , b: 1}", "{a: 2G, b: 1}"),
    "a key alone in braces": (("a",), "{a, b: 1}", "{a: 2G, b: 1}"),
    "an explicit key in braces": (("a",), "{? a : 1}", "{? a : 2G}"),
    "beside a list, an alias and a type": (
        ("b",),
        "a: &x [1, {y: 2}]\nc: *x\nd: !!str 1\nb: 1\n",
        "a: &x [1, {y: 2}]\nc: *x\nd: !!str 1\nb: 2G\n",
    ),
    "the same value": (("a",), "a: '2G'\n", "a: '2G'\n"),
}

ADDED = {
    "to an empty text": (("a",), "", "a: 2G\n"),
    "to a blank line": (("a",), "\n", "a: 2G\n"),
    "to a byte order mark": (("a",), "\ufeff", "\ufeffa: 2G\n"),
    "to comments alone": (ALICE, "# ours", "# ours\nusers:\n  alice:\n    mem_limit: 2G"),
    "to an empty document": (("a",), "---\n...\n", "---\na: 2G\n...\n"),
    "to null": (("a",), "~ # c\n", "a: 2G # c\n"),
    "to empty braces": (("a", "b"), "{}\n", "a:\n  b: 2G\n"),
    "to empty braces after a start": (("a",), "--- {}\n", "--- \na: 2G\n"),
    "a section, at the end": (("b", "c"), "a: 1\n# end\n\n", "a: 1\n# end\nb:\n  c: 2G\n\n"),
    "a section, where sections have gaps": (("c", "d"), "a: 1\n\nb: 2\n", "a: 1\n\nb: 2\n\nc:\n  d: 2G\n"),
    "a section, before the document's end": (("b",), "---\na: 1\n\n...\n# c\n", "---\na: 1\nb: 2G\n\n...\n# c\n"),
    "a section, with no newline at the end": (("b",), "a: 1", "a: 1\nb: 2G"),
    "a section, in the lines of Windows": (("b", "c"), "a: 1\r\n", "a: 1\r\nb:\r\n  c: 2G\r\n"),
    "a section, after a list": (("b",), "a:\n- 1\n- {x: 1}\n", "a:\n- 1\n- {x: 1}\nb: 2G\n"),
    "a section, after blank lines that are a value's": (("b",), "a: |+\n  p\n\n", "a: |+\n  p\n\nb: 2G\n"),
    "a field": (
        ("defaults", "x"),
        "defaults:\n  a: 1 # c\n\n# the groups\ngroups: {}\n",
        "defaults:\n  a: 1 # c\n  x: 2G\n\n# the groups\ngroups: {}\n",
    ),
    "a field, after comments among the fields": (
        ("defaults", "x"),
        "defaults:\n  a: 1\n  # b: 2\n    # c\n# the groups\ngroups: {}\n",
        "defaults:\n  a: 1\n  # b: 2\n    # c\n  x: 2G\n# the groups\ngroups: {}\n",
    ),
    "a field, before the next user's comment": (
        ("users", "alice", "x"),
        "users:\n  alice:\n    a: 1\n  # bob's\n  bob: {}\n",
        "users:\n  alice:\n    a: 1\n    x: 2G\n  # bob's\n  bob: {}\n",
    ),
    "a field, after a block of text": (
        ("a", "x"),
        "a:\n  b: |\n    # no comment\n\n\nc: 1\n",
        "a:\n  b: |\n    # no comment\n  x: 2G\n\n\nc: 1\n",
    ),
    "a field, after braces over several lines": (
        ("a", "x"),
        "a:\n  b: {c: 1,\n    d: 2} # c\ne: 1\n",
        "a:\n  b: {c: 1,\n    d: 2} # c\n  x: 2G\ne: 1\n",
    ),
    "a field, after a key with nothing": (("a", "x"), "a:\n  b:   # c\nc: 1\n", "a:\n  b:   # c\n  x: 2G\nc: 1\n"),
    "a mapping of fields": (
        ("defaults", "servers", "count"),
        "defaults:\n  a: 1\nusers: {}\n",
        "defaults:\n  a: 1\n  servers:\n    count: 2G\nusers: {}\n",
    ),
    "a user, where comments stand between": (
        BOB,
        "users:\n  # hers\n  alice:\n    mem_limit: 1G\n    # cpu_limit: 1\n\n# end\nx: 1\n",
        "users:\n  # hers\n  alice:\n    mem_limit: 1G\n    # cpu_limit: 1\n  bob:\n    mem_limit: 2G\n\n# end\nx: 1\n",
    ),
    "a user, where users have gaps": (
        BOB,
        "users:\n  a: {}\n\n  c: {}\nx: 1\n",
        "users:\n  a: {}\n\n  c: {}\n\n  bob:\n    mem_limit: 2G\nx: 1\n",
    ),
    "a user, in steps of four": (
        BOB,
        "users:\n    alice:\n        mem_limit: 1G\n",
        "users:\n    alice:\n        mem_limit: 1G\n    bob:\n        mem_limit: 2G\n",
    ),
    "a section, in steps that another one shows": (
        BOB,
        "groups:\n    a:\n        b: 1",
        "groups:\n    a:\n        b: 1\nusers:\n    bob:\n        mem_limit: 2G",
    ),
    "a user, with Windows and no newline at the end": (
        BOB,
        "users:\r\n  a: {}",
        "users:\r\n  a: {}\r\n  bob:\r\n    mem_limit: 2G",
    ),
    "to a section with nothing": (BOB, "users: # c\nx: 1\n", "users: # c\n  bob:\n    mem_limit: 2G\nx: 1\n"),
    "to a section with nothing but a comment": (
        BOB,
        "users:\n  # none yet\n\n# x\nx: 1\n",
        "users:\n  # none yet\n  bob:\n    mem_limit: 2G\n\n# x\nx: 1\n",
    ),
    "to a section with null": (BOB, "users: null # c\n", "users: # c\n  bob:\n    mem_limit: 2G\n"),
    "to a section with empty braces": (
        BOB,
        "users: {} # none\nx: 1\n",
        "users: # none\n  bob:\n    mem_limit: 2G\nx: 1\n",
    ),
    "to empty braces on the next line": (("a", "b"), "a: # c\n  {}\nx: 1\n", "a: # c\n  b: 2G\nx: 1\n"),
    "to empty braces with a comment in them": (("a", "b"), "a: { # c\n  }\n", "a: {b: 2G # c\n  }\n"),
    "to braces with a comment at once": (("a", "b"), "a: {# c\n  }\n", "a: {b: 2G # c\n  }\n"),
    "within braces": (("a", "x"), "a: {b: 1} # c\n", "a: {b: 1, x: 2G} # c\n"),
    "within braces, with a comma at the end": (("a", "x"), "a: {b: 1, }\n", "a: {b: 1, x: 2G, }\n"),
    "within braces, a mapping": (BOB, "users: {alice: {}}\n", "users: {alice: {}, bob: {mem_limit: 2G}}\n"),
    "within empty braces in braces": (BOB, "users: {bob: { }}\n", "users: {bob: {mem_limit: 2G}}\n"),
    "below nothing in braces": (BOB, "users: {bob: , a: {}}\n", "users: {bob: {mem_limit: 2G}, a: {}}\n"),
    "below null in braces": (BOB, "users: {bob: ~}\n", "users: {bob: {mem_limit: 2G}}\n"),
    "below a key alone in braces": (BOB, "users: {bob}\n", "users: {bob: {mem_limit: 2G}}\n"),
    "within braces over lines": (
        ("a", "x"),
        "a: {\n    b: 1, # one, two\n    c: 2 # no comma, here\n  }\n",
        "a: {\n    b: 1, # one, two\n    c: 2, # no comma, here\n    x: 2G\n  }\n",
    ),
    "within braces over lines, with a comma at the end": (
        ("a", "x"),
        "a: {\n    b: 1, # one\n    # tail\n  }\n",
        "a: {\n    b: 1, # one\n    x: 2G,\n    # tail\n  }\n",
    ),
    "within braces that close on the last line": (("x",), "{a: 1,\n b: 2}", "{a: 1,\n b: 2,\n x: 2G}"),
    "within braces, a comment before the comma": (("x",), "{a: 1 # c, d\n , }", "{a: 1 # c, d\n , x: 2G, }"),
    "to JSON": (
        BOB,
        '{\r\n  "version": 1\r\n}',
        '{\r\n  "version": 1,\r\n  "users": {"bob": {"mem_limit": "2G"}}\r\n}',
    ),
    "to indented entries": (("c",), "  a: 1\n  b: 1\n", "  a: 1\n  b: 1\n  c: 2G\n"),
}


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(("path", "before", "after"), REPLACED.values(), ids=REPLACED)
def test_a_value_is_replaced(path: tuple[str, ...], before: str, after: str, parser: type) -> None:
    """Only the value's own characters change."""
    assert put(before, path, "2G", parser=parser) == after


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(("path", "before", "after"), ADDED.values(), ids=ADDED)
def test_a_key_is_added(path: tuple[str, ...], before: str, after: str, parser: type) -> None:
    """It comes last in its mapping, indented and written as its siblings are."""
    assert put(before, path, "2G", parser=parser) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a:\t1\t# c\n", "a:\t2G\t# c\n"),
        ('{\n\t"b": 1,\t# c\n\t}', '{\n\t"b": 1,\t# c\n\t"a": "2G",\n\t}'),
    ],
)
def test_tabs_stay_where_libyaml_takes_them(before: str, after: str) -> None:
    """PyYAML's own parser does not take them."""
    assert put(before, ("a",), "2G", parser=yaml.CSafeLoader) == after


NAMES = {
    "alice": "alice",
    "a b": "a b",
    "a.b@c.org": "a.b@c.org",
    "日本": "日本",
    "-x": "-x",
    "no": '"no"',
    "true": '"true"',
    "12": '"12"',
    "1.5": '"1.5"',
    "12:30": '"12:30"',
    "2026-11-21": '"2026-11-21"',
    "null": '"null"',
    "~": '"~"',
    "": '""',
    "=": '"="',
    "<<": '"<<"',
    "-": '"-"',
    "- x": '"- x"',
    "---": '"---"',
    "a: b": '"a: b"',
    "a:": '"a:"',
    "*x": '"*x"',
    "&x": '"&x"',
    "!x": '"!x"',
    "%x": '"%x"',
    "@x": '"@x"',
    "`x": '"`x"',
    "?": '"?"',
    "a #b": '"a #b"',
    "#b": '"#b"',
    "a,b": '"a,b"',
    "{a}": '"{a}"',
    "[a]": '"[a]"',
    " a": '" a"',
    "a ": '"a "',
    "'a": '"\'a"',
    'a"b': '"a\\"b"',
    "a\\b": '"a\\\\b"',
    "a\tb\r\n": '"a\\tb\\r\\n"',
    "\x00\x1b": '"\\u0000\\u001b"',
    "\u2028\ufeff\xa0": '"\\u2028\\ufeff\\u00a0"',
    "\U000e0001😀": '"\\U000e0001😀"',
    "u\u0308": '"u\u0308"',
}


@pytest.mark.parametrize(("name", "written"), NAMES.items())
def test_a_name_is_quoted_where_yaml_needs_it(name: str, written: str) -> None:
    """What is not text to every reader of YAML, or not YAML at all, comes in double quotes."""
    assert put("a: 1\n", (name, "x"), "1") == f"a: 1\n{written}:\n  x: 1\n"
    assert (
        put("{a: 1}", (name,), "1G") == f"{{a: 1, {written}: {'1G' if written == name else chr(34) + '1G' + chr(34)}}}"
    )


VALUES = {
    "1G": "1G",
    "unlimited": "unlimited",
    "0.5": "0.5",
    "256": "256",
    "-1": "-1",
    "true": "true",
    "2026-12-31": "2026-12-31",
    "2026-12-31T17:00+01:00": "2026-12-31T17:00+01:00",
    "0-3": "0-3",
    "0,2": '"0,2"',
    "010": '"010"',
    "1_000": '"1_000"',
    "1e3": "1e3",
    "1.": '"1."',
    "12:30": '"12:30"',
    "no": '"no"',
    "null": '"null"',
    "": '""',
    "a: b # c": '"a: b # c"',
    "a\nb": '"a\\nb"',
}


@pytest.mark.parametrize(("value", "written"), VALUES.items())
@pytest.mark.parametrize("frame", ["a: {} # c\n", "{{a: {}, b: 1}}", "x:\n  a: {}"])
def test_a_value_is_quoted_where_yaml_needs_it(frame: str, value: str, written: str) -> None:
    """Numbers, dates, true and false are written as people write them."""
    path = ("x", "a") if frame.startswith("x") else ("a",)
    assert put(frame.format("old"), path, value) == frame.format(written)


def test_keys_are_compared_as_the_caller_says() -> None:
    """A user's name is found however it is written, and keeps its letters; other keys are compared as they are."""
    text = "users:\n  ALICE: {mem_limit: 1G}\n"
    assert put(text, ALICE, "2G", same=same) == "users:\n  ALICE: {mem_limit: 2G}\n"
    assert drop(text, ALICE, same=same) == "users:\n  ALICE: {}\n"
    assert put("Users: {}\n", ("users", "a"), "1", same=same) == "Users: {}\nusers:\n  a: 1\n"


# ---- drop

DROPPED = {
    "a field": (("a", "b"), "a:\n  b: 1 # one\n  c: 2\n", "a:\n  c: 2\n"),
    "the last field": (
        ("a", "c"),
        "a:\n  b: 1\n  # of c\n  c: 2\n\n# z\nd: 1\n",
        "a:\n  b: 1\n  # of c\n\n# z\nd: 1\n",
    ),
    "the only field": (("a", "b"), "a: # ours\n  # b\n  b: 1 # one\nc: 1\n", "a: {} # ours\n  # b\nc: 1\n"),
    "a user, with all below": (
        ("users", "alice"),
        "users:\n  alice: # hers\n    a: 1\n    # b\n    c: {d: 1,\n      e: 1}\n    # z\n  # bob's\n  bob: {}\n",
        "users:\n  # bob's\n  bob: {}\n",
    ),
    "a section": (("b",), "a: 1\n# about b\nb:\n- 1\n- 2\n\nc: 1\n", "a: 1\n# about b\n\nc: 1\n"),
    "the only section": (("a",), "--- # start\na:\n  b: 1\n...\n", "--- # start\n{}\n...\n"),
    "a key with nothing": (("a",), "a:   # c\nb: 1\n", "b: 1\n"),
    "a block of text": (("a",), "a: |\n  p\n\n  q\n\nb: 1\n", "\nb: 1\n"),
    "the last line, without a newline": (("b",), "a: 1\nb: 2", "a: 1"),
    "the last line, with Windows, without a newline": (("b",), "a: 1\r\nb: 2", "a: 1"),
    "a line of Windows": (("a",), "\ufeffa: 1\r\nb: 2\r\n", "\ufeffb: 2\r\n"),
    "the first in braces": (("a",), "{a: 1, b: 2}", "{b: 2}"),
    "one between in braces": (("b",), "{a: 1, b: 2, c: 3}", "{a: 1, c: 3}"),
    "the last in braces": (("b",), "{a: 1, b: 2 }", "{a: 1 }"),
    "the last in braces, with a comma": (("b",), "{a: 1, b: 2, }", "{a: 1, }"),
    "the only one in braces": (("x", "a"), "x: { a: {b: 1}, } # c\n", "x: {} # c\n"),
    "the only one in braces, beside a comment": (("a",), "{ # c\n  a: 1, # d\n}", "{ # c\n}"),
    "a key alone in braces": (("b",), "{a, b, c}", "{a, c}"),
    "a line in braces": (("a",), "{\n  a: 1, # one\n  b: 2 # two\n}\n", "{\n  b: 2 # two\n}\n"),
    "the last line in braces": (("b",), "{\n  a: 1, # one\n  b: 2 # two\n}\n", "{\n  a: 1 # one\n}\n"),
    "the last line in braces, with a comma": (("b",), "{\n  a: 1,\n  b: 2,\n}\n", "{\n  a: 1,\n}\n"),
    "on the brace's line": (("a",), "{a: 1, # one\n b: 2}", "{ # one\n b: 2}"),
    "on the closing brace's line": (("b",), "{a: 1,\n b: 2}", "{a: 1}"),
    "on the closing brace's line, after a comment": (("b",), "{a: 1, # one\n b: 2}", "{a: 1 # one\n }"),
    "the last of a line in braces": (("b",), "{a: 1, b: 2,\n c: 3}", "{a: 1,\n c: 3}"),
    "what is not there": (("b", "c"), "a: 1 # c", "a: 1 # c"),
    "below what is not there": (("a", "b", "c"), "a: {x: 1}", "a: {x: 1}"),
    "below nothing": (("a", "b"), "a:\n", "a:\n"),
    "from an empty text": (("a",), "", ""),
}


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(("path", "before", "after"), DROPPED.values(), ids=DROPPED)
def test_an_entry_is_dropped(path: tuple[str, ...], before: str, after: str, parser: type) -> None:
    """Its lines go, with its own comments; a mapping that gets empty becomes `{}`."""
    assert drop(before, path, parser=parser) == after


# ---- what can't be edited

_WRITE_OUT = "expected everything written out; edit the file by hand"
_BY_HAND = "this place can't be changed safely by a program; edit the file by hand"

REFUSED = {
    "no YAML": (("a",), "a: [", "f:2:1: a: not YAML: did not find expected node content"),
    "a character": (("a",), "a: \x07", "f: a: not YAML: a character that YAML does not allow"),
    "half of a surrogate pair": (("a",), "a: \ud800", "f: a: not YAML: a character that YAML does not allow"),
    "two documents": (("a",), "a: 1\n---\nb: 1", "f:2:1: a: a second document; expected one in the file"),
    "a list at the root": (("a",), "- a: 1", "f:1:1: a: a list; expected a mapping on the way"),
    "a value at the root": (("a",), "x", 'f:1:1: a: found "x"; expected a mapping on the way'),
    "through a value": (("a", "b"), "a: 1", 'f:1:4: a.b: found "1"; expected a mapping on the way'),
    "through an empty text": (("a", "b"), "a: ''", 'f:1:4: a.b: found ""; expected a mapping on the way'),
    "through a list": (("a", "0"), "a:\n- 1", "f:2:1: a.0: a list; expected a mapping on the way"),
    "an alias on the way": (("a", "b"), "x: &x {b: 1}\na: *x", f'f:2:4: a.b: an alias, "*x"; {_WRITE_OUT}'),
    "an alias at the end": (("a",), "x: &x 1\na: *x", f'f:2:4: a: an alias, "*x"; {_WRITE_OUT}'),
    "an anchor on the way": (("a", "b"), "a: &x {b: 1}", f'f:1:4: a.b: an anchor, "&x"; {_WRITE_OUT}'),
    "an anchor at the key": (("a",), "&x a: 1", f'f:1:1: a: an anchor, "&x"; {_WRITE_OUT}'),
    "an anchor at the end": (("a",), "a: &x 1", f'f:1:4: a: an anchor, "&x"; {_WRITE_OUT}'),
    "a type at the root": (("a",), "!!map {a: 1}", f'f:1:1: a: a YAML type, "tag:yaml.org,2002:map"; {_WRITE_OUT}'),
    "a type at the end": (("a",), "a: !x 1", f'f:1:4: a: a YAML type, "!x"; {_WRITE_OUT}'),
    "a merge key": (("a", "b"), "x: &x {}\na: {<<: *x, b: 1}", f"f:2:5: a.b: a merge key; {_WRITE_OUT}"),
    "a key twice": (("a", "b"), "a: {b: 1}\na: {}", "f:2:1: a.b: the key is there twice; expected it once"),
    "nested 21 deep": (("b",), f"a: {'[' * 21}{']' * 21}", "f:1:24: b: nested more than 20 deep"),
}


@pytest.mark.parametrize(("path", "text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_text_that_cannot_be_edited_is_refused(path: tuple[str, ...], text: str, message: str) -> None:
    """The place and the reason are told; a path through YAML's references is never followed."""
    assert refusal(lambda: put(text, path, "1G", file="f")) == message
    assert refusal(lambda: drop(text, path, file="f")) == message


def test_a_text_that_is_nested_without_end_is_refused() -> None:
    """At its place, in our words or in PyYAML's, which has a bound of its own."""
    assert refusal(lambda: put("a: " + "[" * 100_000, ("b",), "1G", file="f")).startswith("f:1:")


UNSAFE = {
    "a mapping at the place": (("a",), "a:\n  b: 1", "f:2:3: a: found a mapping; expected a value"),
    "a list at the place": (("a",), "a: [1]", "f:1:4: a: found a list; expected a value"),
    "an explicit key": (("a",), "? a\n", f"f: a: {_BY_HAND}"),
    "below an explicit key": (("a", "b"), "? a\n", f"f: a.b: {_BY_HAND}"),
    "a block of text that ends without a newline": (("b",), "a: |\n  p", f"f: b: {_BY_HAND}"),
    "a key that is too long to be one": (("k" * 2_000,), "a: 1\n", f'f: "{"k" * 60}…": {_BY_HAND}'),
    "a key that is no text": (("\ud800",), "a: 1\n", f'f: "\\ud800": {_BY_HAND}'),
}


@pytest.mark.parametrize(("path", "text", "message"), UNSAFE.values(), ids=UNSAFE)
def test_a_result_that_would_be_wrong_is_not_given(path: tuple[str, ...], text: str, message: str) -> None:
    """What was written is read again, and only the change that was asked for passes."""
    assert refusal(lambda: put(text, path, "1G", file="f")) == message


def test_an_anchor_is_not_dropped() -> None:
    """Elsewhere an alias may need it."""
    text = "a:\n  b: &x 1\nc: *x\n"
    message = "f:2:3: a: an anchor below it; expected everything written out; edit the file by hand"
    assert refusal(lambda: drop(text, ("a",), file="f")) == message


@pytest.mark.parametrize("call", [lambda: put("", (), "1"), lambda: drop("", ())])
def test_an_empty_path_is_a_mistake_of_the_caller(call: Callable[[], str]) -> None:
    """There is no entry without a key."""
    with pytest.raises(ValueError, match=r"^expected a path of at least one key$"):
        call()


# ---- any text

Tree = dict[str, Any]
KEYS = ["a", "b", "users", "no", "12:30", "ünal", "日", "x #y", "a: b", "*z", "😀", "mem_limit"]
TEXTS = ["1G", "0.5", "", "no", "a, b", "{", "# not one", "x: y", "é😀", "p\nq", "~"]

trees = st.recursive(
    st.sampled_from(TEXTS),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
).filter(lambda tree: isinstance(tree, dict))
paths = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4).map(tuple)


class Style:
    """Choices on the way through a tree, and the comments that were written."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self._draw = draw
        self.comments: list[str] = []
        self.eol = self.one_of("\n", "\n", "\r\n")
        self.step = self.one_of(2, 2, 4)

    def one_of(self, *these: Any) -> Any:
        """One of these."""
        return self._draw(st.sampled_from(these))

    def comment(self) -> str:
        """A comment that there is once."""
        self.comments.append(f"# c{len(self.comments)}, é: {self.one_of('{', '}', chr(9), '😀', '- ')}|")
        return self.comments[-1]

    def tail(self) -> str:
        """What may stand after a value."""
        return str(self.one_of("", "", " ", f"  {self.comment()}"))

    def scalar(self, text: str) -> str:
        """A text in one of the ways to write it."""
        plain = [text] if re.fullmatch(r"[\w.]+", text) else []
        single = ["'" + text.replace("'", "''") + "'"] if "\n" not in text else []
        return str(self.one_of(*plain, *plain, *single, '"' + text.replace("\n", "\\n") + '"'))

    def space(self) -> str:
        """Nothing, or a way to the next line."""
        return str(self.one_of("", "", " ", f"{self.eol}      ", f" {self.comment()}{self.eol}      "))

    def flow(self, node: Any) -> str:
        """A node in braces."""
        if isinstance(node, str):
            return self.scalar(node)
        parts = [f"{self.space()}{self.scalar(key)}: {self.flow(value)}{self.space()}" for key, value in node.items()]
        return "{" + ",".join(parts) + self.one_of("", "," if parts else "") + self.space() + "}"

    def between(self, column: int) -> Iterator[str]:
        """Lines between entries."""
        for _ in range(self.one_of(0, 0, 0, 1, 2)):
            yield self.one_of("", " " * self.one_of(0, column, column + 2) + self.comment())

    def block(self, tree: Tree, column: int) -> Iterator[str]:
        """The lines of a mapping that is not empty."""
        for key, value in tree.items():
            yield from self.between(column)
            head = " " * column + self.scalar(key) + ":"
            if isinstance(value, dict) and value and self.one_of("block", "block", "flow") == "block":
                yield head + self.tail()
                yield from self.block(value, column + self.step)
            elif isinstance(value, str) and value.isalpha() and self.one_of("text", "value") == "text":
                yield f"{head} |-{self.tail()}"
                yield " " * (column + 3) + value
            else:
                yield f"{head} {self.flow(value)}{self.tail()}"
        yield from self.between(column)

    def text(self, tree: Tree) -> str:
        """A whole file."""
        start = self.one_of([], ["--- " + self.comment()], ["%YAML 1.1", "---"])
        end = self.one_of([], ["..."], ["... " + self.comment()])
        lines = (
            list(self.block(tree, 0))
            if tree and self.one_of("block", "block", "flow") == "block"
            else [self.flow(tree)]
        )
        used = self.one_of("", "\ufeff") + self.eol.join([*start, *lines, *end]) + self.one_of("", self.eol)
        self.comments = [one for one in self.comments if one in used]  # some were drawn and not chosen
        return str(used)


@st.composite
def files(draw: Callable[[Any], Any]) -> tuple[Tree, str, list[str]]:
    """A tree, a text that says it, and the comments in the text."""
    tree, style = draw(trees), Style(draw)
    return tree, style.text(tree), style.comments


def said(text: str) -> Any:
    """What a text says, with every scalar as a text: another reader than the one in the module."""
    return yaml.load(text, Loader=yaml.BaseLoader)


def with_value(tree: Tree, path: tuple[str, ...], value: str) -> Tree:
    """The tree with a value at a path that leads through no other value."""
    below = tree.get(path[0], {})
    return {**tree, path[0]: value if len(path) == 1 else with_value(below, path[1:], value)}


def reaches(tree: Any, path: tuple[str, ...]) -> bool:
    """Whether a value can be put at a path."""
    if not path or not isinstance(tree, dict):
        return not path and isinstance(tree, str)
    return path[0] not in tree or reaches(tree[path[0]], path[1:])


def without(tree: Any, path: tuple[str, ...]) -> Any:
    """The tree without the entry at a path."""
    if not isinstance(tree, dict) or path[0] not in tree:
        return tree
    if len(path) == 1:
        return {key: value for key, value in tree.items() if key != path[0]}
    return {**tree, path[0]: without(tree[path[0]], path[1:])}


def places(tree: Tree, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each entry."""
    for key, value in tree.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from places(value, (*above, key))


def touched(text: str, other: str) -> int:
    """How many lines of a text are not there, in their order, in the other."""
    lines, others = text.splitlines(), other.splitlines()
    most = [0] * (len(others) + 1)  # the longest common subsequence with the first so many of the others
    for line in lines:
        before = list(most)
        for end, one in enumerate(others):
            most[end + 1] = before[end] + 1 if one == line else max(before[end + 1], most[end])
    return len(lines) - most[-1]


@settings(deadline=None, max_examples=400)
@given(files(), st.data())
def test_put_is_what_it_is_to_a_dict(file: tuple[Tree, str, list[str]], data: st.DataObject) -> None:
    """The value is there, all else says what it said, no comment is lost, and few lines are touched."""
    tree, text, comments = file
    assert said(text) == tree
    path = data.draw(st.one_of(paths, st.sampled_from([*places(tree), ("a",)])))
    value = data.draw(st.sampled_from(TEXTS))
    assume(reaches(tree, path))
    result = put(text, path, value)
    assert said(result) == with_value(tree, path, value)
    assert [one for one in comments if one not in result] == []
    assert touched(text, result) <= 2
    assert put(result, path, value) == result
    assert text.endswith(("\n", "\r")) == result.endswith(("\n", "\r"))
    assert text.startswith("\ufeff") == result.startswith("\ufeff")


@settings(deadline=None, max_examples=300)
@given(files(), paths)
def test_put_and_drop_of_a_new_key_change_nothing(file: tuple[Tree, str, list[str]], path: tuple[str, ...]) -> None:
    """What was added can be taken away: at its own place, and the mappings that were made for it."""
    tree, text, comments = file
    assume(reaches(tree, path) and path not in set(places(tree)))
    added = next(path[: end + 1] for end in range(len(path)) if path[: end + 1] not in set(places(tree)))
    result = drop(put(text, path, "1G"), added)
    assert said(result) == tree
    assert [one for one in comments if one not in result] == []


@settings(deadline=None, max_examples=300)
@given(files(), st.data())
def test_drop_is_what_it_is_to_a_dict(file: tuple[Tree, str, list[str]], data: st.DataObject) -> None:
    """The entry is gone, all else says what it said, and no line is new but what its mapping was written on."""
    tree, text, _ = file
    path = data.draw(st.sampled_from([*places(tree), ("nobody",)]))
    result = drop(text, path)
    assert said(result) == without(tree, path)
    assert touched(result, text) <= 2


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from([*"{}[]:,-?&*!|>%#'\"\n\t ~\\é", "  ", "\n  ", "\r\n", "a: 1", "users:", "a", "<<", "---"])
    ),
    paths,
)
def test_any_text_is_edited_or_refused(parts: list[str], path: tuple[str, ...]) -> None:
    """No text makes `put` or `drop` raise anything but PolicyError, and what they give can be read."""
    text = "".join(parts)
    for call in (lambda: put(text, path, "x"), lambda: put(drop(text, path), path, "x")):
        try:
            result = call()
        except PolicyError:
            continue
        assert put(result, path, "x") == result
