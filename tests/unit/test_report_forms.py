"""Whatever a program reports, its page is the same in all forms, and is shown safely."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest
import test_conformance_report
import test_experiments
import test_report
from rich.console import Console
from test_report import HOSTILE, Page

from spawner_limits.conformance import page as conformance
from spawner_limits.experiments import page as experiments
from spawner_limits.experiments.experiment import Experiment, Figure, Judged
from spawner_limits.proof.evidence import Outcome, Verdict
from spawner_limits.report import full_table, table, to_html, to_json, to_junit, words
from spawner_limits.report.plot import Plot, Point
from spawner_limits.verify import page as verify

STRANGER = Experiment(
    name="stranger",
    title=HOSTILE,
    setup=HOSTILE,
    figures=(Figure(part=HOSTILE, what=HOSTILE, value=HOSTILE, source=HOSTILE, key="a", number=None),),
    findings=(HOSTILE,),
    judged=(
        Judged(
            part=HOSTILE,
            verdict=Verdict(
                field=HOSTILE,
                outcome=Outcome.UNKNOWN,
                limit=HOSTILE,
                seen=HOSTILE,
                reason=HOSTILE,
                files=(HOSTILE,),
            ),
        ),
    ),
    plots=(Plot(title=HOSTILE, unit="bytes", lines={HOSTILE: (Point(seconds=1, value=None),)}, marks={1.0: HOSTILE}),),
)
PAGES = {
    **{f"verify: {name}": verify.page_of(one) for name, one in test_report.REPORTS.items()},
    **{f"conformance: {name}": conformance.page_of(one) for name, one in test_conformance_report.REPORTS.items()},
    **{
        f"experiment: {name}": experiments.page_of(test_experiments.done(one))
        for name, one in {**test_experiments.ALL, "hostile texts": STRANGER}.items()
    },
}
HOSTILE_PAGES = {name: page for name, page in PAGES.items() if name.endswith("hostile texts")}
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
every_hostile_page = pytest.mark.parametrize("page", HOSTILE_PAGES.values(), ids=HOSTILE_PAGES)


def drawn(part, width) -> str:
    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(part)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def flat(text) -> str:
    return " ".join(words.plain(text).split())


@every_page
def test_the_line_that_matters_is_in_all_forms(page):
    """A report begins with it, and a story ends with it, before where and when; page and JSON have it too."""
    summary = flat(page.summary)
    lines = drawn(table(page), 5000).splitlines()
    assert lines[-1 - len(page.footnotes) if page.findings else 0] == summary
    assert summary in flat(" ".join(Page(to_html(page)).texts))
    assert page.record.get("summary", page.summary) == page.summary


@every_page
@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("form", [table, full_table])
def test_a_table_keeps_to_its_width(page, form, width):
    """No line is longer than the terminal is wide."""
    assert max(map(len, drawn(form(page), width).splitlines())) <= width


@every_hostile_page
@pytest.mark.parametrize("form", [table, full_table])
def test_the_terminal_obeys_no_text(page, form):
    """Nothing that a terminal would obey, and nothing that rich would take for markup, comes from a text."""
    told = drawn(form(page), 400)
    assert [character for character in told if not character.isprintable() and character != "\n"] == []
    assert '<script>alert("1")</script>�[31m[red]�Ünal 😀 ��&amp;' in told


@every_page
def test_the_page_is_whole_and_needs_nothing_else(page):
    """Every page is well formed, loads and runs nothing; its ids are unique and its references lead somewhere."""
    text = to_html(page)
    found = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(found.tags)
    assert not re.search(r"https?:|url\(|@import|\bsrc=|\son\w+=", text)
    assert "default-src 'none'" in text
    assert len(found.ids) == len(set(found.ids))
    assert set(found.refers) - {""} <= set(found.ids)
    plots = [plot for section in page.sections for plot in section.plots]
    plots += [plot for section in page.sections for row in section.rows for plot in row.plots]
    assert found.tags.count("svg") == len(plots)


@every_hostile_page
def test_texts_in_the_page_are_escaped(page):
    """A text with markup in it is shown as it is written; what can't be shown is replaced."""
    text = to_html(page)
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;�[31m[red]�Ünal 😀 ��&amp;amp;" in text
    assert "<script" not in text
    text.encode()


@every_page
def test_the_json_is_ascii_and_says_its_version(page):
    """The document holds nothing but ASCII, and begins with the version of its schema."""
    document = to_json(page)
    assert document.isascii()
    assert next(iter(json.loads(document).items())) == ("schema_version", 1)


@every_hostile_page
def test_the_json_keeps_every_text(page):
    """A text comes out of the JSON as it went in."""
    assert json.dumps(HOSTILE) in to_json(page)


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if page.suites])
def test_ci_is_red_exactly_when_the_exit_code_is_not_0(name):
    """The JUnit file and the exit code never disagree, and no suite is empty: an empty one would look green."""
    root = ET.fromstring(to_junit(PAGES[name]))
    assert (root.get("failures") != "0" or root.get("errors") != "0") == (PAGES[name].exit_code != 0)
    suites = list(root.iter("testsuite"))
    assert suites
    assert [suite.get("name") for suite in suites if suite.get("tests") == "0"] == []
