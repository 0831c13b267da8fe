"""The words that all renderers share: the fields' names, and sentences about a report, a trial and its load. Pure."""

from __future__ import annotations

import re
import shlex
import signal
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits import units
from spawner_limits.limits import FIELDS
from spawner_limits.proof.evidence import NOTHING_HELD, Outcome
from spawner_limits.report import series

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spawner_limits.limits import Value
    from spawner_limits.proof.evidence import Evidence, Host, Load, Origin, Report, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """How one field of the limits is named in a report."""

    words: str
    key: str
    """of its limit in JSON; carries the base unit"""


_KEYS = {name: f"limit_{field.base_unit}" for name, field in FIELDS.items()} | {"cpu_period": "limit_period_us"}
RESOURCES: Mapping[str, Resource] = {
    name: Resource(words=field.words, key=_KEYS[name]) for name, field in FIELDS.items()
}
"""field → its name for people, and the key of its limit for programs"""

CONTROL = "control: the same load without limits, must be BROKEN"
OWN_WORDS = "in the container's own words (shown, never judged)"
NOT_JUDGED = "no limit was judged"
UNLIMITED = "unlimited"
_NAMED = 3
"""so many of the limits that did not hold are named in the first line"""
_ENDINGS = {125: "the engine could not run it", 126: "it could not be executed", 127: "command not found"}
"""exit codes of `docker run` and the shells that say no program ran"""
_SIGNALLED = 128
_UNSPEAKABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline: a terminal would obey, XML 1.0 refuses
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks, that show a text in another order
    "\ud800-\udfff\ufffe\uffff]"  # no characters at all
)


def plain(text: str) -> str:
    """`text` with what can't be shown, or would be obeyed by a terminal, replaced by U+FFFD."""
    return _UNSPEAKABLE.sub("\ufffd", text)


def line(text: str) -> str:
    """`text` on one line, fit to be shown."""
    return plain(" ".join(text.split()))


def resource(field: str) -> str:
    """A field's name for people; its own where it has no other."""
    return RESOURCES[field].words if field in RESOURCES else field


def counted(count: int, what: str) -> str:
    """A count with its noun: "1 core", "2 cores"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


# -- the report --------------------------------------------------------------------------------------------------


def summary(report: Report) -> str:
    """The line that matters; it says "every limit HELD" only when the exit code is 0."""
    trials = [trial for trial in report.trials if not trial.control]
    verdicts = [verdict for trial in trials for verdict in trial.verdicts]
    if report.exit_code == 0:
        return f"every limit HELD ({len(verdicts)} of {len(verdicts)}){_control(report)}"
    counts = Counter(verdict.outcome for verdict in verdicts)
    told = [f"{counts[one]} {_lower(one)}" for one in Outcome if counts[one]]
    bare = sum(not trial.verdicts for trial in trials)
    told += [f"{bare} not judged"] if bare else []
    others = _named(_not_held(trials))
    return f"{', '.join(told) or NOT_JUDGED}{others and ': '}{others}{_control(report)}"


def _lower(outcome: Outcome) -> str:
    return outcome.value if outcome is Outcome.BROKEN else outcome.value.lower()


def _not_held(trials: Sequence[Trial]) -> list[str]:
    """What did not hold, the worst first."""
    verdicts = [(trial, verdict) for trial in trials for verdict in trial.verdicts]
    told = [
        f"{line(trial.subject)}'s {resource(verdict.field)} {_lower(verdict.outcome)}"
        for outcome in (Outcome.BROKEN, Outcome.UNKNOWN)
        for trial, verdict in verdicts
        if verdict.outcome is outcome
    ]
    return told + [f"{line(trial.subject)} has no verdict" for trial in trials if not trial.verdicts]


def _named(told: Sequence[str]) -> str:
    more = len(told) - _NAMED
    return ", ".join(told[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _control(report: Report) -> str:
    controls = [trial for trial in report.trials if trial.control]
    if not controls:
        return ""
    lacking = [field for one in controls for field in report.lacks(one)]
    if NOTHING_HELD in lacking:
        return f"; and the control shows nothing: {NOTHING_HELD}"
    if any(one.outcome is not Outcome.BROKEN for one in controls):
        return "; but the control without limits was not BROKEN, so this judge has no power here"
    if lacking:
        return f"; but the control's load did not break {', '.join(map(resource, lacking))}: no power there"
    return "; the control without limits was BROKEN, as it must be"


def host(machine: Host) -> str:
    """The machine, in one line."""
    swap = f"{units.format_size(machine.swap_bytes)} swap" if machine.swap_bytes else "no swap"
    size = f"{counted(machine.cores, 'core')}, {units.format_size(machine.memory_bytes)} memory, {swap}"
    return line(f"{machine.engine} · Linux {machine.kernel} · {size}")


# -- one trial ---------------------------------------------------------------------------------------------------


def heading(trial: Trial) -> str:
    """Whose limits a trial pressed; a control says that it is one."""
    name = line(trial.subject) or "(no name)"
    if not trial.control:
        return name
    return CONTROL if name == "control" else f"{CONTROL} ({name})"


def rule(trial: Trial, field: str) -> str:
    """The rule that a limit came from; "" where none is known."""
    return next((line(one.rule) for one in trial.limits if one.field == field), "")


def value(trial: Trial, field: str) -> Value | None:
    """A limit in its base unit; `None` where the Linux kernel was not expected to show one."""
    return next((one.value for one in trial.expect if one.field == field), None)


def not_judged(trial: Trial) -> tuple[Origin, ...]:
    """Limits that were given, but have no verdict."""
    judged = {verdict.field for verdict in trial.verdicts}
    return tuple(one for one in trial.limits if one.field not in judged and one.value != UNLIMITED)


def command(load: Load, length: int) -> str:
    """The load's command as a shell would take it, on one line of at most `length` characters."""
    told = line(shlex.join(load.command)) or "the image's own command"
    return told if len(told) <= length else f"{told[: length - 1]}…"


def ended(evidence: Evidence) -> tuple[str, ...]:
    """How the load ended: exit code, OOM kills, the engine's flag."""
    return (_exit(evidence.load.exit_code), _kills(evidence), _flag(evidence.load))


def _exit(code: int | None) -> str:
    if code is None:
        return "no exit code: it never ended, or nobody could be asked"
    meaning = _ENDINGS.get(code) or _signal(code - _SIGNALLED)
    return f"exit {code}: {meaning}" if meaning else f"exit {code}"


def _signal(number: int) -> str:
    if number not in set(signal.Signals):
        return ""
    name = signal.Signals(number).name
    return f"killed ({name})" if number == signal.SIGKILL else f"ended by {name}"


def _kills(evidence: Evidence) -> str:
    if all(snapshot.oom_kill is None for snapshot in evidence.snapshots):
        return "OOM kills were not read"
    count = sum(kill.count for kill in series.kills(evidence.snapshots))
    return counted(count, "OOM kill") if count else "no OOM kill"


def _flag(load: Load) -> str:
    flag = {None: "not known", True: "true", False: "false"}[load.oom_killed]
    return f"engine's OOMKilled flag {flag} (decides nothing)"
