"""The administrator's file: what is accepted, and every mistake with its place, in the words that are promised."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner_limits.errors import PolicyError, Problem
from spawner_limits.limits import FIELDS
from spawner_limits.policy.model import Policy, Rule, Setting, group_key, user_key
from spawner_limits.policy.parse import MAX_BYTES, load, parse
from spawner_limits.policy.yaml_tree import Document
from spawner_limits.units import GIB, MIB

FILE = "limits.yaml"
EXAMPLE = Path(__file__).parents[2] / FILE


DECIDED = "\nceiling: {mem_limit: 1T, cpu_limit: 100, pids_limit: 10000}\n"
"""what every policy must say of everybody, in the section that says the least about anybody"""


def mistakes(text: str | bytes) -> list[str]:
    """What is said of a file, one line a mistake."""
    with pytest.raises(PolicyError) as refusal:
        parse(text.encode() if isinstance(text, str) else text, FILE)
    return str(refusal.value).splitlines()


def decided(text: str) -> Policy:
    """The policy in `text`, which leaves out what every policy must say."""
    return parse((text + DECIDED).encode(), FILE)


def rule(text: str) -> Rule:
    """The rule of a user who is given `text`, in braces."""
    return decided(f"version: 1\nusers: {{u: {{{text}}}}}").users["u"]


# ---- what is accepted


def test_a_file_becomes_a_policy() -> None:
    """Every value comes with its line and column, and the policy with the hash of the file's bytes."""
    data = b"""\
version: 1
defaults:
  mem_limit: 512M
  cpu_limit: unlimited
  pids_limit: 100
groups:
  Students: {cpu_limit: 1, pids_limit: unlimited}
users:
  alice:
    cpuset_cpus: "1,0"
"""

    def setting(value: float | str | None, line: int, column: int) -> Setting:
        return Setting(value=value, file=FILE, line=line, column=column)

    assert parse(data, FILE) == Policy(
        file=FILE,
        sha256=hashlib.sha256(data).hexdigest(),
        defaults=Rule(
            name="defaults",
            values={
                "mem_limit": setting(512 * MIB, 3, 14),
                "cpu_limit": setting(None, 4, 14),
                "pids_limit": setting(100, 5, 15),
            },
        ),
        groups={
            "Students": Rule(
                name="group Students", values={"cpu_limit": setting(1.0, 7, 25), "pids_limit": setting(None, 7, 40)}
            )
        },
        users={"alice": Rule(name="user alice", values={"cpuset_cpus": setting("0-1", 10, 18)})},
    )


ALL = "{mem_limit: 1G, cpu_limit: 1, pids_limit: 99}"
ACCEPTED = {
    "a version and defaults": f"version: 1\ndefaults: {ALL}",
    "a version and a ceiling": f"version: 1\nceiling: {ALL}",
    "one from the ceiling, the rest from the defaults": (
        "version: 1\ndefaults: {mem_limit: 1G, cpu_limit: 1}\nceiling: {pids_limit: 99}"
    ),
    "nobody is limited, on purpose": (
        "version: 1\ndefaults: {mem_limit: unlimited, cpu_limit: unlimited, pids_limit: unlimited}"
    ),
    "sections in any order, the version last": f"users: {{}}\ngroups: {{}}\ndefaults: {ALL}\nversion: 1",
    "a rule without fields": f"version: 1\ndefaults: {ALL}\nusers: {{alice: {{}}}}",
    "a version in quotes": f'version: "1"\ndefaults: {ALL}',
    "comments and blank lines": f"# ours\n\nversion: 1 # the first\ndefaults: {ALL} # all\n",
    "the lines of Windows": f"version: 1\r\ndefaults:\r\n  {ALL}\r\n",
    "a byte order mark": f"\ufeffversion: 1\ndefaults: {ALL}",
    "a document's start and end": f"%YAML 1.1\n---\nversion: 1\ndefaults: {ALL}\n...\n",
    "JSON": '{"version": 1, "defaults": {"mem_limit": "1G", "cpu_limit": 0.5, "pids_limit": "unlimited"}}',
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_a_file_is_accepted(text: str) -> None:
    """The version and three fields for everybody are required; every section may be left out."""
    assert parse(text.encode(), FILE).file == FILE


VALUES = {
    "a plain size": ("mem_limit: 1G", {"mem_limit": GIB}),
    "in double quotes": ('mem_limit: "1G"', {"mem_limit": GIB}),
    "in single quotes": ("mem_limit: '1G'", {"mem_limit": GIB}),
    "octal to YAML, ten to us": ("pids_limit: 010", {"pids_limit": 10}),
    "a range of CPUs": ("cpuset_cpus: 1-3", {"cpuset_cpus": "1-3"}),
    "a sum to YAML, two CPUs to us": ("cpuset_cpus: '1,3'", {"cpuset_cpus": "1,3"}),
    "no limit": ("mem_limit: unlimited", {"mem_limit": None}),
    "no limit, in quotes": ('cpu_limit: "unlimited"', {"cpu_limit": None}),
    "swap without limit": ("mem_limit: 1G, memswap_limit: unlimited", {"mem_limit": GIB, "memswap_limit": None}),
    "neither limited": ("mem_limit: unlimited, memswap_limit: unlimited", {"mem_limit": None, "memswap_limit": None}),
    "memory and swap equal": ("mem_limit: 1G, memswap_limit: 1024M", {"mem_limit": GIB, "memswap_limit": GIB}),
    "all guaranteed": ("mem_limit: 1G, mem_guarantee: 1G", {"mem_limit": GIB, "mem_guarantee": GIB}),
    "a guarantee without a limit": (
        "cpu_limit: unlimited, cpu_guarantee: 1",
        {"cpu_limit": None, "cpu_guarantee": 1.0},
    ),
    "the least quota": ("cpu_limit: 0.01, cpu_period: 100000", {"cpu_limit": 0.01, "cpu_period": 100_000}),
    "a period alone": ("cpu_period: 1000", {"cpu_period": 1_000}),
    "a short period without limit": (
        "cpu_limit: unlimited, cpu_period: 1000",
        {"cpu_limit": None, "cpu_period": 1_000},
    ),
    "no swapping": ("mem_swappiness: 0", {"mem_swappiness": 0}),
}


@pytest.mark.parametrize(("text", "values"), VALUES.values(), ids=VALUES)
def test_a_value_is_read_as_it_was_written(text: str, values: dict[str, object]) -> None:
    """A value is its field's and not YAML's: quotes change nothing, and `unlimited` is the only way to no limit."""
    assert {field: setting.value for field, setting in rule(text).values.items()} == values


USERS = [
    "no",
    "yes",
    "12:30",
    "null",
    "~",
    "1.0",
    "1e3",
    "0x10",
    ".inf",
    "2026-11-21",
    "true",
    "a b",
    "a.b",
    "a@b.org",
    "=",
    "'",
    "日本",
]


@pytest.mark.parametrize("name", USERS)
def test_a_name_is_the_text_that_was_written(name: str) -> None:
    """What YAML takes for a boolean, a time, a date, a number or null is a user, if it is written as one."""
    text = name if name != "'" else '"\'"'
    policy = decided(f"version: 1\nusers:\n  {text}: {{mem_limit: 1G}}\n")
    assert {key: one.name for key, one in policy.users.items()} == {name: f"user {name}"}


def test_user_names_are_compared_as_the_hub_writes_them() -> None:
    """JupyterHub lower-cases user names; composed and decomposed letters are the same name. The rule keeps its text."""
    policy = decided("version: 1\nusers: {U\u0308nal: {}, ALICE: {}}")
    assert {key: one.name for key, one in policy.users.items()} == {"ünal": "user U\u0308nal", "alice": "user ALICE"}


def test_case_matters_in_group_names() -> None:
    """Groups are compared as they are written, but for Unicode's two ways to write one letter."""
    policy = decided("version: 1\ngroups: {Staff: {}, staff: {}, e\u0301: {}}")
    assert sorted(policy.groups) == ["Staff", "staff", "é"]


@given(st.text())
def test_a_name_has_one_key(name: str) -> None:
    """The hub's lower-case name finds the rule, however the file writes it."""
    assert user_key(name.lower()) == user_key(name)
    assert user_key(user_key(name)) == user_key(name)
    assert group_key(group_key(name)) == group_key(name)


# ---- what is refused

_SIZE = 'expected a size such as "512M" or "1.5G", or "unlimited"'
_COUNT = "expected a whole number"
_FIELDS = f"expected one of {', '.join(FIELDS)}, servers, sizes, default_size, thread_hints"
_OF_A_USER = f"{_FIELDS}, until, temporarily"
_SECTIONS = "version, contact, combine, best_effort, auto_apply, host, ceiling, sizes, defaults, groups, users"
_A_RULE = 'expected fields below it, such as "mem_limit: 1G"; "{}" means none'
_A_SECTION = 'expected names below it, each with its fields; "{}" means none'
_EMPTY = (
    "limits.yaml:1:1: empty: expected a policy such as "
    '"{version: 1, defaults: {mem_limit: 1G, cpu_limit: 1, pids_limit: 256}}", see docs/policy.md'
)
_WRITE_OUT = "expected everything written out (users of a group share values)"
_AT_MOST = "expected at most as much"
_SUM = "memswap_limit counts memory and swap together"
_PROMISE = "no more can be guaranteed than is allowed"
_QUOTA = "cpu_limit × cpu_period is the quota, and the Linux kernel takes none below 1000 µs"

NOT_A_FILE_OF_OURS = {
    "empty": ("", _EMPTY),
    "a blank line": ("\n", _EMPTY),
    "only comments": ("# version: 1\n", _EMPTY),
    "an empty document": ("---\n", _EMPTY),
    "null": ("~", _EMPTY),
    "a list": (
        "- version: 1",
        f"limits.yaml:1:1: found a list; expected a mapping with {_SECTIONS}",
    ),
    "a word": ("x", f'limits.yaml:1:1: found "x"; expected a mapping with {_SECTIONS}'),
    "Latin-1": (
        "version: 1\n# für alle".encode("latin-1"),
        "limits.yaml:2:4: not UTF-8: byte 0xfc; save the file as UTF-8",
    ),
    "UTF-16": ("version: 1".encode("utf-16"), "limits.yaml:1:1: not UTF-8: byte 0xff; save the file as UTF-8"),
    "not UTF-8 after letters of two bytes": (
        "# äöü ".encode() + b"\xff",
        "limits.yaml:1:7: not UTF-8: byte 0xff; save the file as UTF-8",
    ),
    "not UTF-8 after a byte order mark": (
        b"\xef\xbb\xbfa: 1\nb: \xe9\n",
        "limits.yaml:2:4: not UTF-8: byte 0xe9; save the file as UTF-8",
    ),
    "a control character": ("version: 1\n# \x07", 'limits.yaml:2:3: "\\x07", a character that YAML does not allow'),
    "a control character after a byte order mark": (
        "\ufeff\x07",
        'limits.yaml:1:1: "\\x07", a character that YAML does not allow',
    ),
    "NUL": ("version: 1\x00", 'limits.yaml:1:11: "\\x00", a character that YAML does not allow'),
    "a tab for indentation": ("version: 1\nusers:\n\talice: {}", "limits.yaml:3:1: a tab; YAML indents with spaces"),
    "a bracket left open": (
        "version: 1\nusers: {alice: {mem_limit: 1G\n",
        "limits.yaml:3:1: not YAML: did not find expected ',' or '}' (while parsing a flow mapping)",
    ),
    "a quote left open": (
        'version: "1',
        "limits.yaml:1:12: not YAML: found unexpected end of stream (while scanning a quoted scalar)",
    ),
    "text after a value": (
        "version: 1\nusers: a: b",
        "limits.yaml:2:9: not YAML: mapping values are not allowed in this context",
    ),
    "wrong indentation": (
        "version: 1\nusers:\n  alice: {}\n bob: {}",
        "limits.yaml:4:2: not YAML: did not find expected key (while parsing a block mapping)",
    ),
    "an alias to nothing": ("version: 1\nusers: *nobody", f'limits.yaml:2:8: users: an alias, "*nobody"; {_WRITE_OUT}'),
    "half of a surrogate pair": (
        'version: 1\nusers: {"\\ud800": {}}',
        "limits.yaml:2:12: not YAML: found invalid Unicode character escape code (while parsing a quoted scalar)",
    ),
    "two documents": ("version: 1\n---\nversion: 1", "limits.yaml:2:1: a second document; expected one in the file"),
    "nested 21 deep": (f"version: 1\nusers: {'[' * 21}{']' * 21}", "limits.yaml:2:27: nested more than 20 deep"),
}


@pytest.mark.parametrize(("text", "message"), NOT_A_FILE_OF_OURS.values(), ids=NOT_A_FILE_OF_OURS)
def test_what_is_no_policy_at_all_is_refused(text: str | bytes, message: str) -> None:
    """A wrong file is told from a wrong policy, with the place at which that shows."""
    assert mistakes(text)[-1] == message


def test_what_is_nested_without_end_is_refused() -> None:
    """At its place, in our words or in PyYAML's, which has a bound of its own."""
    assert mistakes("version: 1\nusers: " + "[" * 100_000)[-1].startswith("limits.yaml:2:")


MISTAKES = {
    "the version missing": (
        "users: {}",
        'limits.yaml:1:1: version: missing; expected "version: 1"',
    ),
    "another version": ("version: 2", 'limits.yaml:1:10: version: found "2"; expected 1'),
    "a version like it": ("version: 1.0", 'limits.yaml:1:10: version: found "1.0"; expected 1'),
    "no version": ("version:", "limits.yaml:1:9: version: nothing given; expected 1"),
    "a list of versions": ("version: [1]", "limits.yaml:1:10: version: found a list; expected 1"),
    "a section with a slip": (
        "version: 1\nuser: {}",
        'limits.yaml:2:1: user: unknown key; did you mean "users"?',
    ),
    "a section that nobody knows": (
        "version: 1\nx: {}",
        f"limits.yaml:2:1: x: unknown key; expected one of {_SECTIONS}",
    ),
    "a field with a slip": (
        "version: 1\ngroups:\n  research:\n    mem_limt: 1G",
        'limits.yaml:4:5: groups.research.mem_limt: unknown key; did you mean "mem_limit"?',
    ),
    "a field in capitals": (
        "version: 1\ndefaults:\n  MEM_LIMIT: 1G",
        'limits.yaml:3:3: defaults.MEM_LIMIT: unknown key; did you mean "mem_limit"?',
    ),
    "a field that nobody knows": (
        "version: 1\nusers:\n  alice:\n    disk: 1G",
        f"limits.yaml:4:5: users.alice.disk: unknown key; {_OF_A_USER}",
    ),
    "a field where a section belongs": (
        "version: 1\nmem_limit: 1G",
        "limits.yaml:2:1: mem_limit: can't be given here; it belongs in defaults, groups or users",
    ),
    "a key as long as a book": (
        f"version: 1\n? {'x' * 100_000}\n: 1",
        f'limits.yaml:2:3: "{"x" * 60}…": unknown key; expected one of {_SECTIONS}',
    ),
    "a section twice": (
        "version: 1\nusers: {}\nusers: {}",
        "limits.yaml:3:1: users: duplicate key; first on line 2",
    ),
    "a field twice": (
        "version: 1\ndefaults:\n  mem_limit: 1G\n  mem_limit: 1G",
        "limits.yaml:4:3: defaults.mem_limit: duplicate key; first on line 3",
    ),
    "a user twice": (
        "version: 1\nusers:\n  alice: {}\n  bob: {}\n  alice: {}",
        "limits.yaml:5:3: users.alice: duplicate key; first on line 3",
    ),
    "a user twice, once in quotes": (
        'version: 1\nusers:\n  no: {}\n  "no": {}',
        "limits.yaml:4:3: users.no: duplicate key; first on line 3",
    ),
    "a user twice, once in capitals": (
        "version: 1\nusers:\n  alice: {}\n  Alice: {}",
        'limits.yaml:4:3: users.Alice: duplicate key; first on line 3 (both are "alice")',
    ),
    "a user twice, once decomposed": (
        "version: 1\nusers:\n  ünal: {}\n  u\u0308nal: {}",
        'limits.yaml:4:3: users.u\u0308nal: duplicate key; first on line 3 (both are "ünal")',
    ),
    "a group twice": (
        "version: 1\ngroups:\n  a: {}\n  a: {}",
        "limits.yaml:4:3: groups.a: duplicate key; first on line 3",
    ),
    "a section with nothing": ("version: 1\nusers:", f"limits.yaml:2:7: users: nothing given; {_A_SECTION}"),
    "defaults with nothing": ("version: 1\ndefaults:", f"limits.yaml:2:10: defaults: nothing given; {_A_RULE}"),
    "a user with nothing": (
        "version: 1\nusers:\n  alice:",
        f"limits.yaml:3:9: users.alice: nothing given; {_A_RULE}",
    ),
    "a section that is a list": (
        "version: 1\nusers: [alice]",
        f"limits.yaml:2:8: users: found a list; {_A_SECTION}",
    ),
    "a rule that is a value": (
        "version: 1\nusers: {alice: 1G}",
        f'limits.yaml:2:16: users.alice: found "1G"; {_A_RULE}',
    ),
    "a rule that is a list": (
        "version: 1\nusers:\n  alice:\n  - mem_limit: 1G",
        f"limits.yaml:4:3: users.alice: found a list; {_A_RULE}",
    ),
    "a name that is empty": (
        'version: 1\nusers: {"": {}}',
        'limits.yaml:2:9: users: found ""; expected a name, without blanks around it',
    ),
    "a name that is not there": (
        "version: 1\nusers: {? : {}}",
        'limits.yaml:2:11: users: found ""; expected a name, without blanks around it',
    ),
    "a name with a blank at its end": (
        'version: 1\ngroups: {"a ": {}}',
        'limits.yaml:2:10: groups: found "a "; expected a name, without blanks around it',
    ),
    "a name that a terminal would obey": (
        'version: 1\nusers: {"\\e[2J": {}}',
        'limits.yaml:2:9: users: found "\\x1b[2J"; expected a name, without blanks around it',
    ),
    "a list as a name": (
        "version: 1\nusers: {[alice, bob]: {}}",
        "limits.yaml:2:9: users: found a list as a key; expected a name",
    ),
    "a mapping as a field": (
        "version: 1\ndefaults: {{a: b}: 1G}",
        "limits.yaml:2:12: defaults: found a mapping as a key; expected a name",
    ),
    "an alias as a name": (
        "version: 1\nusers: {*a : {}}",
        "limits.yaml:2:9: users: an alias as a key; expected a name",
    ),
    "a merge key": (
        "version: 1\nusers: {alice: {<<: {}}}",
        f"limits.yaml:2:17: users.alice.<<: a merge key; {_WRITE_OUT}",
    ),
    "a merge key among the users": (
        "version: 1\nusers: {<<: {}}",
        f"limits.yaml:2:9: users.<<: a merge key; {_WRITE_OUT}",
    ),
    "an anchor": (
        "version: 1\ngroups: {a: &a {mem_limit: 1G}}",
        f'limits.yaml:2:13: groups.a: an anchor, "&a"; {_WRITE_OUT}',
    ),
    "an anchor on a value": (
        "version: 1\ndefaults: {mem_limit: &m 1G}",
        f'limits.yaml:2:23: defaults.mem_limit: an anchor, "&m"; {_WRITE_OUT}',
    ),
    "an anchor on a key": (
        "version: 1\nusers: {&a alice: {}}",
        f'limits.yaml:2:9: users.alice: an anchor, "&a"; {_WRITE_OUT}',
    ),
    "an alias": ("version: 1\nusers: {bob: *a}", f'limits.yaml:2:14: users.bob: an alias, "*a"; {_WRITE_OUT}'),
    "an alias to itself": ("version: 1\nusers: &u {bob: *u}", f'limits.yaml:2:8: users: an anchor, "&u"; {_WRITE_OUT}'),
    "a YAML type": (
        "version: 1\ndefaults: {pids_limit: !!int 5}",
        'limits.yaml:2:24: defaults.pids_limit: a YAML type, "!!int"; expected the value alone',
    ),
    "a YAML type of one's own": (
        "version: 1\nusers: {alice: !python/object:os.system {}}",
        'limits.yaml:2:16: users.alice: a YAML type, "!python/object:os.system"; expected the value alone',
    ),
    "a path that would be read wrong": (
        'version: 1\nusers: {"a.b": {mem_limit: x}}',
        f'limits.yaml:2:28: users."a.b".mem_limit: found "x"; {_SIZE}',
    ),
    "less memory than swap allows for": (
        "version: 1\ndefaults: {memswap_limit: 512M, mem_limit: 1G}",
        f'limits.yaml:2:44: defaults.mem_limit: found "1G", above memswap_limit "512M"; {_AT_MOST} ({_SUM})',
    ),
    "memory and swap limited, memory not": (
        "version: 1\ngroups: {a: {mem_limit: unlimited, memswap_limit: 1G}}",
        (
            'limits.yaml:2:25: groups.a.mem_limit: found "unlimited", above memswap_limit "1G"; '
            f"expected at most as much ({_SUM})"
        ),
    ),
    "more memory guaranteed than allowed": (
        "version: 1\nusers: {u: {mem_limit: 1G, mem_guarantee: 1.001G}}",
        (
            'limits.yaml:2:43: users.u.mem_guarantee: found "1.001G", above mem_limit "1G"; '
            f"expected at most as much ({_PROMISE})"
        ),
    ),
    "more cores guaranteed than allowed": (
        "version: 1\nusers: {u: {cpu_guarantee: 2, cpu_limit: 1}}",
        f'limits.yaml:2:28: users.u.cpu_guarantee: found "2", above cpu_limit "1"; {_AT_MOST} ({_PROMISE})',
    ),
    "a quota that the kernel refuses": (
        "version: 1\nusers: {u: {cpu_limit: 0.07, cpu_period: 10000}}",
        (
            'limits.yaml:2:42: users.u.cpu_period: found "10000", too short for cpu_limit "0.07"; '
            f"expected at least 14286 ({_QUOTA})"
        ),
    ),
    "a quota that the kernel refuses by a float's last digit": (
        "version: 1\nusers: {u: {cpu_limit: 0.9718172983479105, cpu_period: 1000}}",
        (
            'limits.yaml:2:56: users.u.cpu_period: found "1000", too short for cpu_limit "0.9718172983479105"; '
            f"expected at least 1030 ({_QUOTA})"
        ),
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_place(text: str, message: str) -> None:
    """Each mistake is one line: file, line, column, path, what was found, what was expected or the nearest key."""
    assert mistakes(text + DECIDED) == [message]


_DOCKER = '(Docker starts no container with less), or "unlimited"'
BAD_VALUES = {
    "a letter too many": ("mem_limit: 2GBB", f'found "2GBB"; {_SIZE}'),
    "negative": ("mem_limit: -1", f'found "-1"; {_SIZE}'),
    "zero": ("mem_limit: 0", 'found "0"; expected a size above 0, or "unlimited"'),
    "an empty text": ('mem_limit: ""', f'found ""; {_SIZE}'),
    "nothing": ("mem_limit: ", f"nothing given; {_SIZE}"),
    "null": ("mem_limit: null", f"nothing given; {_SIZE}"),
    "the word null": ('mem_limit: "null"', f'found "null"; {_SIZE}'),
    "infinity": ("mem_limit: .inf", f'found ".inf"; {_SIZE}'),
    "no number": ("mem_limit: .nan", f'found ".nan"; {_SIZE}'),
    "an exponent": ("mem_limit: 1e3", f'found "1e3"; {_SIZE}'),
    "underscores": ("mem_limit: 1_000_000_000", f'found "1_000_000_000"; {_SIZE}'),
    "huge": (
        "mem_limit: 9223372036854775808",
        'found "9223372036854775808"; expected a size below 8 EiB, or "unlimited"',
    ),
    "as long as a book": (
        f"mem_limit: {'9' * 100_000}",
        f'found "{"9" * 60}…"; expected a size below 8 EiB, or "unlimited"',
    ),
    "fractional bytes": (
        "mem_limit: 10000000.5",
        'found "10000000.5"; expected whole bytes, or a size such as "512M" or "1.5G", or "unlimited"',
    ),
    "a tab": ('mem_limit: "1\\tG"', f'found "1\\tG"; {_SIZE}'),
    "quotes within quotes": ("mem_limit: '\"1G\"'", f'found ""1G""; {_SIZE}'),
    "the word in capitals": ("mem_limit: UNLIMITED", f'found "UNLIMITED"; {_SIZE}'),
    "less than Docker takes": ("mem_limit: 4M", f'found "4M"; expected at least 6 MiB {_DOCKER}'),
    "a list": ("mem_limit: [1G]", f"found a list; {_SIZE}"),
    "a mapping": ("mem_limit: {soft: 1G}", f"found a mapping; {_SIZE}"),
    "swappiness above 100": ("mem_swappiness: 101", 'found "101"; expected at most 100'),
    "swappiness without limit": ("mem_swappiness: unlimited", f'found "unlimited"; {_COUNT}'),
    "a guarantee without limit": (
        "mem_guarantee: unlimited",
        'found "unlimited"; expected a size such as "512M" or "1.5G"',
    ),
    "a period too short": (
        "cpu_period: 10",
        'found "10"; expected at least 1000 (the Linux kernel\'s cpu.cfs_period_us)',
    ),
    "CPUs that fall": (
        'cpuset_cpus: "3-1"',
        'found "3-1"; expected CPU numbers such as "0-2,5", each range rising, or "unlimited"',
    ),
    "Docker's way to no limit": ("pids_limit: -1", 'found "-1"; expected a whole number, or "unlimited"'),
}


@pytest.mark.parametrize(("text", "message"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_a_bad_value_is_told_with_what_was_expected(text: str, message: str) -> None:
    """What was found is shown as it was written, on one line and cut where it is long."""
    field = text.partition(":")[0]
    column = len(field) + (2 if text.endswith(": ") else 3) + 2
    assert mistakes(f"version: 1\ndefaults:\n  {text}{DECIDED}") == [
        f"limits.yaml:3:{column}: defaults.{field}: {message}"
    ]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    """An administrator mends a file once, not once for each mistake."""
    text = """\
version: 3
users:
  alice: {mem_guarantee: 2G, mem_limit: 1G, mem_limt: 1G}
  alice: {}
  bob: {cpu_limit: 0}
"""
    assert mistakes(text + DECIDED) == [
        'limits.yaml:1:10: version: found "3"; expected 1',
        (
            'limits.yaml:3:26: users.alice.mem_guarantee: found "2G", above mem_limit "1G"; '
            f"expected at most as much ({_PROMISE})"
        ),
        'limits.yaml:3:45: users.alice.mem_limt: unknown key; did you mean "mem_limit"?',
        "limits.yaml:4:3: users.alice: duplicate key; first on line 3",
        'limits.yaml:5:20: users.bob.cpu_limit: found "0"; expected a number of cores above 0, or "unlimited"',
    ]


def test_what_was_wrong_before_the_text_stops_being_yaml_is_told_too() -> None:
    """A mistake in YAML ends the reading; those before it are not lost."""
    assert mistakes("version: 2\nusers: {") == [
        'limits.yaml:1:10: version: found "2"; expected 1',
        "limits.yaml:3:1: not YAML: did not find expected node content (while parsing a flow node)",
    ]


def test_a_file_of_mistakes_is_not_read_to_its_end() -> None:
    """After a thousand mistakes the rest is left, so that a wrong file ends in seconds and a log stays readable."""
    told = mistakes(
        "version: 1\nusers:\n" + "".join(f"  u{number}: {{memory{number}: 1G}}\n" for number in range(5_000))
    )
    assert len(told) == 1_001
    assert told[-1] == "limits.yaml:1002:10: 1000 mistakes; the rest of the file was not read"


def test_a_mistake_carries_its_place_as_values() -> None:
    """A program finds line, column and path without reading the message."""
    with pytest.raises(PolicyError) as refusal:
        parse(b"version: 1\nusers: {a: {disk: 1}}" + DECIDED.encode(), FILE)
    assert refusal.value.problems == (
        Problem(file=FILE, line=2, column=13, path="users.a.disk", message=f"unknown key; {_OF_A_USER}"),
    )
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("text", [one[0] for one in MISTAKES.values()] + list(ACCEPTED.values()))
def test_both_of_pyyamls_parsers_find_the_same(text: str) -> None:
    """PyYAML may come without libyaml: its own parser finds the same entries at the same places."""

    def seen(parser: type) -> list[tuple[str, int, int]]:
        document = Document(text.removeprefix("\ufeff"), FILE, parser=parser)
        root = document.root()
        assert root is not None
        found = []
        if document.is_mapping(root, (), ""):
            found = [(key, node.start_mark.line, node.start_mark.column) for key, node in document.entries(())]
        return found

    assert seen(yaml.CSafeLoader) == seen(yaml.SafeLoader)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            [*"{}[]:,-?&*!|>%#'\"\n\t ~\\", "  ", "\n  ", "version: 1", "users", "a", "mem_limit: 1G", "<<"]
        )
    )
)
def test_any_text_is_a_policy_or_a_policy_error(parts: list[str]) -> None:
    """No text makes `parse` raise anything else, and each mistake has a place."""
    try:
        parse("".join(parts).encode(), FILE)
    except PolicyError as error:
        assert all(one.line is not None and one.line > 0 and one.column for one in error.problems)  # noqa: PT017


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_a_policy_error(data: bytes) -> None:
    """No bytes make `parse` raise anything else."""
    try:
        parse(data, FILE)
    except PolicyError as error:
        assert error.problems  # noqa: PT017


@pytest.mark.parametrize("text", [ACCEPTED["a version and defaults"], "version: 2"])
def test_garbage_is_collected_again_after_a_file_was_read(text: str) -> None:
    """Collection waits while a file is read, and goes on whether or not the file was a policy."""
    assert gc.isenabled()
    with contextlib.suppress(PolicyError):
        parse(text.encode(), FILE)
    assert gc.isenabled()


# ---- the file itself


def refusal(path: Path) -> str:
    """What is said of a file that can't be read."""
    with pytest.raises(PolicyError) as error:
        load(path)
    return str(error.value)


def test_a_file_is_loaded_and_named(tmp_path: Path) -> None:
    """Messages name the file by its path, or as they are told."""
    path = tmp_path / FILE
    path.write_text(ACCEPTED["a version and defaults"])
    assert load(path).file == str(path)
    assert load(path, name="the policy").file == "the policy"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file is told as such; it has no line."""
    path = tmp_path / "nowhere" / FILE
    assert refusal(path) == f"{path}: no such file; expected a policy file, see docs/policy.md"


def test_a_directory(tmp_path: Path) -> None:
    """A directory is told as such."""
    assert refusal(tmp_path) == f"{tmp_path}: a directory; expected a policy file"


def test_a_path_through_a_file(tmp_path: Path) -> None:
    """What else the system says is passed on."""
    (tmp_path / FILE).write_text("version: 1\n")
    path = tmp_path / FILE / "x"
    assert refusal(path) == f"{path}: can't be read: Not a directory; expected a policy file that this account may read"


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """A file of another account is told as such."""
    path = tmp_path / FILE
    path.write_text("version: 1\n")
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        told = refusal(path)
    finally:
        if root:
            os.seteuid(0)
    assert told == f"{path}: can't be read: Permission denied; expected a policy file that this account may read"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_a_device_is_not_opened(device: str) -> None:
    """A wrong path can't hang the hub."""
    assert refusal(Path(device)) == f"{device}: no regular file; expected a policy file"


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    """Nobody writes to it, so opening it would wait for ever."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert refusal(path) == f"{path}: no regular file; expected a policy file"


def test_a_file_of_more_than_64_mib(tmp_path: Path) -> None:
    """A file too large is refused before it is read as YAML."""
    path = tmp_path / FILE
    path.write_bytes(b"")
    os.truncate(path, MAX_BYTES + 1)
    assert refusal(path) == f"{path}: above 64 MiB; expected a smaller policy file"


def test_the_worked_example_is_a_policy() -> None:
    """The file that comes with the project is accepted, and gives what its comments say."""
    policy = load(EXAMPLE)

    def values(one: Rule) -> dict[str, object]:
        return {field: setting.value for field, setting in one.values.items()}

    assert values(policy.defaults) == {"mem_limit": 512 * MIB, "cpu_limit": 0.5, "pids_limit": 256}
    assert {name: values(one) for name, one in policy.groups.items()} == {
        "students": {"mem_limit": 768 * MIB, "cpu_limit": 0.75, "pids_limit": 256}
    }
    assert {name: values(one) for name, one in policy.users.items()} == {
        "alice": {"mem_limit": GIB, "cpu_limit": 0.5},
        "carol": {"mem_limit": 3 * GIB // 2, "cpu_limit": 1.0, "cpu_shares": 2048},
    }
