"""A page for programs: one JSON document, base units in the keys, `null` with its reason. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spawner_limits.report.page import Page


def to_json(page: Page) -> str:
    """The page's record. Only ASCII, so that no terminal obeys a name. Raises ValueError for a figure that is NaN."""
    return json.dumps(page.record, indent=2, allow_nan=False)


def members(value: object, names: str) -> dict[str, Any]:
    """What a record takes over as it is: the attributes of these names, with blanks between them."""
    return {name: getattr(value, name) for name in names.split()}
