"""A report says the same in all four forms, says it safely, and never says more than was proved."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console
from test_report_examples import (
    ALICE,
    BOB,
    CONTROL,
    HOST,
    NOTEBOOK,
    cpu_verdict,
    expected,
    memory_verdict,
    pressed_by,
    report,
    snapshots_of,
)

from spawner_limits import report as forms
from spawner_limits import units
from spawner_limits.kernel.snapshot import Snapshot
from spawner_limits.limits import FIELDS
from spawner_limits.proof.evidence import Evidence, Load, Origin, Outcome, Trial
from spawner_limits.report import chart, readings, words
from spawner_limits.verify.page import KEYS, ended, heading, page_of, plots

UNKNOWN_CPU = cpu_verdict(Outcome.UNKNOWN, "not pressed: throttled in 0 of 3 windows", used=0.1)
UNKNOWN = replace(ALICE, verdicts=(ALICE.verdicts[0], UNKNOWN_CPU))
UNJUDGED = replace(ALICE, subject="dora", verdicts=())
POWERLESS = replace(CONTROL, verdicts=(memory_verdict(Outcome.UNKNOWN, "not pressed: peak 100 MiB", peak=100 << 20),))
HALF_BROKEN = replace(CONTROL, verdicts=(CONTROL.verdicts[0], UNKNOWN_CPU))
BLIND = pressed_by(ALICE)
INSTANT = pressed_by(ALICE, ALICE.evidence.snapshots[0])
UNREAD = pressed_by(
    ALICE,
    Snapshot(
        monotonic_ns=1, versions={}, unread={"cpu_usage_ns": "its cgroup is gone", "memory_current_bytes": "gone"}
    ),
    Snapshot(monotonic_ns=4 * 10**9, versions={}, unread={"cpu_usage_ns": "its cgroup is gone"}),
)
HOSTILE = '<script>alert("1")</script>\x1b[31m[red]\u202eÜnal 😀 \x00\ud800&amp;'
STRANGER = replace(
    ALICE,
    subject=HOSTILE,
    limits=tuple(replace(one, rule=HOSTILE) for one in ALICE.limits),
    verdicts=(replace(ALICE.verdicts[0], limit=HOSTILE, seen=HOSTILE, reason=HOSTILE, files=(HOSTILE,)),),
    evidence=replace(
        ALICE.evidence,
        load=Load(command=(HOSTILE,), exit_code=1, oom_killed=None, said=(HOSTILE, "]]>"), problem=HOSTILE),
    ),
)
LONG = replace(
    ALICE,
    subject="a" * 300,
    verdicts=(replace(ALICE.verdicts[0], reason=" ".join(f"word{number}" for number in range(90)) + " " + "@" * 200),),
)
REPORTS = {
    "held": report(ALICE),
    "held, with a control": report(ALICE, CONTROL),
    "held, with a control that is broken in part": report(ALICE, HALF_BROKEN),
    "held, but the control is not broken": report(ALICE, POWERLESS),
    "held, but the control has no verdict": report(ALICE, replace(CONTROL, verdicts=())),
    "broken and unknown": report(ALICE, BOB, CONTROL),
    "unknown": report(UNKNOWN),
    "no verdict": report(ALICE, UNJUDGED),
    "only a control": report(CONTROL),
    "no trial": report(),
    "no snapshot": report(BLIND),
    "one snapshot": report(INSTANT),
    "nothing could be read": report(UNREAD),
    "hostile texts": report(STRANGER),
    "long texts": report(LONG),
}
every_report = pytest.mark.parametrize("given", REPORTS.values(), ids=REPORTS)


def shown(given, width=80) -> str:
    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(forms.table(page_of(given)))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def to_json(given) -> str:
    return forms.to_json(page_of(given))


def to_html(given) -> str:
    return forms.to_html(page_of(given))


def to_junit(given) -> str:
    return forms.to_junit(page_of(given))


def cpu(trial) -> chart.Chart:
    return chart.draw(plots(trial)[0])


def memory(trial) -> chart.Chart:
    return chart.draw(plots(trial)[1])


# -- words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("held", "every limit HELD (2 of 2)"),
        ("held, with a control", "every limit HELD (2 of 2); the control without limits was BROKEN, as it must be"),
        (
            "held, with a control that is broken in part",
            "2 held; but the control's load did not break CPU: no power there",
        ),
        (
            "held, but the control is not broken",
            "2 held; but the control without limits was not BROKEN, so this judge has no power here",
        ),
        (
            "broken and unknown",
            (
                "3 held, 1 BROKEN, 1 unknown: bob's CPU BROKEN, bob's memory unknown; "
                "the control without limits was BROKEN, as it must be"
            ),
        ),
        ("unknown", "1 held, 1 unknown: alice's CPU unknown"),
        ("no verdict", "2 held, 1 not judged: dora has no verdict"),
        ("only a control", "no limit was judged; the control without limits was BROKEN, as it must be"),
        ("no trial", "no limit was judged"),
    ],
)
def test_the_first_line_says_what_matters(name, line):
    """The first line counts the outcomes, names what did not hold, worst first, and says whether the judge can fail."""
    assert page_of(REPORTS[name]).summary == line


@every_report
def test_every_limit_held_is_said_only_with_exit_code_0(given):
    """The words "every limit HELD" and exit code 0 go together, whatever is in the report."""
    assert page_of(given).summary.startswith("every limit HELD") == (given.exit_code == 0)


def test_the_first_line_stays_short():
    """Of many limits that did not hold, three are named and the rest counted."""
    users = [replace(UNKNOWN, subject=f"user{number}") for number in range(5)]
    assert page_of(report(*users)).summary == (
        "5 held, 5 unknown: user0's CPU unknown, user1's CPU unknown, user2's CPU unknown and 2 more"
    )


def test_each_field_has_a_name():
    """A report names every field of the limits in words of its own, each differently."""
    assert list(KEYS) == list(FIELDS)
    assert len({words.resource(field) for field in FIELDS}) == len(FIELDS)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, "exit 0"),
        (1, "exit 1"),
        (127, "exit 127: command not found"),
        (137, "exit 137: killed (SIGKILL)"),
        (143, "exit 143: ended by SIGTERM"),
        (255, "exit 255"),
        (None, "no exit code: it never ended, or nobody could be asked"),
    ],
)
def test_an_exit_code_is_explained(code, told):
    """The load's exit code is told with its meaning, where it has one."""
    evidence = replace(ALICE.evidence, load=Load(command=NOTEBOOK, exit_code=code, oom_killed=None))
    assert ended(evidence) == (told, "1 OOM kill", "engine's OOMKilled flag not known (decides nothing)")


def test_oom_kills_that_were_not_read_are_not_none():
    """Without a reading the report does not say that there was no OOM kill."""
    assert ended(BLIND.evidence)[1] == "OOM kills were not read"


def test_a_limit_without_verdict_is_not_forgotten():
    """A limit that was given but not judged is named in the table, the page and the JSON; "unlimited" is none."""
    origin = Origin(field="cpu_guarantee", value="0.25 cores", rule="default (limits.yaml:9)")
    given = report(replace(ALICE, limits=(*ALICE.limits, origin)))
    assert "  not judged: CPU kept 0.25 cores (default (limits.yaml:9))" in shown(given)
    assert "not judged" in to_html(given)
    assert json.loads(to_json(given))["trials"][0]["limits"][2:] == [
        {
            "field": "pids_limit",
            "value": "unlimited",
            "rule": "default (limits.yaml:6)",
            "judged": False,
            "limit_processes": None,
            "reason": "unlimited",
        },
        {
            "field": "cpu_guarantee",
            "value": "0.25 cores",
            "rule": "default (limits.yaml:9)",
            "judged": False,
            "limit_cores": None,
            "reason": "the engine was not asked for it",
        },
    ]


# -- the table ---------------------------------------------------------------------------------------------------

TABLE = """\
3 held, 1 BROKEN, 1 unknown: bob's CPU BROKEN, bob's memory unknown; the control
without limits was BROKEN, as it must be

alice
Resource       Limit        Seen                               Verdict
memory         1.00 GiB     1.00 / 1.00 GiB (100%)             HELD
    peak 1.00 GiB, and the OOM killer ended 1 process; from user alice
    (limits.yaml:24)
CPU            0.50 cores   0.50 / 0.50 cores (100%)           HELD
    throttled in 98% of periods and never above it, in 18 windows; from user
    alice (limits.yaml:25)
  load: jupyter nbconvert --to notebook --execute --output /tmp/mnist.ipynb w…
  exit 0; 1 OOM kill; engine's OOMKilled flag true (decides nothing)
  in the container's own words (shown, never judged):
    training: 2 epochs, accuracy 0.94
    memory: 1.00 / 1.00 GiB (100%), child killed

bob
Resource       Limit        Seen                               Verdict
memory         768 MiB      614 / 768 MiB (80%)                UNKNOWN
    not pressed: peak 614 MiB; from group students (limits.yaml:15)
CPU            1.00 cores   1.31 / 1.00 cores (131%)           BROKEN
    the kernel shows cpu.cfs_quota_us = 150000, expected 100000; 1.31 cores over
    2.0 s, 31% above it; from group students (limits.yaml:16)
processes      256          256 / 256 (100%)                   HELD
    17 forks were refused at the limit; from group students (limits.yaml:17)
  load: jupyter nbconvert --to notebook --execute --output /tmp/mnist.ipynb w…
  exit 137: killed (SIGKILL); no OOM kill; engine's OOMKilled flag false
  (decides nothing)

control: the same load without limits, must be BROKEN
Resource       Limit        Seen                               Verdict
memory         1.00 GiB     1.50 / 1.00 GiB (150%)             BROKEN
    peak 1.50 GiB (1610612736 bytes) is above the limit; from user alice
    (limits.yaml:24)
CPU            0.50 cores   1.94 / 0.50 cores (388%)           BROKEN
    1.94 cores over 2.0 s, 288% above it; from user alice (limits.yaml:25)
  load: jupyter nbconvert --to notebook --execute --output /tmp/mnist.ipynb w…
  exit 0; no OOM kill; engine's OOMKilled flag false (decides nothing)

Docker 20.10.24, cgroup v1, cgroupfs · Linux 6.1.0-38-amd64 · 2 cores, 24.00 GiB
memory, no swap
started 2026-11-21T10:15:00Z, spawner-limits 0.1.0"""


def test_the_table_at_80_columns():
    """At 80 columns and without colour, the table is exactly this."""
    assert shown(REPORTS["broken and unknown"]) == TABLE


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_a_long_reason_is_wrapped(width):
    """Whatever the width, each word of a reason is there, and of a word longer than its column each character."""
    told = shown(report(LONG), width)
    assert [number for number in range(90) if f"word{number}" not in told.split()] == []
    assert told.count("@") == 200
    assert max(map(len, told.splitlines())) <= width


def test_the_terminal_obeys_no_name():
    """Nothing that a terminal would obey, and nothing that rich would take for markup, comes from a text."""
    told = shown(REPORTS["hostile texts"], 400)
    assert [character for character in told if not character.isprintable() and character != "\n"] == []
    # heading, rule (twice), reason, command, problem, own words; limit and seen are on several lines
    assert told.count('<script>alert("1")</script>�[31m[red]�Ünal 😀 ��&amp;') == 7


# -- JSON --------------------------------------------------------------------------------------------------------


def test_the_shape_of_the_json():
    """A program finds these keys, with the base units in their names, as long as the schema is version 1."""
    document = json.loads(to_json(report(ALICE, BOB, CONTROL)))
    trial = document["trials"][1]
    assert document["schema_version"] == 1
    assert list(document) == ["schema_version", "summary", "exit_code", "started", "version", "host", "trials"]
    assert list(document["host"]) == ["cores", "memory_bytes", "swap_bytes", "kernel", "engine"]
    assert list(trial) == ["subject", "control", "outcome", "verdicts", "limits", "load", "host", "series"]
    assert trial["verdicts"][1] == {
        "field": "cpu_limit",
        "outcome": "BROKEN",
        "limit": "1.00 cores",
        "rule": "group students (limits.yaml:16)",
        "seen": "1.31 / 1.00 cores (131%)",
        "reason": "the kernel shows cpu.cfs_quota_us = 150000, expected 100000; 1.31 cores over 2.0 s, 31% above it",
        "files": list(BOB.verdicts[1].files),
        "figures": {"limit_cores": 1.0, "used_cores": 1.31, "throttled_ratio": 0.98},
    }
    assert [{**one, "rule": None, "judged": None} for one in trial["limits"]] == [
        {"field": "mem_limit", "value": "768 MiB", "rule": None, "judged": None, "limit_bytes": 805306368},
        {"field": "cpu_limit", "value": "1.00 cores", "rule": None, "judged": None, "limit_cores": 1.0},
        {"field": "pids_limit", "value": "256", "rule": None, "judged": None, "limit_processes": 256},
    ]
    assert trial["load"] == {
        "command": list(NOTEBOOK),
        "exit_code": 137,
        "engine_oom_killed": False,
        "oom_kills": 0,
        "ended": ["exit 137: killed (SIGKILL)", "no OOM kill", "engine's OOMKilled flag false (decides nothing)"],
        "problem": None,
        "said": [],
    }
    assert {key: type(value) for key, value in trial["series"].items()} == {
        "cpu_window_seconds": float,
        "readings": int,
        "unknown": dict,
        "oom_kills": list,
        "seconds": list,
        "cpu_cores": list,
        "memory_bytes": list,
        "cache_bytes": list,
        "swap_bytes": list,
        "processes": list,
    }
    assert [(one["subject"], one["control"], one["outcome"]) for one in document["trials"]] == [
        ("alice", False, "HELD"),
        ("bob", False, "BROKEN"),
        ("control", True, "BROKEN"),
    ]


@every_report
def test_a_null_in_a_series_has_its_reason(given):
    """In every report the columns are equally long, and exactly those with a null in them are explained."""
    for trial in json.loads(to_json(given))["trials"]:
        told = trial["series"]
        columns = {name: told[name] for name in ("seconds", *readings.COUNTERS)}
        assert {len(column) for column in columns.values()} == {min(told["readings"], readings.MOST)}
        assert set(told["unknown"]) == {name for name, column in columns.items() if None in column}


# -- the series --------------------------------------------------------------------------------------------------


def test_cores_are_told_over_one_second():
    """CPU use is the rise over the last second; before there is one it is unknown, not 0."""
    snapshots = [
        Snapshot(monotonic_ns=at * 500_000_000, versions={}, cpu_usage_ns=usage)
        for at, usage in enumerate([10**9, 10**9, int(1.5 * 10**9), 2 * 10**9])
    ]
    assert readings.readings(snapshots)["cpu_cores"] == [None, None, 0.5, 1.0]


def test_oom_kills_are_told_when_the_counter_rose():
    """Each rise of `oom_kill` is told with its moment; readings that failed between do not hide it."""
    counts = [0, None, 2, 2, 3]
    snapshots = [Snapshot(monotonic_ns=at * 10**9, versions={}, oom_kill=count) for at, count in enumerate(counts)]
    assert readings.kills(snapshots) == ((2.0, 2), (4.0, 1))


@pytest.mark.parametrize("count", [600, 601, 1200, 1201, 14_400])
def test_a_long_series_keeps_its_ends_and_its_heights(count):
    """A series is thinned to 600 points at most: the first, the last and the highest of each column stay."""
    every = {
        "seconds": [at / 4 for at in range(count)],
        "cpu_cores": [9.9 if at == 77 else 0.5 for at in range(count)],
        "memory_bytes": [10**9 if at == 78 else at for at in range(count)],
        "cache_bytes": [None] * count,
        "swap_bytes": [0] * count,
        "processes": [1] * count,
    }
    kept = readings.thinned(every)
    rows, whole = list(zip(*kept.values(), strict=True)), list(zip(*every.values(), strict=True))
    assert 300 <= len(rows) <= 600
    assert {whole[0], whole[77], whole[78], whole[-1]} <= set(rows) <= set(whole)
    assert rows == sorted(rows)


# -- charts ------------------------------------------------------------------------------------------------------


def test_the_limit_line_is_where_the_limit_is():
    """Between the axis (0) and the top (116% of the highest value) the limit line is at its share of the way."""
    drawn = cpu(ALICE)
    assert drawn.limit == chart.Level(y=40.1, label_y=34.1, label="limit 0.50 cores")
    assert drawn.limit.y == round(chart.BOTTOM + (chart.TOP - chart.BOTTOM) / 1.16, 1)
    assert '<line class="limit" x1="84" x2="536" y1="40.1" y2="40.1"/>' in to_html(report(ALICE))


def test_ticks_have_units_and_even_steps():
    """Axes start at 0, in steps of 1, 2 or 5 for cores and of a power of two for memory."""
    assert [tick.label for tick in cpu(ALICE).y_ticks] == ["0", "0.20 cores", "0.40 cores"]
    assert [tick.label for tick in memory(ALICE).y_ticks] == ["0", "256 MiB", "512 MiB", "768 MiB", "1.00 GiB"]
    assert [tick.label for tick in memory(ALICE).x_ticks] == ["0 s", "10 s", "20 s", "30 s", "40 s"]
    hour = pressed_by(ALICE, *snapshots_of(seconds=3600, cores=0.5, limit_bytes=units.GIB))
    assert [tick.label for tick in cpu(hour).x_ticks] == ["0 min", "20 min", "40 min", "60 min"]


def test_oom_kills_and_the_peak_are_marked():
    """The memory chart marks the OOM kill at its moment, and the peak; beside the limit the peak's label gives way."""
    drawn = memory(ALICE)
    assert drawn.marks == (chart.Tick(at=417.6, label="1 OOM kill at 31.0 s"),)
    assert drawn.peak == chart.Level(y=40.1, label_y=55.1, label="peak 1.00 GiB")
    assert memory(BOB).peak == chart.Level(y=75.3, label_y=69.3, label="peak 614 MiB")


def test_many_oom_kills_share_a_mark():
    """OOM kills that are too near for marks of their own are counted in one."""
    snapshots = [Snapshot(monotonic_ns=at * 10**8, versions={}, oom_kill=at) for at in range(101)]
    drawn = memory(pressed_by(ALICE, *snapshots))
    assert len(drawn.marks) == 25
    assert drawn.marks[0].label == "4 OOM kills at 0.1 s"
    assert drawn.marks_label == "100 OOM kills, from 0.1 to 10.0 s"


def test_a_chart_without_limit_has_no_limit_line():
    """Where the policy gives no limit, none is drawn, and the description says so."""
    free = replace(ALICE, expect=expected(mem_limit=units.GIB, cpu_limit=None))
    drawn = cpu(free)
    assert drawn.limit is None
    assert drawn.description.endswith("Over 42 s: at most 0.50 cores; there is no limit.")
    assert to_html(report(free)).count('<line class="limit"') == 1


def test_a_control_has_no_limit_but_shows_it():
    """In the control's charts the line says that it is the others' limit."""
    assert cpu(CONTROL).limit.label == "0.50 cores would be the limit; here is none"


def test_a_line_breaks_off_where_nothing_was_read():
    """A gap in the readings is a gap in the line, and a lone reading is a dot."""
    values = [100, 200, None, 300]
    snapshots = [
        Snapshot(monotonic_ns=at * 10**9, versions={}, memory_current_bytes=value and value << 20)
        for at, value in enumerate(values)
    ]
    path = memory(pressed_by(ALICE, *snapshots)).lines[0].path
    assert path == "M84,198.8 L234.7,181.7 M536,164.5 L536,164.5"


@pytest.mark.parametrize(
    ("trial", "note"),
    [
        (BLIND, "Nothing to draw: there are no readings"),
        (INSTANT, "Nothing to draw: a rate needs readings 1 s apart"),
        (UNREAD, "Nothing to draw: its cgroup is gone; a rate needs readings 1 s apart"),
    ],
    ids=["no snapshot", "one snapshot", "nothing read"],
)
def test_an_empty_chart_says_why(trial, note):
    """A chart with nothing in it says why, and still shows the limit."""
    drawn = cpu(trial)
    assert (drawn.note, [line.path for line in drawn.lines]) == (note, [""])
    assert drawn.limit.label == "limit 0.50 cores"


# -- HTML --------------------------------------------------------------------------------------------------------

VOID = {"meta", "br", "col"}


class Page(HTMLParser):
    """The elements of a page; complains about ones that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.refers, self.texts, self._open = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        """Note an element that opens."""
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.refers += [*given.get("aria-labelledby", "").split(), given.get("href", "#").removeprefix("#")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Note an element without content."""
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        """Close the element that was opened last, and no other."""
        assert self._open.pop() == tag

    def handle_data(self, data):
        """Note a text."""
        self.texts.append(data)


@every_report
def test_the_page_has_two_charts_a_trial(given):
    """CPU and memory, also of a trial without readings."""
    assert Page(to_html(given)).tags.count("svg") == 2 * len(given.trials)


def test_the_page_holds_all_that_was_found():
    """The page shows each verdict with its rule, reason and files, the load's words, host, time and version."""
    given = report(ALICE, BOB, CONTROL)
    told = " ".join(" ".join(Page(to_html(given)).texts).split())
    wanted = [page_of(given).summary, words.host(HOST), given.started, given.version, *ALICE.evidence.load.said]
    for trial in given.trials:
        wanted += [heading(trial), *ended(trial.evidence)]
        rules = {limit.field: limit.rule for limit in trial.limits}
        for verdict in trial.verdicts:
            wanted += [verdict.limit, verdict.seen, verdict.outcome, verdict.reason, *verdict.files]
            wanted += [f"from {rules[verdict.field]}"]
    assert [text for text in wanted if text not in told] == []


def test_the_page_sets_the_control_apart():
    """A broken control has the colour of what is right and says so; one that is not broken has neither."""
    assert (
        to_html(report(ALICE, CONTROL)).count('<span class="chip HELD">BROKEN</span> <small>as it must be</small>') == 4
    )
    assert '<span class="chip BROKEN">' not in to_html(report(ALICE, CONTROL))
    assert "as it must be</small>" not in to_html(report(ALICE, BOB, POWERLESS))
    assert "BROKEN is the right outcome here" in to_html(report(ALICE, POWERLESS))
    assert "BROKEN is the right outcome here" not in to_html(report(ALICE, BOB))


# -- JUnit -------------------------------------------------------------------------------------------------------


def cases(given) -> dict[tuple[str, str], str]:
    """(class, name) of each case → the element that tells how it ended."""
    root = ET.fromstring(to_junit(given))
    ends = {"failure", "error", "skipped"}
    return {
        (case.get("classname"), case.get("name")): next((one.tag for one in case if one.tag in ends), "passed")
        for case in root.iter("testcase")
    }


def test_each_verdict_is_a_case():
    """HELD passes, BROKEN is a failure, UNKNOWN an error; in a control BROKEN passes, and what held must be it."""
    assert cases(report(ALICE, BOB, HALF_BROKEN)) == {
        ("alice", "mem_limit"): "passed",
        ("alice", "cpu_limit"): "passed",
        ("bob", "mem_limit"): "error",
        ("bob", "cpu_limit"): "failure",
        ("bob", "pids_limit"): "passed",
        ("control", "mem_limit"): "passed",
        ("control", "cpu_limit"): "failure",
    }


def test_a_control_that_is_not_broken_fails():
    """When the load breaks nothing without limits, each of the control's cases is a failure."""
    assert cases(report(POWERLESS))["control", "mem_limit"] == "failure"
    assert cases(report(replace(CONTROL, verdicts=())))["control", "limits"] == "failure"


def test_a_failure_tells_what_is_needed():
    """The message has resource, outcome and reason; the text below has the limit with its rule, and the files."""
    failure = ET.fromstring(to_junit(report(BOB))).find(".//failure")
    assert failure.get("message") == f"CPU BROKEN: {BOB.verdicts[1].reason}"
    assert failure.text.splitlines() == [
        "limit 1.00 cores, from group students (limits.yaml:16)",
        "seen 1.31 / 1.00 cores (131%)",
        *BOB.verdicts[1].files,
    ]


def test_a_trial_without_limits_of_its_own_is_rendered():
    """A trial that knows no rules, no expectations and no load's command is shown in all four forms."""
    load = Load(command=(), exit_code=None, oom_killed=None, problem="the engine did not answer")
    bare = Trial(
        subject="",
        limits=(),
        expect=(),
        evidence=Evidence(snapshots=(), load=load, host=replace(HOST, swap_bytes=units.GIB)),
        verdicts=ALICE.verdicts,
    )
    for form in (shown, to_json, to_html, to_junit):
        assert "the engine did not answer" in form(report(bare))
    assert "(no name)\n" in shown(report(bare))
    assert "  load: the image's own command" in shown(report(bare))
