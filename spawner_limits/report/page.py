"""`Page`: what a report says, before it has a form. Pure.

Each program makes one from its own result; each form (terminal, HTML, JSON, JUnit) is one renderer. A page has all;
`Depth` says what a terminal leaves out. Texts come as they are: the renderers make them fit to be shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

from spawner_limits.proof.evidence import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.report.plot import Plot


class Depth(IntEnum):
    """Where a thing is shown: there, and in all that is deeper."""

    TABLE = 0
    FULL = 1
    """a table with all that is known: `--verbose`"""
    PAGE = 2
    """the HTML page alone"""


class Look(StrEnum):
    """How the lines of a fact are set."""

    TEXT = "text"
    COMMAND = "command"
    """code on one line, that a terminal cuts"""
    FILES = "files"
    """a line of code each: the Linux kernel's files with their values, figures"""
    SAID = "said"
    """lines as they were written, blanks kept"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chip:
    """An outcome, as it is shown."""

    outcome: Outcome
    remark: str = ""
    """beside it, on a page"""
    right: bool = False
    """whatever it is, it is what it must be: BROKEN in a control"""

    @property
    def tone(self) -> Outcome:
        """The outcome whose colour it has."""
        return Outcome.HELD if self.right else self.outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """Something said of a row or a section: a label, or none, and its lines."""

    label: str = ""
    lines: tuple[str, ...]
    """without one, it is not shown"""
    look: Look = Look.TEXT
    tone: Outcome | None = None
    """where it is an outcome by itself, such as a load that could not be trusted"""
    depth: Depth = Depth.TABLE


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of a section's rows."""

    head: str = ""
    width: int | None = None
    """in characters of a terminal, and as a share of a page; `None`: it takes the rest"""
    style: str = ""
    """bold or dim"""
    number: bool = False
    """set to the right"""
    retold: bool = False
    """its cells are also facts: cut to the line where the row is brief, and not shown twice where a page unfolds it"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One thing that was judged or read."""

    cells: tuple[str | Chip, ...]
    facts: tuple[Fact, ...] = ()
    """below it; a page folds them away where the row is brief"""
    plots: tuple[Plot, ...] = ()
    brief: bool = False
    """it is as it should be, so a line is enough"""
    anchor: str = ""
    """by which a page can be linked to"""

    @property
    def tone(self) -> Outcome | None:
        """That of its outcome; `None` where nothing was judged."""
        return next((cell.tone for cell in self.cells if isinstance(cell, Chip)), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Rows that belong together, and what is said of all of them."""

    title: str = ""
    chip: Chip | None = None
    aside: Chip | str = ""
    """beside the title, on a page"""
    note: str = ""
    """below it, on a page"""
    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    heads: Depth = Depth.TABLE
    """where the columns' heads are shown"""
    indent: int = 0
    """of the rows, in a terminal"""
    facts: tuple[Fact, ...] = ()
    plots: tuple[Plot, ...] = ()
    depth: Depth = Depth.TABLE
    anchor: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One test case for a CI system."""

    group: str
    """JUnit's classname"""
    name: str
    outcome: Outcome
    fault: str = ""
    """"failure", "error" or "skipped"; empty: it passed"""
    message: str = ""
    details: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """Test cases that belong together."""

    name: str
    checks: tuple[Check, ...]
    seconds: float = 0.0
    output: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A report."""

    title: str
    summary: str
    """the line that matters"""
    exit_code: int | None = None
    """`None`: nothing was to be judged"""
    lead: str = ""
    """what was done, in a sentence or two"""
    sections: tuple[Section, ...] = ()
    findings: tuple[str, ...] = ()
    """what one sees: sentences. A terminal tells such a page as a story, that ends with the line that matters"""
    footnotes: tuple[str, ...] = ()
    """where, with what, and when"""
    legend: Mapping[Outcome, str] = field(default_factory=dict)
    """what an outcome means here"""
    record: Mapping[str, Any] = field(default_factory=dict)
    """for programs: `schema_version`, base units in the keys, `None` with its reason"""
    program: str = ""
    """its name, for CI systems"""
    started: str = ""
    """RFC 3339, UTC"""
    properties: Mapping[str, str] = field(default_factory=dict)
    """of every suite"""
    suites: tuple[Suite, ...] = ()

    @property
    def tone(self) -> Outcome | None:
        """The outcome whose colour the line that matters has."""
        known = {None: None, 0: Outcome.HELD, 3: Outcome.UNKNOWN}
        return known.get(self.exit_code, Outcome.BROKEN)
