"""What holds whatever the file says, whoever asks and whatever for: hypothesis looks for the file in which it does not.

A policy is drawn as sections of plain texts, as an administrator writes them, so that `parse` is in every property.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawner_limits.errors import RequestError
from spawner_limits.limits import FIELDS
from spawner_limits.policy import constraints, keys
from spawner_limits.policy.parse import parse
from spawner_limits.policy.resolve import Entitlement, resolve
from spawner_limits.policy.user_options import Request
from spawner_limits.units import GIB, MIB, cpus_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from spawner_limits.policy.model import Policy, Rule

    Sections = dict[str, Any]
    Who = tuple[str, tuple[str, ...]]

# drawing a whole policy takes longer than judging it
ONCE = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])

# ---- whole policies, as texts

TEXTS = {
    "mem_limit": ["6M", "64M", "1G", "1.5G", "4G", "unlimited"],
    "memswap_limit": ["6M", "64M", "512M", "2G", "6G", "unlimited"],
    "mem_swappiness": ["0", "60", "100"],
    "mem_guarantee": ["6M", "128M", "4G"],
    "cpu_limit": ["0.01", "0.07", "0.29", "1.5", "8", "unlimited"],
    "cpu_guarantee": ["0.01", "0.5", "4"],
    "cpu_period": ["1000", "9999", "100000", "1000000"],
    "cpu_shares": ["2", "1024", "4096"],
    "cpuset_cpus": ["0", "0-1", "2-3", "0-7", "5,7", "unlimited"],
    "pids_limit": ["1", "256", "unlimited"],
}
assert tuple(TEXTS) == tuple(FIELDS)
SERVERS = {
    "count": ["0", "3", "unlimited"],
    "mem_limit": ["6M", "2G", "unlimited"],
    "cpu_limit": ["0.05", "2", "unlimited"],
}
assert tuple(SERVERS) == tuple(keys.SERVERS)
HOST = {
    "reserve_memory": ["1", "4G"],
    "reserve_cpus": ["0.5"],
    "reserve_processes": ["0", "1000"],
    "memory_overcommit": ["0.5", "2", "unlimited"],
    "cpu_overcommit": ["1", "unlimited"],
}
assert tuple(HOST) == tuple(keys.HOST)
NAMES = ("a", "b", "c")
SIZES = ("s", "m", "l")
NONE = Request()
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
UNTIL = ["2026-05-31", "2026-06-01T12:00Z", "2026-06-01T14:00:01+02:00", "2026-06-01", "2026-12-31"]
MOMENTS = st.sampled_from([NOON + timedelta(days=days, seconds=1) for days in (-90, -1, 0, 1, 365)] + [NOON])


def some(texts: Mapping[str, list[str]]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of the keys, each with one of its texts."""
    return st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in texts.items()})


def values_of(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Field → value in its base unit."""
    return {
        field: None if rule[field] == "unlimited" else FIELDS[field].read(rule[field])
        for field in FIELDS
        if field in rule
    }


def fitting(rule: dict[str, Any]) -> dict[str, Any]:
    """The rule without what one rule can't ask for together."""
    rule = dict(rule)
    for pair in constraints.NEVER_ABOVE:
        values = values_of(rule)
        if {pair.low, pair.high} <= values.keys() and constraints.above(values[pair.low], values[pair.high]):
            del rule[pair.high if pair.low == "mem_limit" else pair.low]
    values = values_of(rule)
    if constraints.too_short(values.get("cpu_limit"), values.get("cpu_period")) is not None:
        del rule["cpu_period"]
    if "sizes" in rule and rule.get("default_size") not in rule["sizes"]:
        rule.pop("default_size", None)
    return rule


FIELDS_GIVEN = some(TEXTS).map(fitting)
GIVEN = st.builds(
    lambda fields, more: fitting(fields | more),
    FIELDS_GIVEN,
    st.fixed_dictionaries(
        {},
        optional={
            "servers": some(SERVERS),
            "sizes": st.lists(st.sampled_from(SIZES), unique=True),
            "default_size": st.sampled_from(SIZES),
            "thread_hints": st.sampled_from(["true", "false"]),
        },
    ),
)
ENDING = st.builds(lambda rule, until: {**rule, "until": until}, GIVEN, st.sampled_from(UNTIL))
RULES = st.builds(
    lambda rule, temporarily: rule if temporarily is None else {**rule, "temporarily": temporarily},
    GIVEN | ENDING,
    st.none() | ENDING,
)
CEILINGS = some({field: [text for text in TEXTS[field] if text != "unlimited"] for field in keys.CAPPED}).map(fitting)
PRESETS = st.fixed_dictionaries({size: some({field: TEXTS[field] for field in keys.REQUESTABLE}) for size in SIZES})


def completed(sections: Sections) -> Sections:
    """The sections, saying of everybody what every policy must, and how groups that differ are combined."""
    missing = {field: "unlimited" for field in keys.REQUIRED if field not in sections["ceiling"]}
    defaults = fitting(missing | sections["defaults"])
    groups = {name: {**rule, "priority": str(rank)} for rank, (name, rule) in enumerate(sections["groups"].items())}
    if sections["combine"] is None:  # then they may not differ: there is one
        groups = dict(list(groups.items())[:1])
    return {
        key: value for key, value in {**sections, "defaults": defaults, "groups": groups}.items() if value is not None
    }


def policies(*how: str | None) -> st.SearchStrategy[Sections]:
    """Whole policies."""
    return st.fixed_dictionaries(
        {
            "combine": st.sampled_from(how or (None, *keys.COMBINE)),
            "defaults": GIVEN,
            "groups": st.permutations(NAMES).flatmap(
                lambda names: st.fixed_dictionaries({}, optional=dict.fromkeys(names, RULES))
            ),
            "users": st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, RULES)),
            "ceiling": CEILINGS,
            "sizes": PRESETS,
        },
        optional={
            "host": some(HOST),
            "contact": st.sampled_from(["hub@example.org", "die IT (電話 1)"]),
            "best_effort": st.lists(st.sampled_from(list(FIELDS)), unique=True),
            "auto_apply": st.sampled_from(["true", "false"]),
        },
    ).map(completed)


def read(sections: Sections) -> Policy:
    """The policy. JSON is YAML, so nothing but `parse` decides what the texts mean."""
    return parse(json.dumps({"version": "1", **sections}).encode(), "limits.yaml")


POLICIES = policies()
MEMBERSHIPS = ((), NAMES, NAMES[:1], NAMES[1:])
EVERYBODY = [(user, groups) for user in (*NAMES, "stranger") for groups in MEMBERSHIPS]
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "mem_limit": st.sampled_from([6 * MIB, GIB, 5 * GIB, None]),
        "cpu_limit": st.sampled_from([0.01, 1.0, 9.0, None]),
        "pids_limit": st.sampled_from([1, 300, None]),
    },
)
REQUESTS = st.builds(
    lambda size, limits: Request(size=size, limits=limits), st.sampled_from([None, *SIZES, "xl"]), LIMITS
)

# ---- how much


def amount(field: str, given: Mapping[str, Any]) -> float:
    """How much values allow of a field; of what is not given there is no limit, no promise, an ordinary share."""
    if field not in given:
        return {"mem_guarantee": 0.0, "cpu_guarantee": 0.0, "cpu_shares": 1024.0}.get(field, math.inf)
    value = given[field]
    if value is None:
        return math.inf
    return len(cpus_in(value)) if field == "cpuset_cpus" else float(value)


def swap(given: Mapping[str, Any]) -> float:
    """Bytes of swap beside memory."""
    both = amount("memswap_limit", given)
    return math.inf if both == math.inf else both - amount("mem_limit", given)


def got(found: Entitlement) -> dict[str, Any]:
    """Field → value."""
    return {field: one.value for field, one in found.grants.items()}


def without_sizes(sections: Sections) -> Sections:
    """The same policy, in which nothing is to be picked."""

    def bare(told: Any) -> Any:
        if not isinstance(told, dict):
            return told
        return {key: bare(value) for key, value in told.items() if key not in {"sizes", "default_size"}}

    stripped: Sections = bare(sections)
    return stripped


def granted(policy: Policy, now: datetime, request: Request = NONE) -> Iterator[tuple[Who, Entitlement]]:
    """The entitlement of everybody whose request is not refused: for a size that they may not pick, and for no more."""
    for who in EVERYBODY:
        try:
            found = resolve(policy, *who, now=now, request=request)
        except RequestError:
            assert request.size is not None
        else:
            yield who, found


CAPPED = [field for field in FIELDS if field != "cpu_period"]


@ONCE
@given(POLICIES, MOMENTS, REQUESTS)
def test_nobody_gets_more_than_the_ceiling(sections: Sections, now: datetime, request: Request) -> None:
    """Whatever the rules give and the request asks for, every field of the ceiling holds; CPUs are among its own."""
    ceiling = values_of(sections["ceiling"])
    for _, found in granted(read(sections), now, request):
        given = got(found)
        assert [field for field in ceiling if amount(field, given) > amount(field, ceiling)] == []
        if "cpuset_cpus" in ceiling:
            assert cpus_in(given["cpuset_cpus"]) <= cpus_in(ceiling["cpuset_cpus"])


@ONCE
@given(POLICIES, MOMENTS, REQUESTS)
def test_nobody_gets_more_than_their_rule(sections: Sections, now: datetime, request: Request) -> None:
    """Neither size nor request raises a field above what the rules alone give, nor swap beside memory."""
    bare = read(without_sizes(sections))
    for who, found in granted(read(sections), now, request):
        given, whole = got(found), got(resolve(bare, *who, now=now))
        assert [field for field in CAPPED if amount(field, given) > amount(field, whole)] == []
        assert given.get("cpuset_cpus") == whole.get("cpuset_cpus")
        assert swap(given) <= swap(whole)


@ONCE
@given(POLICIES, MOMENTS, REQUESTS)
def test_nobody_gets_more_than_they_asked_for(sections: Sections, now: datetime, request: Request) -> None:
    """The size, the request, and the limit of all servers together hold, each for its fields."""
    for _, found in granted(read(sections), now, request):
        given = got(found)
        lists = [request.limits, {field: one.value for field, one in found.servers.items() if field in FIELDS}]
        if found.size is not None:
            lists.append(values_of(sections["sizes"][found.size]))
            assert found.size == request.size or request.size is None
        assert [field for most in lists for field in most if amount(field, given) > amount(field, most)] == []


@ONCE
@given(POLICIES, MOMENTS)
def test_a_ceiling_only_lowers(sections: Sections, now: datetime) -> None:
    """The same file without a ceiling gives at least as much of everything."""
    defaults = fitting(dict.fromkeys(keys.REQUIRED, "unlimited") | sections["defaults"])
    uncapped = read({**sections, "ceiling": {}, "defaults": defaults})
    for who, found in granted(read({**sections, "defaults": defaults}), now):
        given, whole = got(found), got(resolve(uncapped, *who, now=now))
        assert [field for field in CAPPED if amount(field, given) > amount(field, whole)] == []


@ONCE
@given(POLICIES, MOMENTS, REQUESTS)
def test_what_is_granted_fits_together(sections: Sections, now: datetime, request: Request) -> None:
    """The engine is never asked for what it refuses, and every value is one that a file may give."""
    for _, found in granted(read(sections), now, request):
        given = got(found)
        assert all(
            amount(pair.low, given) <= amount(pair.high, given) for pair in constraints.NEVER_ABOVE if pair.low in given
        )
        assert given.get("mem_limit") is None or "memswap_limit" in given
        assert constraints.too_short(given.get("cpu_limit"), given.get("cpu_period")) is None
        assert all(FIELDS[field].read(str(value)) == value for field, value in given.items() if value is not None)
        assert list(given) == [field for field in FIELDS if field in given]


# ---- one group more


def is_over(until: str | None, now: datetime) -> bool:
    """Whether a rule that ends then counts no more."""
    return until is not None and now >= keys.read_until(until)


def gives(rule: Mapping[str, Any], now: datetime) -> set[str]:
    """The fields that a rule gives at a moment."""
    more = rule.get("temporarily", {})
    rules = [rule for rule in (rule, more) if not is_over(rule.get("until"), now)]
    return {key for rule in rules for key in rule if key in FIELDS}


def joined(sections: Sections, groups: Iterable[str], now: datetime, rule: dict[str, Any]) -> Sections:
    """The policy with a group `new`, which gives of `rule` what some other group gives."""
    others = set().union(*(gives(sections["groups"].get(name, {}), now) for name in groups))
    new = {key: text for key, text in rule.items() if key in others} | {"priority": "99"}
    return {**sections, "groups": {**sections["groups"], "new": new}}


def compared(sections: Sections, now: datetime, rule: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Field, how much without the new group, how much with it: for everybody who is in some group.

    Not the period, which is no amount; not what the ceiling, sizes and servers make of CPUs and of swap: other CPUs may
    be more of the ceiling's, and less memory of the same sum is more swap.
    """
    sections = without_sizes(sections)
    lowered = sections["ceiling"] or "servers" in json.dumps(sections)
    apart = {"cpu_period"} | ({"cpuset_cpus", "memswap_limit"} if lowered else set())
    policy = read(sections)
    for groups in filter(None, MEMBERSHIPS):
        larger = read(joined(sections, groups, now, rule))
        for user in (*NAMES, "stranger"):
            before = got(resolve(policy, user, groups, now=now))
            after = got(resolve(larger, user, (*groups, "new"), now=now))
            yield from ((field, amount(field, before), amount(field, after)) for field in FIELDS if field not in apart)


@ONCE
@given(policies("least"), MOMENTS, FIELDS_GIVEN)
def test_one_group_more_never_loosens_the_least(sections: Sections, now: datetime, rule: dict[str, Any]) -> None:
    """With `combine: least`, a group that gives what others of the user's give only ever tightens."""
    assert [row for row in compared(sections, now, rule) if row[2] > row[1]] == []


@ONCE
@given(policies("most"), MOMENTS, FIELDS_GIVEN)
def test_one_group_more_never_tightens_the_most(sections: Sections, now: datetime, rule: dict[str, Any]) -> None:
    """With `combine: most`, a group that gives what others of the user's give only ever loosens."""
    assert [row for row in compared(sections, now, rule) if row[2] < row[1]] == []


CHAIN = {"s": {"mem_limit": "64M", "cpu_limit": "0.5"}, "m": {"mem_limit": "1G", "cpu_limit": "1"}, "l": {}}
LISTS = [sizes for count in range(4) for sizes in itertools.combinations(SIZES, count)]


def largest(how: str, lists: Iterable[tuple[str, ...]]) -> float:
    """The most memory that can be had by picking among what groups list."""
    groups = {f"g{place}": {"sizes": sizes} for place, sizes in enumerate(lists)}
    defaults = dict.fromkeys(keys.REQUIRED, "unlimited")
    policy = read({"combine": how, "defaults": defaults, "groups": groups, "sizes": CHAIN})
    sizes = resolve(policy, "u", groups, now=NOON).sizes or (None,)
    found = [resolve(policy, "u", groups, now=NOON, request=Request(size=size)) for size in sizes]
    return max(amount("mem_limit", got(one)) for one in found)


def test_one_list_of_sizes_more() -> None:
    """With `least`, all that can be had with one group more could be had before; with `most` the other way round.

    All groups that there can be, up to three.
    """
    for lists in (*itertools.product(LISTS), *itertools.product(LISTS, LISTS)):
        for more in LISTS:
            assert largest("least", [*lists, more]) <= largest("least", lists)
            assert largest("most", [*lists, more]) >= largest("most", lists)


# ---- order, moments, and what is said twice


def unsigned(found: Entitlement) -> Entitlement:
    """The entitlement without the hash of the file, which differs where the text does."""
    return replace(found, policy_sha256="")


def outcomes(
    policy: Policy, now: datetime, request: Request, people: Iterable[Who] = EVERYBODY
) -> list[Entitlement | str]:
    """What everybody gets, or why they are refused."""

    def outcome(who: Who) -> Entitlement | str:
        try:
            return unsigned(resolve(policy, *who, now=now, request=request))
        except RequestError as error:
            return str(error)

    return [outcome(who) for who in people]


@ONCE
@given(POLICIES, MOMENTS, REQUESTS, st.randoms(use_true_random=False))
def test_order_never_matters(sections: Sections, now: datetime, request: Request, random: Any) -> None:
    """Neither the order of anything in the file nor that of the user's groups changes a value, a rule or a clamp."""

    def shuffled(told: Any) -> Any:
        if isinstance(told, list):
            return random.sample(told, len(told))
        if not isinstance(told, dict):
            return told
        return {key: shuffled(told[key]) for key in random.sample(list(told), len(told))}

    others = [(user, tuple(random.sample(groups, len(groups)))) for user, groups in EVERYBODY]
    usual = outcomes(read(sections), now, request)
    assert outcomes(read(shuffled(sections)), now, request, others) == usual


@ONCE
@given(POLICIES, MOMENTS, REQUESTS)
def test_the_same_question_has_the_same_answer(sections: Sections, now: datetime, request: Request) -> None:
    """Of the same policy or the same file read again; a group that is named twice, or has no rule, changes nothing."""
    policy = read(sections)
    first = outcomes(policy, now, request)
    assert outcomes(policy, now, request) == first
    assert outcomes(read(sections), now, request) == first
    more = [(user, (*groups, *groups, "unknown")) for user, groups in EVERYBODY]
    assert outcomes(policy, now, request, more) == first


def unexpired(sections: Sections, now: datetime) -> Sections:
    """The policy as it would be written had nothing of it ended."""

    def kept(rule: dict[str, Any]) -> dict[str, Any]:
        alive = (
            rule
            if not is_over(rule.get("until"), now)
            else {key: rule[key] for key in ("temporarily", "priority") if key in rule}
        )
        over = is_over(alive.get("temporarily", {}).get("until"), now)
        return {key: value for key, value in alive.items() if not (over and key == "temporarily")}

    cleaned = {
        section: {name: kept(rule) for name, rule in sections[section].items()} for section in ("groups", "users")
    }
    return {**sections, **cleaned}


@ONCE
@given(POLICIES, MOMENTS, REQUESTS)
def test_an_expired_rule_is_as_good_as_none(sections: Sections, now: datetime, request: Request) -> None:
    """What has ended needs no clean-up: the file without it gives the same."""
    assert outcomes(read(unexpired(sections, now)), now, request) == outcomes(read(sections), now, request)


@ONCE
@given(POLICIES, MOMENTS, REQUESTS)
def test_every_file_that_is_accepted_resolves_for_everybody(
    sections: Sections, now: datetime, request: Request
) -> None:
    """Whoever asks and when: nothing is raised without a request, and with one nothing but that it can't be had."""
    policy = read(sections)
    people = [(user, groups) for user in (*NAMES, "", "A", "u\u0308") for groups in (*MEMBERSHIPS, ("unknown", ""))]
    assert all(isinstance(found, Entitlement) for found in outcomes(policy, now, NONE, people))
    outcomes(policy, now, request, people)


# ---- text → value → text


def numbers(field: Any) -> st.SearchStrategy[Any]:
    """Values of a field, from its least to its greatest and about them."""
    floats = st.floats(min_value=field.minimum or 0.01, max_value=field.maximum or 8192)
    if field.unit in {"cores", "factor"}:
        return floats
    return st.integers(min_value=field.minimum or 0, max_value=field.maximum or (1 << 63) - 1)


CPUS = st.sets(st.integers(0, 8191), min_size=1, max_size=20).map(lambda cpus: ",".join(map(str, cpus)))
TABLES = {**FIELDS, **keys.SERVERS, **keys.HOST, "priority": keys.PRIORITY}


@ONCE
@given(st.data(), st.sampled_from(list(TABLES)))
def test_a_value_is_read_from_its_own_text(data: Any, name: str) -> None:
    """Text to value to text to value is the same value of the same type, to the last digit."""
    field = TABLES[name]
    value = field.read(data.draw(CPUS)) if name == "cpuset_cpus" else data.draw(numbers(field))
    again = field.read(str(value))
    assert (again, type(again)) == (value, type(value))


@ONCE
@given(st.integers(0, 10**19), st.integers(0, 10**18), st.sampled_from(["", "k", "M", "Gi", "TB", "B"]))
def test_a_size_however_it_is_written_is_read_from_its_bytes(whole: int, part: int, unit: str) -> None:
    """Fractions and units are settled once: the bytes that they come to are themselves a text of the same value."""
    for text in (f"{whole}{unit}", f"{whole}.{part}{unit}"):
        try:
            value = FIELDS["mem_limit"].read(text)
        except ValueError:
            continue
        assert FIELDS["mem_limit"].read(str(value)) == value


@ONCE
@given(st.datetimes(timezones=st.just(UTC), max_value=datetime(9999, 12, 30)), st.integers(-23 * 60, 23 * 60))  # noqa: DTZ001
def test_a_moment_is_read_from_its_own_text(moment: datetime, offset: int) -> None:
    """To the second, in whatever zone it was written."""
    moment = moment.replace(microsecond=0)
    assert keys.read_until(moment.isoformat()) == moment
    if moment.year not in {1, 9999}:
        hours, minutes = divmod(abs(offset), 60)
        local = (moment + timedelta(minutes=offset)).replace(tzinfo=None).isoformat()
        assert keys.read_until(f"{local}{'-' if offset < 0 else '+'}{hours:02}:{minutes:02}") == moment


def written(rule: Rule) -> dict[str, Any]:
    """A rule's values as the texts that an administrator would write."""
    told: dict[str, Any] = {}
    for key, setting in rule.values.items():
        place = told.setdefault("servers", {}) if key.startswith(keys.SERVERS_PREFIX) else told
        value = setting.value
        name = key.removeprefix(keys.SERVERS_PREFIX)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        place[name] = list(value) if isinstance(value, tuple) else "unlimited" if value is None else text
    more = {
        "until": rule.until and rule.until.isoformat(),
        "priority": None if rule.priority is None else str(rule.priority),
        "temporarily": rule.temporarily and written(rule.temporarily),
    }
    return told | {key: value for key, value in more.items() if value is not None}


def rewritten(policy: Policy) -> Sections:
    """The policy's values as texts."""
    told: Sections = {
        section: {name: written(rule) for name, rule in getattr(policy, section).items()}
        for section in ("groups", "users", "sizes")
    }
    told |= {section: written(getattr(policy, section)) for section in ("defaults", "ceiling")}
    told |= {"best_effort": sorted(policy.best_effort), "auto_apply": str(policy.auto_apply).lower()}
    if policy.host is not None:
        overcommit = {"memory_overcommit": policy.host.memory_overcommit, "cpu_overcommit": policy.host.cpu_overcommit}
        reserve = {"reserve_memory": policy.host.reserve_memory, "reserve_cpus": policy.host.reserve_cpus}
        told["host"] = {key: "unlimited" if value is None else str(value) for key, value in overcommit.items()}
        told["host"] |= {key: str(value) for key, value in reserve.items() if value}
        if policy.host.reserve_processes is not None:
            told["host"]["reserve_processes"] = str(policy.host.reserve_processes)
    return told | {key: getattr(policy, key) for key in ("combine", "contact") if getattr(policy, key) is not None}


@ONCE
@given(POLICIES)
def test_a_policy_is_read_from_its_own_values(sections: Sections) -> None:
    """Written as texts and read again, every value of a whole policy is the same."""
    policy = read(sections)
    again = read(rewritten(policy))
    assert rewritten(again) == rewritten(policy)
    assert (again.host, again.best_effort, again.combine) == (policy.host, policy.best_effort, policy.combine)
    assert places(again, lambda rule: (rule.name, rule.until)) == places(policy, lambda rule: (rule.name, rule.until))


def places(policy: Policy, told: Callable[[Rule], object]) -> dict[tuple[str, str], object]:
    """What is told of each rule."""
    rules = {("users", key): rule for key, rule in policy.users.items()}
    rules |= {("groups", key): rule for key, rule in policy.groups.items()}
    rules |= {(*path, "temporarily"): rule.temporarily for path, rule in rules.items() if rule.temporarily}  # type: ignore[misc]
    return {path: (told(rule), {key: one.value for key, one in rule.values.items()}) for path, rule in rules.items()}


@ONCE
@given(POLICIES, MOMENTS, REQUESTS, st.text())
def test_an_entitlement_survives_its_label(sections: Sections, now: datetime, request: Request, server: str) -> None:
    """With servers, sizes, ends and all: JSON on one line of ASCII, and back the same to the last digit."""
    for _, found in granted(read(sections), now, request):
        text = replace(found, server=server).to_json()
        assert Entitlement.from_json(text) == replace(found, server=server)
        assert text.isascii()
        assert "\n" not in text
