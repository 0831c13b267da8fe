"""The page of a run of `verify`: its words, charts, record and test cases. Pure."""

from __future__ import annotations

import shlex
import signal
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from spawner_limits.limits import FIELDS
from spawner_limits.proof.evidence import NOTHING_HELD, Outcome
from spawner_limits.proof.windows import SECOND_NS
from spawner_limits.report import readings as read
from spawner_limits.report.page import Check, Chip, Column, Depth, Fact, Look, Page, Row, Section, Suite
from spawner_limits.report.plot import CACHE, SWAP, USED, Plot, Point
from spawner_limits.report.to_json import members
from spawner_limits.report.to_junit import FAULTS
from spawner_limits.report.words import counted, cut, host, line, lower, resource, tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.limits import Value
    from spawner_limits.proof.evidence import Evidence, Load, Origin, Report, Trial, Verdict
    from spawner_limits.report.readings import Columns

SCHEMA_VERSION = 1
KEYS: Mapping[str, str] = {
    **{name: f"limit_{field.base_unit}" for name, field in FIELDS.items()},
    "cpu_period": "limit_period_us",
}
"""field → the key of its limit for programs, with its base unit"""
CONTROL = "control: the same load without limits, must be BROKEN"
_NAME = "spawner-limits verify"
_OWN_WORDS = "in the container's own words (shown, never judged)"
_NOT_JUDGED = "no limit was judged"
_UNLIMITED = "unlimited"
_NO_POWER = "the same load without limits must be BROKEN"
_CONTROL_NOTE = (
    "This container had no limits, and was judged against those of the others. BROKEN is the right outcome here: it "
    "shows that this judge can fail a limit that does not hold. Were it not, no HELD on this page would prove anything."
)
_LEGEND = {
    Outcome.HELD: "the Linux kernel shows the limit, the load pressed against it, and it was not exceeded.",
    Outcome.BROKEN: "exceeded, or the kernel shows another value.",
    Outcome.UNKNOWN: "not pressed, or not readable; it never counts as held.",
}
_LEAD = (
    "Read on the host from the Linux kernel's own counters, while a load pressed against each limit. "
    "Evidence: what the Linux kernel's files said; a counter: before → after."
)
_NAMED = 3
"""so many of the limits that did not hold are named in the first line"""
_COMMAND = 300
"""characters of a command that are shown"""
_ENDINGS = {125: "the engine could not run it", 126: "it could not be executed", 127: "command not found"}
"""exit codes of `docker run` and the shells that say no program ran"""
_SIGNALLED = 128
_COLUMNS = (
    Column(head="Resource", width=14, style="bold"),
    Column(head="Limit", width=12),
    Column(head="Seen", width=34),
    Column(head="Verdict", width=7),
)


def page_of(report: Report) -> Page:
    """All that a run found."""
    return Page(
        title="Do the limits hold?",
        summary=summary(report),
        exit_code=report.exit_code,
        lead=_LEAD,
        sections=tuple(_section(report, trial, number) for number, trial in enumerate(report.trials, start=1)),
        footnotes=(host(report.host), f"started {report.started}, spawner-limits {report.version}"),
        legend=_LEGEND,
        record=_record(report),
        program=_NAME,
        started=report.started,
        properties={"host": host(report.host), "version": report.version},
        suites=tuple(_suites(report)),
    )


# -- the line that matters ---------------------------------------------------------------------------------------


def summary(report: Report) -> str:
    """The line that matters; it says "every limit HELD" only when the exit code is 0."""
    trials = [trial for trial in report.trials if not trial.control]
    verdicts = [(trial, verdict) for trial in trials for verdict in trial.verdicts]
    if report.exit_code == 0:
        return f"every limit HELD ({len(verdicts)} of {len(verdicts)}){_power(report)}"
    bare = [trial for trial in trials if not trial.verdicts]
    counts = (tally([verdict.outcome for _, verdict in verdicts]), f"{len(bare)} not judged" if bare else "")
    missed = [
        f"{line(trial.subject)}'s {resource(verdict.field)} {lower(outcome)}"
        for outcome in (Outcome.BROKEN, Outcome.UNKNOWN)
        for trial, verdict in verdicts
        if verdict.outcome is outcome
    ] + [f"{line(trial.subject)} has no verdict" for trial in bare]
    more = f" and {len(missed) - _NAMED} more" if len(missed) > _NAMED else ""
    named = f": {', '.join(missed[:_NAMED])}{more}" if missed else ""
    return f"{', '.join(filter(None, counts)) or _NOT_JUDGED}{named}{_power(report)}"


def _power(report: Report) -> str:
    """What the controls say of the judge."""
    controls = [trial for trial in report.trials if trial.control]
    if not controls:
        return ""
    lacking = [field for control in controls for field in report.lacks(control)]
    if NOTHING_HELD in lacking:
        return f"; and the control shows nothing: {NOTHING_HELD}"
    if any(control.outcome is not Outcome.BROKEN for control in controls):
        return "; but the control without limits was not BROKEN, so this judge has no power here"
    if lacking:
        return f"; but the control's load did not break {', '.join(map(resource, lacking))}: no power there"
    return "; the control without limits was BROKEN, as it must be"


# -- a trial -----------------------------------------------------------------------------------------------------


def _section(report: Report, trial: Trial, number: int) -> Section:
    elsewhere = f"On {host(trial.evidence.host)}" if trial.evidence.host != report.host else ""
    return Section(
        title=heading(trial),
        anchor=f"trial-{number}",
        aside=_chip(trial, trial.outcome),
        note=" ".join(filter(None, (_CONTROL_NOTE if trial.control else "", elsewhere))),
        columns=_COLUMNS,
        rows=tuple(_row(trial, verdict) for verdict in trial.verdicts),
        facts=(*_unjudged(trial), *_load(trial.evidence)),
        plots=plots(trial),
    )


def heading(trial: Trial) -> str:
    """Whose limits a trial pressed; a control says that it is one."""
    name = line(trial.subject) or "(no name)"
    if not trial.control:
        return name
    return CONTROL if name == "control" else f"{CONTROL} ({name})"


def _chip(trial: Trial, outcome: Outcome) -> Chip:
    right = trial.control and outcome is Outcome.BROKEN
    return Chip(outcome=outcome, right=right, remark="as it must be" if right else "")


def _row(trial: Trial, verdict: Verdict) -> Row:
    rule = _rule(trial, verdict.field)
    return Row(
        cells=(resource(verdict.field), verdict.limit, verdict.seen, _chip(trial, verdict.outcome)),
        facts=(
            Fact(lines=(f"{verdict.reason}; from {rule}" if rule else verdict.reason,)),
            Fact(label="evidence", lines=verdict.files or ("none",), look=Look.FILES, depth=Depth.PAGE),
        ),
    )


def _rule(trial: Trial, field: str) -> str:
    """The rule that a limit came from; "" where none is known."""
    return next((line(limit.rule) for limit in trial.limits if limit.field == field), "")


def _unjudged(trial: Trial) -> list[Fact]:
    """Limits that were given, but have no verdict."""
    judged = {verdict.field for verdict in trial.verdicts}
    bare = [] if judged else [Fact(lines=(_NOT_JUDGED,), tone=Outcome.UNKNOWN)]
    return bare + [
        Fact(label="not judged", lines=(f"{resource(limit.field)} {limit.value} ({limit.rule})",))
        for limit in trial.limits
        if limit.field not in judged and limit.value != _UNLIMITED
    ]


def _load(evidence: Evidence) -> tuple[Fact, ...]:
    load = evidence.load
    return (
        Fact(label="load", lines=(_command(load),), look=Look.COMMAND),
        Fact(lines=("; ".join(ended(evidence)),)),
        Fact(label="problem", lines=(load.problem,) if load.problem else (), tone=Outcome.UNKNOWN),
        Fact(label=_OWN_WORDS, lines=load.said, look=Look.SAID),
    )


def _command(load: Load) -> str:
    """As a shell would take it, on one line."""
    return cut(line(shlex.join(load.command)) or "the image's own command", _COMMAND)


def ended(evidence: Evidence) -> tuple[str, str, str]:
    """How the load ended: exit code, OOM kills, the engine's flag."""
    flag = {None: "not known", True: "true", False: "false"}[evidence.load.oom_killed]
    kills = _kills(evidence)
    counts = "OOM kills were not read" if kills is None else counted(kills, "OOM kill") if kills else "no OOM kill"
    return (_exit(evidence.load.exit_code), counts, f"engine's OOMKilled flag {flag} (decides nothing)")


def _exit(code: int | None) -> str:
    if code is None:
        return "no exit code: it never ended, or nobody could be asked"
    meaning = _ENDINGS.get(code)
    if meaning is None and code - _SIGNALLED in set(signal.Signals):
        name = signal.Signals(code - _SIGNALLED).name
        meaning = f"killed ({name})" if name == "SIGKILL" else f"ended by {name}"
    return f"exit {code}: {meaning}" if meaning else f"exit {code}"


def _kills(evidence: Evidence) -> int | None:
    """`None` where the count was never read."""
    if all(snapshot.oom_kill is None for snapshot in evidence.snapshots):
        return None
    return sum(count for _, count in read.kills(evidence.snapshots))


# -- its charts --------------------------------------------------------------------------------------------------


def plots(trial: Trial) -> tuple[Plot, Plot]:
    """CPU and memory used against their limits, with the peak that the Linux kernel kept, and the OOM kills."""
    snapshots = trial.evidence.snapshots
    every, kills = read.readings(snapshots), read.kills(snapshots)
    kept, why = read.thinned(every), read.unknown(every, snapshots)
    limits = {one.field: float(one.value) for one in trial.expect if isinstance(one.value, int | float)}
    limit_words = "{} would be the limit; here is none" if trial.control else "limit {}"
    columns = {USED: "memory_bytes", CACHE: "cache_bytes", SWAP: "swap_bytes"}
    memory = {label: _line(kept, column) for label, column in columns.items()}
    peaks = [peak for snapshot in snapshots if (peak := snapshot.memory_peak_bytes) is not None]
    return (
        Plot(
            title="CPU: cores used over the last second",
            unit="cores",
            lines={"cores used": _line(kept, "cpu_cores")},
            limit=limits.get("cpu_limit"),
            limit_words=limit_words,
            nothing=why.get("cpu_cores", "there are no readings"),
        ),
        Plot(
            title="Memory: used, as the limit counts it",
            unit="bytes",
            # cache and swap only where there was any to see
            lines={label: line for label, line in memory.items() if label == USED or any(one.value for one in line)},
            limit=limits.get("mem_limit"),
            limit_words=limit_words,
            peak=max(peaks, default=None),
            marks={seconds: "OOM kill" for seconds, _ in kills},
            counts=dict(kills),
            nothing=why.get("memory_bytes", "there are no readings"),
        ),
    )


def _line(columns: Columns, name: str) -> tuple[Point, ...]:
    pairs = zip(columns["seconds"], columns[name], strict=True)
    return tuple(Point(seconds=seconds or 0.0, value=value) for seconds, value in pairs)


def _value(trial: Trial, field: str) -> Value | None:
    """A limit in its base unit; `None` where the Linux kernel was not expected to show one."""
    return next((one.value for one in trial.expect if one.field == field), None)


# -- for programs ------------------------------------------------------------------------------------------------


def _record(report: Report) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "summary": summary(report),
        **members(report, "exit_code started version"),
        "host": asdict(report.host),
        "trials": [_trial(trial) for trial in report.trials],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    judged = {verdict.field for verdict in trial.verdicts}
    return {
        **members(trial, "subject control outcome"),
        "verdicts": [
            {
                **members(verdict, "field outcome limit"),
                "rule": _rule(trial, verdict.field) or None,
                **members(verdict, "seen reason files"),
                "figures": dict(verdict.figures),
            }
            for verdict in trial.verdicts
        ],
        "limits": [
            {**members(limit, "field value rule"), "judged": limit.field in judged, **_base(trial, limit)}
            for limit in trial.limits
        ],
        "load": {
            **members(trial.evidence.load, "command exit_code"),
            "engine_oom_killed": trial.evidence.load.oom_killed,
            "oom_kills": _kills(trial.evidence),
            "ended": ended(trial.evidence),
            **members(trial.evidence.load, "problem said"),
        },
        "host": asdict(trial.evidence.host),
        "series": _series(trial.evidence),
    }


def _base(trial: Trial, limit: Origin) -> dict[str, Any]:
    """The limit in its base unit."""
    key, value = KEYS.get(limit.field, "limit"), _value(trial, limit.field)
    if value is not None:
        return {key: value}
    return {key: None, "reason": _UNLIMITED if limit.value == _UNLIMITED else "the engine was not asked for it"}


def _series(evidence: Evidence) -> dict[str, Any]:
    """Columns of equal length; a column with a `null` in it has its reason in `unknown`."""
    every = read.readings(evidence.snapshots)
    kept = read.thinned(every)
    return {
        "cpu_window_seconds": read.WINDOW_S,
        "readings": len(every["seconds"]),
        "unknown": read.unknown(kept, evidence.snapshots),
        "oom_kills": [{"seconds": at, "count": count} for at, count in read.kills(evidence.snapshots)],
        **kept,
    }


# -- for CI systems ----------------------------------------------------------------------------------------------


def _suites(report: Report) -> list[Suite]:
    """One a trial, with a case a verdict. Without a case of its own, what judged nothing would look green."""
    bare = all(trial.control for trial in report.trials)
    nothing = [Suite(name=_NAME, checks=(_nothing(_NAME, "error", _NOT_JUDGED),))] if bare else []
    return [*(_suite(report, trial) for trial in report.trials), *nothing]


def _suite(report: Report, trial: Trial) -> Suite:
    times, load = [one.monotonic_ns for one in trial.evidence.snapshots], trial.evidence.load
    fault, message = ("failure", f"{_NO_POWER}; {_NOT_JUDGED}") if trial.control else ("error", _NOT_JUDGED)
    checks = tuple(_check(report, trial, verdict) for verdict in trial.verdicts)
    return Suite(
        name=heading(trial),
        checks=checks or (_nothing(line(trial.subject), fault, message),),
        seconds=(times[-1] - times[0]) / SECOND_NS if times else 0.0,
        output=(
            f"load: {_command(load)}",
            *ended(trial.evidence),
            *([f"problem: {line(load.problem)}"] if load.problem else []),
            *([f"{_OWN_WORDS}:", *load.said] if load.said else []),
        ),
    )


def _nothing(group: str, fault: str, message: str) -> Check:
    return Check(group=group, name="limits", outcome=Outcome.UNKNOWN, fault=fault, message=message)


def _check(report: Report, trial: Trial, verdict: Verdict) -> Check:
    fault, power = _fault(report, trial, verdict)
    rule = _rule(trial, verdict.field)
    return Check(
        group=line(trial.subject),
        name=verdict.field,
        outcome=verdict.outcome,
        fault=fault,
        message=f"{power}{resource(verdict.field)} {verdict.outcome}: {line(verdict.reason)}",
        details=(
            f"limit {line(verdict.limit)}{rule and ', from '}{rule}",
            f"seen {line(verdict.seen)}",
            *verdict.files,
        ),
        output=(verdict.seen, *verdict.files),
    )


def _fault(report: Report, trial: Trial, verdict: Verdict) -> tuple[str, str]:
    """What a verdict is for CI systems, and how its message begins.

    In a control it is the other way round, as in `Report.exit_code`: BROKEN passes, and what its load did not break of
    what the trial held is a failure; of what the trial did not hold it is `skipped`: that is no fault, and no proof.
    """
    if not trial.control:
        return FAULTS[verdict.outcome], ""
    if verdict.field in report.lacks(trial):
        return "failure", f"{_NO_POWER} by its load; "
    if verdict.outcome is Outcome.BROKEN:
        return "", ""
    if trial.outcome is Outcome.BROKEN:
        return "skipped", "not broken by this load; "
    return "failure", f"{_NO_POWER}; "
