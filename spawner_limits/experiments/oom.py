"""`oom`: a memory limit that falls behind the engine's back: processes die one by one, at last the container."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits.conformance import lines
from spawner_limits.conformance.case import CannotError
from spawner_limits.conformance.setting import Setting, kernel_file, made
from spawner_limits.conformance.trial import probe
from spawner_limits.experiments.experiment import Experiment, Judged, figures
from spawner_limits.experiments.stairs import EVERY_S, kills, size
from spawner_limits.kernel import kmsg
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import KILLED, claim, ended, oom_kills
from spawner_limits.proof.evidence import Outcome
from spawner_limits.report.plot import Plot, Point
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.trial import Subject
    from spawner_limits.experiments.experiment import Row, Stage
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
    """What was seen."""

    seen: Seen
    """its exit code is the container's, at last; `alive`: whether that was, when all its workers were dead"""
    written: tuple[Written, ...]
    left: int | None
    """processes in it when all its workers were dead"""
    last: Written
    """the very low value"""
    flag: bool | None
    """the engine's OOMKilled"""
    log: tuple[str, ...]
    log_problem: str

    @property
    def falling(self) -> Seen:
        """Until the very low value was written."""
        taken = tuple(one for one in self.seen.snapshots if one.monotonic_ns < self.last.monotonic_ns)
        return replace(self.seen, snapshots=taken)

    @property
    def lowest(self) -> int | None:
        """The lowest limit that the Linux kernel took, of those that fell."""
        return min((one.limit_bytes for one in self.written if one.refusal is None), default=None)

    @property
    def file(self) -> str:
        """The Linux kernel's, that has the limit."""
        return kernel_file("mem_limit", self.seen.version)


def run(stage: Stage) -> Experiment:
    """Press on one container. CannotError where the load can't run."""
    # nothing may go to swap instead: on v1 by swappiness, on v2 by the limit of swap, which this makes 0
    swappiness = 0 if stage.bench.version == 1 else None
    limits = Limits(mem_limit=_BEGIN, memswap_limit=_BEGIN, mem_swappiness=swappiness)
    for number in range(1, _RUNS + 1):
        stage.say(f"{WORKERS} processes, and a limit that falls from {size(_STEPS[0])}{', again' * (number > 1)}")
        found = told(_run(stage, Setting(asked=limits)))
        if found.outcome is not Outcome.UNKNOWN:
            break
    return found


def _run(stage: Stage, setting: Setting) -> Fall:
    command = probe("breathe", WORKERS, _BREATH_MIB)
    with kmsg.KernelLog() as log, made(stage.bench, setting, command) as subject:
        subject.go()
        begun = subject.follow(seconds=_READY_S, every_s=EVERY_S, until=lambda one: (one.pids_current or 0) > WORKERS)
        if (begun[-1].pids_current or 0) <= WORKERS:
            raise CannotError("the processes did not start in the container", "give an --image with python3 and sh")
        return _fall(subject, log)


def _fall(subject: Subject, log: kmsg.KernelLog) -> Fall:
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
    # on a busy host a process may take its time to ask for more
    taken += subject.follow(seconds=_INSIST_S, every_s=EVERY_S, until=lambda one: (one.pids_current or 0) <= 1)
    alive, left = subject.alive, taken[-1].pids_current
    recorded = subject.recorded
    _spare(subject, 0)
    last = _write(subject, _VERY_LOW, taken, 10 * EVERY_S)
    # on v1, which refuses such a limit, only a process that asks for more is ended
    subject.signal("SIGUSR1")
    exit_code = _await_end(subject, taken)
    return Fall(
        seen=subject.seen(taken, exit_code, alive=alive, recorded=recorded),
        written=tuple(written),
        left=left,
        last=last,
        flag=subject.state.get("OOMKilled"),
        log=tuple(kmsg.kills(log.lines(), subject.container.id)),
        log_problem=log.problem,
    )


def _spare(subject: Subject, score: int) -> None:
    """Set the first process's `oom_score_adj`: at -1000 the OOM killer never takes it."""
    with suppress(PermissionError):  # without CAP_SYS_RESOURCE it is spared only as long as there are others
        Path("/proc", str(subject.container.pid), "oom_score_adj").write_text(str(score), encoding="ascii")


def _write(subject: Subject, limit: int, taken: list[Snapshot], seconds: float) -> Written:
    """Write a limit, for so long while the kernel refuses it for what is used just now."""
    file = kernel_file("mem_limit", subject.bench.version)
    end = time.monotonic() + seconds
    while (refusal := subject.write(file, str(limit))) is not None and time.monotonic() < end:
        _follow(subject, taken, EVERY_S)
    return Written(monotonic_ns=time.monotonic_ns(), limit_bytes=limit, refusal=refusal)


def _follow(subject: Subject, taken: list[Snapshot], seconds: float) -> None:
    taken += subject.follow(seconds=seconds, every_s=EVERY_S)


def _await_end(subject: Subject, taken: list[Snapshot]) -> int | None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end and subject.alive:
        _follow(subject, taken, 5 * EVERY_S)
    return subject.await_end(1)


# -- told --------------------------------------------------------------------------------------------------------


def told(fall: Fall) -> Experiment:
    """The experiment, from what was read. Pure."""
    alive = fall.seen.alive
    container = claim("the container", "lives while its first process does", "running" if alive else "ended", alive)
    return Experiment(
        name="oom",
        title=TITLE,
        setup=(
            f"A container with {size(_BEGIN)}, in which {WORKERS} processes each take {_BREATH_MIB} MiB and give it "
            "back, over and over, and ask the OOM killer to take them first (oom_score_adj 1000); the container's "
            "first process only waits for them. Its limit is lowered step by step in the "
            "Linux kernel's own file, behind the engine's back; at last to a value that nothing fits in."
        ),
        figures=(*figures(_FALLING, _falling(fall)), *figures(_LOW, _low(fall))),
        findings=tuple(_findings(fall)),
        judged=(
            Judged(part=_FALLING, verdict=_deaths(fall)),
            Judged(part=_FALLING, verdict=container),
            Judged(part=_LOW, verdict=ended(KILLED, what="the container")(fall.seen)),
        ),
        plots=(_memory_plot(fall), _process_plot(fall)),
    )


def _deaths(fall: Fall) -> Verdict:
    """All workers die, if only the kernel took a limit that none of them fits in."""
    verdict, lowest = oom_kills(least=WORKERS)(fall.falling), fall.lowest
    if verdict.outcome is not Outcome.BROKEN or (lowest is not None and lowest <= _STEPS[-1]):
        return verdict
    reason = f"the lowest limit that the Linux kernel took is {size(lowest)}, in which some of them fit"
    return replace(verdict, outcome=Outcome.UNKNOWN, under_load=Outcome.UNKNOWN, reason=reason)


def _falling(fall: Fall) -> list[Row]:
    count, refused = len(fall.written), sum(one.refusal is not None for one in fall.written)
    asked, logged = fall.seen.recorded.get("Memory"), len(fall.log)
    return [
        ("limits written", f"{count}, {refused} refused", fall.file, "limits_written", count),
        ("lowest that was taken", size(fall.lowest), fall.file, "lowest_limit_bytes", fall.lowest),
        ("limit, by the engine", size(asked), "docker inspect", "inspected_bytes", asked),
        kills(fall.falling),
        (
            "in the kernel's log, in all",
            fall.log_problem or f"{logged} kills",
            "/dev/kmsg",
            "logged_kills",
            None if fall.log_problem else logged,
        ),
        ("processes left", "not read" if fall.left is None else str(fall.left), "pids.current", "processes", fall.left),
    ]


def _low(fall: Fall) -> list[Row]:
    code, flag = fall.seen.exit_code, "not known" if fall.flag is None else str(fall.flag).lower()
    answer = "taken" if fall.last.refusal is None else fall.last.refusal
    return [
        (f"limit {size(fall.last.limit_bytes)}", answer, fall.file, "very_low_answer", answer),
        ("the container", "lives on" if code is None else f"exit {code}", "docker inspect", "exit_code", code),
        ("OOMKilled", flag, "docker inspect", "oom_killed_flag", flag),
    ]


def _findings(fall: Fall) -> list[str]:
    count, asked = fall.falling.series.risen("oom_kill"), fall.seen.recorded.get("Memory")
    found = [_died(fall, count)] if count else ["No process was killed while the limit fell."]
    if asked:
        found.append(
            f"docker inspect said {size(asked)} all the time: it tells what was asked for. What holds is in the Linux "
            f"kernel's {fall.file}."
        )
    return [*found, _end(fall), *_logged(fall)]


def _died(fall: Fall, count: int) -> str:
    lives = "and the container went on" if fall.seen.alive else "and then the container had ended"
    return (
        f"The Linux kernel's OOM killer ended {count} processes, one by one as the limit fell, {lives}: it takes the "
        "process with the worst score, not the container. Only the end of the first process is the container's."
    )


def _end(fall: Fall) -> str:
    limit, refusal, code = f"A limit of {size(fall.last.limit_bytes)}", fall.last.refusal, fall.seen.exit_code
    if code is None:
        answer = "was taken" if refusal is None else f"was refused ({refusal})"
        return f"{limit} {answer}, and the container lived on: nothing is shown by that."
    how = f"{limit} was taken, and ended what was left at once"
    if refusal is not None:
        how = (
            f"{limit} was refused ({refusal}): cgroup v1 lowers none below what can't be given up. The last process "
            "was ended when it asked for more"
        )
    flag = {True: "true", False: "false", None: "nothing"}[fall.flag]
    return (
        f"{how}: exit code {code}. The engine's own flag OOMKilled said {flag}; it is no evidence either way, the "
        "counter is."
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
    taken = fall.seen.snapshots
    drawn = {"memory": lines.memory(taken), "the limit in the kernel's file": _stairs(fall)}
    return lines.with_kills("Memory under a falling limit", taken, drawn)


def _stairs(fall: Fall) -> tuple[Point, ...]:
    """The limit as a line of steps: the value until then, and the one from then on."""
    begin_ns, points = fall.seen.snapshots[0].monotonic_ns, list[Point]()
    for one in (*fall.written, fall.last):
        if one.refusal is None:
            at = lines.seconds(begin_ns, one.monotonic_ns)
            points += [Point(seconds=at, value=points[-1].value)] if points else []
            points.append(Point(seconds=at, value=one.limit_bytes))
    end_s = lines.seconds(begin_ns, fall.seen.snapshots[-1].monotonic_ns)
    return (*points, Point(seconds=max(end_s, points[-1].seconds), value=points[-1].value)) if points else ()


def _process_plot(fall: Fall) -> Plot:
    taken = fall.seen.snapshots
    at = lines.seconds(taken[0].monotonic_ns, fall.last.monotonic_ns)
    return Plot(
        title="Processes in the container",
        unit="processes",
        lines={"processes": lines.values(taken, lambda one: one.pids_current)},
        marks={at: f"limit {size(fall.last.limit_bytes)}"},
    )
