"""One value put into or taken out of any text: refused with `PolicyError`, or done; doing it again changes nothing.

The first line says what to do: `put users.alice.mem_limit=4G` or `drop users.alice`. The text comes after it.
`python -m tests.fuzz.fuzz_edit FOLDER -max_total_time=300`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import atheris

from tests.fuzz.harness import fuzz

with atheris.instrument_imports(include=["spawner_limits"]):
    from spawner_limits.errors import PolicyError
    from spawner_limits.policy.set_rule import same
    from spawner_limits.policy.yaml_edit import drop, put
    from tests.fuzz.mutation import changed_policy
    from tests.fuzz.samples import POLICIES, WORDS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

ASKED = (
    "put users.alice.mem_limit=4G",
    "put groups.students.temporarily.until=2026-12-31",
    "put contact=the \"staff\": '#1'",
    "put defaults.servers.count=unlimited",
    "drop users.alice",
    "drop groups.students.temporarily",
    "drop version",
)


DEEPEST = 30
"""keys in a path; a policy's have five at most, and thousands end in RecursionError"""


def check(data: bytes) -> None:
    """Raise if these bytes show a mistake of ours."""
    first, _, text = data.decode("utf-8", "replace").partition("\n")
    verb, _, rest = first.partition(" ")
    dotted, _, value = rest.partition("=")
    path = tuple(dotted.split(".", DEEPEST))
    if verb == "drop":
        check_stays(lambda text: drop(text, path, same=same), text)
    else:
        # an empty value may be there already where libyaml alone sees one: "? |#"
        check_stays(lambda text: put(text, path, value or "4G", same=same), text)


def check_stays(edit: Callable[[str], str], text: str) -> None:
    """What is edited once has what was asked for, so that a second time changes nothing."""
    try:
        once = edit(text)
    except PolicyError:
        return
    assert edit(once) == once


def changed(data: bytes, chance: random.Random) -> bytes:
    """The text is changed as a policy's, and now and then it is asked for something else."""
    first, _, text = data.partition(b"\n")
    first = chance.choice(ASKED).encode() if chance.random() < 1 / 4 else first
    return first + b"\n" + changed_policy(text, chance)


if __name__ == "__main__":
    seeds = [f"{ASKED[number % len(ASKED)]}\n{text}".encode() for number, text in enumerate(POLICIES * len(ASKED))]
    fuzz(check, seeds=seeds, words=[*WORDS, *ASKED], mutated=changed)
