"""Mistakes that show only when the whole file has been read: names that do not meet, and what it leaves undecided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from spawner_limits.limits import FIELDS
from spawner_limits.policy import keys, messages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spawner_limits.policy.model import Rule, Setting
    from spawner_limits.policy.yaml_tree import Path

    Place: TypeAlias = tuple[int, int]
    """line and column"""
    Mistake: TypeAlias = tuple[int, int, Path, str]
    Source: TypeAlias = tuple[str, Setting]


def mistakes(found: Mapping[str, Any], places: Mapping[Path, Place], blamed: frozenset[str]) -> Iterator[Mistake]:
    """Line, column, path and message of each.

    `places`: of the file's content, `()`, of `defaults`, of each group by its key, and of its `priority`. `blamed`: the
    paths that have a mistake already, of which nothing more is said.
    """
    groups: Mapping[str, Rule] = found.get("groups") or {}
    yield from _undecided(found, places, blamed)
    if found.get("combine") == "first":
        yield from _priorities(groups, places, blamed)
    elif "combine" not in found:
        yield from _differing(groups)
    if "sizes" in blamed:
        return
    sizes = found.get("sizes", {})
    for path, rule in _rules(found):
        for key in ("sizes", "default_size"):
            if key in rule.values:
                yield from _sizes(key, rule, (*path, key), sizes)


def _undecided(found: Mapping[str, Any], places: Mapping[Path, Place], blamed: frozenset[str]) -> Iterator[Mistake]:
    sections = ("defaults", "ceiling")
    if not blamed.isdisjoint(sections):
        return
    given = {key for name in sections if name in found for key in found[name].values}
    tried = {path.partition(".")[2] for path in blamed if path.startswith(tuple(f"{name}." for name in sections))}
    for field in keys.REQUIRED:
        if field not in given | tried:
            message = f"missing, so that who has no other rule would have no limit; {FIELDS[field].expected}"
            yield (*places.get(("defaults",), places[()]), ("defaults", field), message)


def _priorities(groups: Mapping[str, Rule], places: Mapping[Path, Place], blamed: frozenset[str]) -> Iterator[Mistake]:
    seen: dict[int, str] = {}
    for key, rule in groups.items():
        path = ("groups", key, "priority")
        line, column = places.get(path, places[path[:2]])
        if messages.dotted(path) in blamed:
            continue
        if rule.priority is None:
            message = f'missing, and "combine: first" needs one for each group; {keys.PRIORITY.expected}'
            yield line, column, path, message
        elif rule.priority in seen:
            other = seen[rule.priority]
            where = f"group {messages.shown(other)} (line {places['groups', other, 'priority'][0]})"
            yield line, column, path, f'found "{rule.priority}", as {where}; expected a number of its own'
        else:
            seen[rule.priority] = key


def _differing(groups: Mapping[str, Rule]) -> Iterator[Mistake]:
    """One mistake where two groups give the same key differently, and nothing says which of them counts."""
    seen: dict[str, dict[object, Source]] = {}
    for name, rule in groups.items():
        for key, setting in _all_given(rule):
            if key in keys.FLAGS:  # off is off, in whatever way values are combined
                continue
            known = seen.setdefault(key, {})
            given = frozenset(setting.value) if isinstance(setting.value, tuple) else setting.value
            other = next((one for value, one in known.items() if value != given and one[0] != name), None)
            if other is not None:
                message = (
                    f"missing, and it matters: groups {messages.shown(other[0])} (line {other[1].line}) and "
                    f"{messages.shown(name)} give {key} differently; expected one of {', '.join(keys.COMBINE)}"
                )
                yield setting.line, setting.column, ("combine",), message
                return
            known.setdefault(given, (name, setting))


def _all_given(rule: Rule) -> Iterator[tuple[str, Setting]]:
    yield from rule.values.items()
    if rule.temporarily is not None:
        yield from rule.temporarily.values.items()


def _rules(found: Mapping[str, Any]) -> Iterator[tuple[Path, Rule]]:
    if found.get("defaults") is not None:
        yield ("defaults",), found["defaults"]
    for section in ("groups", "users"):
        for key, rule in (found.get(section) or {}).items():
            yield (section, key), rule
            if rule.temporarily is not None:
                yield (section, key, "temporarily"), rule.temporarily


def _sizes(key: str, rule: Rule, path: Path, sizes: Mapping[str, Rule]) -> Iterator[Mistake]:
    setting = rule.values[key]
    names = (setting.value,) if key == "default_size" else setting.value
    unknown = [name for name in names if name not in sizes]
    for name in unknown:
        known = messages.nearest(name, tuple(sizes)) if sizes else 'there is no size; expected some below "sizes"'
        yield setting.line, setting.column, path, f"found {messages.shown(name)}; {known}"
    listed = rule.values.get("sizes")
    if key == "default_size" and not unknown and listed is not None and setting.value not in listed.value:
        expected = messages.one_of(listed.value) if listed.value else "expected none, as there is none to pick"
        message = f"found {messages.shown(names[0])}, which is not among this rule's sizes; {expected}"
        yield setting.line, setting.column, path, message
