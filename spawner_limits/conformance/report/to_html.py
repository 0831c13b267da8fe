"""A conformance report for a browser: one page that needs nothing else, no network and no JavaScript. Pure.

The page forbids itself to load anything (Content-Security-Policy), and every text in it is escaped.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from spawner_limits.conformance.report import words
from spawner_limits.report import chart

if TYPE_CHECKING:
    from spawner_limits.conformance.case import ConformanceReport


def to_html(report: ConformanceReport) -> str:
    """The report as an HTML document. KeyError for a plot in a unit that charts don't know."""
    page = _environment().get_template("conformance.html.j2").render(report=report)
    return words.plain(page)


@cache
def _environment() -> Environment:
    """The look and the charts are those of `proof/report`."""
    packages = ("spawner_limits.conformance.report", "spawner_limits.report")
    loader = ChoiceLoader([PackageLoader(package, ".") for package in packages])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(words=words, chart=chart)
    return environment
