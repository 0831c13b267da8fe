"""`oom`: a memory limit that falls behind the engine's back: processes die one by one, at last the container."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits import interrupt
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.former import KILLED, Setting, claim, ended, made, oom_kills
from spawner_limits.conformance.trial import probe
from spawner_limits.experiments import lines
from spawner_limits.experiments.experiment import Experiment, Figure, Judged
from spawner_limits.experiments.stairs import size
from spawner_limits.kernel.kmsg import KernelLog, kills
from spawner_limits.limits import Limits
from spawner_limits.proof.evidence import Outcome
from spawner_limits.report.plot import Plot, Point
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.conformance.trial import Subject
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.experiments.experiment import Stage
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Verdict

TITLE = "A falling memory limit: one process after the other, then the container"
WORKERS = 8
_BREATH_MIB = 24
_BEGIN = 256 * MIB
_STEPS = tuple(mib * MIB for mib in range(216, 0, -24))
"""down to what one of them does not fit in; the first process does, and well: one that was just killed may still hold
some of its memory"""
_VERY_LOW = MIB
_STEP_S = 0.6
_INSIST_S = 4.0
"""at a step: cgroup v1 refuses a limit below what is used just now (EBUSY), and these processes use more and less"""
_RUNS = 3
"""of the whole, while nothing can be said of it because the kernel refused the limits that were to kill"""
_EVERY_S = 0.02
_READY_S = 20
_FALLING, _LOW = "the limit falls", "a very low limit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """One limit, written to the kernel's file."""

    monotonic_ns: int
    limit_bytes: int
    refusal: str | None
    """what the kernel said; `None`: it took it"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fall:
    """What was read."""

    version: CgroupVersion
    snapshots: tuple[Snapshot, ...]
    written: tuple[Written, ...]
    alive_after: bool
    """whether the container was, when all its workers were dead"""
    left: int | None
    """processes in it then"""
    last: Written
    """the very low value"""
    exit_code: int | None
    """of the container, at last"""
    flag: bool | None
    """the engine's OOMKilled"""
    inspected_bytes: int | None
    """the limit that `docker inspect` showed all the time"""
    log: tuple[str, ...]
    log_problem: str


def run(stage: Stage) -> Experiment:
    """Press on one container. CannotError where the load can't run."""
    # nothing may go to swap instead: on v1 by swappiness, on v2 by the limit of swap, which this makes 0
    swappiness = 0 if stage.bench.version == 1 else None
    limits = Limits(mem_limit=_BEGIN, memswap_limit=_BEGIN, mem_swappiness=swappiness)
    for number in range(1, _RUNS + 1):
        stage.say(f"{WORKERS} processes, and a limit that falls from {size(_STEPS[0])}{', again' * (number > 1)}")
        found = told(_run(stage, Setting(limits=limits)))
        if found.outcome is not Outcome.UNKNOWN:
            break
    return found


def _run(stage: Stage, setting: Setting) -> Fall:
    command = probe("breathe", WORKERS, _BREATH_MIB)
    with KernelLog() as log, made(stage.bench, setting, command) as subject:
        subject.go()
        _await_workers(subject)
        return _fall(subject, log)


def _await_workers(subject: Subject) -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        if (subject.reader.read().pids_current or 0) > WORKERS:
            return
        interrupt.pause(_EVERY_S)
    raise CannotError("the processes did not start in the container", "give an --image with python3 and sh")


def _fall(subject: Subject, log: KernelLog) -> Fall:
    taken = [subject.reader.read_limits()]
    written: list[Written] = []
    # of a process that has just been killed the Linux kernel forgets that it still frees its memory, and on a slow host
    # it takes the next one, down to the first
    _spare(subject, -1000)
    for limit in _STEPS:
        written.append(_write(subject, limit, taken, _INSIST_S))
        _follow(subject, taken, _STEP_S)
        if (taken[-1].pids_current or 0) <= 1:
            break
    _await_deaths(subject, taken)
    alive, left = subject.alive, taken[-1].pids_current
    inspected = subject.inspected.get("HostConfig", {}).get("Memory")
    _spare(subject, 0)
    last = _write(subject, _VERY_LOW, taken, 10 * _EVERY_S)
    # on v1, which refuses such a limit, only a process that asks for more is ended
    subject.signal("SIGUSR1")
    exit_code = _await_end(subject, taken)
    return Fall(
        version=subject.bench.version,
        snapshots=tuple(taken),
        written=tuple(written),
        alive_after=alive,
        left=left,
        last=last,
        exit_code=exit_code,
        flag=subject.state.get("OOMKilled"),
        inspected_bytes=inspected,
        log=tuple(kills(log.lines(), subject.container.id)),
        log_problem=log.problem,
    )


def _spare(subject: Subject, score: int) -> None:
    """Set the first process's `oom_score_adj`: at -1000 the OOM killer never takes it."""
    with suppress(PermissionError):  # without CAP_SYS_RESOURCE it is spared only as long as there are others
        Path("/proc", str(subject.container.pid), "oom_score_adj").write_text(str(score), encoding="ascii")


def _await_deaths(subject: Subject, taken: list[Snapshot]) -> None:
    """On a busy host a process may take its time to ask for more."""
    end = time.monotonic() + _INSIST_S
    while (taken[-1].pids_current or 0) > 1 and time.monotonic() < end:
        _follow(subject, taken, _EVERY_S)


def _write(subject: Subject, limit: int, taken: list[Snapshot], seconds: float) -> Written:
    """Write a limit, for so long while the kernel refuses it for what is used just now."""
    file = "memory.limit_in_bytes" if subject.bench.version == 1 else "memory.max"
    end = time.monotonic() + seconds
    while (refusal := subject.write(file, str(limit))) is not None and time.monotonic() < end:
        _follow(subject, taken, _EVERY_S)
    return Written(monotonic_ns=time.monotonic_ns(), limit_bytes=limit, refusal=refusal)


def _follow(subject: Subject, taken: list[Snapshot], seconds: float) -> None:
    taken += subject.follow(seconds=seconds, every_s=_EVERY_S)


def _await_end(subject: Subject, taken: list[Snapshot]) -> int | None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end and subject.alive:
        _follow(subject, taken, 5 * _EVERY_S)
    return subject.await_end(1)


# -- told --------------------------------------------------------------------------------------------------------


def told(fall: Fall) -> Experiment:
    """The experiment, from what was read. Pure."""
    return Experiment(
        name="oom",
        title=TITLE,
        setup=(
            f"A container with {size(_BEGIN)}, in which {WORKERS} processes each take {_BREATH_MIB} MiB and give it "
            "back, over and over, and ask the OOM killer to take them first (oom_score_adj 1000); the container's "
            "first process only waits for them. Its limit is lowered step by step in the "
            "Linux kernel's own file, behind the engine's back; at last to a value that nothing fits in."
        ),
        figures=(*_falling(fall), *_low(fall)),
        findings=tuple(_findings(fall)),
        judged=tuple(Judged(part=part, verdict=verdict) for part, verdict in _judged(fall)),
        plots=(_memory_plot(fall), _process_plot(fall)),
    )


def _before_the_end(fall: Fall) -> list[Snapshot]:
    return [one for one in fall.snapshots if one.monotonic_ns < fall.last.monotonic_ns]


def _kills(snapshots: Sequence[Snapshot]) -> int | None:
    read = [one.oom_kill for one in snapshots if one.oom_kill is not None]
    return read[-1] - read[0] if read else None


def _lowest(fall: Fall) -> int | None:
    return min((one.limit_bytes for one in fall.written if one.refusal is None), default=None)


def _deaths(fall: Fall) -> Verdict:
    """All workers die, if only the kernel took a limit that none of them fits in."""
    verdict, lowest = oom_kills(_before_the_end(fall), least=WORKERS), _lowest(fall)
    if verdict.outcome is not Outcome.BROKEN or (lowest is not None and lowest <= _STEPS[-1]):
        return verdict
    reason = f"the lowest limit that the Linux kernel took is {size(lowest)}, in which some of them fit"
    return replace(verdict, outcome=Outcome.UNKNOWN, under_load=Outcome.UNKNOWN, reason=reason)


def _judged(fall: Fall) -> list[tuple[str, Verdict]]:
    return [
        (_FALLING, _deaths(fall)),
        (
            _FALLING,
            claim(
                "the container",
                expected="lives while its first process does",
                seen="running" if fall.alive_after else "ended",
                holds=fall.alive_after,
            ),
        ),
        (_LOW, ended(fall.exit_code, KILLED, what="the container")),
    ]


def _file(fall: Fall) -> str:
    return "memory.limit_in_bytes" if fall.version == 1 else "memory.max"


def _falling(fall: Fall) -> list[Figure]:
    refused = sum(one.refusal is not None for one in fall.written)
    lowest = _lowest(fall)
    kills_file = "memory.oom_control" if fall.version == 1 else "memory.events"
    rows: list[tuple[str, str, str, str, int | None]] = [
        ("limits written", f"{len(fall.written)}, {refused} refused", _file(fall), "limits_written", len(fall.written)),
        ("lowest that was taken", size(lowest), _file(fall), "lowest_limit_bytes", lowest),
        ("limit, by the engine", size(fall.inspected_bytes), "docker inspect", "inspected_bytes", fall.inspected_bytes),
        ("OOM kills", _count(_kills(_before_the_end(fall))), kills_file, "oom_kills", _kills(_before_the_end(fall))),
        (
            "in the kernel's log, in all",
            fall.log_problem or f"{len(fall.log)} kills",
            "/dev/kmsg",
            "logged_kills",
            None if fall.log_problem else len(fall.log),
        ),
        ("processes left", "not read" if fall.left is None else str(fall.left), "pids.current", "processes", fall.left),
    ]
    return [
        Figure(part=_FALLING, what=what, value=value, source=source, key=key, number=number)
        for what, value, source, key, number in rows
    ]


def _count(count: int | None) -> str:
    return "not read" if count is None else f"+{count}"


def _low(fall: Fall) -> list[Figure]:
    answer = "taken" if fall.last.refusal is None else fall.last.refusal
    code = "lives on" if fall.exit_code is None else f"exit {fall.exit_code}"
    flag = "not known" if fall.flag is None else str(fall.flag).lower()
    rows: list[tuple[str, str, str, str, int | str | None]] = [
        (f"limit {size(fall.last.limit_bytes)}", answer, _file(fall), "very_low_answer", answer),
        ("the container", code, "docker inspect", "exit_code", fall.exit_code),
        ("OOMKilled", flag, "docker inspect", "oom_killed_flag", flag),
    ]
    return [
        Figure(part=_LOW, what=what, value=value, source=source, key=key, number=number)
        for what, value, source, key, number in rows
    ]


def _findings(fall: Fall) -> list[str]:
    count = _kills(_before_the_end(fall))
    found = [_died(fall, count)] if count else ["No process was killed while the limit fell."]
    if fall.inspected_bytes:
        found.append(
            f"docker inspect said {size(fall.inspected_bytes)} all the time: it tells what was asked for. What "
            f"holds is in the Linux kernel's {_file(fall)}."
        )
    return [*found, _end(fall), *_logged(fall)]


def _died(fall: Fall, count: int) -> str:
    lives = "and the container went on" if fall.alive_after else "and then the container had ended"
    return (
        f"The Linux kernel's OOM killer ended {count} processes, one by one as the limit fell, {lives}: it takes the "
        "process with the worst score, not the container. Only the end of the first process is the container's."
    )


def _end(fall: Fall) -> str:
    if fall.exit_code is None:
        answer = "was taken" if fall.last.refusal is None else f"was refused ({fall.last.refusal})"
        return (
            f"A limit of {size(fall.last.limit_bytes)} {answer}, and the container lived on: nothing is shown by that."
        )
    if fall.last.refusal is None:
        how = f"A limit of {size(fall.last.limit_bytes)} was taken, and ended what was left at once"
    else:
        how = (
            f"A limit of {size(fall.last.limit_bytes)} was refused ({fall.last.refusal}): cgroup v1 lowers none below "
            "what can't be given up. The last process was ended when it asked for more"
        )
    flag = {True: "true", False: "false", None: "nothing"}[fall.flag]
    return (
        f"{how}: exit code {fall.exit_code}. The engine's own flag OOMKilled said {flag}; it is no evidence either "
        "way, the counter is."
    )


def _logged(fall: Fall) -> list[str]:
    if fall.log_problem:
        return [f"The Linux kernel's log could not be read ({fall.log_problem})."]
    if not fall.log:
        return [
            "The Linux kernel's log had no line of it: it logs only so many in a while, and may be told to log none."
        ]
    return [f"The Linux kernel's log says: {fall.log[0]}"]


# -- drawn -------------------------------------------------------------------------------------------------------


def _memory_plot(fall: Fall) -> Plot:
    begin = fall.snapshots[0].monotonic_ns
    end = lines.seconds(begin, fall.snapshots[-1].monotonic_ns)
    return Plot(
        title="Memory under a falling limit",
        unit="bytes",
        lines={
            "memory": lines.values(fall.snapshots, begin, lambda one: one.memory_current_bytes),
            "the limit in the kernel's file": _stairs(fall, begin, end),
        },
        marks=dict.fromkeys(lines.kills(fall.snapshots, begin), "OOM kill"),
        counts=lines.kills(fall.snapshots, begin),
    )


def _stairs(fall: Fall, begin_ns: int, end_s: float) -> tuple[Point, ...]:
    """The limit as a line of steps: the value until then, and the one from then on."""
    points: list[Point] = []
    for one in (*fall.written, fall.last):
        if one.refusal is None:
            at = lines.seconds(begin_ns, one.monotonic_ns)
            points += [Point(seconds=at, value=points[-1].value)] if points else []
            points.append(Point(seconds=at, value=one.limit_bytes))
    return (*points, Point(seconds=max(end_s, points[-1].seconds), value=points[-1].value)) if points else ()


def _process_plot(fall: Fall) -> Plot:
    begin = fall.snapshots[0].monotonic_ns
    return Plot(
        title="Processes in the container",
        unit="processes",
        lines={"processes": lines.values(fall.snapshots, begin, lambda one: one.pids_current)},
        marks={lines.seconds(begin, fall.last.monotonic_ns): f"limit {size(fall.last.limit_bytes)}"},
    )
