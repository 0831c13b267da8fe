"""Run cases: what may go side by side does, what measures CPU time waits its turn; what others disturbed is repeated.

Only an UNKNOWN is ever repeated, and only so often; a HELD or a BROKEN never is.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spawner_limits import __version__, interrupt
from spawner_limits.clients.own_containers import Engine, reachable
from spawner_limits.conformance.case import CannotError, ConformanceReport, Control, Pace, Result
from spawner_limits.conformance.trial import Bench, Memo
from spawner_limits.errors import LimitsError, UnreachableError
from spawner_limits.kernel.cgroups import CgroupError
from spawner_limits.proof.evidence import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.proof.evidence import Verdict

WORKERS = 4
"""cases that don't measure CPU time, side by side"""
TRIES = 3
_SLACK = 0.5
"""of the CPUs, what quotas that are pressed side by side may take together"""
_WORST = (Outcome.BROKEN, Outcome.UNKNOWN, Outcome.HELD)
_OWN_FAULT = "the case could not be run"
_AGAIN = "run this case again while nothing else is busy on the host"


@dataclass
class Suite:
    """Runs cases on one engine with one image."""

    image: str
    say: Callable[[Result], None] = lambda _: None
    """told of each result as it comes, from any thread, one at a time"""
    begin: Callable[[AnyCase], None] = lambda _: None
    """told of each case when it is pressed, from any thread"""
    engine: Callable[[], Engine] = Engine
    _memo: Memo = field(default_factory=Memo)
    _used: dict[int, tuple[set[str], float]] = field(default_factory=dict)
    """case → the shared evidence that it was judged by, and when"""
    _local: threading.local = field(default_factory=threading.local)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(
        self, cases: Sequence[AnyCase], *, left_out: Sequence[int] = (), accepted: Sequence[int] = ()
    ) -> ConformanceReport:
        """Press each case and its control.

        UsageError for an image that is not here; UnreachableError when the engine goes away. Nothing of ours is left.
        """
        began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        bench = self._bench()
        bench.engine.require_image(self.image)
        bench.engine.sweep()
        results = [
            # those that take long first, so that nothing waits for them at the end
            *self._together(
                sorted((one for one in cases if one.pace is Pace.SHARED), key=lambda one: one.quick), WORKERS
            ),
            # before the quotas: these gather alone what is the control of those
            *self._together([one for one in cases if one.pace is Pace.ALONE], 1),
            # the largest first: it is the one that the others have to leave room for
            *self._together(
                sorted((one for one in cases if one.pace is Pace.QUOTA), key=lambda one: -one.cores), WORKERS
            ),
        ]
        return ConformanceReport(
            results=tuple(sorted(results, key=lambda one: one.number)),
            host=bench.host,
            cgroup_version=bench.version,
            image=self.image,
            started=started,
            seconds=time.monotonic() - began,
            version=__version__,
            left_out=tuple(left_out),
            accepted=tuple(accepted),
        )

    def _bench(self) -> Bench:
        """The bench of this thread: a client is not for two at once."""
        if not hasattr(self._local, "bench"):
            self._local.bench = Bench(self.engine(), self.image, self._memo)
        bench: Bench = self._local.bench
        return bench

    def _together(self, cases: Sequence[AnyCase], workers: int) -> list[Result]:
        """Cases side by side, within the CPUs; then once more, alone, those that were disturbed."""
        cpus = _Cpus(_SLACK * self._bench().host.cores)
        alone = workers == 1
        results = [self._case(one, cpus) for one in cases] if alone else self._threads(cases, workers, cpus)
        by_number = {one.number: one for one in cases}
        return [self._repeated(by_number[one.number], one) for one in results]

    def _threads(self, cases: Sequence[AnyCase], workers: int, cpus: _Cpus) -> list[Result]:
        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(self._case, one, cpus) for one in cases]
            try:
                done, rest = wait(futures, return_when=FIRST_EXCEPTION)
            except KeyboardInterrupt:  # the threads see it at their next pause
                self._stop.set()
                raise
            if rest:
                self._stop.set()
        for failed in (one.exception() for one in done):
            if failed is not None:
                raise failed
        return [future.result() for future in futures]

    def _case(self, case: AnyCase, cpus: _Cpus) -> Result:
        """One case and its control, as soon as there are CPUs for it."""
        if self._stop.is_set():
            raise KeyboardInterrupt
        with cpus.taken(case.cores):
            result = self._measured(case)
        if not _disturbed(result):
            self._tell(result)
        return result

    def _measured(self, case: AnyCase) -> Result:
        self.begin(case)
        result = measure(case, self._bench())
        self._used[case.number] = (self._bench().used, time.monotonic())
        return result

    def _repeated(self, case: AnyCase, result: Result) -> Result:
        """Try again what was disturbed, so often; with evidence that is newer than what it was judged by."""
        while _disturbed(result) and result.tries < TRIES:
            self._memo.forget(*self._used[case.number])
            again = self._measured(case)
            result = replace(again, tries=result.tries + 1, seconds=result.seconds + again.seconds)
            if not _disturbed(result) or result.tries == TRIES:
                self._tell(result)
        return result

    def _tell(self, result: Result) -> None:
        with self._lock:
            self.say(result)


class _Cpus:
    """CPUs that are taken while a quota is pressed."""

    def __init__(self, most: float) -> None:
        self._free, self._most, self._changed = most, most, threading.Condition()

    @contextmanager
    def taken(self, cores: float) -> Iterator[None]:
        """So many for the time of the block, or all of them; it waits until they are free."""
        cores = min(cores, self._most)
        with self._changed:
            while not self._changed.wait_for(lambda: self._free >= cores, timeout=0.2):
                interrupt.check()
            self._free -= cores
        try:
            yield
        finally:
            with self._changed:
                self._free += cores
                self._changed.notify_all()


# -- one case ----------------------------------------------------------------------------------------------------


def measure(case: AnyCase, bench: Bench) -> Result:
    """Press a case and its control, and judge both. What can't be run is UNKNOWN, with the reason."""
    began = time.monotonic()
    bench.begin()
    if case.only not in (None, bench.version):
        unknown = _unknown(case, bench.version, f"cgroup v{bench.version} has no such thing")
        return replace(unknown, applies=False, seconds=time.monotonic() - began)
    try:
        with reachable():
            result = _pressed(case, bench)
    except CannotError as error:
        result = _unknown(case, bench.version, str(error), error.remedy)
    except UnreachableError:
        raise
    except (LimitsError, CgroupError) as error:
        result = _unknown(case, bench.version, f"{_OWN_FAULT}: {error}")
    return replace(result, seconds=time.monotonic() - began)


def _unknown(case: AnyCase, version: CgroupVersion, reason: str, remedy: str = "") -> Result:
    """The result of a case that was not pressed."""
    return Result(
        number=case.number,
        group=case.group,
        title=case.title,
        outcome=Outcome.UNKNOWN,
        expected=case.expects(version),
        seen="–",
        tolerance=case.tolerance,
        reason=reason,
        remedy=remedy,
        defect="",
        evidence=(),
        figures={},
        control=None,
        seconds=0.0,
        tries=1,
    )


def _pressed(case: AnyCase, bench: Bench) -> Result:
    evidence = case.press(bench)
    verdicts = case.judge(evidence)
    control = _control(case, bench)
    outcome = _worst(verdicts)
    worst = [one for one in verdicts if one.outcome is outcome]
    reason, seen = _told(worst, "reason"), _told(worst if outcome is Outcome.BROKEN else verdicts, "seen")
    if outcome is Outcome.HELD and not control.has_power:
        outcome = Outcome.UNKNOWN
        reason = f"{case.control_words} was not BROKEN ({control.reason}), so this says nothing"
    return replace(
        _unknown(case, bench.version, reason),
        outcome=outcome,
        seen=seen,
        remedy={Outcome.HELD: "", Outcome.BROKEN: case.remedy, Outcome.UNKNOWN: _AGAIN}[outcome],
        defect=case.known_defect(bench.version) if outcome is Outcome.BROKEN else "",
        evidence=tuple(dict.fromkeys(file for one in verdicts for file in one.files)),
        figures=_figures(verdicts),
        control=control,
        plots=tuple(case.plots(evidence)),
    )


def _control(case: AnyCase, bench: Bench) -> Control:
    try:
        verdicts = case.judge(case.control(bench))
    except CannotError as error:  # what was seen of the case itself is not lost by it
        return Control(words=case.control_words, outcome=Outcome.UNKNOWN, seen="–", reason=f"it could not run: {error}")
    # a missing limit must show by its effect; that its file says so is not enough
    broken = [one for one in verdicts if one.under_load is Outcome.BROKEN]
    worst = _worst(verdicts)
    outcome = Outcome.BROKEN if broken else Outcome.HELD if worst is Outcome.HELD else Outcome.UNKNOWN
    told = broken or [one for one in verdicts if one.outcome is worst]
    return Control(words=case.control_words, outcome=outcome, seen=_told(told, "seen"), reason=_told(told, "reason"))


def _told(verdicts: Sequence[Verdict], what: str) -> str:
    """What several say, none of it twice."""
    return "; ".join(dict.fromkeys(getattr(one, what) for one in verdicts))


def _figures(verdicts: Sequence[Verdict]) -> dict[str, float | int | str | None]:
    """Figures of all verdicts; of several for one field, the later ones with a number."""
    found: dict[str, float | int | str | None] = {}
    for index, one in enumerate(verdicts):
        before = sum(other.field == one.field for other in verdicts[:index])
        field = f"{one.field} {before + 1}" if before else one.field
        found |= {f"{field}: {key}": value for key, value in one.figures.items()}
    return found


def _worst(verdicts: Sequence[Verdict]) -> Outcome:
    found = {one.outcome for one in verdicts}
    return next((one for one in _WORST if one in found), Outcome.UNKNOWN)


def _disturbed(result: Result) -> bool:
    """Whether trying again may help: it was pressed, and neither held nor broke."""
    return result.outcome is Outcome.UNKNOWN and result.control is not None
