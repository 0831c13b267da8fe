"""Write the tables and the schema in docs/, made from the code. `python docs/generate.py`; a test holds them true."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits.conformance.cases import CASES
from spawner_limits.engines import docker as docker_engine
from spawner_limits.engines import kube as kube_engine
from spawner_limits.engines import swarm as swarm_engine
from spawner_limits.limits import FIELDS, tell
from spawner_limits.policy import keys, schema
from spawner_limits.proof.tolerances import NOT_PRESSED, TOLERANCES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

HERE = Path(__file__).parent
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fields() -> str:
    """Every field of a server, its bounds, what it does, and how it is proved."""
    rows = (
        (
            f"`{field.name}`",
            field.effect,
            field.unit,
            "–" if field.minimum is None else tell(field.name, field.minimum),
            "–" if field.maximum is None else tell(field.name, field.maximum),
            "yes" if field.unlimited else "no",
            keys.RULES["defaults"].keys[field.name].takes_effect,
            field.proof,
        )
        for field in FIELDS.values()
    )
    head = ("key", "what it is", "counts", "least", "most", "may be `unlimited`", "takes effect", "proved by")
    return _table(head, rows)


def rules() -> str:
    """The other keys of a rule."""
    return _keys({name: key for name, key in keys.RULES["groups"].keys.items() if name not in FIELDS})


def sections() -> str:
    """The file's sections."""
    return _keys(keys.SECTIONS)


def _keys(table: Mapping[str, keys.Key]) -> str:
    rows = ((f"`{name}`", key.takes, key.effect, key.takes_effect, key.proof) for name, key in keys.described(table))
    return _table(("key", "takes", "what it does", "takes effect", "seen in"), rows)


def docker() -> str:
    """What each field becomes in Docker, and which files of the Linux kernel must show it."""
    rows = (
        (f"`{row.field}`", _code(row.option), _code(row.inspect), _code(*row.v1), _code(*row.v2), row.note or "–")
        for row in docker_engine.TABLE
    )
    return _table(("policy", "`extra_host_config`", "`docker inspect`", "cgroup v1", "cgroup v2", "note"), rows)


def swarm() -> str:
    """What each field becomes in Swarm, from which version of Docker's API on, and which files must show it."""
    rows = (
        (
            f"`{row.field}`",
            _code(row.option),
            "–" if row.since is None else ".".join(map(str, row.since)),
            _code(*row.v1),
            _code(*row.v2),
            row.note or "–",
        )
        for row in swarm_engine.TABLE
    )
    return _table(("policy", "`Resources`", "since API", "cgroup v1", "cgroup v2", "note"), rows)


def kube() -> str:
    """What each field becomes in Kubernetes, and which files of the Linux kernel must show it."""
    rows = (
        (f"`{row.field}`", _code(row.option), _code(*row.v1), _code(*row.v2), row.note or "–")
        for row in kube_engine.TABLE
    )
    return _table(("policy", "`resources`", "cgroup v1", "cgroup v2", "note"), rows)


def cases() -> str:
    """Every case of the conformance suite, and what it expects on either version of cgroups."""
    rows = (
        (
            str(one.number),
            f"`{one.group}`",
            _text(one.title),
            *(("–" if one.only not in {None, version} else _text(one.expects(version))) for version in (1, 2)),
        )
        for one in CASES
    )
    return _table(("case", "group", "what holds", "cgroup v1", "cgroup v2"), rows)


def tolerances() -> str:
    """When each limit counts as pressed, and what is not exceeded yet."""
    judged = {**TOLERANCES, **dict.fromkeys((name for name in FIELDS if name not in TOLERANCES), NOT_PRESSED)}
    rows = ((f"`{field}`", one.pressed, one.within, one.by) for field, one in judged.items())
    return _table(("limit", "pressed when, in this press", "not exceeded when", "pressed by"), rows)


PACKAGE = HERE.parent / "spawner_limits"


def layers() -> str:
    """Which rooms there are, and which may import which: from pyproject.toml, which import-linter holds."""
    contracts = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    rows = [row.replace(" : ", "   ") for row in contracts["contracts"][0]["layers"]]
    return "\n".join(("```", *rows, "```"))


def rooms() -> str:
    """Each room, and each module in it, by the first line of its docstring."""
    return "\n".join(line for room in sorted(PACKAGE.iterdir()) for line in _room(room))


def _room(room: Path) -> Iterator[str]:
    if room.suffix == ".py" and room.name != "__init__.py":
        yield f"- **`{room.stem}`**: {_first_line(room)}"
    elif (room / "__init__.py").exists():
        yield f"- **`{room.name}/`**: {_first_line(room / '__init__.py')}"
        modules = (path for path in sorted(room.rglob("*.py")) if not {"__init__.py", "probes"} & set(path.parts))
        yield from (f"  - `{path.relative_to(room).with_suffix('')}`: {_first_line(path)}" for path in modules)


def _first_line(module: Path) -> str:
    found = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return found.partition("\n")[0].removeprefix(f"`{module.stem}`: ")


TABLES = {
    "sections": sections,
    "fields": fields,
    "rules": rules,
    "docker": docker,
    "swarm": swarm,
    "kube": kube,
    "cases": cases,
    "tolerances": tolerances,
    "layers": layers,
    "rooms": rooms,
}


SCHEMA = HERE / "limits.schema.json"


def schema_text() -> str:
    """The JSON Schema of the policy file, as it is published."""
    return json.dumps(schema.schema(), indent=1, ensure_ascii=False) + "\n"


def generated(text: str) -> str:
    """`text` with every marked table made anew."""
    return _BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}\n{block[3]}", text)


def _code(*words: str | None) -> str:
    return ", ".join(f"`{word}`" for word in words if word) or "–"


def _text(plain: str) -> str:
    """`plain` as Markdown shows it in a table."""
    return re.sub(r"([|*<])", r"\\\1", plain)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    for page in HERE.glob("*.md"):
        page.write_text(generated(page.read_text(encoding="utf-8")), encoding="utf-8")
