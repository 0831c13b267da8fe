"""What the fuzzers start from: valid and odd policies and requests that together have every key. Texts only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spawner_limits.limits import FIELDS
from spawner_limits.policy import keys

ROOT = Path(__file__).parents[2]

EVERYTHING = """\
version: 1
contact: "hub@example.org, room 12"
combine: most
best_effort: [cpu_guarantee, mem_swappiness]
auto_apply: true
host:
  reserve_memory: 2G
  reserve_cpus: 0.5
  reserve_processes: 1000
  memory_overcommit: 1.5
  cpu_overcommit: unlimited
ceiling:
  mem_limit: 64G
  memswap_limit: 80G
  mem_swappiness: 60
  mem_guarantee: 1G
  cpu_limit: 16
  cpu_guarantee: 2
  cpu_shares: 4096
  cpuset_cpus: 0-7
  pids_limit: 4096
  servers: {count: 10, mem_limit: 100G, cpu_limit: 20}
sizes:
  small: {mem_limit: 512M, cpu_limit: 0.5, pids_limit: 100}
  large: {mem_limit: 4G, cpu_limit: 2}
  all: {}
defaults:
  mem_limit: 2G
  cpu_limit: 0.5
  pids_limit: 256
  servers: {count: 2}
  sizes: [small]
  default_size: small
  thread_hints: true
groups:
  students:
    thread_hints: false
    mem_limit: 3G
    memswap_limit: 4G
    sizes: [small, large]
    default_size: large
    until: 2030-12-31
    priority: 10
  "the staff":
    mem_limit: unlimited
    cpu_limit: unlimited
    cpuset_cpus: 2,4-6
    mem_swappiness: 0
    servers: {count: unlimited, mem_limit: unlimited, cpu_limit: unlimited}
    sizes: []
    priority: 20
    temporarily: {cpu_limit: 4, until: 2030-01-02T03:04+01:00, servers: {count: 5}, thread_hints: "true"}
  none: {priority: 0}
users:
  alice:
    mem_guarantee: 256M
    cpu_guarantee: 0.1
    cpu_period: 50000
    cpu_shares: 2048
    pids_limit: unlimited
    temporarily:
      mem_limit: 8G
      memswap_limit: unlimited
      sizes: [all, large]
      until: 2030-12-31T18:00:30Z
  Bob: {until: 9999-12-30, cpu_limit: 0.01, pids_limit: 1, mem_limit: 6291456}
  "no": {}
"""

# a ceiling takes no `servers`; the text above stays as one that has a mistake
WHOLE = EVERYTHING.replace("  servers: {count: 10, mem_limit: 100G, cpu_limit: 20}\n", "")
LEAST = 'version: "1"\ndefaults: {}\nceiling: {mem_limit: 1.5GiB, cpu_limit: .5, pids_limit: 4194304}\n'
ODD = (
    "",
    "\ufeffversion: 1\r\ndefaults:\r\n\tmem_limit: 1G\r\n",
    "--- {version: 1, defaults: {mem_limit: 1G, cpu_limit: 1, pids_limit: 256}}\n...\n---\nanother\n",
    "version: &a 1\ndefaults: *a\n<<: {x: !!int 1}\n? [a, b]\n: |\n  text\n",
    "- - - - - 1\n",
    'version: 1\nversion: 1\nusers: {é: {mem_limt: "1G"}, e\u0301: ~, "a.b": [1]}\n',
)

POLICIES = (
    (ROOT / "limits.yaml").read_text(encoding="utf-8"),
    EVERYTHING,
    WHOLE,
    WHOLE.replace("combine: most", "combine: least"),
    WHOLE.replace("combine: most", "combine: first"),
    LEAST,
    *ODD,
)
"""texts of policies: five that are valid, and some that are not"""

VALUES = (
    *("0", "-1", "1", "0.01", "1e3", "1_000", "0x10", "999999999999999999999", "unlimited", "null", "~", "true"),
    *("6M", "1.5G", "1GiB", "0.5", "0-3,5", "0-9999", "4194304", "2026-12-31", "2026-12-31T18:00+01:00", "0001-01-01"),
    *("9999-12-31", "9999-12-31T23:59-23:59", "nan", "inf", "{}", "[]", "[small, large]", "most", "least", "first"),
    *(
        "alice",
        "students",
        "small",
        '"\\u0000"',
        "&a",
        "*a",
        "!!str",
        "|",
        ">",
        "#",
        "\t",
        "\u2028",
        "\ufeff",
        "\U0001f600",
    ),
)
NOT_UTF8 = (b"version: 1\ncontact: \xe9\n", b"\xef\xbb\xbfversion\xff: 1\n", b"\xef\xbb", b"\xff\xfev\0")
"""some with a byte order mark"""

_SIZES = ("0", "6M", "6291456", "512M", "1.5G", "1GiB", "3G", "64G", "999999999999T", "unlimited")
_CORES = ("0", "0.01", "0.1", "0.5", "1", "1.25", "7", "8192", "99999999999", "unlimited")
_COUNTS = ("0", "1", "2", "100", "1000", "1000000", "4194304", "unlimited")
_MOMENTS = ("0001-01-01", "2026-02-30", "2029-06-01T00:00Z", "9999-12-30", "9999-12-31", "9999-12-31T23:59-23:59")
_NAMES = ("[]", "[small]", "[large, small]", "[all, small, large]")
VALUES_OF = {
    **dict.fromkeys(("mem_limit", "memswap_limit", "mem_guarantee", "reserve_memory"), _SIZES),
    **dict.fromkeys(("cpu_limit", "cpu_guarantee", "reserve_cpus", "memory_overcommit", "cpu_overcommit"), _CORES),
    **dict.fromkeys(("mem_swappiness", "cpu_period", "cpu_shares", "pids_limit", "count", "priority"), _COUNTS),
    "reserve_processes": _COUNTS,
    "cpuset_cpus": ("0", "0-3", "2,4-6", "8191", "7,0-1", "unlimited"),
    "until": _MOMENTS,
    "sizes": _NAMES,
    "default_size": ("small", "large", "all"),
    "size": ("small", "large", "all", "none"),
    "combine": tuple(keys.COMBINE),
    "servers": ("{count: 1}", "{mem_limit: 1G, cpu_limit: 0.5}", "{}"),
    "temporarily": ("{until: 2030-01-01}", "{until: 2028-01-01, mem_limit: 1G}"),
    **dict.fromkeys(("thread_hints", "auto_apply"), ("true", "false")),
    "version": ("1",),
}
"""key → what it takes"""
KEYS = (*keys.SECTIONS, *keys.RULES["groups"].keys, *FIELDS, *keys.HOST, *keys.SERVERS)
WORDS = tuple(dict.fromkeys((*VALUES, *(f"{key}: " for key in KEYS), *KEYS)))
"""what a policy is made of"""

OPTIONS: tuple[dict[str, Any], ...] = (
    {"size": ["large"], "mem_limit": ["1G"], "cpu_limit": 1.5, "pids_limit": "100", "image": "other"},
    {},
    {"size": "small"},
    {"mem_limit": "unlimited", "cpu_limit": 2.0, "pids_limit": 10**30, "size": None},
    {"mem_limt": "1G"},
    {"cpu_limit": True, "size": {"a": 1}},
    {"mem_limit": float("inf"), "cpu_limit": float("nan")},
    {"": 1, " MEM_LIMIT ": 1, "gpu_limit": 1},
)
REQUESTS = ('["mem_limit", "1G"]', '"small"', "null", *(json.dumps(options, indent=0) for options in OPTIONS))
"""`user_options` as JupyterHub's REST API gets them"""
