"""Who gets what, and why: precedence, groups that differ, what must fit together, and the entitlement as a label."""

from __future__ import annotations

import itertools
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner_limits.errors import PolicyError, RequestError
from spawner_limits.limits import FIELDS, Limits
from spawner_limits.policy.keys import REQUIRED
from spawner_limits.policy.parse import load, parse
from spawner_limits.policy.resolve import Entitlement, Grant
from spawner_limits.policy.resolve import resolve as resolve_at
from spawner_limits.policy.user_options import Request
from spawner_limits.units import GIB, MIB, cpus_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.policy.model import Policy

EXAMPLE = Path(__file__).parents[2] / "limits.yaml"


NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def policy(**sections: Any) -> Policy:
    """The policy in sections of plain texts. JSON is YAML, so nothing but `parse` decides what they mean.

    What every policy must say, and a test does not, is unlimited; groups that differ give the least.
    """
    filled = {field: "unlimited" for field in REQUIRED if field not in sections.get("ceiling", {})}
    sections["defaults"] = filled | sections.get("defaults", {})
    return parse(json.dumps({"version": "1", "combine": "least", **sections}).encode(), "limits.yaml")


def resolve(policy: Policy, *who: Any, now: datetime = NOW, **more: Any) -> Entitlement:
    """`resolve` at noon of a day in summer."""
    return resolve_at(policy, *who, now=now, **more)


def said(grants: Mapping[str, Grant]) -> dict[str, Grant]:
    """The grants without what `policy` filled in."""
    filled = {field: Grant(value=None, rule="defaults", file="limits.yaml", line=1) for field in REQUIRED}
    return {field: one for field, one in grants.items() if filled.get(field) != one}


def given_to(user: str, member_of: tuple[str, ...], /, **sections: Any) -> dict[str, tuple[Any, str]]:
    """Field → value and rule."""
    grants = said(resolve(policy(**sections), user, member_of).grants)
    return {field: (grant.value, grant.rule) for field, grant in grants.items()}


# ---- precedence

SECTIONS = {
    "defaults": {"cpu_limit": "1", "pids_limit": "100", "mem_swappiness": "10"},
    "groups": {"staff": {"cpu_limit": "2", "pids_limit": "200"}, "guests": {"mem_swappiness": "0"}},
    "users": {"alice": {"cpu_limit": "3"}},
}
PRECEDENCE = {
    "nobody in particular gets the defaults": (
        "zoe",
        (),
        {"cpu_limit": (1.0, "defaults"), "pids_limit": (100, "defaults"), "mem_swappiness": (10, "defaults")},
    ),
    "a group beats the defaults, field by field": (
        "zoe",
        ("staff",),
        {"cpu_limit": (2.0, "group staff"), "pids_limit": (200, "group staff"), "mem_swappiness": (10, "defaults")},
    ),
    "a user beats a group, field by field": (
        "alice",
        ("staff",),
        {"cpu_limit": (3.0, "user alice"), "pids_limit": (200, "group staff"), "mem_swappiness": (10, "defaults")},
    ),
    "each group gives what the other does not": (
        "alice",
        ("staff", "guests"),
        {"cpu_limit": (3.0, "user alice"), "pids_limit": (200, "group staff"), "mem_swappiness": (0, "group guests")},
    ),
    "a group without a rule gives nothing": (
        "alice",
        ("nobody",),
        {"cpu_limit": (3.0, "user alice"), "pids_limit": (100, "defaults"), "mem_swappiness": (10, "defaults")},
    ),
    "a group whose name differs in case is another": (
        "zoe",
        ("Staff",),
        {"cpu_limit": (1.0, "defaults"), "pids_limit": (100, "defaults"), "mem_swappiness": (10, "defaults")},
    ),
}


@pytest.mark.parametrize(("user", "groups", "expected"), PRECEDENCE.values(), ids=PRECEDENCE)
def test_the_nearest_rule_counts(user: str, groups: tuple[str, ...], expected: dict[str, tuple[Any, str]]) -> None:
    """User beats group beats defaults, for each field on its own, and each field says which rule that was."""
    assert given_to(user, groups, **SECTIONS) == expected


TEMPORARY = {"until": "2026-06-02", "thread_hints": "true"}
OVER = {"until": "2026-05-31", "thread_hints": "true"}
HINTS = {
    "nobody says anything": ({}, True, None),
    "the defaults": ({"defaults": {"thread_hints": "false"}}, False, "defaults"),
    "a group beats the defaults": (
        {"defaults": {"thread_hints": "false"}, "groups": {"a": {"thread_hints": "true"}}},
        True,
        "group a",
    ),
    "a user beats a group": (
        {"groups": {"a": {"thread_hints": "false"}}, "users": {"zoe": {"thread_hints": "true"}}},
        True,
        "user zoe",
    ),
    "for a time": (
        {"users": {"zoe": {"thread_hints": "false", "temporarily": TEMPORARY}}},
        True,
        "user zoe, temporarily",
    ),
    "no longer": ({"users": {"zoe": {"thread_hints": "false", "temporarily": OVER}}}, False, "user zoe"),
    **{
        f"of several groups one turns them off, {combine}": (
            {
                "combine": combine,
                "groups": {
                    "a": {"thread_hints": "true"},
                    "b": {"thread_hints": "false"},
                    "c": {"thread_hints": "true"},
                },
            },
            False,
            "group b",
        )
        for combine in ("most", "least")
    },
    "the first of several groups": (
        {
            "combine": "first",
            "groups": {
                "a": {"thread_hints": "false", "priority": "1"},
                "b": {"thread_hints": "true", "priority": "2"},
                "c": {"priority": "3"},
            },
        },
        True,
        "group b",
    ),
}


@pytest.mark.parametrize(("sections", "hinted", "rule"), HINTS.values(), ids=HINTS)
def test_hints_are_given_unless_the_nearest_rule_says_no(
    sections: dict[str, Any],
    hinted: bool,
    rule: str | None,
) -> None:
    """Off is what somebody wanted, so of several groups one suffices; with `first` it is the highest one's word."""
    for groups in itertools.permutations("abc"):
        found = resolve(policy(**sections), "zoe", groups)
        assert (found.thread_hints, found.hints and found.hints.rule) == (hinted, rule)


def test_groups_that_differ_in_hints_need_no_combine() -> None:
    """There is one way for hints, so that nothing has to be said."""
    text = b"version: 1\ndefaults: {mem_limit: 1G, cpu_limit: 1, pids_limit: 9}\n"
    found = parse(text + b"groups: {a: {thread_hints: true}, b: {thread_hints: false}}", "limits.yaml")
    assert resolve(found, "zoe", ("a", "b")).thread_hints is False


def test_a_user_is_found_however_the_file_writes_the_name() -> None:
    """JupyterHub lower-cases names and the file may not; the entitlement keeps the hub's name, the rule the file's."""
    found = resolve(policy(users={"Ünal": {"cpu_limit": "2"}}), "u\u0308nal", (), "lab")
    assert (found.user, found.server, found.grants["cpu_limit"].rule) == ("u\u0308nal", "lab", "user Ünal")


def test_a_group_is_found_however_unicode_writes_the_name() -> None:
    """A composed and a decomposed letter are one; a group that is named twice counts once; only known ones are kept."""
    found = resolve(policy(groups={"é": {}, "b": {}}), "zoe", ["e\u0301", "b", "b", "unknown"])
    assert found.groups == ("b", "é")


STRICTEST = {
    "the least memory": ("mem_limit", ["1G", "512M", "2G"], 512 * MIB),
    "a number before no limit": ("pids_limit", ["unlimited", "500"], 500),
    "no limit only if all say so": ("pids_limit", ["unlimited", "unlimited"], None),
    "the least cores": ("cpu_limit", ["0.5", "0.25"], 0.25),
    "swappiness 0 is a value": ("mem_swappiness", ["60", "0"], 0),
    "the fewest CPUs, not the first text": ("cpuset_cpus", ["0-9", "10-11"], "10-11"),
    "of as many CPUs, the first text": ("cpuset_cpus", ["2-3", "0-1"], "0-1"),
    "a CPU list before no limit": ("cpuset_cpus", ["unlimited", "0-3"], "0-3"),
}


@pytest.mark.parametrize(("field", "texts", "value"), STRICTEST.values(), ids=STRICTEST)
def test_of_several_groups_the_strictest_counts(field: str, texts: list[str], value: Any) -> None:
    """Whoever is in several groups gets the least that any of them gives, in whatever order the groups come."""
    groups = {f"g{place}": {field: text} for place, text in enumerate(texts)}
    for order in itertools.permutations(groups):
        assert resolve(policy(groups=groups), "zoe", order).grants[field].value == value


def test_of_equal_groups_the_first_by_name_is_named() -> None:
    """Which rule is named does not hang on the order of anything."""
    for order in itertools.permutations("bca"):
        groups = {name: {"pids_limit": "9"} for name in order}
        assert given_to("zoe", order, groups=groups) == {"pids_limit": (9, "group a")}


def test_fields_that_nobody_gives_are_not_limited() -> None:
    """No rule, no grant; and no grant is no limit: but for the three that every policy gives."""
    found = resolve(policy(), "zoe")
    assert set(found.grants) == set(REQUIRED)
    assert found.limits == Limits()


# ---- what must fit together


def grant(value: Any, rule: str, *, file: str = "limits.yaml", line: int | None = 1, **more: Any) -> Grant:
    """A grant from a policy of `policy`, which is on one line."""
    return Grant(value=value, rule=rule, file=file, line=line, **more)


SETTLED = {
    "no swap, unless it is given": (
        {"users": {"u": {"mem_limit": "1G"}}},
        {
            "mem_limit": grant(GIB, "user u"),
            "memswap_limit": grant(GIB, "user u", follows="mem_limit"),
        },
    ),
    "no limit of memory, none of swap": (
        {"users": {"u": {"mem_limit": "unlimited"}}},
        {"mem_limit": grant(None, "user u")},
    ),
    "swap without limit, on purpose": (
        {"defaults": {"memswap_limit": "unlimited"}, "users": {"u": {"mem_limit": "1G"}}},
        {"mem_limit": grant(GIB, "user u"), "memswap_limit": grant(None, "defaults")},
    ),
    "swap without limit says nothing about memory": (
        {"defaults": {"memswap_limit": "unlimited"}},
        {"memswap_limit": grant(None, "defaults")},
    ),
    "memory and swap limited together, memory by the defaults not": (
        {"groups": {"g": {"memswap_limit": "2G"}}},
        {
            "mem_limit": grant(2 * GIB, "defaults", clamped_by="memswap_limit of group g"),
            "memswap_limit": grant(2 * GIB, "group g"),
        },
    ),
    "memory and swap limited together, memory by nobody": (
        {"defaults": {"memswap_limit": "2G"}, "ceiling": {"mem_limit": "4G"}},
        {
            "mem_limit": grant(2 * GIB, "defaults", follows="memswap_limit"),
            "memswap_limit": grant(2 * GIB, "defaults"),
        },
    ),
    "more memory than memory and swap together": (
        {"defaults": {"memswap_limit": "512M"}, "users": {"u": {"mem_limit": "1G"}}, "ceiling": {"mem_limit": "1T"}},
        {
            "mem_limit": grant(512 * MIB, "user u", clamped_from=GIB, clamped_by="memswap_limit of defaults"),
            "memswap_limit": grant(512 * MIB, "defaults"),
        },
    ),
    "unlimited memory, but memory and swap limited together": (
        {
            "defaults": {"memswap_limit": "2G"},
            "groups": {"g": {"mem_limit": "unlimited"}},
            "ceiling": {"mem_limit": "1T"},
        },
        {
            "mem_limit": grant(2 * GIB, "group g", clamped_from=None, clamped_by="memswap_limit of defaults"),
            "memswap_limit": grant(2 * GIB, "defaults"),
        },
    ),
    "more memory guaranteed than allowed": (
        {"defaults": {"mem_guarantee": "1G"}, "users": {"u": {"mem_limit": "512M"}}},
        {
            "mem_limit": grant(512 * MIB, "user u"),
            "memswap_limit": grant(512 * MIB, "user u", follows="mem_limit"),
            "mem_guarantee": grant(512 * MIB, "defaults", clamped_from=GIB, clamped_by="mem_limit of user u"),
        },
    ),
    "more memory guaranteed than is left when memory was clamped": (
        {
            "defaults": {"memswap_limit": "512M"},
            "users": {"u": {"mem_limit": "2G", "mem_guarantee": "1G"}},
            "ceiling": {"mem_limit": "1T"},
        },
        {
            "mem_limit": grant(512 * MIB, "user u", clamped_from=2 * GIB, clamped_by="memswap_limit of defaults"),
            "memswap_limit": grant(512 * MIB, "defaults"),
            "mem_guarantee": grant(512 * MIB, "user u", clamped_from=GIB, clamped_by="mem_limit of user u"),
        },
    ),
    "more memory guaranteed than memory and swap together": (
        {
            "defaults": {"memswap_limit": "512M"},
            "users": {"u": {"mem_guarantee": "1G"}},
            "ceiling": {"mem_limit": "4G"},
        },
        {
            "mem_limit": grant(512 * MIB, "defaults", follows="memswap_limit"),
            "memswap_limit": grant(512 * MIB, "defaults"),
            "mem_guarantee": grant(512 * MIB, "user u", clamped_from=GIB, clamped_by="mem_limit of defaults"),
        },
    ),
    "more cores guaranteed than allowed": (
        {"defaults": {"cpu_limit": "0.5"}, "groups": {"g": {"cpu_guarantee": "2"}}},
        {
            "cpu_limit": grant(0.5, "defaults"),
            "cpu_guarantee": grant(0.5, "group g", clamped_from=2.0, clamped_by="cpu_limit of defaults"),
        },
    ),
    "a quota that the Linux kernel would refuse": (
        {"defaults": {"cpu_period": "10000"}, "users": {"u": {"cpu_limit": "0.07"}}},
        {
            "cpu_limit": grant(0.07, "user u"),
            "cpu_period": grant(14286, "defaults", clamped_from=10_000, clamped_by="cpu_limit of user u"),
        },
    ),
    "the least quota": (
        {"defaults": {"cpu_period": "2000"}, "users": {"u": {"cpu_limit": "0.5"}}},
        {"cpu_limit": grant(0.5, "user u"), "cpu_period": grant(2_000, "defaults")},
    ),
    "a period without a limit is kept": (
        {"defaults": {"cpu_period": "1000"}},
        {"cpu_period": grant(1_000, "defaults")},
    ),
    "a period with cores unlimited is kept": (
        {"defaults": {"cpu_period": "1000"}, "users": {"u": {"cpu_limit": "unlimited"}}},
        {"cpu_limit": grant(None, "user u"), "cpu_period": grant(1_000, "defaults")},
    ),
}


@pytest.mark.parametrize(("sections", "grants"), SETTLED.values(), ids=SETTLED)
def test_what_several_rules_make_is_settled(sections: dict[str, Any], grants: dict[str, Grant]) -> None:
    """What the engine would refuse is lowered, or followed, or the period raised; and each grant says from what."""
    found = resolve(policy(**sections), "u", ("g",)).grants
    assert said(found) == grants
    assert list(found) == [field for field in FIELDS if field in found]


# ---- groups that differ

MANY = {
    "g1": {"priority": "1", "mem_limit": "2G", "cpuset_cpus": "0-3", "servers": {"count": "2"}},
    "g2": {"priority": "3", "mem_limit": "unlimited", "pids_limit": "100"},
    "g3": {"priority": "2", "mem_limit": "1G", "cpuset_cpus": "4-5", "servers": {"count": "unlimited"}},
}
COMBINED = {
    "most": (
        "most",
        {"mem_limit": (None, "group g2"), "cpuset_cpus": ("0-3", "group g1"), "pids_limit": (100, "group g2")},
        (None, "group g3"),
    ),
    "least": (
        "least",
        {"mem_limit": (GIB, "group g3"), "cpuset_cpus": ("4-5", "group g3"), "pids_limit": (100, "group g2")},
        (2, "group g1"),
    ),
    "first, and what it does not give, the second": (
        "first",
        {"mem_limit": (None, "group g2"), "cpuset_cpus": ("4-5", "group g3"), "pids_limit": (100, "group g2")},
        (None, "group g3"),
    ),
}


@pytest.mark.parametrize(("how", "fields", "count"), COMBINED.values(), ids=COMBINED)
def test_groups_that_differ_are_combined_as_the_file_says(
    how: str, fields: dict[str, tuple[Any, str]], count: tuple[int | None, str]
) -> None:
    """Of each field the loosest, the strictest, or the one of the highest rank, in whatever order the groups come."""
    for order in itertools.permutations(MANY):
        found = resolve(policy(combine=how, groups=MANY), "zoe", order)
        told = {field: (found.grants[field].value, found.grants[field].rule) for field in fields}
        assert told == fields
        assert (found.servers["count"].value, found.servers["count"].rule) == count


def test_one_group_needs_no_way_to_combine() -> None:
    """What a group gives is given whatever the way."""
    for how in ("most", "least", "first"):
        found = resolve(policy(combine=how, groups=MANY), "zoe", ["g1"])
        assert (found.grants["mem_limit"].value, found.servers["count"].value) == (2 * GIB, 2)


# ---- rules that end

BEFORE = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
AFTER = datetime(2027, 1, 1, tzinfo=UTC)
ENDS = {
    "a user's rule that has not ended": (
        {"users": {"u": {"pids_limit": "9", "until": "2026-12-31"}}},
        BEFORE,
        (9, "user u"),
    ),
    "a user's rule that has": ({"users": {"u": {"pids_limit": "9", "until": "2026-12-31"}}}, AFTER, (5, "defaults")),
    "the same moment in another zone": (
        {"users": {"u": {"pids_limit": "9", "until": "2026-12-31"}}},
        datetime.fromisoformat("2027-01-01T00:59:59+01:00"),
        (9, "user u"),
    ),
    "a group's rule that has not": (
        {"groups": {"g": {"pids_limit": "9", "until": "2026-12-31"}}},
        BEFORE,
        (9, "group g"),
    ),
    "a group's rule that has": ({"groups": {"g": {"pids_limit": "9", "until": "2026-12-31"}}}, AFTER, (5, "defaults")),
    "what is temporary beats the permanent": (
        {"users": {"u": {"pids_limit": "9", "temporarily": {"pids_limit": "7", "until": "2026-12-31"}}}},
        BEFORE,
        (7, "user u, temporarily"),
    ),
    "what was temporary leaves the permanent": (
        {"users": {"u": {"pids_limit": "9", "temporarily": {"pids_limit": "7", "until": "2026-12-31"}}}},
        AFTER,
        (9, "user u"),
    ),
    "what is temporary outlives a rule that ends sooner": (
        {
            "users": {
                "u": {
                    "pids_limit": "9",
                    "until": "2026-01-01",
                    "temporarily": {"pids_limit": "7", "until": "2026-12-31"},
                }
            }
        },
        BEFORE,
        (7, "user u, temporarily"),
    ),
    "what is temporary of a group does not beat the user": (
        {
            "groups": {"g": {"temporarily": {"pids_limit": "7", "until": "2026-12-31"}}},
            "users": {"u": {"pids_limit": "9"}},
        },
        BEFORE,
        (9, "user u"),
    ),
    "what is temporary of a group is combined with the other groups": (
        {
            "groups": {
                "g": {"pids_limit": "9", "temporarily": {"pids_limit": "7", "until": "2026-12-31"}},
                "h": {"pids_limit": "8"},
            },
        },
        BEFORE,
        (7, "group g, temporarily"),
    ),
    "and when it is over, so is the permanent": (
        {
            "groups": {
                "g": {"pids_limit": "9", "temporarily": {"pids_limit": "7", "until": "2026-12-31"}},
                "h": {"pids_limit": "8"},
            },
        },
        AFTER,
        (8, "group h"),
    ),
    "the highest group is passed over when it is over": (
        {
            "combine": "first",
            "groups": {
                "g": {"priority": "2", "pids_limit": "9", "until": "2026-12-31"},
                "h": {"priority": "1", "pids_limit": "8"},
            },
        },
        AFTER,
        (8, "group h"),
    ),
}


@pytest.mark.parametrize(("sections", "now", "expected"), ENDS.values(), ids=ENDS)
def test_a_rule_counts_until_its_end(sections: dict[str, Any], now: datetime, expected: tuple[int, str]) -> None:
    """From its end on a rule is as good as not there, to the second."""
    grants = resolve(policy(defaults={"pids_limit": "5"}, **sections), "u", ("g", "h"), now=now).grants
    assert (grants["pids_limit"].value, grants["pids_limit"].rule) == expected


def test_a_grant_says_when_it_ends() -> None:
    """People see until when they have what they have; what others give says its own end, or none."""
    temporary = {"pids_limit": "7", "until": "2026-12-31T18:00+01:00"}
    user = {"mem_limit": "1G", "cpu_limit": "1", "until": "2027-06-30", "temporarily": temporary}
    grants = resolve(policy(users={"u": user}, defaults={"cpu_shares": "2"}), "u").grants
    assert {field: (one.rule, one.until) for field, one in grants.items()} == {
        "mem_limit": ("user u", datetime(2027, 7, 1, tzinfo=UTC)),
        "memswap_limit": ("user u", datetime(2027, 7, 1, tzinfo=UTC)),
        "cpu_limit": ("user u", datetime(2027, 7, 1, tzinfo=UTC)),
        "cpu_shares": ("defaults", None),
        "pids_limit": ("user u, temporarily", datetime(2026, 12, 31, 17, tzinfo=UTC)),
    }
    assert grants["pids_limit"].origin == "user u, temporarily (limits.yaml:1), until 2026-12-31 17:00 UTC"


# ---- what lowers: ceiling, all servers together, sizes, requests

CEILING = {"mem_limit": "4G", "cpu_limit": "2"}
SIZES = {
    "s": {"mem_limit": "1G", "cpu_limit": "0.5"},
    "m": {"mem_limit": "2G"},
    "l": {"mem_limit": "16G", "pids_limit": "9"},
}
LOWERED = {
    "a ceiling lowers, and what follows": (
        {"users": {"u": {"mem_limit": "8G"}}, "ceiling": CEILING},
        Request(),
        {
            "mem_limit": grant(4 * GIB, "user u", clamped_from=8 * GIB, clamped_by="ceiling"),
            "memswap_limit": grant(4 * GIB, "user u", follows="mem_limit"),
            "cpu_limit": grant(2.0, "ceiling"),
        },
    ),
    "a ceiling lowers what is unlimited": (
        {"users": {"u": {"cpu_limit": "unlimited"}}, "ceiling": {"cpu_limit": "2"}},
        Request(),
        {"cpu_limit": grant(2.0, "user u", clamped_by="ceiling")},
    ),
    "a ceiling raises nothing": (
        {"users": {"u": {"cpu_limit": "1", "cpu_shares": "100"}}, "ceiling": {"cpu_limit": "2", "cpu_shares": "200"}},
        Request(),
        {"cpu_limit": grant(1.0, "user u"), "cpu_shares": grant(100, "user u")},
    ),
    "a ceiling promises nothing": (
        {"ceiling": {"mem_guarantee": "1G", "cpu_guarantee": "1", "cpu_shares": "2048"}},
        Request(),
        {},
    ),
    "less than an ordinary share is less than none given": (
        {"ceiling": {"cpu_shares": "512", "mem_swappiness": "10"}},
        Request(),
        {"mem_swappiness": grant(10, "ceiling"), "cpu_shares": grant(512, "ceiling")},
    ),
    "a ceiling of memory lowers what is promised": (
        {"users": {"u": {"mem_limit": "8G", "mem_guarantee": "6G"}}, "ceiling": {"mem_limit": "4G"}},
        Request(),
        {
            "mem_limit": grant(4 * GIB, "user u", clamped_from=8 * GIB, clamped_by="ceiling"),
            "memswap_limit": grant(4 * GIB, "user u", follows="mem_limit"),
            "mem_guarantee": grant(4 * GIB, "user u", clamped_from=6 * GIB, clamped_by="mem_limit of ceiling"),
        },
    ),
    "a ceiling of memory lowers memory and swap by as much": (
        {"users": {"u": {"mem_limit": "8G", "memswap_limit": "10G"}}, "ceiling": {"mem_limit": "4G"}},
        Request(),
        {
            "mem_limit": grant(4 * GIB, "user u", clamped_from=8 * GIB, clamped_by="ceiling"),
            "memswap_limit": grant(6 * GIB, "user u", clamped_from=10 * GIB, clamped_by="mem_limit of ceiling"),
        },
    ),
    "a ceiling of memory and swap holds, though they follow memory": (
        {"users": {"u": {"mem_limit": "8G"}}, "ceiling": {"memswap_limit": "4G"}},
        Request(),
        {
            "mem_limit": grant(4 * GIB, "user u", clamped_from=8 * GIB, clamped_by="memswap_limit of ceiling"),
            "memswap_limit": grant(4 * GIB, "user u", follows="mem_limit", clamped_from=8 * GIB, clamped_by="ceiling"),
        },
    ),
    "a ceiling of memory and swap limits memory that is unlimited": (
        {"ceiling": {"memswap_limit": "4G"}},
        Request(),
        {
            "mem_limit": grant(4 * GIB, "defaults", clamped_by="memswap_limit of ceiling"),
            "memswap_limit": grant(4 * GIB, "ceiling"),
        },
    ),
    "less memory is not more swap, whatever the ceiling": (
        {"ceiling": {"memswap_limit": "4G"}},
        Request(limits={"mem_limit": GIB}),
        {
            "mem_limit": grant(GIB, "request", file="", line=None),
            "memswap_limit": grant(GIB, "ceiling", clamped_from=4 * GIB, clamped_by="mem_limit of request"),
        },
    ),
    "a ceiling of CPUs leaves those that both name": (
        {"users": {"u": {"cpuset_cpus": "0-3"}}, "ceiling": {"cpuset_cpus": "2-7"}},
        Request(),
        {"cpuset_cpus": grant("2-3", "user u", clamped_from="0-3", clamped_by="ceiling")},
    ),
    "of CPUs that the ceiling does not have, as many of its own are left": (
        {"users": {"u": {"cpuset_cpus": "0-1"}}, "ceiling": {"cpuset_cpus": "2,4,6"}},
        Request(),
        {"cpuset_cpus": grant("2,4", "user u", clamped_from="0-1", clamped_by="ceiling")},
    ),
    "or all of them": (
        {"users": {"u": {"cpuset_cpus": "0-1"}}, "ceiling": {"cpuset_cpus": "2"}},
        Request(),
        {"cpuset_cpus": grant("2", "user u", clamped_from="0-1", clamped_by="ceiling")},
    ),
    "CPUs of nobody's choice are the ceiling's": (
        {"ceiling": {"cpuset_cpus": "0-1"}},
        Request(),
        {"cpuset_cpus": grant("0-1", "ceiling")},
    ),
    "a ceiling of cores raises the period": (
        {"users": {"u": {"cpu_limit": "1", "cpu_period": "5000"}}, "ceiling": {"cpu_limit": "0.1"}},
        Request(),
        {
            "cpu_limit": grant(0.1, "user u", clamped_from=1.0, clamped_by="ceiling"),
            "cpu_period": grant(10_000, "user u", clamped_from=5_000, clamped_by="cpu_limit of ceiling"),
        },
    ),
    "no server holds more than all": (
        {"defaults": {"mem_limit": "8G", "servers": {"mem_limit": "2G", "cpu_limit": "3"}}},
        Request(),
        {
            "mem_limit": grant(2 * GIB, "defaults", clamped_from=8 * GIB, clamped_by="servers of defaults"),
            "memswap_limit": grant(2 * GIB, "defaults", follows="mem_limit"),
            "cpu_limit": grant(3.0, "defaults", clamped_by="servers of defaults"),
        },
    ),
    "servers without limit lower nothing": (
        {"defaults": {"mem_limit": "8G", "servers": {"mem_limit": "unlimited"}}},
        Request(),
        {"mem_limit": grant(8 * GIB, "defaults"), "memswap_limit": grant(8 * GIB, "defaults", follows="mem_limit")},
    ),
    "the smallest size, of none picked": (
        {"defaults": {"sizes": ["l", "m", "s"]}, "sizes": SIZES},
        Request(),
        {
            "mem_limit": grant(GIB, "size s"),
            "memswap_limit": grant(GIB, "size s", follows="mem_limit"),
            "cpu_limit": grant(0.5, "size s"),
        },
    ),
    "the default size, of none picked": (
        {"defaults": {"sizes": ["l", "m", "s"], "default_size": "m"}, "sizes": SIZES},
        Request(),
        {"mem_limit": grant(2 * GIB, "size m"), "memswap_limit": grant(2 * GIB, "size m", follows="mem_limit")},
    ),
    "a default size that this user may not pick is none": (
        {"defaults": {"sizes": ["m", "s"], "default_size": "s"}, "users": {"u": {"sizes": ["m"]}}, "sizes": SIZES},
        Request(),
        {"mem_limit": grant(2 * GIB, "size m"), "memswap_limit": grant(2 * GIB, "size m", follows="mem_limit")},
    ),
    "the size that was picked": (
        {"defaults": {"sizes": ["l", "m", "s"], "default_size": "m"}, "sizes": SIZES},
        Request(size="l"),
        {
            "mem_limit": grant(16 * GIB, "size l"),
            "memswap_limit": grant(16 * GIB, "size l", follows="mem_limit"),
            "pids_limit": grant(9, "size l"),
        },
    ),
    "a size is no more than the rule": (
        {"defaults": {"mem_limit": "4G", "sizes": ["l"]}, "sizes": SIZES},
        Request(),
        {
            "mem_limit": grant(4 * GIB, "size l", clamped_from=16 * GIB, clamped_by="defaults"),
            "memswap_limit": grant(4 * GIB, "size l", follows="mem_limit"),
            "pids_limit": grant(9, "size l"),
        },
    ),
    "a size is no more than the ceiling": (
        {"defaults": {"mem_limit": "8G", "sizes": ["l"]}, "sizes": SIZES, "ceiling": {"mem_limit": "4G"}},
        Request(),
        {
            "mem_limit": grant(4 * GIB, "size l", clamped_from=16 * GIB, clamped_by="ceiling"),
            "memswap_limit": grant(4 * GIB, "size l", follows="mem_limit"),
            "pids_limit": grant(9, "size l"),
        },
    ),
    "no sizes leave one's limits whole": (
        {"defaults": {"mem_limit": "8G", "sizes": ["s"]}, "users": {"u": {"sizes": []}}, "sizes": SIZES},
        Request(),
        {"mem_limit": grant(8 * GIB, "defaults"), "memswap_limit": grant(8 * GIB, "defaults", follows="mem_limit")},
    ),
    "a request lowers": (
        {"defaults": {"mem_limit": "4G", "memswap_limit": "5G", "pids_limit": "10"}},
        Request(limits={"mem_limit": GIB, "pids_limit": 9, "cpu_limit": 0.5}),
        {
            "mem_limit": grant(GIB, "request", file="", line=None),
            "memswap_limit": grant(2 * GIB, "defaults", clamped_from=5 * GIB, clamped_by="mem_limit of request"),
            "cpu_limit": grant(0.5, "request", file="", line=None),
            "pids_limit": grant(9, "request", file="", line=None),
        },
    ),
    "a request raises nothing": (
        {"defaults": {"mem_limit": "4G", "pids_limit": "10"}},
        Request(limits={"mem_limit": None, "pids_limit": 11}),
        {
            "mem_limit": grant(4 * GIB, "request", file="", line=None, clamped_by="defaults"),
            "memswap_limit": grant(4 * GIB, "request", file="", line=None, follows="mem_limit"),
            "pids_limit": grant(10, "request", file="", line=None, clamped_from=11, clamped_by="defaults"),
        },
    ),
    "a request above a size is that size": (
        {"defaults": {"sizes": ["s", "m"]}, "sizes": SIZES},
        Request(size="s", limits={"mem_limit": 2 * GIB}),
        {
            "mem_limit": grant(GIB, "request", file="", line=None, clamped_from=2 * GIB, clamped_by="size s"),
            "memswap_limit": grant(GIB, "request", file="", line=None, follows="mem_limit"),
            "cpu_limit": grant(0.5, "size s"),
        },
    ),
    "swap without limit stays so": (
        {"defaults": {"mem_limit": "4G", "memswap_limit": "unlimited"}},
        Request(limits={"mem_limit": GIB}),
        {"mem_limit": grant(GIB, "request", file="", line=None), "memswap_limit": grant(None, "defaults")},
    ),
}


@pytest.mark.parametrize(("sections", "request_", "grants"), LOWERED.values(), ids=LOWERED)
def test_what_lowers_is_told(sections: dict[str, Any], request_: Request, grants: dict[str, Grant]) -> None:
    """Ceiling, all servers together, size and request only ever lower, and each grant says by what and from what."""
    assert said(resolve(policy(**sections), "u", request=request_).grants) == grants


def test_sizes_come_from_the_smallest_to_the_largest() -> None:
    """By memory, then cores, then processes, then name; a size without a field gives all of it."""
    sizes = {
        "whole": {},
        "b": {"mem_limit": "1G", "cpu_limit": "1"},
        "a": {"mem_limit": "1G", "cpu_limit": "1"},
        "calm": {"mem_limit": "1G", "cpu_limit": "0.5"},
        "wide": {"mem_limit": "1G", "cpu_limit": "unlimited"},
    }
    found = resolve(policy(defaults={"sizes": list(sizes)}, sizes=sizes), "u")
    assert (found.sizes, found.size) == (("calm", "a", "b", "wide", "whole"), "calm")


JOINED = {
    "most: all that any lists": ("most", [["s", "m"], ["m", "l"]], ("s", "m", "l")),
    "most: none leave one's limits whole": ("most", [["s"], []], ()),
    "least: those that all list": ("least", [["s", "m"], ["m", "l"]], ("m",)),
    "least: none are no limit, so others count": ("least", [[], ["m", "l"]], ("m", "l")),
    "least: none at all": ("least", [[], []], ()),
    "least: of none in common the smallest": ("least", [["m"], ["l"]], ("m",)),
    "least: of three without one in common the smallest": ("least", [["s", "m"], ["m", "l"], ["l", "s"]], ("s",)),
    "first": ("first", [["m"], ["l"]], ("m",)),
}


@pytest.mark.parametrize(("how", "lists", "sizes"), JOINED.values(), ids=JOINED)
def test_sizes_of_several_groups_are_joined(how: str, lists: list[list[str]], sizes: tuple[str, ...]) -> None:
    """No more may be picked with `least`, and no less with `most`, than with any of the groups alone."""
    groups = {f"g{place}": {"sizes": names, "priority": str(9 - place)} for place, names in enumerate(lists)}
    for order in itertools.permutations(groups):
        assert resolve(policy(combine=how, groups=groups, sizes=SIZES), "zoe", order).sizes == sizes


@pytest.mark.parametrize(("how", "size"), [("most", "l"), ("least", "s"), ("first", "m")])
def test_default_sizes_of_several_groups(how: str, size: str) -> None:
    """The largest, the smallest, or that of the highest rank: a name is worth what its size is."""
    groups = {name: {"default_size": name, "priority": rank} for name, rank in (("l", "1"), ("m", "3"), ("s", "2"))}
    for order in itertools.permutations(groups):
        found = resolve(policy(combine=how, groups=groups, sizes=SIZES, defaults={"sizes": list(SIZES)}), "zoe", order)
        assert found.size == size


REFUSED = {
    "a size that there is not": (["s", "m"], "xl", 'size: found "xl"; expected one of s, m'),
    "a size of others": (["s", "m"], "l", 'size: found "l"; expected one of s, m'),
    "any size, where there are none": ([], "s", 'size: found "s"; there are no sizes to pick from'),
    "markup": (["s"], "<b>", 'size: found "<b>"; expected one of s'),
    "what a terminal would obey": (["s"], "\x1b[2J", 'size: found "\\x1b[2J"; expected one of s'),
}


@pytest.mark.parametrize(("sizes", "size", "message"), REFUSED.values(), ids=REFUSED)
def test_a_size_that_may_not_be_picked_is_refused(sizes: list[str], size: str, message: str) -> None:
    """The message says which may be."""
    with pytest.raises(RequestError) as refusal:
        resolve(policy(defaults={"sizes": sizes}, sizes=SIZES), "u", request=Request(size=size))
    assert (refusal.value.field, str(refusal.value)) == ("size", message)


def test_an_entitlement_says_what_all_servers_may_be_together() -> None:
    """Each with its rule; below one and another of several rules, key by key."""
    found = resolve(
        policy(
            defaults={"servers": {"count": "1", "mem_limit": "4G"}},
            users={"u": {"servers": {"count": "3"}, "until": "2026-12-31"}},
        ),
        "u",
    )
    assert found.servers == {
        "count": grant(3, "user u", until=AFTER),
        "mem_limit": grant(4 * GIB, "defaults"),
    }


# ---- the worked example

DEMO = {
    "alice": (
        (),
        Limits(mem_limit=GIB, memswap_limit=GIB, cpu_limit=0.5, pids_limit=256),
        {"mem_limit": "user alice", "memswap_limit": "user alice", "cpu_limit": "user alice", "pids_limit": "defaults"},
    ),
    "bob": (
        ("students",),
        Limits(mem_limit=768 * MIB, memswap_limit=768 * MIB, cpu_limit=0.75, pids_limit=256),
        dict.fromkeys(("mem_limit", "memswap_limit", "cpu_limit", "pids_limit"), "group students"),
    ),
    "carol": (
        ("students",),
        Limits(mem_limit=1536 * MIB, memswap_limit=1536 * MIB, cpu_limit=1.0, cpu_shares=2048, pids_limit=256),
        {
            **dict.fromkeys(("mem_limit", "memswap_limit", "cpu_limit", "cpu_shares"), "user carol"),
            "pids_limit": "group students",
        },
    ),
    "anybody else": (
        (),
        Limits(mem_limit=512 * MIB, memswap_limit=512 * MIB, cpu_limit=0.5, pids_limit=256),
        dict.fromkeys(("mem_limit", "memswap_limit", "cpu_limit", "pids_limit"), "defaults"),
    ),
}


@pytest.mark.parametrize(
    ("user", "groups", "limits", "rules"), [(user, *rest) for user, rest in DEMO.items()], ids=DEMO
)
def test_the_worked_example(user: str, groups: tuple[str, ...], limits: Limits, rules: dict[str, str]) -> None:
    """The users of the demonstration get these limits from these rules, and no other."""
    found = resolve(load(EXAMPLE), user, groups)
    assert found.limits == limits
    assert {field: one.rule for field, one in found.grants.items()} == rules


# ---- as a label

CAROL = Entitlement(
    user="carol",
    server="",
    groups=("students",),
    grants={
        "mem_limit": Grant(
            value=512 * MIB,
            rule="user carol",
            file="limits.yaml",
            line=24,
            clamped_by="memswap_limit of group students",
        ),
        "mem_swappiness": Grant(value=0, rule="defaults", file="limits.yaml", line=4, clamped_from=0, clamped_by="y"),
        "cpu_limit": Grant(value=None, rule="defaults", file="limits.yaml", line=None),
        "pids_limit": Grant(
            value=256, rule="group Übung", file="limits.yaml", line=9, clamped_from=512, clamped_by="x"
        ),
    },
    policy_sha256="8ffaaba8",
)
LABEL = (
    '{"schema_version":1,"user":"carol","server":"","groups":["students"],"policy_sha256":"8ffaaba8","grants":{'
    '"mem_limit":{"value":536870912,"rule":"user carol","file":"limits.yaml","line":24,'
    '"clamped_by":"memswap_limit of group students"},'
    '"mem_swappiness":{"value":0,"rule":"defaults","file":"limits.yaml","line":4,"clamped_from":0,"clamped_by":"y"},'
    '"cpu_limit":{"value":null,"rule":"defaults","file":"limits.yaml"},'
    '"pids_limit":{"value":256,"rule":"group \\u00dcbung","file":"limits.yaml","line":9,"clamped_from":512,'
    '"clamped_by":"x"}}}'
)


def test_an_entitlement_is_a_line_of_json() -> None:
    """The label's text is part of the interface: audits read it from containers of older versions."""
    assert CAROL.to_json() == LABEL
    assert Entitlement.from_json(LABEL) == CAROL


DAVE = Entitlement(
    user="dave",
    server="lab",
    groups=(),
    grants={
        "mem_limit": Grant(value=GIB, rule="size s", file="limits.yaml", line=2),
        "pids_limit": Grant(value=9, rule="user dave, temporarily", file="limits.yaml", line=7, until=AFTER),
    },
    policy_sha256="8ffaaba8",
    servers={"count": Grant(value=0, rule="defaults", file="limits.yaml", line=3)},
    sizes=("s", "größer"),
    size="s",
    hints=Grant(
        value=False,
        rule="group g, temporarily",
        file="limits.yaml",
        line=8,
        until=datetime(2028, 1, 1, tzinfo=UTC),
    ),
)
LABEL_OF_MORE = (
    '{"schema_version":1,"user":"dave","server":"lab","groups":[],"policy_sha256":"8ffaaba8","grants":{'
    '"mem_limit":{"value":1073741824,"rule":"size s","file":"limits.yaml","line":2},'
    '"pids_limit":{"value":9,"rule":"user dave, temporarily","file":"limits.yaml","line":7,'
    '"until":"2027-01-01T00:00:00+00:00"}},'
    '"servers":{"count":{"value":0,"rule":"defaults","file":"limits.yaml","line":3}},'
    '"sizes":["s","gr\\u00f6\\u00dfer"],"size":"s",'
    '"thread_hints":{"value":false,"rule":"group g, temporarily","file":"limits.yaml","line":8,'
    '"until":"2028-01-01T00:00:00+00:00"}}'
)


def test_servers_sizes_and_ends_are_in_the_label_where_there_are_some() -> None:
    """What is not there is left out, so that labels of before there was any are read as ever."""
    assert DAVE.to_json() == LABEL_OF_MORE
    assert Entitlement.from_json(LABEL_OF_MORE) == DAVE


_NOT = "not an entitlement: "
NOT_MORE = {
    "an end that is none": ('"2027-01-01T00:00:00+00:00"', '"soon"', "until is 'soon'"),
    "an end without zone": ('"2027-01-01T00:00:00+00:00"', '"2027-01-01T00:00:00"', "until is '2027-01-01T00:00:00'"),
    "an end written otherwise": ('"2027-01-01T00:00:00+00:00"', '"2027-01-01"', "until is '2027-01-01'"),
    "an end that is past all": (
        '"2027-01-01T00:00:00+00:00"',
        '"9999-12-31T23:59:59-23:59"',
        "until is '9999-12-31T23:59:59-23:59'",
    ),
    "an end that is a number": ('"2027-01-01T00:00:00+00:00"', "1", "until is int"),
    "servers of a key that nobody knows": ('{"count"', '{"counts"', "servers has too many or too few of counts"),
    "servers that are a list": (
        '{"count":{"value":0,"rule":"defaults","file":"limits.yaml","line":3}}',
        "[]",
        "servers is list",
    ),
    "a number of servers below none": (
        '"value":0',
        '"value":-1',
        'count is -1; expected a whole number, or "unlimited"',
    ),
    "sizes that are a text": ('["s","gr\\u00f6\\u00dfer"]', '"s"', "sizes is str"),
    "a size in the list that is a number": ('["s",', "[1,", "sizes is int"),
    "a size that is a list": ('"size":"s"', '"size":["s"]', "size is list"),
    "a size that is null": ('"size":"s"', '"size":null', "size is NoneType"),
    "hints that are a number": ('"value":false', '"value":0', "value is int"),
    "hints that are a word": ('"value":false', '"value":"off"', "value is str"),
    "hints without a rule": (
        '"rule":"group g, temporarily",',
        "",
        "thread_hints has too many or too few of rule",
    ),
    "hints that were lowered": (
        '"value":false,',
        '"value":false,"clamped_by":"x",',
        "thread_hints has too many or too few of clamped_by",
    ),
    "hints with an end that is none": ('"2028-01-01T00:00:00+00:00"', '"soon"', "until is 'soon'"),
}


@pytest.mark.parametrize(("old", "new", "message"), NOT_MORE.values(), ids=NOT_MORE)
def test_a_label_of_more_that_is_no_entitlement_is_refused(old: str, new: str, message: str) -> None:
    """The newer members are believed no more than the others."""
    assert LABEL_OF_MORE.count(old) == 1
    with pytest.raises(ValueError, match=r"^not an entitlement") as refusal:
        Entitlement.from_json(LABEL_OF_MORE.replace(old, new))
    assert str(refusal.value) == _NOT + message


def broken(old: str, new: str) -> str:
    """The label with one thing wrong."""
    assert LABEL.count(old) == 1
    return LABEL.replace(old, new)


NO_LABELS = {
    "empty": ("", f"{_NOT}Expecting value: line 1 column 1 (char 0)"),
    "cut off": ('{"schema_version":1', f"{_NOT}Expecting ',' delimiter: line 1 column 20 (char 19)"),
    "a list": ("[]", f"{_NOT}it is list"),
    "null": ("null", f"{_NOT}it is NoneType"),
    "of a later version": (broken('version":1', 'version":2'), "not an entitlement of version 1: 2"),
    "a version that is true": (broken('version":1', 'version":true'), f"{_NOT}schema_version is bool"),
    "without user": (broken('"user":"carol",', ""), f"{_NOT}it has too many or too few of user"),
    "with something else": (broken('"user"', '"admin":1,"user"'), f"{_NOT}it has too many or too few of admin"),
    "a user that is a number": (broken('"carol"', "1"), f"{_NOT}user is int"),
    "groups that are a text": (broken('["students"]', '"students"'), f"{_NOT}groups is str"),
    "a group that is a number": (broken('["students"]', "[1]"), f"{_NOT}groups is int"),
    "grants that are a list": (LABEL.partition('"grants":')[0] + '"grants":[]}', f"{_NOT}grants is list"),
    "a field that nobody knows": (broken('"cpu_limit"', '"disk"'), f"{_NOT}grants has too many or too few of disk"),
    "a grant that is a value": (
        LABEL.partition('"grants":')[0] + '"grants":{"mem_limit":1}}',
        f"{_NOT}mem_limit is int",
    ),
    "a grant without value": (broken('"value":256,', ""), f"{_NOT}pids_limit has too many or too few of value"),
    "a value of another kind": (
        broken("536870912", '"512M"'),
        f'{_NOT}mem_limit is \'512M\'; expected a size such as "512M" or "1.5G", or "unlimited"',
    ),
    "a value that is true": (broken("536870912", "true"), f"{_NOT}value is bool"),
    "a value that is a list": (broken("536870912", "[1]"), f"{_NOT}mem_limit is list"),
    "a value with a point": (
        broken('"value":256', '"value":256.0'),
        f'{_NOT}pids_limit is 256.0; expected a whole number, or "unlimited"',
    ),
    "whole cores without a point": (
        broken('"value":null', '"value":1'),
        f'{_NOT}cpu_limit is 1; expected a number of cores such as "0.5" or "2", or "unlimited"',
    ),
    "a value out of bounds": (
        broken('"value":256', '"value":0'),
        f'{_NOT}pids_limit is 0; expected at least 1 (the Linux kernel\'s pids.max), or "unlimited"',
    ),
    "what JSON does not have": (
        broken('"value":256', '"value":NaN'),
        f'{_NOT}pids_limit is nan; expected a whole number, or "unlimited"',
    ),
    "a line that is a text": (broken('"line":9', '"line":"9"'), f"{_NOT}line is str"),
    "a clamp of another kind": (
        broken('"clamped_from":512', '"clamped_from":-1'),
        f'{_NOT}pids_limit is -1; expected a whole number, or "unlimited"',
    ),
    "one that follows nothing": (
        broken('"clamped_from":512', '"follows":"disk"'),
        f"{_NOT}pids_limit follows 'disk'",
    ),
}


@pytest.mark.parametrize(("text", "message"), NO_LABELS.values(), ids=NO_LABELS)
def test_a_label_that_is_no_entitlement_is_refused(text: str, message: str) -> None:
    """Whoever may start containers may write labels: nothing is believed that `to_json` could not have written."""
    with pytest.raises(ValueError, match=r"^not an entitlement") as refusal:
        Entitlement.from_json(text)
    assert str(refusal.value) == message


@pytest.mark.parametrize("text", ["[" * 100_000, broken("536870912", "[" * 900 + "]" * 900)], ids=["broken", "whole"])
def test_a_label_nested_without_end_is_refused(text: str) -> None:
    """Depth does not get past ValueError."""
    with pytest.raises(ValueError, match=r"^not an entitlement: "):
        Entitlement.from_json(text)


@given(
    st.text()
    | st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists).map(json.dumps)
)
def test_any_text_is_an_entitlement_or_a_value_error(text: str) -> None:
    """No text makes `from_json` raise anything else."""
    with pytest.raises(ValueError, match=r"^not an entitlement: "):
        Entitlement.from_json(text)


# ---- properties: whatever the file says

TEXTS = {
    "mem_limit": ["6M", "64M", "1G", "1.5G", "unlimited"],
    "memswap_limit": ["6M", "64M", "512M", "2G", "unlimited"],
    "mem_swappiness": ["0", "60", "100"],
    "mem_guarantee": ["6M", "128M", "4G"],
    "cpu_limit": ["0.01", "0.07", "0.29", "1.5", "unlimited"],
    "cpu_guarantee": ["0.01", "0.5", "4"],
    "cpu_period": ["1000", "9999", "100000", "1000000"],
    "cpu_shares": ["2", "1024"],
    "cpuset_cpus": ["0", "0-1", "2-3", "0-7", "unlimited"],
    "pids_limit": ["1", "256", "unlimited"],
}
assert tuple(TEXTS) == tuple(FIELDS)


def fits(section: str, rule: dict[str, str]) -> bool:
    """Whether a rule may stand there."""
    try:
        policy(**{section: rule if section == "defaults" else {"one": rule}})
    except PolicyError:
        return False
    return True


RULES = st.fixed_dictionaries({}, optional={name: st.sampled_from(texts) for name, texts in TEXTS.items()}).filter(
    lambda rule: fits("users", rule)
)
DEFAULTS = RULES.map(lambda rule: dict.fromkeys(REQUIRED, "unlimited") | rule).filter(
    lambda rule: fits("defaults", rule)
)
NAMES = st.sampled_from(["a", "b", "c", "d"])
FILES = st.fixed_dictionaries(
    {"defaults": DEFAULTS, "groups": st.dictionaries(NAMES, RULES), "users": st.dictionaries(NAMES, RULES)}
)
WHO = st.tuples(NAMES, st.lists(NAMES, max_size=4))


def amount(field: str, value: Any) -> float:
    """How much a value allows."""
    if value is None:
        return math.inf
    return len(cpus_in(value)) if field == "cpuset_cpus" else value


def allowed(sections: dict[str, Any], user: str, groups: list[str], field: str) -> list[Any]:
    """The values of the rules that count for a field: the user's, else all of the groups', else the defaults'."""
    rules = [
        [sections["users"].get(user, {})],
        [sections["groups"].get(group, {}) for group in groups],
        [sections["defaults"]],
    ]
    for layer in rules:
        if texts := [rule[field] for rule in layer if field in rule]:
            return [None if text == "unlimited" else FIELDS[field].read(text) for text in texts]
    return []


@settings(deadline=None)
@given(FILES, WHO)
def test_nobody_gets_more_than_a_rule_that_counts(sections: dict[str, Any], who: tuple[str, list[str]]) -> None:
    """A field is at most what each rule that counts for it gives; the period alone, which gives nothing, may rise."""
    user, groups = who
    for field, one in resolve(policy(**sections), user, groups).grants.items():
        values = allowed(sections, user, groups, field)
        assert bool(values) == (one.follows is None)
        if field != "cpu_period":
            assert all(amount(field, one.value) <= amount(field, value) for value in values)
        if one.clamped_by is None and values:
            assert amount(field, one.value) == min(amount(field, value) for value in values)


@settings(deadline=None)
@given(FILES, WHO)
def test_what_is_granted_fits_together(sections: dict[str, Any], who: tuple[str, list[str]]) -> None:
    """The engine is never asked for what it refuses, and every value is one that a file may give."""
    found = resolve(policy(**sections), *who)
    limits = found.limits
    values = {field: one.value for field, one in found.grants.items()}
    assert amount("mem_limit", limits.mem_limit) <= amount("memswap_limit", limits.memswap_limit)
    assert limits.mem_limit is None or "memswap_limit" in values
    assert limits.mem_guarantee is None or limits.mem_guarantee <= amount("mem_limit", limits.mem_limit)
    assert limits.cpu_guarantee is None or limits.cpu_guarantee <= amount("cpu_limit", limits.cpu_limit)
    if limits.cpu_limit is not None and limits.cpu_period is not None:
        assert limits.cpu_limit * limits.cpu_period >= 1_000
    assert all(FIELDS[field].read(str(value)) == value for field, value in values.items() if value is not None)


@settings(deadline=None)
@given(FILES, WHO, st.randoms(use_true_random=False))
def test_order_never_matters(sections: dict[str, Any], who: tuple[str, list[str]], random: Any) -> None:
    """Neither the order of keys in the file nor that of the groups changes a value, a rule or a clamp."""

    def shuffled(told: Any) -> Any:
        if not isinstance(told, dict):
            return told
        keys = list(told)
        random.shuffle(keys)
        return {key: shuffled(told[key]) for key in keys}

    user, groups = who
    others = random.sample(groups, len(groups))
    assert (
        resolve(policy(**shuffled(sections)), user, others).grants == resolve(policy(**sections), user, groups).grants
    )


@settings(deadline=None)
@given(FILES, WHO, RULES)
def test_one_group_more_never_loosens(
    sections: dict[str, Any], who: tuple[str, list[str]], rule: dict[str, str]
) -> None:
    """One more group only ever tightens what the others gave; what was clamped may rise with what had clamped it."""
    user, groups = who
    more = {**sections, "groups": {**sections["groups"], "new": rule}}
    before = resolve(policy(**sections), user, groups).grants
    after = resolve(policy(**more), user, [*groups, "new"]).grants
    for field, one in before.items():
        if one.clamped_by is None and any(field in sections["groups"].get(group, {}) for group in groups):
            assert field == "cpu_period" or amount(field, after[field].value) <= amount(field, one.value)


@settings(deadline=None)
@given(FILES, WHO, st.text())
def test_an_entitlement_survives_its_label(sections: dict[str, Any], who: tuple[str, list[str]], server: str) -> None:
    """Text to value and back is the same, to the last digit."""
    found = resolve(policy(**sections), *who, server=server)
    text = found.to_json()
    assert Entitlement.from_json(text) == found
    assert text.isascii()
    assert "\n" not in text
