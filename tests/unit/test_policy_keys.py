"""What the file may say beside fields: each key's good forms as values, and each mistake in the words promised."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from spawner_limits.errors import PolicyError
from spawner_limits.limits import FIELDS
from spawner_limits.policy.keys import read_until, show_until
from spawner_limits.policy.model import Host, Policy, Rule
from spawner_limits.policy.parse import parse
from spawner_limits.units import GIB, MIB

FILE = "limits.yaml"
DECIDED = "\nceiling: {mem_limit: 1T, cpu_limit: 100, pids_limit: 10000}\n"
"""what every policy must say of everybody, in the section that says the least about anybody"""
_TWO_SIZES = "\nsizes: {small: {mem_limit: 1G}, large: {mem_limit: 4G}}"


def policy(text: str) -> Policy:
    """The policy in `text`, which leaves out its version and what every policy must say."""
    return parse(f"version: 1\n{text}{DECIDED}".encode(), FILE)


def mistakes(text: str) -> list[str]:
    """What is said of a file, one line a mistake."""
    with pytest.raises(PolicyError) as refusal:
        parse(text.encode(), FILE)
    return str(refusal.value).splitlines()


def values(rule: Rule) -> dict[str, Any]:
    """Key → value."""
    return {key: setting.value for key, setting in rule.values.items()}


# ---- what is accepted

NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
SECTIONS = {
    "nothing": ("", {"combine": None, "sizes": {}, "host": None, "contact": None, "auto_apply": False}),
    "the most": ("combine: most", {"combine": "most"}),
    "the least": ("combine: 'least'", {"combine": "least"}),
    "the first": ("combine: first", {"combine": "first"}),
    "the first, of groups in order": (
        "combine: first\ngroups: {a: {priority: 0}, b: {priority: 1000000}}",
        {"combine": "first"},
    ),
    "groups that give the same need no way": (
        "groups: {a: {mem_limit: 1G}, b: {mem_limit: 1024M}}",
        {"combine": None},
    ),
    "groups that list the same in another order need no way": (
        "groups: {a: {sizes: [large, small]}, b: {sizes: [small, large]}}" + _TWO_SIZES,
        {"combine": None},
    ),
    "one group that differs from itself in time needs no way": (
        "groups: {a: {mem_limit: 1G, temporarily: {mem_limit: 2G, until: 2026-12-31}}, b: {cpu_limit: 1}}",
        {"combine": None},
    ),
    "the host as it is": ("host: {}", {"host": Host()}),
    "the host, all of it told": (
        (
            "host: {reserve_memory: 4G, reserve_cpus: 0.5, reserve_processes: 1000, "
            "memory_overcommit: 1.5, cpu_overcommit: unlimited}"
        ),
        {
            "host": Host(
                reserve_memory=4 * GIB,
                reserve_cpus=0.5,
                reserve_processes=1000,
                memory_overcommit=1.5,
                cpu_overcommit=None,
            )
        },
    ),
    "no process reserved, and said so": ("host: {reserve_processes: 0}", {"host": Host(reserve_processes=0)}),
    "processes reserved, at most": ("host: {reserve_processes: 4194304}", {"host": Host(reserve_processes=1 << 22)}),
    "a reserve of a byte": ("host: {reserve_memory: 1}", {"host": Host(reserve_memory=1)}),
    "whom to ask": ("contact: hub@example.org", {"contact": "hub@example.org"}),
    "whom to ask, in any script": ('contact: "IT, Raum 5 (電話 1) <b>"', {"contact": "IT, Raum 5 (電話 1) <b>"}),
    "whom to ask, at most": (f"contact: {'a' * 200}", {"contact": "a" * 200}),
    "best effort": ("best_effort: [cpu_shares, mem_guarantee]", {"best_effort": {"cpu_shares", "mem_guarantee"}}),
    "best effort as a list of lines": ("best_effort:\n- cpu_shares\n", {"best_effort": {"cpu_shares"}}),
    "best effort of nothing": ("best_effort: []", {"best_effort": frozenset()}),
    "best effort of everything": (f"best_effort: [{', '.join(FIELDS)}]", {"best_effort": set(FIELDS)}),
    "applied by itself": ("auto_apply: true", {"auto_apply": True}),
    "not applied by itself": ('auto_apply: "false"', {"auto_apply": False}),
    "groups that differ in hints need no way": (
        "groups: {a: {thread_hints: true}, b: {thread_hints: false}}",
        {"combine": None},
    ),
}


@pytest.mark.parametrize(("text", "expected"), SECTIONS.values(), ids=SECTIONS)
def test_a_section_is_read(text: str, expected: dict[str, Any]) -> None:
    """Each section becomes the value that the rest of the package goes by."""
    found = policy(text)
    assert {key: getattr(found, key) for key in expected} == expected


RULES = {
    "sizes to pick": ("sizes: [small, large]", {"sizes": ("small", "large")}),
    "sizes, one a line": ('sizes:\n    - "small"', {"sizes": ("small",)}),
    "no sizes": ("sizes: []", {"sizes": ()}),
    "a size of those": (
        "sizes: [small, large]\n    default_size: large",
        {"sizes": ("small", "large"), "default_size": "large"},
    ),
    "a default size of another rule's list": ("default_size: small", {"default_size": "small"}),
    "hints": ("thread_hints: true", {"thread_hints": True}),
    "no hints": ('thread_hints: "false"', {"thread_hints": False}),
    "a number of servers": ("servers: {count: 3}", {"servers.count": 3}),
    "no servers": ("servers: {count: 0}", {"servers.count": 0}),
    "servers without limit": (
        "servers: {count: unlimited, mem_limit: unlimited, cpu_limit: unlimited}",
        {"servers.count": None, "servers.mem_limit": None, "servers.cpu_limit": None},
    ),
    "servers together": (
        "servers: {mem_limit: 8G, cpu_limit: 4}",
        {"servers.mem_limit": 8 * GIB, "servers.cpu_limit": 4.0},
    ),
    "servers that hold less than one may": (
        "mem_limit: 8G\n    servers: {mem_limit: 1G}",
        {"mem_limit": 8 * GIB, "servers.mem_limit": GIB},
    ),
    "nothing of servers": ("servers: {}", {}),
}


@pytest.mark.parametrize("section", ["groups", "users", "defaults"])
@pytest.mark.parametrize(("text", "expected"), RULES.values(), ids=RULES)
def test_a_rule_says_more_than_fields(section: str, text: str, expected: dict[str, Any]) -> None:
    """What is not a field stands among a rule's values under its own name, in every section that has rules."""
    place = f"{section}:\n    " if section == "defaults" else f"{section}:\n  u:\n    "
    found = policy(place + text + _TWO_SIZES)
    assert values(found.defaults if section == "defaults" else getattr(found, section)["u"]) == expected


def test_a_size_and_a_ceiling_are_rules() -> None:
    """A size gives up to three fields, each with its place; a ceiling any but the period."""
    found = policy("sizes:\n  small: {mem_limit: 512M, cpu_limit: 0.5, pids_limit: 9}\n  whole: {}")
    assert [(one.name, values(one)) for one in found.sizes.values()] == [
        ("size small", {"mem_limit": 512 * MIB, "cpu_limit": 0.5, "pids_limit": 9}),
        ("size whole", {}),
    ]
    assert (found.sizes["small"].values["cpu_limit"].line, found.sizes["small"].values["cpu_limit"].column) == (3, 39)
    assert (found.ceiling.name, values(found.ceiling)) == (
        "ceiling",
        {"mem_limit": 1024 * GIB, "cpu_limit": 100.0, "pids_limit": 10_000},
    )


def test_a_group_has_a_rank_an_end_and_something_temporary() -> None:
    """What is temporary is a rule of its own, with its own end, and leaves the permanent one alone."""
    group = policy(
        "groups:\n  staff:\n    priority: 7\n    until: 2027-06-30\n    mem_limit: 1G\n"
        "    temporarily: {mem_limit: 4G, servers: {count: 9}, until: 2026-12-31}"
    ).groups["staff"]
    assert (group.name, group.priority, group.until, values(group)) == (
        "group staff",
        7,
        datetime(2027, 7, 1, tzinfo=UTC),
        {"mem_limit": GIB},
    )
    more = group.temporarily
    assert more is not None
    assert (more.name, more.priority, more.until, values(more), more.temporarily) == (
        "group staff, temporarily",
        None,
        NEW_YEAR,
        {"mem_limit": 4 * GIB, "servers.count": 9},
        None,
    )


MOMENTS = {
    "a day, to its end": ("2026-12-31", NEW_YEAR),
    "a leap day": ("2028-02-29", datetime(2028, 3, 1, tzinfo=UTC)),
    "a time in UTC": ("2026-12-31T18:00Z", datetime(2026, 12, 31, 18, tzinfo=UTC)),
    "a time of a zone east of it": ("2026-12-31T18:00+01:00", datetime(2026, 12, 31, 17, tzinfo=UTC)),
    "a time of a zone west of it": ("2026-12-31T18:00:30-05:30", datetime(2026, 12, 31, 23, 30, 30, tzinfo=UTC)),
    "with a blank between": ("2026-12-31 18:00+00:00", datetime(2026, 12, 31, 18, tzinfo=UTC)),
    "the last day that has an end": ("9999-12-30", datetime(9999, 12, 31, tzinfo=UTC)),
    "long ago": ("0001-01-01", datetime(1, 1, 2, tzinfo=UTC)),
}


@pytest.mark.parametrize(("text", "moment"), MOMENTS.values(), ids=MOMENTS)
def test_a_moment_is_read(text: str, moment: datetime) -> None:
    """A day counts to its end in UTC, a time to itself; whatever the zone, the moment is kept in UTC."""
    assert read_until(text) == moment
    assert policy(f"users: {{u: {{until: {text}}}}}").users["u"].until == moment


def test_a_moment_is_shown_in_utc() -> None:
    """People read minutes and the zone; a year has four digits."""
    assert show_until(NEW_YEAR) == "2027-01-01 00:00 UTC"
    assert show_until(datetime.fromisoformat("2026-12-31T18:00:59+01:00")) == "2026-12-31 17:00 UTC"
    assert show_until(datetime(1, 1, 2, tzinfo=UTC)) == "0001-01-02 00:00 UTC"


# ---- what is refused

_FIELDS = f"expected one of {', '.join(FIELDS)}, servers, sizes, default_size, thread_hints"
_OF_A_USER = f"{_FIELDS}, until, temporarily"
_SECTIONS = "version, contact, combine, best_effort, auto_apply, host, ceiling, sizes, defaults, groups, users"
_UNTIL = (
    'expected a date such as "2026-12-31" (to its end in UTC), or a time with a zone such as "2026-12-31T18:00+01:00"'
)
_CALENDAR = "expected a day of the calendar, and a time and zone that there are"
_WRITE_OUT = "expected everything written out (users of a group share values)"
_A_RULE = 'expected fields below it, such as "mem_limit: 1G"; "{}" means none'
_A_SECTION = 'expected names below it, each with its fields; "{}" means none'
_SIZE = 'expected a size such as "512M" or "1.5G", or "unlimited"'
_CORES = 'expected a number of cores such as "0.5" or "2", or "unlimited"'
_COUNT = 'expected a whole number, or "unlimited"'
_A_LIST = 'expected a list of sizes such as "[small, large]"'
_A_HOST = "expected reserve_memory, reserve_cpus, reserve_processes, memory_overcommit, cpu_overcommit below it"
_ONE_LINE = 'expected one line of at most 200 characters such as "hub@example.org"'
_FACTOR = 'expected a factor such as "1" or "1.5", above 0 and at most 8192, or "unlimited"'
_SERVERS = "expected count, mem_limit, cpu_limit below it"
_A_LIST_OF_FIELDS = 'expected a list of fields such as "[cpu_guarantee]"'
_COMBINE = "expected one of most, least, first"
_MATTERS = "missing, and it matters: groups"
_LONG = "a" * 60
_PROMISE = "no more can be guaranteed than is allowed"
_CAPPED = f"expected one of {', '.join(field for field in FIELDS if field != 'cpu_period')}"
_MISSING = "missing, so that who has no other rule would have no limit"
_ONLY_LOWERS = 'found "unlimited"; expected a limit, or no such line: a ceiling only lowers'

MISTAKES = {
    "a way to combine that nobody knows": (
        "version: 1\ncombine: max",
        f'limits.yaml:2:10: combine: found "max"; {_COMBINE}',
    ),
    "a way to combine, in capitals": (
        "version: 1\ncombine: Most",
        f'limits.yaml:2:10: combine: found "Most"; {_COMBINE}',
    ),
    "no way to combine": ("version: 1\ncombine:", f"limits.yaml:2:9: combine: nothing given; {_COMBINE}"),
    "two ways to combine": ("version: 1\ncombine: [most]", f"limits.yaml:2:10: combine: found a list; {_COMBINE}"),
    "two groups that differ, and no way to combine": (
        "version: 1\ngroups:\n  a: {mem_limit: 1G}\n  b: {mem_limit: 2G}",
        f'limits.yaml:4:18: combine: {_MATTERS} "a" (line 3) and "b" give mem_limit differently; {_COMBINE}',
    ),
    "two groups that differ, with one between that says nothing": (
        "version: 1\ngroups:\n  a: {cpu_limit: 1}\n  b: {pids_limit: 5}\n  c: {cpu_limit: unlimited}",
        f'limits.yaml:5:18: combine: {_MATTERS} "a" (line 3) and "c" give cpu_limit differently; {_COMBINE}',
    ),
    "two groups that differ only temporarily": (
        (
            "version: 1\ngroups:\n  a: {mem_limit: 1G}\n"
            "  b: {mem_limit: 1G, temporarily: {mem_limit: 2G, until: 2026-12-31}}"
        ),
        f'limits.yaml:4:47: combine: {_MATTERS} "a" (line 3) and "b" give mem_limit differently; {_COMBINE}',
    ),
    "two groups that give nothing but temporarily": (
        (
            "version: 1\ngroups:\n  a: {temporarily: {mem_limit: 1G, until: 2026-12-31}}\n"
            "  b: {temporarily: {mem_limit: 2G, until: 2026-12-31}}"
        ),
        f'limits.yaml:4:32: combine: {_MATTERS} "a" (line 3) and "b" give mem_limit differently; {_COMBINE}',
    ),
    "two groups that list other sizes": (
        "version: 1\ngroups:\n  a: {sizes: [small]}\n  b: {sizes: [small, large]}" + _TWO_SIZES,
        f'limits.yaml:4:14: combine: {_MATTERS} "a" (line 3) and "b" give sizes differently; {_COMBINE}',
    ),
    "two groups of other numbers of servers": (
        "version: 1\ngroups:\n  a: {servers: {count: 1}}\n  b: {servers: {count: 2}}",
        f'limits.yaml:4:24: combine: {_MATTERS} "a" (line 3) and "b" give servers.count differently; {_COMBINE}',
    ),
    "two groups of other default sizes": (
        "version: 1\ngroups:\n  a: {default_size: small}\n  b: {default_size: large}" + _TWO_SIZES,
        f'limits.yaml:4:21: combine: {_MATTERS} "a" (line 3) and "b" give default_size differently; {_COMBINE}',
    ),
    "a group without priority": (
        "version: 1\ncombine: first\ngroups:\n  a: {priority: 1}\n  b: {mem_limit: 1G}",
        (
            'limits.yaml:5:6: groups.b.priority: missing, and "combine: first" needs one for each group; '
            "expected a whole number"
        ),
    ),
    "the only group, without priority": (
        "version: 1\ncombine: first\ngroups:\n  b:\n    mem_limit: 1G",
        (
            'limits.yaml:5:5: groups.b.priority: missing, and "combine: first" needs one for each group; '
            "expected a whole number"
        ),
    ),
    "two groups of one priority": (
        (
            "version: 1\ncombine: first\ngroups:\n  a:\n    mem_limit: 1G\n    priority: 1\n  b:\n    mem_limit: 1G\n"
            "    priority: 01"
        ),
        'limits.yaml:9:15: groups.b.priority: found "1", as group "a" (line 6); expected a number of its own',
    ),
    "a priority that is a word": (
        "version: 1\ncombine: first\ngroups: {a: {priority: high}}",
        'limits.yaml:3:24: groups.a.priority: found "high"; expected a whole number',
    ),
    "a negative priority": (
        "version: 1\ngroups: {a: {priority: -1}}",
        'limits.yaml:2:24: groups.a.priority: found "-1"; expected a whole number',
    ),
    "a priority too high": (
        "version: 1\ngroups: {a: {priority: 1000001}}",
        'limits.yaml:2:24: groups.a.priority: found "1000001"; expected at most 1000000',
    ),
    "nothing for a priority, told once": (
        "version: 1\ncombine: first\ngroups: {a: {priority: }}",
        "limits.yaml:3:24: groups.a.priority: nothing given; expected a whole number",
    ),
    "a list of priorities": (
        "version: 1\ngroups: {a: {priority: [1]}}",
        "limits.yaml:2:24: groups.a.priority: found a list; expected a whole number",
    ),
    "a priority of a user": (
        "version: 1\nusers: {a: {priority: 1}}",
        f"limits.yaml:2:13: users.a.priority: can't be given here; {_OF_A_USER}",
    ),
    "a priority of the defaults": (
        "version: 1\ndefaults: {priority: 1}",
        f"limits.yaml:2:12: defaults.priority: can't be given here; {_FIELDS}",
    ),
    "a priority that is temporary": (
        "version: 1\ngroups: {a: {temporarily: {priority: 1, until: 2026-12-31}}}",
        f"limits.yaml:2:28: groups.a.temporarily.priority: can't be given here; {_FIELDS}, until",
    ),
    "no sizes": ("version: 1\nsizes:", f"limits.yaml:2:7: sizes: nothing given; {_A_SECTION}"),
    "sizes that are a list, told once": (
        "version: 1\nsizes: [small]\ndefaults: {sizes: [small]}",
        f"limits.yaml:2:8: sizes: found a list; {_A_SECTION}",
    ),
    "a size that is a value": (
        "version: 1\nsizes: {small: 1G}",
        f'limits.yaml:2:16: sizes.small: found "1G"; {_A_RULE}',
    ),
    "a size with nothing": ("version: 1\nsizes: {small: }", f"limits.yaml:2:16: sizes.small: nothing given; {_A_RULE}"),
    "a size with another field": (
        "version: 1\nsizes: {small: {mem_guarantee: 1G}}",
        (
            "limits.yaml:2:17: sizes.small.mem_guarantee: can't be given here; "
            "expected one of mem_limit, cpu_limit, pids_limit"
        ),
    ),
    "a size with a slip": (
        "version: 1\nsizes: {small: {mem_limt: 1G}}",
        'limits.yaml:2:17: sizes.small.mem_limt: unknown key; did you mean "mem_limit"?',
    ),
    "a size that ends": (
        "version: 1\nsizes: {small: {until: 2026-12-31}}",
        "limits.yaml:2:17: sizes.small.until: can't be given here; expected one of mem_limit, cpu_limit, pids_limit",
    ),
    "a size twice": (
        "version: 1\nsizes: {small: {}, small: {}}",
        "limits.yaml:2:20: sizes.small: duplicate key; first on line 2",
    ),
    "a size with a bad value": (
        "version: 1\nsizes: {small: {mem_limit: 1}}",
        (
            'limits.yaml:2:28: sizes.small.mem_limit: found "1"; '
            'expected at least 6 MiB (Docker starts no container with less), or "unlimited"'
        ),
    ),
    "a size with a slip, where it is listed": (
        "version: 1\ndefaults: {sizes: [smal]}" + _TWO_SIZES,
        'limits.yaml:2:19: defaults.sizes: found "smal"; did you mean "small"?',
    ),
    "a size that there is not": (
        "version: 1\ndefaults: {sizes: [huge]}" + _TWO_SIZES,
        'limits.yaml:2:19: defaults.sizes: found "huge"; expected one of small, large',
    ),
    "sizes of no section": (
        "version: 1\ndefaults: {sizes: [small]}",
        'limits.yaml:2:19: defaults.sizes: found "small"; there is no size; expected some below "sizes"',
    ),
    "a size listed twice": (
        "version: 1\ndefaults: {sizes: [small, large, small]}" + _TWO_SIZES,
        'limits.yaml:2:34: defaults.sizes: found "small" twice; expected each name once',
    ),
    "a size where a list belongs": (
        "version: 1\ndefaults: {sizes: small}" + _TWO_SIZES,
        f'limits.yaml:2:19: defaults.sizes: found "small"; {_A_LIST}',
    ),
    "no list of sizes": (
        "version: 1\ndefaults: {sizes: }" + _TWO_SIZES,
        f"limits.yaml:2:19: defaults.sizes: nothing given; {_A_LIST}",
    ),
    "a mapping where a list belongs": (
        "version: 1\ndefaults: {sizes: {small: {}}}" + _TWO_SIZES,
        f"limits.yaml:2:19: defaults.sizes: found a mapping; {_A_LIST}",
    ),
    "nothing in a list": (
        "version: 1\ndefaults: {sizes: [small, ~]}" + _TWO_SIZES,
        "limits.yaml:2:27: defaults.sizes: nothing given; expected a name",
    ),
    "a list in a list": (
        "version: 1\ndefaults: {sizes: [[small], large]}" + _TWO_SIZES,
        "limits.yaml:2:20: defaults.sizes: found a list; expected a name",
    ),
    "a mapping in a list": (
        "version: 1\ndefaults: {sizes: [{small: large}]}" + _TWO_SIZES,
        "limits.yaml:2:20: defaults.sizes: found a mapping; expected a name",
    ),
    "an alias in a list": (
        "version: 1\ndefaults: {sizes: [*s, large]}" + _TWO_SIZES,
        f'limits.yaml:2:20: defaults.sizes: an alias, "*s"; {_WRITE_OUT}',
    ),
    "an anchor in a list": (
        "version: 1\ndefaults: {sizes: [&s small]}" + _TWO_SIZES,
        f'limits.yaml:2:20: defaults.sizes: an anchor, "&s"; {_WRITE_OUT}',
    ),
    "an anchor on a list in a list": (
        "version: 1\ndefaults: {sizes: [&s [small], large]}" + _TWO_SIZES,
        f'limits.yaml:2:20: defaults.sizes: an anchor, "&s"; {_WRITE_OUT}',
    ),
    "a YAML type in a list": (
        "version: 1\ndefaults: {sizes: [!!str small]}" + _TWO_SIZES,
        'limits.yaml:2:20: defaults.sizes: a YAML type, "!!str"; expected the value alone',
    ),
    "an anchor on a list": (
        "version: 1\ndefaults: {sizes: &s [small]}" + _TWO_SIZES,
        f'limits.yaml:2:19: defaults.sizes: an anchor, "&s"; {_WRITE_OUT}',
    ),
    "a YAML type on a list": (
        "version: 1\ndefaults: {sizes: !!seq [small]}" + _TWO_SIZES,
        'limits.yaml:2:19: defaults.sizes: a YAML type, "!!seq"; expected the value alone',
    ),
    "an alias for a list": (
        "version: 1\ndefaults: {sizes: *s}" + _TWO_SIZES,
        f'limits.yaml:2:19: defaults.sizes: an alias, "*s"; {_WRITE_OUT}',
    ),
    "a size that there is not, temporarily": (
        "version: 1\nusers: {u: {temporarily: {until: 2026-12-31, sizes: [x]}}}" + _TWO_SIZES,
        'limits.yaml:2:53: users.u.temporarily.sizes: found "x"; expected one of small, large',
    ),
    "sizes in a section that is none": (
        "version: 1\ndefaults: {sizes: [small]}\nsizes: [a]",
        f"limits.yaml:3:8: sizes: found a list; {_A_SECTION}",
    ),
    "a default size with a slip": (
        "version: 1\ndefaults: {default_size: smal}" + _TWO_SIZES,
        'limits.yaml:2:26: defaults.default_size: found "smal"; did you mean "small"?',
    ),
    "a default size that may not be picked": (
        "version: 1\ndefaults: {sizes: [small], default_size: large}" + _TWO_SIZES,
        (
            'limits.yaml:2:42: defaults.default_size: found "large", which is not among this rule\'s sizes; '
            "expected one of small"
        ),
    ),
    "a default size where none may be picked": (
        "version: 1\ndefaults: {sizes: [], default_size: large}" + _TWO_SIZES,
        (
            'limits.yaml:2:37: defaults.default_size: found "large", which is not among this rule\'s sizes; '
            "expected none, as there is none to pick"
        ),
    ),
    "a list of default sizes": (
        "version: 1\ndefaults: {default_size: [small]}" + _TWO_SIZES,
        "limits.yaml:2:26: defaults.default_size: found a list; expected one of the sizes",
    ),
    "no default size": (
        "version: 1\ndefaults: {default_size: }" + _TWO_SIZES,
        "limits.yaml:2:26: defaults.default_size: nothing given; expected one of the sizes",
    ),
    "servers with a slip": (
        "version: 1\ndefaults: {servers: {counts: 1}}",
        'limits.yaml:2:22: defaults.servers.counts: unknown key; did you mean "count"?',
    ),
    "servers with a field of one server": (
        "version: 1\ndefaults: {servers: {pids_limit: 1}}",
        (
            "limits.yaml:2:22: defaults.servers.pids_limit: can't be given here; "
            "expected one of count, mem_limit, cpu_limit"
        ),
    ),
    "servers below none": (
        "version: 1\ndefaults: {servers: {count: -1}}",
        'limits.yaml:2:29: defaults.servers.count: found "-1"; expected a whole number, or "unlimited"',
    ),
    "servers without end, as a number": (
        "version: 1\ndefaults: {servers: {count: 1000001}}",
        'limits.yaml:2:29: defaults.servers.count: found "1000001"; expected at most 1000000, or "unlimited"',
    ),
    "half a server": (
        "version: 1\ndefaults: {servers: {count: 1.5}}",
        'limits.yaml:2:29: defaults.servers.count: found "1.5"; expected a whole number, or "unlimited"',
    ),
    "servers as a number": (
        "version: 1\ndefaults: {servers: 3}",
        f'limits.yaml:2:21: defaults.servers: found "3"; {_SERVERS}',
    ),
    "servers as a list": (
        "version: 1\ndefaults: {servers: [3]}",
        f"limits.yaml:2:21: defaults.servers: found a list; {_SERVERS}",
    ),
    "servers with nothing": (
        "version: 1\ndefaults: {servers: }",
        f"limits.yaml:2:21: defaults.servers: nothing given; {_SERVERS}",
    ),
    "no number of servers": (
        "version: 1\ndefaults: {servers: {count: }}",
        'limits.yaml:2:29: defaults.servers.count: nothing given; expected a whole number, or "unlimited"',
    ),
    "servers with too little memory": (
        "version: 1\nusers: {u: {servers: {mem_limit: 1}}}",
        (
            'limits.yaml:2:34: users.u.servers.mem_limit: found "1"; '
            'expected at least 6 MiB (Docker starts no container with less), or "unlimited"'
        ),
    ),
    "servers of nobody": (
        "version: 1\nservers: {count: 1}",
        "limits.yaml:2:1: servers: can't be given here; it belongs in defaults, groups or users",
    ),
    "defaults that end": (
        "version: 1\ndefaults: {until: 2026-12-31}",
        f"limits.yaml:2:12: defaults.until: can't be given here; {_FIELDS}",
    ),
    "a time without zone": (
        "version: 1\nusers: {u: {until: 2026-12-31T18:00}}",
        f'limits.yaml:2:20: users.u.until: found "2026-12-31T18:00"; {_UNTIL}',
    ),
    "a day that the calendar does not have": (
        "version: 1\nusers: {u: {until: 2026-02-30}}",
        f'limits.yaml:2:20: users.u.until: found "2026-02-30"; {_CALENDAR}',
    ),
    "a time that no day has": (
        "version: 1\nusers: {u: {until: 2026-12-31T25:00Z}}",
        f'limits.yaml:2:20: users.u.until: found "2026-12-31T25:00Z"; {_CALENDAR}',
    ),
    "a zone that is nowhere": (
        "version: 1\nusers: {u: {until: 2026-12-31T18:00+99:00}}",
        f'limits.yaml:2:20: users.u.until: found "2026-12-31T18:00+99:00"; {_CALENDAR}',
    ),
    "the last of all days": (
        "version: 1\nusers: {u: {until: 9999-12-31}}",
        'limits.yaml:2:20: users.u.until: found "9999-12-31"; expected a moment before the end of the year 9999',
    ),
    "a time that UTC does not have any more": (
        "version: 1\nusers: {u: {until: 9999-12-31T23:00-05:00}}",
        (
            'limits.yaml:2:20: users.u.until: found "9999-12-31T23:00-05:00"; '
            "expected a moment before the end of the year 9999"
        ),
    ),
    "a year that never was": (
        "version: 1\nusers: {u: {until: 0000-01-01}}",
        f'limits.yaml:2:20: users.u.until: found "0000-01-01"; {_CALENDAR}',
    ),
    "a moment that is a word": (
        "version: 1\nusers: {u: {until: tomorrow}}",
        f'limits.yaml:2:20: users.u.until: found "tomorrow"; {_UNTIL}',
    ),
    "a moment without limit": (
        "version: 1\nusers: {u: {until: unlimited}}",
        f'limits.yaml:2:20: users.u.until: found "unlimited"; {_UNTIL}',
    ),
    "no moment": ("version: 1\nusers: {u: {until: ~}}", f"limits.yaml:2:20: users.u.until: nothing given; {_UNTIL}"),
    "a list of moments": (
        "version: 1\nusers: {u: {until: [2026-12-31]}}",
        f"limits.yaml:2:20: users.u.until: found a list; {_UNTIL}",
    ),
    "seconds since 1970": (
        "version: 1\nusers: {u: {until: 1798761600}}",
        f'limits.yaml:2:20: users.u.until: found "1798761600"; {_UNTIL}',
    ),
    "digits of another script": (
        "version: 1\nusers: {u: {until: ２０２６-12-31}}",
        f'limits.yaml:2:20: users.u.until: found "２０２６-12-31"; {_UNTIL}',
    ),
    "a day written otherwise": (
        "version: 1\nusers: {u: {until: 12/31/2026}}",
        f'limits.yaml:2:20: users.u.until: found "12/31/2026"; {_UNTIL}',
    ),
    "two moments": (
        "version: 1\nusers: {u: {until: 2026-12-31, until: 2026-12-31}}",
        "limits.yaml:2:32: users.u.until: duplicate key; first on line 2",
    ),
    "a file that ends": (
        "version: 1\nuntil: 2026-12-31",
        "limits.yaml:2:1: until: can't be given here; it belongs in groups or users",
    ),
    "temporarily, without end": (
        "version: 1\nusers:\n  u:\n    temporarily: {mem_limit: 4G}",
        f"limits.yaml:4:18: users.u.temporarily.until: missing; {_UNTIL}",
    ),
    "temporarily, with a bad end": (
        "version: 1\nusers: {u: {temporarily: {until: soon}}}",
        f'limits.yaml:2:34: users.u.temporarily.until: found "soon"; {_UNTIL}',
    ),
    "temporarily within temporarily": (
        "version: 1\nusers: {u: {temporarily: {until: 2026-12-31, temporarily: {}}}}",
        f"limits.yaml:2:46: users.u.temporarily.temporarily: can't be given here; {_FIELDS}, until",
    ),
    "temporarily nothing": (
        "version: 1\nusers: {u: {temporarily: }}",
        f"limits.yaml:2:26: users.u.temporarily: nothing given; {_A_RULE}",
    ),
    "temporarily a value": (
        "version: 1\nusers: {u: {temporarily: 4G}}",
        f'limits.yaml:2:26: users.u.temporarily: found "4G"; {_A_RULE}',
    ),
    "temporarily a list": (
        "version: 1\nusers: {u: {temporarily: [{until: 2026-12-31}]}}",
        f"limits.yaml:2:26: users.u.temporarily: found a list; {_A_RULE}",
    ),
    "defaults with something temporary": (
        "version: 1\ndefaults: {temporarily: {until: 2026-12-31}}",
        f"limits.yaml:2:12: defaults.temporarily: can't be given here; {_FIELDS}",
    ),
    "temporarily a slip": (
        "version: 1\ngroups: {g: {temporarily: {until: 2026-12-31, mem_limt: 4G}}}",
        'limits.yaml:2:47: groups.g.temporarily.mem_limt: unknown key; did you mean "mem_limit"?',
    ),
    "temporarily what does not fit": (
        "version: 1\nusers: {u: {temporarily: {until: 2026-12-31, mem_limit: 1G, mem_guarantee: 2G}}}",
        (
            'limits.yaml:2:76: users.u.temporarily.mem_guarantee: found "2G", above mem_limit "1G"; '
            f"expected at most as much ({_PROMISE})"
        ),
    ),
    "a host with a slip": (
        "version: 1\nhost: {reserve_mem: 1G}",
        'limits.yaml:2:8: host.reserve_mem: unknown key; did you mean "reserve_memory"?',
    ),
    "a host with a server's field": (
        "version: 1\nhost: {mem_limit: 1G}",
        (
            "limits.yaml:2:8: host.mem_limit: can't be given here; "
            "expected one of reserve_memory, reserve_cpus, reserve_processes, memory_overcommit, cpu_overcommit"
        ),
    ),
    "a negative reserve": (
        "version: 1\nhost: {reserve_memory: -1G}",
        'limits.yaml:2:24: host.reserve_memory: found "-1G"; expected a size such as "512M" or "1.5G"',
    ),
    "a reserve of nothing": (
        "version: 1\nhost: {reserve_memory: 0}",
        'limits.yaml:2:24: host.reserve_memory: found "0"; expected a size above 0',
    ),
    "no cores in reserve": (
        "version: 1\nhost: {reserve_cpus: 0}",
        'limits.yaml:2:22: host.reserve_cpus: found "0"; expected a number of cores above 0',
    ),
    "negative cores in reserve": (
        "version: 1\nhost: {reserve_cpus: -1}",
        'limits.yaml:2:22: host.reserve_cpus: found "-1"; expected a number of cores such as "0.5" or "2"',
    ),
    "a negative factor": (
        "version: 1\nhost: {cpu_overcommit: -1}",
        f'limits.yaml:2:24: host.cpu_overcommit: found "-1"; {_FACTOR}',
    ),
    "percents": (
        "version: 1\nhost: {memory_overcommit: 150%}",
        f'limits.yaml:2:27: host.memory_overcommit: found "150%"; {_FACTOR}',
    ),
    "a factor too high": (
        "version: 1\nhost: {memory_overcommit: 99999}",
        f'limits.yaml:2:27: host.memory_overcommit: found "99999"; {_FACTOR}',
    ),
    "a host with nothing": ("version: 1\nhost:", f"limits.yaml:2:6: host: nothing given; {_A_HOST}"),
    "a host that is a size": ("version: 1\nhost: 64G", f'limits.yaml:2:7: host: found "64G"; {_A_HOST}'),
    "a host that is a list": ("version: 1\nhost: [reserve_memory]", f"limits.yaml:2:7: host: found a list; {_A_HOST}"),
    "a reserve with nothing": (
        "version: 1\nhost: {reserve_memory: }",
        'limits.yaml:2:24: host.reserve_memory: nothing given; expected a size such as "512M" or "1.5G"',
    ),
    "an empty contact": ("version: 1\ncontact: ''", f'limits.yaml:2:10: contact: found ""; {_ONE_LINE}'),
    "no contact": (
        "version: 1\ncontact:",
        'limits.yaml:2:9: contact: nothing given; expected one line such as "hub@example.org"',
    ),
    "a contact of two lines": (
        "version: 1\ncontact: |\n  a\n  b",
        f'limits.yaml:2:10: contact: found "a\\nb\\n"; {_ONE_LINE}',
    ),
    "a contact with a blank before it": (
        "version: 1\ncontact: ' a'",
        f'limits.yaml:2:10: contact: found " a"; {_ONE_LINE}',
    ),
    "a contact as long as a letter": (
        f"version: 1\ncontact: {_LONG * 4}",
        f'limits.yaml:2:10: contact: found "{_LONG}…"; {_ONE_LINE}',
    ),
    "a list of contacts": (
        "version: 1\ncontact: [a@b.org]",
        'limits.yaml:2:10: contact: found a list; expected one line such as "hub@example.org"',
    ),
    "a contact that a terminal would obey": (
        'version: 1\ncontact: "\\e[2J"',
        f'limits.yaml:2:10: contact: found "\\x1b[2J"; {_ONE_LINE}',
    ),
    "best effort with a slip": (
        "version: 1\nbest_effort: [cpu_guarante]",
        'limits.yaml:2:15: best_effort: found "cpu_guarante"; did you mean "cpu_guarantee"?',
    ),
    "best effort of what there is not": (
        "version: 1\nbest_effort: [disk]",
        (
            'limits.yaml:2:15: best_effort: found "disk"; '
            "expected one of mem_limit, memswap_limit, mem_swappiness, mem_guarantee, cpu_limit, cpu_guarantee, "
            "cpu_period, cpu_shares, cpuset_cpus, pids_limit"
        ),
    ),
    "best effort without a list": (
        "version: 1\nbest_effort: cpu_guarantee",
        f'limits.yaml:2:14: best_effort: found "cpu_guarantee"; {_A_LIST_OF_FIELDS}',
    ),
    "best effort in a mapping": (
        "version: 1\nbest_effort: {cpu_guarantee: true}",
        f"limits.yaml:2:14: best_effort: found a mapping; {_A_LIST_OF_FIELDS}",
    ),
    "best effort of nothing": (
        "version: 1\nbest_effort:",
        f"limits.yaml:2:13: best_effort: nothing given; {_A_LIST_OF_FIELDS}",
    ),
    "best effort, twice the same": (
        "version: 1\nbest_effort: [cpu_shares, cpu_shares]",
        'limits.yaml:2:27: best_effort: found "cpu_shares" twice; expected each name once',
    ),
    "hints at the top": (
        "version: 1\nthread_hints: true",
        "limits.yaml:2:1: thread_hints: can't be given here; it belongs in defaults, groups or users",
    ),
    "a rank at the top": (
        "version: 1\npriority: 1",
        "limits.yaml:2:1: priority: can't be given here; it belongs in groups",
    ),
    "hints in a size": (
        "version: 1\nsizes: {a: {thread_hints: true}}",
        "limits.yaml:2:13: sizes.a.thread_hints: can't be given here; expected one of mem_limit, cpu_limit, pids_limit",
    ),
    "hints with yes": (
        "version: 1\ndefaults: {thread_hints: yes}",
        'limits.yaml:2:26: defaults.thread_hints: found "yes"; expected true or false',
    ),
    "hints in capitals": (
        "version: 1\nusers: {a: {thread_hints: True}}",
        'limits.yaml:2:27: users.a.thread_hints: found "True"; expected true or false',
    ),
    "hints with a number": (
        "version: 1\ngroups: {a: {thread_hints: 1}}",
        'limits.yaml:2:28: groups.a.thread_hints: found "1"; expected true or false',
    ),
    "hints with nothing": (
        "version: 1\ndefaults: {thread_hints: }",
        "limits.yaml:2:26: defaults.thread_hints: nothing given; expected true or false",
    ),
    "hints in a list": (
        "version: 1\ndefaults: {thread_hints: [true]}",
        "limits.yaml:2:26: defaults.thread_hints: found a list; expected true or false",
    ),
    "hints without limit": (
        "version: 1\ndefaults: {thread_hints: unlimited}",
        'limits.yaml:2:26: defaults.thread_hints: found "unlimited"; expected true or false',
    ),
    "applied by itself with yes": (
        "version: 1\nauto_apply: yes",
        'limits.yaml:2:13: auto_apply: found "yes"; expected true or false',
    ),
    "applied by itself with nothing": (
        "version: 1\nauto_apply:",
        "limits.yaml:2:12: auto_apply: nothing given; expected true or false",
    ),
    "applied by itself in a rule": (
        "version: 1\ndefaults: {auto_apply: true}",
        f"limits.yaml:2:12: defaults.auto_apply: can't be given here; {_FIELDS}",
    ),
    "too many processes reserved": (
        "version: 1\nhost: {reserve_processes: 4194305}",
        'limits.yaml:2:27: host.reserve_processes: found "4194305"; expected at most 4194304 processes',
    ),
    "a share of processes reserved": (
        "version: 1\nhost: {reserve_processes: 10%}",
        'limits.yaml:2:27: host.reserve_processes: found "10%"; expected a whole number',
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_place(text: str, message: str) -> None:
    """Each mistake is one line: file, line, column, path, what was found, what was expected or the nearest key."""
    assert mistakes(text + DECIDED) == [message]


_BUT_MEMORY = "cpu_limit: 1, pids_limit: 9"
FOR_EVERYBODY = {
    "nothing said": (
        "version: 1",
        [
            f"limits.yaml:1:1: defaults.mem_limit: {_MISSING}; {_SIZE}",
            f"limits.yaml:1:1: defaults.cpu_limit: {_MISSING}; {_CORES}",
            f"limits.yaml:1:1: defaults.pids_limit: {_MISSING}; {_COUNT}",
        ],
    ),
    "two of three said": (
        "version: 1\nusers: {}\ndefaults:\n  mem_limit: 1G\n  pids_limit: 9",
        [f"limits.yaml:4:3: defaults.cpu_limit: {_MISSING}; {_CORES}"],
    ),
    "said of every group, and not of everybody": (
        f"version: 1\ndefaults: {{{_BUT_MEMORY}}}\ngroups: {{all: {{mem_limit: 1G}}}}",
        [f"limits.yaml:2:11: defaults.mem_limit: {_MISSING}; {_SIZE}"],
    ),
    "said in a size, and not of everybody": (
        f"version: 1\ndefaults: {{{_BUT_MEMORY}, sizes: [a]}}\nsizes: {{a: {{mem_limit: 1G}}}}",
        [f"limits.yaml:2:11: defaults.mem_limit: {_MISSING}; {_SIZE}"],
    ),
    "said of all servers together, and not of one": (
        f"version: 1\ndefaults: {{{_BUT_MEMORY}, servers: {{mem_limit: 8G}}}}",
        [f"limits.yaml:2:11: defaults.mem_limit: {_MISSING}; {_SIZE}"],
    ),
    "said, but badly: that it is missing would not be true": (
        f"version: 1\ndefaults: {{mem_limit: x, {_BUT_MEMORY}}}",
        [f'limits.yaml:2:23: defaults.mem_limit: found "x"; {_SIZE}'],
    ),
    "said badly in the ceiling": (
        f"version: 1\ndefaults: {{{_BUT_MEMORY}}}\nceiling: {{mem_limit: x}}",
        [f'limits.yaml:3:22: ceiling.mem_limit: found "x"; {_SIZE}'],
    ),
    "said behind an anchor": (
        f"version: 1\ndefaults: {{mem_limit: &m 1G, {_BUT_MEMORY}}}",
        [f'limits.yaml:2:23: defaults.mem_limit: an anchor, "&m"; {_WRITE_OUT}'],
    ),
    "defaults of nothing": ("version: 1\ndefaults:", [f"limits.yaml:2:10: defaults: nothing given; {_A_RULE}"]),
    "a ceiling of nothing": ("version: 1\nceiling: ~", [f"limits.yaml:2:10: ceiling: nothing given; {_A_RULE}"]),
    "a ceiling that is a list": ("version: 1\nceiling: [1]", [f"limits.yaml:2:10: ceiling: found a list; {_A_RULE}"]),
    "a ceiling without limit": (
        f"version: 1\nceiling: {{mem_limit: unlimited, {_BUT_MEMORY}, cpuset_cpus: unlimited}}",
        [
            f"limits.yaml:2:22: ceiling.mem_limit: {_ONLY_LOWERS}",
            f"limits.yaml:2:75: ceiling.cpuset_cpus: {_ONLY_LOWERS}",
        ],
    ),
    "a ceiling that does not fit itself": (
        f"version: 1\nceiling: {{mem_limit: 2G, memswap_limit: 1G, {_BUT_MEMORY}}}",
        [
            (
                'limits.yaml:2:22: ceiling.mem_limit: found "2G", above memswap_limit "1G"; '
                "expected at most as much (memswap_limit counts memory and swap together)"
            )
        ],
    ),
    **{
        f"a ceiling with {key}": (
            f"version: 1\nceiling: {{mem_limit: 1G, {_BUT_MEMORY}, {key}: 1}}",
            [f"limits.yaml:2:55: ceiling.{key}: can't be given here; {_CAPPED}"],
        )
        for key in ("cpu_period", "sizes", "default_size", "servers", "until", "temporarily", "priority")
    },
}


@pytest.mark.parametrize(("text", "messages"), FOR_EVERYBODY.values(), ids=FOR_EVERYBODY)
def test_every_file_says_of_everybody_what_they_may_use(text: str, messages: list[str]) -> None:
    """Memory, cores and processes are given by defaults or ceiling: who has no rule is never without a limit."""
    assert mistakes(text) == messages


SEVERAL = {
    "each bad item of a list": (
        "version: 1\nbest_effort: [~, [cpu_shares], {a: b}, *x, &y cpu_shares, !z cpu_shares, disc, mem_limit]",
        [
            "limits.yaml:2:15: best_effort: nothing given; expected a name",
            "limits.yaml:2:18: best_effort: found a list; expected a name",
            "limits.yaml:2:32: best_effort: found a mapping; expected a name",
            f'limits.yaml:2:40: best_effort: an alias, "*x"; {_WRITE_OUT}',
            f'limits.yaml:2:44: best_effort: an anchor, "&y"; {_WRITE_OUT}',
            'limits.yaml:2:59: best_effort: a YAML type, "!z"; expected the value alone',
            f'limits.yaml:2:74: best_effort: found "disc"; expected one of {", ".join(FIELDS)}',
        ],
    ),
    "what a host can't be without": (
        "version: 1\nhost: {reserve_memory: unlimited, reserve_cpus: unlimited}",
        [
            'limits.yaml:2:24: host.reserve_memory: found "unlimited"; expected a size such as "512M" or "1.5G"',
            'limits.yaml:2:49: host.reserve_cpus: found "unlimited"; expected a number of cores such as "0.5" or "2"',
        ],
    ),
    "factors of nothing": (
        "version: 1\nhost: {memory_overcommit: 0, cpu_overcommit: 0.001}",
        [
            f'limits.yaml:2:27: host.memory_overcommit: found "0"; {_FACTOR}',
            'limits.yaml:2:46: host.cpu_overcommit: found "0.001"; expected at least 0.01, or "unlimited"',
        ],
    ),
    "a size that is missing in two rules": (
        "version: 1\nusers: {a: {sizes: [x]}, b: {default_size: x}}" + _TWO_SIZES,
        [
            'limits.yaml:2:20: users.a.sizes: found "x"; expected one of small, large',
            'limits.yaml:2:44: users.b.default_size: found "x"; expected one of small, large',
        ],
    ),
    "three groups of one priority": (
        "version: 1\ncombine: first\ngroups: {a: {priority: 1}, b: {priority: 1}, c: {priority: 1}}",
        [
            'limits.yaml:3:42: groups.b.priority: found "1", as group "a" (line 3); expected a number of its own',
            'limits.yaml:3:60: groups.c.priority: found "1", as group "a" (line 3); expected a number of its own',
        ],
    ),
    "nothing everywhere": (
        (
            "version: 1\ncombine: ~\ncontact: ~\nhost: ~\nsizes: ~\ngroups: {g: ~}\n"
            "users: {u: {servers: {count: ~}, sizes: ~, until: ~, temporarily: ~}}"
        ),
        [
            f"limits.yaml:2:10: combine: nothing given; {_COMBINE}",
            'limits.yaml:3:10: contact: nothing given; expected one line such as "hub@example.org"',
            f"limits.yaml:4:7: host: nothing given; {_A_HOST}",
            f"limits.yaml:5:8: sizes: nothing given; {_A_SECTION}",
            f"limits.yaml:6:13: groups.g: nothing given; {_A_RULE}",
            f"limits.yaml:7:30: users.u.servers.count: nothing given; {_COUNT}",
            f"limits.yaml:7:41: users.u.sizes: nothing given; {_A_LIST}",
            f"limits.yaml:7:51: users.u.until: nothing given; {_UNTIL}",
            f"limits.yaml:7:67: users.u.temporarily: nothing given; {_A_RULE}",
        ],
    ),
}


@pytest.mark.parametrize(("text", "messages"), SEVERAL.values(), ids=SEVERAL)
def test_all_mistakes_are_told(text: str, messages: list[str]) -> None:
    """An administrator mends a file once, not once for each mistake."""
    assert mistakes(text + DECIDED) == messages


def test_a_list_of_mistakes_is_not_read_to_its_end() -> None:
    """After a thousand mistakes the rest of a list is left."""
    told = mistakes(f"version: 1\nbest_effort: [{'cpu_shares, ' * 100_000}]" + DECIDED)
    assert len(told) == 1_001
    assert told[-1].endswith(": 1000 mistakes; the rest of the file was not read")


def test_a_slip_among_many_sizes_is_told_shortly() -> None:
    """Of ten thousand sizes a message lists the first twenty, so that a log stays readable."""
    sizes = "".join(f"  size{number}: {{}}\n" for number in range(10_000))
    told = mistakes(f"version: 1\ndefaults: {{sizes: [{'q, ' * 3}]}}\nsizes:\n{sizes}" + DECIDED)
    names = ", ".join(f"size{number}" for number in range(20))
    assert told == [
        f'limits.yaml:2:19: defaults.sizes: found "q"; expected one of {names} … (9980 more)',
        'limits.yaml:2:23: defaults.sizes: found "q" twice; expected each name once',
        'limits.yaml:2:26: defaults.sizes: found "q" twice; expected each name once',
    ]


def test_a_long_list_is_a_list() -> None:
    """As many sizes as an administrator cares to name may be picked."""
    names = [f"size{number}" for number in range(10_000)]
    sizes = ", ".join(f"{name}: {{}}" for name in names)
    found = policy(f"sizes: {{{sizes}}}\ndefaults: {{sizes: [{', '.join(names)}]}}")
    assert found.defaults.values["sizes"].value == tuple(names)
