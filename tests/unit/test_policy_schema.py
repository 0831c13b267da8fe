"""The JSON Schema says what the parser says, as far as a schema can; each key is in it and in the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from docs.generate import SCHEMA, schema_text
from spawner_limits.errors import PolicyError
from spawner_limits.limits import FIELDS
from spawner_limits.policy import keys
from spawner_limits.policy.parse import parse
from spawner_limits.policy.schema import schema

ROOT = Path(__file__).parents[2]
VALIDATOR = jsonschema.Draft202012Validator(schema())
DEFAULTS = "defaults: {mem_limit: 1G, cpu_limit: 1, pids_limit: 100}\n"

GOOD = {
    "the example": (ROOT / "limits.yaml").read_text(),
    "every field": "version: 1\ndefaults: {mem_limit: 1G, memswap_limit: 2GiB, mem_swappiness: 10, "
    "mem_guarantee: 512m, cpu_limit: .5, cpu_guarantee: 0.25, "
    "cpu_period: 50000, cpu_shares: 512, cpuset_cpus: 0-3, pids_limit: 100}\n",
    "unlimited": "version: 1\ndefaults: {mem_limit: unlimited, cpu_limit: unlimited, pids_limit: unlimited}\n",
    "by the ceiling": "version: 1\ndefaults: {}\nceiling: {mem_limit: 1073741824, cpu_limit: 2, pids_limit: '100'}\n",
    "sizes": f"version: 1\n{DEFAULTS}sizes: {{s: {{mem_limit: 1G}}}}\n"
    "users: {ann: {sizes: [s], default_size: s, servers: {count: 2, mem_limit: 2G, cpu_limit: 1}}}\n",
    "for a time": f"version: 1\n{DEFAULTS}users: {{ann: {{until: '2026-12-31', "
    "temporarily: {mem_limit: 2G, until: '2026-12-31T18:00+01:00'}}}\n",
    "the rest": f"version: '1'\n{DEFAULTS}contact: a@b\ncombine: first\nbest_effort: [cpu_guarantee]\n"
    "auto_apply: true\nhost: {reserve_memory: 1G, reserve_cpus: 0.5, reserve_processes: 1000, "
    "memory_overcommit: 1.5, cpu_overcommit: unlimited}\n"
    "groups: {a: {priority: 1, thread_hints: true}}\n",
}
BAD = {
    "no version": DEFAULTS,
    "another version": f"version: 2\n{DEFAULTS}",
    "no defaults": "version: 1\n",
    "a required field missing": "version: 1\ndefaults: {mem_limit: 1G, cpu_limit: 1}\n",
    "a misspelt section": f"version: 1\n{DEFAULTS}user: {{}}\n",
    "a misspelt key": f"version: 1\n{DEFAULTS}users: {{ann: {{mem_limt: 1G}}}}\n",
    "a list for a rule": f"version: 1\n{DEFAULTS}users: {{ann: [1]}}\n",
    "nothing for a rule": f"version: 1\n{DEFAULTS}users: {{ann: }}\n",
    "no size": f"version: 1\n{DEFAULTS}users: {{ann: {{mem_limit: much}}}}\n",
    "too little": f"version: 1\n{DEFAULTS}users: {{ann: {{mem_limit: 5}}}}\n",
    "minus one": f"version: 1\n{DEFAULTS}users: {{ann: {{pids_limit: -1}}}}\n",
    "no half processes": f"version: 1\n{DEFAULTS}users: {{ann: {{pids_limit: 1.5}}}}\n",
    "unlimited where it means nothing": f"version: 1\n{DEFAULTS}users: {{ann: {{cpu_shares: unlimited}}}}\n",
    "until in defaults": "version: 1\ndefaults: {mem_limit: 1G, cpu_limit: 1, pids_limit: 1, until: '2026-01-01'}\n",
    "a time without a zone": f"version: 1\n{DEFAULTS}users: {{ann: {{until: '2026-01-01T10:00'}}}}\n",
    "temporarily for ever": f"version: 1\n{DEFAULTS}users: {{ann: {{temporarily: {{mem_limit: 1G}}}}}}\n",
    "a user's priority": f"version: 1\n{DEFAULTS}users: {{ann: {{priority: 1}}}}\n",
    "a period in the ceiling": f"version: 1\n{DEFAULTS}ceiling: {{cpu_period: 1000}}\n",
    "shares in a size": f"version: 1\n{DEFAULTS}sizes: {{s: {{cpu_shares: 10}}}}\n",
    "a size twice": f"version: 1\n{DEFAULTS}sizes: {{s: {{}}}}\nusers: {{ann: {{sizes: [s, s]}}}}\n",
    "an unknown way to combine": f"version: 1\n{DEFAULTS}combine: max\n",
    "an unknown field": f"version: 1\n{DEFAULTS}best_effort: [memory]\n",
    "yes": f"version: 1\n{DEFAULTS}auto_apply: 'yes'\n",
    "hints with yes": f"version: 1\n{DEFAULTS}users: {{ann: {{thread_hints: 'yes'}}}}\n",
    "hints at the top": f"version: 1\n{DEFAULTS}thread_hints: true\n",
    "half a process": f"version: 1\n{DEFAULTS}host: {{reserve_processes: 0.5}}\n",
    "an empty contact": f"version: 1\n{DEFAULTS}contact: ''\n",
    "a factor of 0": f"version: 1\n{DEFAULTS}host: {{cpu_overcommit: 0}}\n",
}


def accepts(text):
    """Whether the schema takes it. What YAML reads as a date is a text to editors."""
    return VALIDATOR.is_valid(yaml.load(text, yaml.SafeLoader))


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_what_the_parser_takes_the_schema_takes(text):
    """An editor marks nothing that is right."""
    parse(text.encode(), "limits.yaml")
    assert accepts(text), [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_the_schema_refuses_the_parser_refuses(text):
    """An editor marks it, and so does `check`."""
    assert not accepts(text)
    with pytest.raises(PolicyError):
        parse(text.encode(), "limits.yaml")


def test_the_schema_is_published_as_it_is():
    """`python docs/generate.py` would change nothing, and the example policy points at the file."""
    assert SCHEMA.read_text(encoding="utf-8") == schema_text()
    assert f"# yaml-language-server: $schema=docs/{SCHEMA.name}" == (ROOT / "limits.yaml").read_text().splitlines()[0]
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))


def test_each_key_is_told():
    """Sections, fields and the other keys of rules, in the reference; and who may give what."""
    group = keys.RULES["groups"].keys
    assert [*schema()["properties"]] == [*keys.SECTIONS]
    assert [*schema()["$defs"]["group"]["properties"]] == [*group]
    assert [name for name in group if name not in keys.RULES["users"].keys] == ["priority"]
    assert [name for name in group if name not in keys.RULES["defaults"].keys] == ["until", "temporarily", "priority"]
    assert [*keys.RULES["ceiling"].keys] == [*keys.CAPPED]
    assert [*keys.RULES["sizes"].keys] == [*keys.REQUESTABLE]
    reference = (ROOT / "docs" / "policy.md").read_text()
    told = [name for table in (keys.SECTIONS, group) for name, _ in keys.described(table)]
    assert {"host.reserve_cpus", "servers.count", "combine", *FIELDS} < set(told)
    for name in told:
        assert re.search(rf"^\| `{re.escape(name)}` \|", reference, flags=re.MULTILINE), name
