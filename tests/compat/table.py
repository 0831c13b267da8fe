"""How environments compare, and the outcomes of the same tests in them. Pure: values go in, text comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.upstream.outcomes import NOT_RUN, Outcomes, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Packages = dict[str, str]
"""name → version"""
ABSENT = "–"


def installed(told: str) -> Packages:
    """What `pip list --format freeze` says."""
    return dict(line.lower().replace("_", "-").split("==") for line in told.split())


def as_text(packages: Mapping[str, Packages], outcomes: Mapping[str, Outcomes]) -> str:
    """The packages and the tests that differ between environments, why a test failed, and how many passed in each."""
    parts = [
        table(("package", *packages), list(_differing(packages))) or "No package differs.",
        table(("test", *outcomes, "why"), list(_different_tests(outcomes))) or "No test differs.",
        "; ".join(f"{name}: {_passed(found)} of {len(found)} passed" for name, found in outcomes.items()),
    ]
    return "\n\n".join(parts)


def _differing(packages: Mapping[str, Packages]) -> Iterator[Sequence[str]]:
    for name in sorted(set().union(*packages.values())):
        row = [found.get(name, ABSENT) for found in packages.values()]
        if len(set(row)) > 1:
            yield (name, *row)


def _different_tests(outcomes: Mapping[str, Outcomes]) -> Iterator[Sequence[str]]:
    for name in sorted(set().union(*outcomes.values())):
        row = [found.get(name, NOT_RUN) for found in outcomes.values()]
        if len({one.status for one in row}) > 1:
            yield (name, *(one.status for one in row), next(one.reason for one in row if one.status != "passed"))


def _passed(found: Outcomes) -> int:
    return sum(one.status == "passed" for one in found.values())
