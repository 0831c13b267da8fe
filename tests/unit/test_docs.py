"""The documentation says what the code does: tables, examples, options, keys, exit codes, links."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
import sys
from pathlib import Path

import pytest

import spawner_limits
from docs.generate import generated
from spawner_limits import interrupt
from spawner_limits.cli.main import VERBS, Verb
from spawner_limits.engines import docker, kube, swarm
from spawner_limits.errors import LimitsError, PolicyError
from spawner_limits.limits import FIELDS
from spawner_limits.policy.keys import SECTIONS
from spawner_limits.policy.parse import load, parse
from spawner_limits.proof.evidence import Outcome
from tests.conftest import committed

ROOT = Path(__file__).parents[2]
COMMANDS = {name: Verb(name, *verb).load() for name, verb in VERBS.items()}


def text(path):
    return path.read_text(encoding="utf-8")


def named(paths):
    """Cases by their path in the project."""
    return {str(path.relative_to(ROOT)): path for path in sorted(paths)}


DOCS = named((ROOT / "docs").glob("*.md"))
PAGES = named(path for path in committed() if path.suffix == ".md")


def blocks(page, *languages):
    """The code blocks of a page, of these languages; "" is none."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text(page), flags=re.MULTILINE | re.DOTALL)
    return [block for language, block in fenced if language in languages]


def words(page):
    """What a page has as code between its lines: `this`."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text(page), flags=re.MULTILINE | re.DOTALL))


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", DOCS.values(), ids=DOCS)
def test_tables_are_made_from_the_code(page):
    """`python docs/generate.py` would change nothing."""
    assert generated(text(page)) == text(page)


def test_tables_are_there():
    """Every field has its row in each engine's table, and all tables are marked, so that the test above sees them."""
    policy = text(ROOT / "docs" / "policy.md")
    tables = ["sections", "fields", "rules", "docker", "swarm", "kube"]
    assert re.findall(r"<!-- table: (\w+) -->", policy) == tables
    rows = re.findall(r"^\| `(\w+)` \|", policy[policy.index("table: docker") :], flags=re.MULTILINE)
    assert rows == [row.field for engine in (docker, swarm, kube) for row in engine.TABLE]


# -- the policy --------------------------------------------------------------------------------------------------------

EXAMPLES = {
    f"{name} {number}": block for name, page in PAGES.items() for number, block in enumerate(blocks(page, "yaml"), 1)
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_policies_in_the_docs_are_valid(example):
    """Each YAML example can be copied into limits.yaml and used."""
    parse(example.encode(), "limits.yaml")


def test_there_is_an_example():
    """The page on the policy has one."""
    assert "docs/policy.md 1" in EXAMPLES


def test_the_policy_that_comes_with_the_project():
    """limits.yaml is valid, and gives the demo's users what they are shown with."""
    policy = load(ROOT / "limits.yaml")
    users = {name: {field: one.value for field, one in rule.values.items()} for name, rule in policy.users.items()}
    assert users["alice"] == {"mem_limit": 1 << 30, "cpu_limit": 0.5}
    assert users["carol"] == {"mem_limit": 3 << 29, "cpu_limit": 1.0, "cpu_shares": 2048}
    students = {field: one.value for field, one in policy.groups["students"].values.items()}
    assert students == {"mem_limit": 768 << 20, "cpu_limit": 0.75, "pids_limit": 256}


def test_two_busy_cores_suffice_for_the_demonstration():
    """Nobody is given more CPU than half of such a machine: other work on it leaves that much to press with."""
    policy = load(ROOT / "limits.yaml")
    rules = (policy.defaults, *policy.groups.values(), *policy.users.values())
    assert max(rule.values["cpu_limit"].value for rule in rules) <= 2 / 2


@pytest.mark.parametrize("key", [*SECTIONS, *FIELDS])
def test_every_key_of_the_policy_is_documented(key):
    """docs/policy.md names it: in the example, or in the table."""
    page = ROOT / "docs" / "policy.md"
    assert key in words(page) or re.search(rf"^ *{key}:", "".join(blocks(page, "yaml")), flags=re.MULTILINE)


def test_the_message_in_the_docs_is_a_real_one():
    """The mistake that docs/policy.md shows is told in exactly these words."""
    (shown,) = (one.strip() for one in blocks(ROOT / "docs" / "policy.md", "") if one.startswith("limits.yaml:"))
    with pytest.raises(PolicyError) as caught:
        parse(
            b"version: 1\ndefaults: {mem_limit: 1G, cpu_limit: 1, pids_limit: 100}" + b"\n" * 8 + b"groups:\n"
            b"  research:\n    mem_limt: 1G\n",
            "limits.yaml",
        )
    assert str(caught.value) == shown


# -- the command -------------------------------------------------------------------------------------------------------

LINES = [
    line.partition("  #")[0].strip()
    for page in PAGES.values()
    for block in blocks(page, "", "sh", "bash", "console")
    for line in block.splitlines()
    if line.startswith("spawner-limits ")
]
NAMED = sorted(
    {
        word.split()[0]
        for page in (ROOT / "README.md", *DOCS.values())
        for word in words(page)
        if word.startswith("--") and word != "--"
    }
)
OPTIONS = {
    verb: [name for one in command.params for name in one.opts if name.startswith("--")]
    for verb, command in COMMANDS.items()
}


@pytest.mark.parametrize("line", LINES)
def test_commands_in_the_docs_are_understood(line):
    """Each command line that the docs show is one that the command takes."""
    verb, *arguments = shlex.split(line)[1:]
    with COMMANDS[verb].make_context(verb, arguments) as context:
        assert context.params


def test_there_are_commands():
    """The page on `verify` shows some."""
    assert len(LINES) >= 3


@pytest.mark.parametrize("option", NAMED)
def test_options_in_the_docs_exist(option):
    """An option that the README or a page of docs/ names is one that some verb has."""
    assert option in {"--version", *(name for names in OPTIONS.values() for name in names)}


@pytest.mark.parametrize(("verb", "option"), [(verb, name) for verb, names in OPTIONS.items() for name in names])
def test_every_option_is_documented(verb, option):
    """The verb's page names it, or the one on all smaller commands."""
    page = ROOT / "docs" / f"{verb}.md"
    assert re.search(rf"{option}(?![\w-])", text(page if page.exists() else page.with_name("commands.md")))


TARGETS = re.findall(r"^([\w-]+):", text(ROOT / "Makefile"), flags=re.MULTILINE)


@pytest.mark.parametrize(
    "target", sorted({word.split()[1] for page in PAGES.values() for word in words(page) if re.match(r"make \w", word)})
)
def test_make_targets_in_the_docs_exist(target):
    """What the docs tell to `make`, the Makefile makes."""
    assert target in TARGETS


# -- exit codes --------------------------------------------------------------------------------------------------------


def errors():
    """Every error that ends the command."""
    for module in pkgutil.walk_packages(spawner_limits.__path__, "spawner_limits."):
        importlib.import_module(module.name)
    found = [LimitsError]
    for error in found:
        found += error.__subclasses__()
    return found


def exit_codes():
    """The table in docs/verify.md: code → meaning."""
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", text(ROOT / "docs" / "verify.md"), flags=re.MULTILINE)
    return {int(code): meaning for code, meaning in rows}


def test_exit_codes():
    """Each code that the command can end with has its row, and there are no other rows."""
    ours = {error.exit_code for error in errors()} | {interrupt.EXIT_CODE, 0, 1, 3}
    assert set(exit_codes()) == ours == {0, 1, 2, 3, 4, 130}


MEANINGS = {0: Outcome.HELD, 1: Outcome.BROKEN, 2: "usage", 3: Outcome.UNKNOWN, 4: "engine", 130: "interrupted"}


@pytest.mark.parametrize(("code", "word"), MEANINGS.items())
def test_exit_codes_mean_what_they_say(code, word):
    """The row of each code names what it is for."""
    assert word in exit_codes()[code]


def test_exit_codes_of_the_build():
    """docker/README.md has the codes as the script's head has them."""
    (head,) = re.findall(r"^# (Exit codes: .*)$", text(ROOT / "docker" / "build.sh"), flags=re.MULTILINE)
    assert head in text(ROOT / "docker" / "README.md")


# -- links, and what has no place in the project -----------------------------------------------------------------------


def anchors(page):
    """The anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", text(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_relative_links_resolve(page):
    """A link leads to a file of the project, and to a heading that the file has."""
    links = re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]+))?\)", text(page))
    targets = [((page.parent / path).resolve() if path else page, anchor) for path, anchor in links]
    assert [str(target) for target, _ in targets if not target.exists()] == []
    assert [anchor for target, anchor in targets if anchor and anchor not in anchors(target)] == []


# in parts, since this file too must name none
HOSTS = (
    *(("pypi", "org"), ("pythonhosted", "org"), ("deb", "debian", "org"), ("security", "debian", "org")),
    *(("docker", "io/"), ("ghcr", "io"), ("quay", "io"), ("gcr", "io")),
)
# a home directory, or where this checkout is; `/tmp` itself is in every container
PATH = rf"(?<![\w.~}}*/-])(?:/root/[\w.]|/tmp/(?:pytest-|tmp\.)|{re.escape(str(ROOT))}\b)"
HOST = "|".join(r"\b" + r"\.".join(parts) for parts in HOSTS)
FOREIGN = {"a path of the machine it was written on": PATH, "a registry or a mirror": HOST}


@pytest.mark.parametrize("pattern", FOREIGN.values(), ids=FOREIGN)
def test_nothing_names_a_machine_or_a_registry(pattern):
    """No file of the project names a place that only somebody's machine or network has."""
    found, files = [], list(committed())
    assert Path(__file__) in files
    for path in files:
        data = path.read_bytes()
        lines = [] if b"\0" in data else data.decode().splitlines()
        name = path.relative_to(ROOT)
        found += [f"{name}:{number}: {line[:80]}" for number, line in enumerate(lines, 1) if re.search(pattern, line)]
    assert found == []


KNOWN = {
    f"see {ROOT}/x": True,
    f"'{Path('/root')}/.cache'": True,
    f"https://{'.'.join(HOSTS[2])}/debian": True,
    f"{'.'.join(HOSTS[4])}library/debian": True,
    "~/work/mnist.ipynb": False,
    "/home/jovyan/work/x": False,
    "{HOME}/work/x": False,
    "rm -rf /tmp/*": False,
    "--output /tmp/mnist.ipynb": False,
    "Debian's docker.io package": False,
}


@pytest.mark.parametrize(("line", "foreign"), KNOWN.items())
def test_how_a_machine_and_a_registry_are_known(line, foreign):
    """Paths in a container are no machine's, and Debian's package of Docker is no registry."""
    assert any(re.search(pattern, line) for pattern in FOREIGN.values()) is foreign


def test_python_is_the_one_promised():
    """The README's Python is the one that the tests run on, or an older one."""
    (least,) = re.findall(r'^requires-python = ">=(\d+)\.(\d+)"$', text(ROOT / "pyproject.toml"), flags=re.MULTILINE)
    assert tuple(map(int, least)) <= sys.version_info[:2]
