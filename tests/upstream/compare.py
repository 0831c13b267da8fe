"""`make upstream`: dockerspawner's own tests, with its class and with ours in its place, compared one by one.

Ends with 0 when nothing fails that the stock class passes, 1 when something does, 3 when that can't be said.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import docker.errors

import docker

sys.path.insert(0, str(Path(__file__).parents[2]))
from spawner_limits import interrupt
from spawner_limits.errors import LimitsError, UnreachableError
from tests.upstream.outcomes import Comparison, as_json, as_text, read, started, steadied
from tests.upstream.suite import IMAGE, Suite, SuiteError, cache, environment, fetched, say, turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.upstream.suite import Class, Ran

CLASSES: dict[Class, str] = {"stock": "the stock class", "ours": "LimitedDockerSpawner"}
ALL = ("tests",)
AGAIN = 2
"""times that a test which differs is run again"""
NOTES = f"""\
Both runs: the fixtures are ours, as the sdist has none; {IMAGE} stands for each of the suite's images that
is not here; SystemUserSpawner's homes are in a temporary directory; SwarmSpawner is the stock class.
Ours: LimitedDockerSpawner bears DockerSpawner's name, is below SystemUserSpawner too, and has a policy of 1 TiB,
100,000 processes and unlimited CPU. All else is at its default."""
PROXY = "configurable-http-proxy"
OLDER = "tests.upstream.older"
OLDER_NOTE = """\
Those that pass in neither, again in both, with named servers made at the first look, as before JupyterHub 6
(tests/upstream/older.py):"""


def compared(suite: Suite, tests: Sequence[str]) -> Comparison:
    """Run these with both classes, and again what differs. SuiteError."""
    first = {which: _ran(suite, which, tests) for which in CLASSES}
    found = Comparison(
        stock=read(first["stock"].report),
        ours=read(first["ours"].report),
        again={},
        started=started(first["ours"].report),
        seconds={str(which): round(ran.seconds, 1) for which, ran in first.items()},
    )
    for _ in range(AGAIN):
        if not (differing := found.differing()):
            break
        found = replace(
            found,
            stock=steadied(found.stock, read(_ran(suite, "stock", differing).report)),
            ours=steadied(found.ours, read(_ran(suite, "ours", differing).report)),
            again=found.again | {name: found.again.get(name, 0) + 1 for name in differing},
        )
    return found


def _ran(suite: Suite, which: Class, tests: Sequence[str]) -> Ran:
    say(f"running {'the suite' if tests == ALL else f'{len(tests)} of its tests'} with {CLASSES[which]}")
    return suite.run(which, tests)


def comparisons(client: docker.DockerClient) -> dict[str, Comparison]:
    """The suite, and what of it passes in neither, once more under an older hub's rule. SuiteError."""
    with turn(cache()), tempfile.TemporaryDirectory(prefix="spawner-limits-upstream-") as name:
        work = Path(name)
        python = environment(cache())
        suite = Suite(source=fetched(work, python), python=python, work=work, client=client)
        whole = compared(suite, ALL)
        if not whole.started:
            raise SuiteError("LimitedDockerSpawner started no server, so it was not in the stock class's place")
        found = {"as it is": whole}
        if neither := whole.bad_in_both():
            found["older hub"] = compared(replace(suite, plugins=(*suite.plugins, OLDER)), neither)
        return found


def compare(json_file: Path | None) -> int:
    """Fetch, run, compare, print; gives the exit code. LimitsError."""
    client = _engine()
    found = comparisons(client)
    versions = {one: version(one) for one in ("dockerspawner", "jupyterhub")} | {"engine": client.version()["Version"]}
    if json_file is not None:
        json_file.write_text(as_json(found, versions=versions))
    whole, *older = map(as_text, found.values())
    told = ", ".join(f"{one} {release}" for one, release in versions.items())
    print("\n\n".join([told, NOTES, whole, *(f"{OLDER_NOTE}\n\n{one}" for one in older)]))  # noqa: T201  the result
    return 1 if any(one.worse() for one in found.values()) else 0


def _engine() -> docker.DockerClient:
    try:
        client = docker.from_env(timeout=120)
        client.images.get(IMAGE)
    except docker.errors.ImageNotFound as error:
        raise SuiteError(f"the image {IMAGE} is not here; docker/build.sh makes it") from error
    except docker.errors.DockerException as error:
        raise UnreachableError(
            f"the Docker engine does not answer ({error}); start it with docker/engine.sh"
        ) from error
    if shutil.which(PROXY) is None:
        raise SuiteError(f"{PROXY} is not here, and the suite's hub wants one; make proxy installs it")
    return client


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the comparison there too")
    given = parser.parse_args(arguments)
    interrupt.heed()
    try:
        return compare(given.json)
    except LimitsError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return interrupt.EXIT_CODE


if __name__ == "__main__":
    sys.exit(main())
