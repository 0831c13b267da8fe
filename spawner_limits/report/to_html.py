"""A report for a browser: one page that needs nothing else, no network and no JavaScript. Pure.

The page forbids itself to load anything (Content-Security-Policy), and every text in it is escaped.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from spawner_limits.report import chart, words

if TYPE_CHECKING:
    from spawner_limits.proof.evidence import Report


def to_html(report: Report) -> str:
    """The report as an HTML document."""
    page = _environment().get_template("report.html.j2").render(report=report)
    return words.plain(page)


@cache
def _environment() -> Environment:
    loader = PackageLoader("spawner_limits.report", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(words=words, chart=chart)
    return environment
