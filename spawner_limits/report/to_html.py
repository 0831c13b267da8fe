"""A page for a browser: one file that needs nothing else, no network and no JavaScript. Pure.

It forbids itself to load anything (Content-Security-Policy), and every text in it is escaped.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from spawner_limits.report import chart, words
from spawner_limits.report.page import Chip
from spawner_limits.report.table import SEEN

if TYPE_CHECKING:
    from spawner_limits.report.page import Page


def to_html(page: Page) -> str:
    """The page as an HTML document. KeyError for a plot in a unit that charts don't know."""
    return words.plain(_environment().get_template("page.html.j2").render(page=page))


@cache
def _environment() -> Environment:
    loader = PackageLoader("spawner_limits.report", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(chart=chart, seen=SEEN)
    environment.tests["chip"] = lambda value: isinstance(value, Chip)
    return environment
