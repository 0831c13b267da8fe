"""What stands where, by the modules' syntax trees: SDKs, and the calls by which a container is made or entered."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "spawner_limits"
SDKS = frozenset({"docker", "dockerspawner", "requests", "kubernetes"})
MAY_IMPORT = {
    "clients/archives.py",
    "clients/docker.py",
    "clients/docker_events.py",
    "clients/hub_api.py",
    "clients/own_commands.py",
    "clients/own_containers.py",
    "spawners/docker.py",  # DockerSpawner's class, and what it raises
    "spawners/overrides.py",  # reads sizes as DockerSpawner does
}
ENTER = frozenset(
    {"create_container", "start", "restart", "exec_create", "exec_start", "put_archive", "get_archive", "export"}
)
"""methods of the SDK's client that make, start, enter or copy; of `start`, those of a client"""
MAY_ENTER = {
    "clients/archives.py": {"get_archive", "put_archive"},
    "clients/docker.py": {"restart"},
    "clients/own_commands.py": {"exec_create", "exec_start"},
    "clients/own_containers.py": {"create_container", "start"},
    "spawners/docker.py": {"create_container"},  # the name of the call that DockerSpawner hands over
}


def modules():
    """Path below the package → syntax tree; programs that run in containers are none of ours."""
    found = (path for path in ROOT.rglob("*.py") if "probes" not in path.parts)
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in found}


def imported(tree):
    """The names of all packages that a module imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def entered(tree):
    """The calls by which it makes or enters containers, also where it only names them in a text."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    attr="start" | "export" | "restart" as name, value=ast.Attribute(attr="api" | "client")
                )
            ):
                yield name
            case ast.Call(func=ast.Attribute(attr=name)) if name in ENTER - {"start", "export", "restart"}:
                yield name
            case ast.Constant(value=str() as name) if name in ENTER - {"start", "export", "restart"}:
                yield name


def test_sdks_are_imported_in_the_clients_alone():
    """And where the spawner classes can't do without; each of these does, or it goes from the list."""
    assert {path for path, tree in modules().items() if SDKS & set(imported(tree))} == MAY_IMPORT


def test_containers_are_entered_in_few_places():
    """Made, started, entered, copied from or to: only there, and each of these does."""
    found = {path: set(entered(tree)) for path, tree in modules().items()}
    assert {path: calls for path, calls in found.items() if calls} == MAY_ENTER


@pytest.mark.parametrize(
    "code", ["x.client.start(c)", "api.exec_create(c, a)", "self.api.export(c)", "f('put_archive')"]
)
def test_such_a_call_is_found(code):
    """The test can fail."""
    assert len(set(entered(ast.parse(code)))) == 1
