"""Cases 57 to 64: limits that are changed while a container runs. Each change is looked at three ways.

What the engine answers, what `docker inspect` says, and what the Linux kernel's files say; then the limit is pressed.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker.errors

from spawner_limits.bench import interrupt
from spawner_limits.conformance.case import CannotError, Case, Group, Pace
from spawner_limits.conformance.cpu import WARM_UP_S, spinning, usage_plot
from spawner_limits.conformance.former import (
    KILLED,
    Setting,
    claim,
    ended,
    exactly,
    expected,
    hold,
    made,
    no_oom_kill,
    oom_kills,
)
from spawner_limits.conformance.trial import START_S, Subject
from spawner_limits.engines.docker import TABLE, host_config, translate
from spawner_limits.lifecycle.apply import short
from spawner_limits.limits import Limits
from spawner_limits.proof import windows
from spawner_limits.proof.tolerances import WINDOWS
from spawner_limits.units import MIB, format_cores, format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from spawner_limits.bench.engine import Command
    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.trial import Bench
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Evidence, Verdict
    from spawner_limits.report.plot import Plot

_LOAD_S = 60
_POLL_S = 0.05
_REFUSED_S = 0.5
"""so long a load that can start no process tries to"""
_SETTLED_S = 0.3
"""for what the kernel ended to be seen as ended"""
_RECORD = tuple(dict.fromkeys(row.inspect for row in TABLE if row.inspect))


# -- one change, seen three ways -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One `docker update`, and what was to be seen of it before and after."""

    limits: Limits
    """that were asked for"""
    asked: Mapping[str, Any]
    """the API's own keys"""
    version: CgroupVersion
    page_size_bytes: int
    reply: str | None
    """what the engine answered; `None`: success"""
    recorded: tuple[Mapping[str, Any], Mapping[str, Any]]
    """`HostConfig` in `docker inspect`, before and after"""
    kernel: tuple[Mapping[str, str], Mapping[str, str]]
    """limit file → its text, before and after"""

    @property
    def words(self) -> str:
        """What was asked for, as the API says it."""
        return " ".join(f"{key}={value}" for key, value in self.asked.items())


Files = dict[str, str]
"""cgroup file → text, written behind the engine's back"""


def change(subject: Subject, limits: Limits, *keys: str, behind: Mapping[str, str] | None = None) -> Change:
    """Update a container to these limits; with `keys`, only by those of the API. `behind`: written before the look."""
    asked = host_config(translate(limits, page_size_bytes=subject.bench.page_size_bytes).ask)
    asked = {key: value for key, value in asked.items() if not keys or key in keys}
    before = _recorded(subject), subject.reader.read_limits().limits
    reply = subject.update(**asked)
    lift(subject, behind or {})
    after = _recorded(subject), subject.reader.read_limits().limits
    return Change(
        limits=limits,
        asked=asked,
        version=subject.bench.version,
        page_size_bytes=subject.bench.page_size_bytes,
        reply=reply,
        recorded=(before[0], after[0]),
        kernel=(before[1], after[1]),
    )


def _recorded(subject: Subject) -> dict[str, Any]:
    found = subject.inspected.get("HostConfig")
    if found is None:
        raise CannotError("the container ended during the update, so nothing can be read of it")
    return {key: found.get(key) for key in _RECORD}


def lift(subject: Subject, behind: Mapping[str, str]) -> None:
    """Write the kernel's files behind the engine's back; those that this kernel has not are left out."""
    for name, text in behind.items():
        if subject.read(name) is not None and (error := subject.write(name, text)):
            raise CannotError(f"{name} can't be written: {error}", "run as root on the engine's host")


def agree(made_change: Change) -> list[Verdict]:
    """It was accepted and is in force everywhere, or it was refused and nothing has changed."""
    return in_force(made_change) if made_change.reply is None else unchanged(made_change)


def in_force(made_change: Change) -> list[Verdict]:
    """The engine took it, recorded it, and the Linux kernel has it."""
    record, kernel = made_change.recorded[1], made_change.kernel[1]
    return [
        claim(
            f"reply to {made_change.words}",
            expected="success",
            seen="success" if made_change.reply is None else "refused",
            holds=made_change.reply is None,
            reason="" if made_change.reply is None else f"{made_change.words} was refused: {short(made_change.reply)}",
        ),
        *(exactly(f"HostConfig.{key}", str(value), str(record[key])) for key, value in made_change.asked.items()),
        *(
            exactly(file, accept, kernel.get(file)) if file in kernel else _no_file(file, accept)
            for file, accept in _wanted(made_change).items()
        ),
    ]


def _no_file(file: str, accept: Sequence[str]) -> Verdict:
    return claim(file, expected=" or ".join(accept), seen=None, holds=None, reason=f"{file} could not be read")


def _wanted(made_change: Change) -> dict[str, tuple[str, ...]]:
    """Kernel file → what it may say once the change is in force."""
    fields = [row.field for row in TABLE if row.inspect in made_change.asked]
    told = expected(made_change.limits, made_change.page_size_bytes, *fields)
    return {file.name: file.accept for one in told for file in one.files(made_change.version)}


def unchanged(made_change: Change) -> list[Verdict]:
    """After a refusal: the engine's record and the kernel's files are as they were."""
    return [
        _same(made_change, "HostConfig", *made_change.recorded),
        _same(made_change, "the kernel's files", *made_change.kernel),
    ]


def _same(made_change: Change, what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Verdict:
    drift = [f"{key}: {before.get(key)} → {text}" for key, text in after.items() if before.get(key) != text]
    told = f"{what} after {made_change.words}"
    refused = f"{made_change.words} was refused ({short(made_change.reply or '')})"
    return claim(
        told,
        expected="unchanged",
        seen="; ".join(drift) or "unchanged",
        holds=not drift,
        reason=f"{refused}, but in {what} {'; '.join(drift)}" if drift else f"{refused}, and {what} did not change",
        files=drift,
    )


def unpressed(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Files and answers are no load: they can show that a change failed, not that a limit holds."""
    return [replace(one, under_load=None) for one in verdicts]


def _begun(load: Command, word: str) -> None:
    """Wait until a load has said so. CannotError when it never does."""
    left = START_S * 2.0
    while word not in load.stdout.split():
        left -= _POLL_S
        if left < 0 or not load.running:
            raise CannotError(f"the load did not begin: {load.stderr.strip()}", "give an --image with python3")
        interrupt.pause(_POLL_S)


def _exceeding(subject: Subject, mib: int) -> Evidence:
    """A load that takes so much memory, and asks to be the OOM killer's first."""
    load = subject.probe("hog", mib, 4, 0, "first")
    snapshots = subject.follow(load, seconds=_LOAD_S)
    return subject.evidence(snapshots, load)


@contextmanager
def _asked_of_the_engine(what: str) -> Iterator[None]:
    """CannotError for what the engine refuses."""
    try:
        yield
    except docker.errors.APIError as error:
        raise CannotError(f"the engine can't {what} a container: {error.explanation or error}") from error


# -- 57: CPU quota -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """A quota that a running container is given."""

    cores: float
    windows: int = WINDOWS
    behind: Mapping[CgroupVersion, Files] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turned:
    """What came of it."""

    cores: float
    change: Change
    evidence: Evidence


def _press_turns(bench: Bench, turns: Sequence[Turn]) -> list[Turned]:
    with made(bench, Setting(limits=Limits(cpu_limit=_START_CORES))) as subject:
        load = spinning(subject, 2)
        subject.busy()
        return [_turned(subject, load, turn) for turn in turns]


def _turned(subject: Subject, load: Command, turn: Turn) -> Turned:
    changed = change(subject, Limits(cpu_limit=turn.cores))
    lift(subject, turn.behind.get(subject.bench.version, {}))
    interrupt.pause(WARM_UP_S)
    snapshots = subject.follow(load, seconds=turn.windows * (windows.SHORTEST_S + 0.15) + 0.2)
    return Turned(cores=turn.cores, change=changed, evidence=subject.evidence(snapshots, load))


def _judge_turns(turned: Sequence[Turned]) -> list[Verdict]:
    return [
        verdict
        for one in turned
        for verdict in (
            *unpressed(in_force(one.change)),
            *hold(Limits(cpu_limit=one.cores), "cpu_limit")(one.evidence),
        )
    ]


def _plot_turns(turned: Sequence[Turned]) -> list[Plot]:
    return [
        usage_plot(f"After an update to {format_cores(one.cores)}", {"cores used": one.evidence}, one.cores)
        for one in turned
    ]


# -- 58, 59: memory below what is in use ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Lowering:
    """A load, and a memory limit below what it uses."""

    probe: str
    word: str
    """what it says once it has its memory"""
    behind: Mapping[CgroupVersion, Files] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lowered:
    """What became of a container whose memory limit was lowered below what it used."""

    change: Change
    lives: bool
    """whether the load that used the memory runs on"""
    snapshots: tuple[Snapshot, ...]
    """before and after the update"""
    exceeding: Evidence
    """of a second load, larger than any of the limits"""


def _press_lowered(bench: Bench, lowering: Lowering) -> Lowered:
    with made(bench, Setting(limits=_LARGE)) as subject:
        _spare(subject)
        load = subject.probe(lowering.probe, _IN_USE_MIB, *_ARGUMENTS[lowering.probe])
        _begun(load, lowering.word)
        before = subject.reader.read()
        changed = change(subject, _SMALL)
        interrupt.pause(_SETTLED_S)
        after, lives = subject.reader.read(), load.running
        lift(subject, lowering.behind.get(bench.version, {}))
        exceeding = _exceeding(subject, _EXCEEDS_MIB)
        return Lowered(change=changed, lives=lives, snapshots=(before, after), exceeding=exceeding)


def _spare(subject: Subject) -> None:
    """Keep the OOM killer from what only waits.

    While v2 lowers memory.max it kills until the rest fits, and may be done with the load and go on before that has
    given its memory back: the container would end, and with it all evidence.
    """
    for pid in _processes(subject):
        with suppress(OSError):  # a host that does not let us: then the case may be UNKNOWN
            Path(f"/proc/{pid}/oom_score_adj").write_text("-1000", encoding="ascii")


def _judge_below_anonymous(lowered: Lowered) -> list[Verdict]:
    """Refused, and the load lives under the old limit; or accepted, and what did not fit was ended or swapped."""
    effect = _within(lowered) if lowered.change.reply is None else _lives_on(lowered)
    return [*unpressed(agree(lowered.change)), _was_above(lowered), effect, *_still_limited(lowered.exceeding)]


def _judge_below_cache(lowered: Lowered) -> list[Verdict]:
    return [
        *unpressed(in_force(lowered.change)),
        _was_above(lowered),
        _within(lowered),
        no_oom_kill(lowered.snapshots, what="by the update"),
        _lives_on(lowered),
        *_still_limited(lowered.exceeding),
    ]


def _was_above(lowered: Lowered) -> Verdict:
    """It was pressed: more was in use than the new limit. Else UNKNOWN: a load that is too small proves nothing."""
    used = lowered.snapshots[0].memory_current_bytes
    limit = int(lowered.change.limits.mem_limit or 0)
    return claim(
        "memory in use before",
        expected=f"more than {format_size(limit)}",
        seen=None if used is None else format_size(used),
        holds=True if used is not None and used > limit else None,
        figures={"used_before_bytes": used},
    )


def _within(lowered: Lowered) -> Verdict:
    used = lowered.snapshots[-1].memory_current_bytes
    limit = int(lowered.change.limits.mem_limit or 0)
    fate = "the load runs on" if lowered.lives else "the load was ended"
    return claim(
        "memory in use after",
        expected=f"at most {format_size(limit)}",
        seen=None if used is None else f"{format_size(used)}, {fate}",
        holds=None if used is None else used <= limit,
        files=() if used is None else (f"memory usage after the update = {used}",),
        figures={"used_after_bytes": used, "limit_bytes": limit},
    )


def _lives_on(lowered: Lowered) -> Verdict:
    seen = "runs on" if lowered.lives else "was ended"
    return claim("the load that used the memory", expected="runs on", seen=seen, holds=lowered.lives)


def _still_limited(exceeding: Evidence) -> list[Verdict]:
    """Whichever limit is recorded is in force."""
    what = f"a load of {_EXCEEDS_MIB} MiB afterwards"
    return [ended(exceeding.load.exit_code, KILLED, what=what), oom_kills(exceeding.snapshots, what="afterwards")]


# -- 60, 61: what the answer is worth ------------------------------------------------------------------------------


def _press_refusals(bench: Bench, setting: Setting) -> list[Change]:
    asks: list[tuple[Limits, tuple[str, ...]]] = [
        (Limits(cpu_shares=1), ()),
        (Limits(cpu_shares=300_000), ()),
        (Limits(mem_limit=4 * MIB, memswap_limit=4 * MIB), ()),
        (Limits(mem_limit=128 * MIB), ("Memory",)),  # above memory and swap together, which stays
        (Limits(cpu_limit=0.005), ()),
        (Limits(cpuset_cpus=str(bench.host.cores + 7)), ()),
    ]
    behind = setting.behind.get(bench.version, {})
    with made(bench, Setting(limits=_LARGE)) as subject:
        return [change(subject, limits, *keys, behind=behind) for limits, keys in asks]


def _judge_refusals(changes: Sequence[Change]) -> list[Verdict]:
    return [verdict for one in changes for verdict in agree(one)]


def _press_endless_swap(bench: Bench, setting: Setting) -> Change:
    with made(bench, Setting(limits=_LARGE)) as subject:
        behind = setting.behind.get(bench.version, {})
        return change(subject, Limits(mem_limit=_LARGE.mem_limit), behind=behind)


# -- 62, 64: what lasts --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Lasting:
    """Limits that were changed, and then pressed after something else had happened to the container."""

    change: Change
    memory: Evidence
    pids: Evidence
    frozen: str | None = None
    """what the kernel said of a paused container after its update; `None` where it was not paused"""


def _pressed(subject: Subject, changed: Change, frozen: str | None = None) -> Lasting:
    memory = _exceeding(subject, _EXCEEDS_MIB)
    load = subject.probe("forks", 2 * _PIDS, 0.5)
    snapshots = subject.follow(load, seconds=_LOAD_S)
    return Lasting(change=changed, memory=memory, pids=subject.evidence(snapshots, load), frozen=frozen)


def _press_restart(bench: Bench, setting: Setting) -> Lasting:
    with made(bench, Setting(limits=_BEFORE)) as subject:
        changed = change(subject, _AFTER)
        with _asked_of_the_engine("restart"):
            bench.engine.client.restart(subject.container.id, timeout=0)
        # another first process, and so another cgroup
        with Subject(bench, bench.engine.inspect(subject.container.id)) as again:
            lift(again, setting.behind.get(bench.version, {}))
            return _pressed(again, changed)


def _press_paused(bench: Bench, setting: Setting) -> Lasting:
    with made(bench, Setting(limits=_BEFORE)) as subject:
        client, container = bench.engine.client, subject.container.id
        with _asked_of_the_engine("pause"):
            client.pause(container)
        try:
            changed = change(subject, _AFTER)
            frozen = _frozen(subject)
        finally:
            client.unpause(container)
        lift(subject, setting.behind.get(bench.version, {}))
        return _pressed(subject, changed, frozen)


def _frozen(subject: Subject) -> str:
    if subject.bench.version == 1:
        return subject.read("freezer.state") or "not read"
    return "FROZEN" if "frozen 1" in (subject.read("cgroup.events") or "") else "THAWED"


def _judge_lasting(lasting: Lasting) -> list[Verdict]:
    """The limits of the update hold under load, and those that it did not name are still there."""
    paused = [] if lasting.frozen is None else [exactly("state of the paused container", "FROZEN", lasting.frozen)]
    return [
        *unpressed([*in_force(lasting.change), *paused, *_kept(lasting.memory)]),
        *hold(_AFTER, "mem_limit")(lasting.memory),
        ended(lasting.memory.load.exit_code, KILLED, what=f"a load of {_EXCEEDS_MIB} MiB"),
        *hold(_AFTER, "pids_limit")(lasting.pids),
    ]


def _kept(evidence: Evidence) -> list[Verdict]:
    """The CPU quota, which no update named: read only, its load is another case's."""
    seen = evidence.snapshots[0]
    told = expected(_BEFORE, evidence.page_size_bytes, "cpu_limit")
    files = [file for one in told for file in one.files(seen.versions["cpu"])]
    return [exactly(file.name, file.accept, seen.limits.get(file.name)) for file in files]


# -- 63: fewer processes than there are ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Crowded:
    """A container whose limit of processes was lowered below what ran."""

    change: Change
    ran: frozenset[int]
    """processes before"""
    run_on: frozenset[int]
    """of them, those that lived on"""
    evidence: Evidence
    """of the time after the update, while a load tried to start one more"""


def _press_fewer(bench: Bench, setting: Setting) -> Crowded:
    with made(bench, Setting(limits=Limits(pids_limit=4 * _PIDS))) as subject:
        load = subject.probe("forks", _PIDS, _LOAD_S)
        _begun(load, "got")
        ran = _standing(subject)
        changed = change(subject, Limits(pids_limit=_FEW))
        lift(subject, setting.behind.get(bench.version, {}))
        snapshots = subject.follow(load, seconds=_REFUSED_S)
        return Crowded(
            change=changed, ran=ran, run_on=ran & _processes(subject), evidence=subject.evidence(snapshots, load)
        )


def _standing(subject: Subject) -> frozenset[int]:
    """Processes that are there twice: the one that is started now and then is not among them."""
    first = _processes(subject)
    interrupt.pause(_SETTLED_S)
    return first & _processes(subject)


def _processes(subject: Subject) -> frozenset[int]:
    text = (subject.cgroup.directories["pids"] / "cgroup.procs").read_text(encoding="ascii")
    return frozenset(map(int, text.split()))


def _judge_fewer(crowded: Crowded) -> list[Verdict]:
    taken = crowded.evidence.snapshots
    refused = crowded.evidence.series.risen("pids_max_events")
    return [
        *unpressed(in_force(crowded.change)),
        claim(
            "processes that ran on",
            expected=f"all {len(crowded.ran)}, more than {_FEW}",
            seen=str(len(crowded.run_on)),
            holds=crowded.run_on == crowded.ran if len(crowded.ran) > _FEW else None,
            files=(f"cgroup.procs: {len(crowded.ran)} processes before, {len(crowded.run_on)} of them after",),
        ),
        claim(
            "forks refused after the update",
            expected="+1 or more",
            seen=None if refused is None else f"+{refused}",
            holds=None if refused is None else refused > 0,
            files=(f"pids.events max: {taken[0].pids_max_events} → {taken[-1].pids_max_events}",),
            figures={"refused_forks": refused},
        ),
    ]


# -- the list ------------------------------------------------------------------------------------------------------

_START_CORES = 0.5
_IN_USE_MIB = 64
_EXCEEDS_MIB = 128
_LARGE = Limits(mem_limit=96 * MIB, memswap_limit=96 * MIB)
_SMALL = Limits(mem_limit=32 * MIB, memswap_limit=32 * MIB)
_PIDS = 24
_FEW = 10
_BEFORE = Limits(mem_limit=96 * MIB, memswap_limit=96 * MIB, cpu_limit=1.0, pids_limit=128)
_AFTER = Limits(mem_limit=48 * MIB, memswap_limit=48 * MIB, pids_limit=_PIDS)
_ARGUMENTS: Mapping[str, tuple[int, ...]] = {"hog": (4, _LOAD_S), "cache": (_LOAD_S,)}
"""probe → what it takes after its size"""

_MOST = str(256 * MIB)
_PIDS_LIFTED: Files = {"pids.max": "256"}
_LIFTED: Mapping[CgroupVersion, Files] = {
    # memory and swap together first: memory must not be above it
    1: {"memory.memsw.limit_in_bytes": _MOST, "memory.limit_in_bytes": _MOST, **_PIDS_LIFTED},
    2: {"memory.max": _MOST, **_PIDS_LIFTED},
}
_QUOTA_BACK: Mapping[CgroupVersion, Files] = {1: {"cpu.cfs_quota_us": "50000"}, 2: {"cpu.max": "50000 100000"}}
_SHARES: Mapping[CgroupVersion, Files] = {1: {"cpu.shares": "3"}, 2: {"cpu.weight": "3"}}
_SWAP: Mapping[CgroupVersion, Files] = {
    1: {"memory.memsw.limit_in_bytes": str(160 * MIB)},
    2: {"memory.swap.max": str(64 * MIB)},
}
_BEHIND = "the same, and the kernel's file then changed behind the engine's back"
_LIFTED_WORDS = "the same, and the limit then lifted in the kernel's file behind the engine's back"
_REMEDY = (
    "don't change this limit while a server runs: stop the server and start it anew, and look at the kernel's own file "
    "afterwards (spawner-limits verify)"
)

CASES: tuple[AnyCase, ...] = (
    Case(
        number=57,
        group=Group.UPDATE,
        title="a CPU quota that is lowered and raised again binds at once",
        expected="reply, inspect and kernel agree; 0.25 cores, then 0.5 cores are used",
        tolerance="as case 9; 1 s after the update",
        press=lambda bench: _press_turns(bench, (Turn(cores=0.25), Turn(cores=0.5))),
        control=lambda bench: _press_turns(bench, (Turn(cores=0.25, windows=1, behind=_QUOTA_BACK),)),
        control_words="the same, and the old quota then put back in the kernel's file",
        claims=(_judge_turns,),
        remedy=_REMEDY,
        pace=Pace.QUOTA,
        cores=0.5,
        plots=_plot_turns,
        quick=False,
    ),
    Case(
        number=58,
        group=Group.UPDATE,
        title="memory is not lowered below what is in use by halves",
        expected="refused (EBUSY); reply, inspect and kernel unchanged, the load lives",
        expected_v2="accepted and in force; what does not fit is swapped, or ended by the OOM killer",
        press=lambda bench: _press_lowered(bench, Lowering(probe="hog", word=str(_IN_USE_MIB))),
        control=lambda bench: _press_lowered(bench, Lowering(probe="hog", word=str(_IN_USE_MIB), behind=_LIFTED)),
        control_words=_LIFTED_WORDS,
        claims=(_judge_below_anonymous,),
        remedy=_REMEDY,
        defect=(
            "runc on cgroup v1 lowers memory.limit_in_bytes first, which succeeds where there is swap, and then "
            "memory.memsw.limit_in_bytes, which fails with EBUSY: Docker says that nothing changed, and half of it has"
        ),
        defect_of=1,
    ),
    Case(
        number=59,
        group=Group.UPDATE,
        title="memory is lowered below its page cache, which is given back",
        expected="accepted and in force, the cache reclaimed, nobody killed",
        press=lambda bench: _press_lowered(bench, Lowering(probe="cache", word="written")),
        control=lambda bench: _press_lowered(bench, Lowering(probe="cache", word="written", behind=_LIFTED)),
        control_words=_LIFTED_WORDS,
        claims=(_judge_below_cache,),
        remedy=_REMEDY,
    ),
    Case(
        number=60,
        group=Group.UPDATE,
        title="an update that is refused changes nothing",
        expected="shares 1 and 300000, memory of 4 MiB or above its swap, 0.005 cores, an absent CPU: nothing changes",
        expected_v2="shares are taken, as the least and the largest weight; the others change nothing",
        press=lambda bench: _press_refusals(bench, Setting()),
        control=lambda bench: _press_refusals(bench, Setting(behind=_SHARES)),
        control_words=_BEHIND,
        claims=(_judge_refusals,),
        remedy="keep shares within 2 and 262144, as the policy's check does; after a refusal give the old value anew",
        defect=(
            "runc on cgroup v1 writes cpu.shares first and finds afterwards that the Linux kernel has made 2 or 262144 "
            "of it; Docker takes its own record back, and leaves the kernel's (runc libcontainer/cgroups/fs/cpu.go)"
        ),
        defect_of=1,
    ),
    Case(
        number=61,
        group=Group.UPDATE,
        title="an update that is answered with success is in force",
        expected="memory_swap −1: refused, or unlimited in inspect and in the kernel",
        press=lambda bench: _press_endless_swap(bench, Setting()),
        control=lambda bench: _press_endless_swap(bench, Setting(behind=_SWAP)),
        control_words=_BEHIND,
        claims=(agree,),
        remedy=(
            "to allow more swap to a running server give a number of bytes, not −1; to allow it without end, start the "
            "server anew"
        ),
        defect=(
            "Docker hands memory_swap to the runtime only where it is above 0 (moby daemon/update_linux.go, "
            "toContainerdResources): −1 is recorded, and the kernel keeps the old limit"
        ),
    ),
    Case(
        number=62,
        group=Group.UPDATE,
        title="limits that were changed survive a restart of the container",
        expected="memory and processes of the update hold under load, the CPU quota is as before",
        press=lambda bench: _press_restart(bench, Setting()),
        control=lambda bench: _press_restart(bench, Setting(behind=_LIFTED)),
        control_words=_LIFTED_WORDS,
        claims=(_judge_lasting,),
        remedy=_REMEDY,
    ),
    Case(
        number=63,
        group=Group.UPDATE,
        title="fewer processes than there are: none is killed, and no new one starts",
        expected="all run on; forks are refused",
        press=lambda bench: _press_fewer(bench, Setting()),
        control=lambda bench: _press_fewer(bench, Setting(behind={1: _PIDS_LIFTED, 2: _PIDS_LIFTED})),
        control_words=_LIFTED_WORDS,
        claims=(_judge_fewer,),
        remedy=_REMEDY,
    ),
    Case(
        number=64,
        group=Group.UPDATE,
        title="the update of a paused container is in force when it goes on",
        expected="it stays paused; memory and processes of the update hold under load afterwards",
        press=lambda bench: _press_paused(bench, Setting()),
        control=lambda bench: _press_paused(bench, Setting(behind=_LIFTED)),
        control_words=_LIFTED_WORDS,
        claims=(_judge_lasting,),
        remedy=_REMEDY,
    ),
)
