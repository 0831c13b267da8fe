"""`make conformance-matrix`: the suite in a guest of each kind, old engines and new, and the cases where they differ.

It takes some twenty minutes, and builds what is not built yet. The reports go to the directory that is given.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.guest.guest import Guest, GuestError, Suite, Variant, package
from tests.guest.verdicts import report

HOSTS: tuple[tuple[Suite, Variant], ...] = (
    ("bookworm", "v1"),
    ("bookworm", "v2"),
    ("trixie", "v2"),
    ("trixie", "systemd"),
    ("forky", "v2"),
    ("forky", "systemd"),
    ("forky", "v2-root"),
)


def conform(suite: Suite, variant: Variant) -> dict[str, Any]:
    """The report of one guest. GuestError when it gives none."""
    with Guest(suite, variant) as guest:
        guest.run(["true"], package())
        return report(guest)


def differences(reports: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of the cases whose outcome, or whose defect, is not the same everywhere: number, title, outcome by host."""
    rows = []
    columns = [{one["number"]: one for one in found["cases"]} for found in reports.values()]
    for number in sorted({number for column in columns for number in column}):
        ones = [column.get(number) for column in columns]
        outcomes = [one["outcome"] if one else "not run" for one in ones]
        if len(set(outcomes)) > 1:
            title = next(one["title"] for one in ones if one)
            rows.append((str(number), title, *outcomes))
    return rows


def main() -> None:
    """Run them all, one after the other; one that fails is told, and the others go on."""
    console, folder = Console(), Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    reports = {}
    for suite, variant in HOSTS:
        name = f"{suite} {variant}"
        console.print(f"{name}: running", style="dim")
        try:
            reports[name] = conform(suite, variant)
        except GuestError as error:
            console.print(f"{name}: {error}", markup=False)
            continue
        (folder / f"{suite}-{variant}.json").write_text(json.dumps(reports[name], indent=2))
        console.print(f"{name}: {reports[name]['host']['engine']}, Linux {reports[name]['host']['kernel']}: "
                      f"{reports[name]['summary']}", markup=False)  # fmt: skip
    table = Table("", "Case", *reports, title="Where they differ")
    for row in differences(reports):
        table.add_row(*row)
    console.print(table)
    sys.exit(0 if len(reports) == len(HOSTS) else 1)


if __name__ == "__main__":
    main()
