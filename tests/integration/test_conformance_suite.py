"""How cases are run: what is repeated, what a control decides, what may go side by side, and how a run ends early."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from spawner_limits.conformance.case import CannotError, Case, Group, Pace
from spawner_limits.conformance.suite import WORKERS, Suite
from spawner_limits.engines import labels
from spawner_limits.kernel.cgroups import cgroup_mounts
from spawner_limits.proof.claims import claim
from spawner_limits.proof.evidence import Outcome
from tests import kernel_files
from tests.conftest import MINIMAL
from tests.integration.conftest import TINY, eventually

HELD, BROKEN, UNKNOWN = True, False, None


def case(press, **changes):
    """A case whose evidence is what `press` gives: whether its claim holds."""
    row = {
        "number": 1,
        "group": Group.CPU,
        "title": "something holds",
        "expected": "it holds",
        "tolerance": "zero",
        "limited": "limited",
        "control": "control",
        "control_words": "the same without",
        "press": press,
        "judge": lambda holds: [claim("it", expected="so", seen="so", holds=holds)],
        "remedy": "mend it",
    }
    return Case(**(row | changes))


def run(*cases):
    """The results of cases, by number, and what the suite said meanwhile."""
    told = []
    report = Suite(image=MINIMAL, say=told.append).run(cases)
    assert {one.number for one in told} == {one.number for one in report.results}
    return {one.number: one for one in report.results}


class Script:
    """A press that gives one outcome after the other, for the case and for its control."""

    def __init__(self, limited, control=(BROKEN,)):
        self._left = {"limited": list(limited), "control": list(control)}
        self.calls = []

    def __call__(self, _bench, setting):
        """The next outcome for that setting."""
        self.calls.append(setting)
        left = self._left[setting]
        return left.pop(0) if len(left) > 1 else left[0]


OUTCOMES = {
    # outcomes of the case, of its control: the verdict, how often both were pressed
    "held, and the control is broken": ([HELD], [BROKEN], "HELD", 1),
    "held, but so is the control: the judge has no power": ([HELD], [HELD], "UNKNOWN", 3),
    "held, and the control was disturbed at first": ([HELD], [UNKNOWN, BROKEN], "HELD", 2),
    "broken is never repeated": ([BROKEN, HELD], [BROKEN], "BROKEN", 1),
    "disturbed, then held": ([UNKNOWN, UNKNOWN, HELD], [BROKEN], "HELD", 3),
    "disturbed, then broken": ([UNKNOWN, BROKEN], [BROKEN], "BROKEN", 2),
    "disturbed for good": ([UNKNOWN], [BROKEN], "UNKNOWN", 3),
}


@pytest.mark.parametrize(("limited", "control", "outcome", "tries"), OUTCOMES.values(), ids=OUTCOMES)
def test_an_unknown_is_repeated_and_nothing_else(limited, control, outcome, tries):
    """So often, and not oftener; HELD needs a control that is BROKEN."""
    script = Script(limited, control)
    (result,) = run(case(script)).values()
    assert (result.outcome, result.tries) == (Outcome(outcome), tries)
    assert script.calls == ["limited", "control"] * tries


def test_a_control_that_only_reads_wrong_has_no_power():
    """The missing limit must show by its effect: that a file says so is what a broken judge would see too."""
    read = claim("it", expected="so", seen="so", holds=False)
    object.__setattr__(read, "under_load", Outcome.HELD)
    judged = {"limited": [claim("it", expected="so", seen="so", holds=True)], "control": [read]}
    (result,) = run(case(lambda _, setting: setting, judge=lambda setting: judged[setting])).values()
    assert result.outcome is Outcome.UNKNOWN
    assert result.reason == "the same without was not BROKEN (it: so, expected so), so this says nothing"


def test_a_control_that_cannot_run_does_not_hide_what_is_broken():
    """BROKEN needs no control; HELD does."""

    def press(holds):
        return lambda bench, setting: holds if setting == "limited" else cannot(bench, setting)

    found = run(case(press(BROKEN)), case(press(HELD), number=2))
    assert [one.outcome for one in found.values()] == [Outcome.BROKEN, Outcome.UNKNOWN]
    assert found[2].reason == (
        "the same without was not BROKEN (it could not run: this host has no swap), so this says nothing"
    )


def cannot(_bench, _setting):
    raise CannotError("this host has no swap", "add some")


def test_what_the_host_cannot_run_is_unknown_with_its_remedy():
    """Once, with no control; also what this version of cgroups does not have."""
    version = kernel_files.here()
    found = run(case(cannot), case(cannot, number=2, only={1: 2, 2: 1}[version]))
    assert [(one.outcome, one.reason, one.remedy, one.control, one.tries) for one in found.values()] == [
        (Outcome.UNKNOWN, "this host has no swap", "add some", None, 1),
        (Outcome.UNKNOWN, f"cgroup v{version} has no such thing", "", None, 1),
    ]


class Meter:
    """How much runs at the same time."""

    def __init__(self):
        self._lock, self._now, self.most = threading.Lock(), 0.0, 0.0

    def taking(self, cores):
        """A press that takes so many cores for a while."""

        def press(_bench, setting):
            with self._lock:
                self._now += cores
                self.most = max(self.most, self._now)
            time.sleep(0.3)
            with self._lock:
                self._now -= cores
            return setting == "limited"

        return press


@pytest.mark.alone  # it counts what runs at the same moment
def test_quotas_side_by_side_leave_room():
    """Of the CPUs, half may be taken at the same time; what takes more than all of them goes alone."""
    meter, share = Meter(), 0.25 * os.cpu_count()
    run(*(case(meter.taking(share), number=number, pace=Pace.QUOTA, cores=share) for number in range(1, 7)))
    # two at a time: a third one would find a worker, and too few CPUs
    assert WORKERS > 2
    assert meter.most == pytest.approx(2 * share)
    run(case(meter.taking(99), pace=Pace.QUOTA, cores=99), case(meter.taking(99), number=2, pace=Pace.QUOTA, cores=99))
    assert meter.most == 99


def test_what_measures_all_cpus_goes_alone():
    """Nothing else runs meanwhile, of whatever pace."""
    meter = Meter()
    paces = [Pace.ALONE, Pace.ALONE, Pace.SHARED, Pace.QUOTA]
    run(*(case(meter.taking(1), number=number, pace=pace) for number, pace in enumerate(paces, 1)))
    assert meter.most == 1


def test_evidence_is_gathered_once_and_anew_where_it_was_disturbed():
    """Cases that share evidence share what was gathered in the repeat of one of them, too."""
    gathered = []

    def press(bench, setting):
        if setting == "control":
            return BROKEN
        return bench.once("shared", lambda: gathered.append(1) or (HELD if len(gathered) > 1 else UNKNOWN))

    found = run(*(case(press, number=number, pace=Pace.ALONE) for number in (1, 2, 3)))
    assert [one.outcome for one in found.values()] == [Outcome.HELD] * 3
    assert len(gathered) == 2


# -- as a command ------------------------------------------------------------------------------------------------


def ours():
    """Cgroups that runs made."""
    return [path for mount in cgroup_mounts() for path in mount.glob(f"{labels.TRIAL_NAME}*")]


@pytest.mark.alone  # it looks at all cgroups of trials
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(verify, number):
    """No container, no process, no cgroup, wherever in the middle of several cases it comes."""
    process = verify.start("--only=capability,memory", verb="conformance")
    eventually(lambda: len(verify.containers(process)) > 2)
    process.send_signal(number)
    found = verify.end(process)
    assert found.code == 130
    assert found.stdout == ""
    assert ours() == []


def test_an_engine_that_dies_ends_the_run(mortal, mortal_verify):
    """In one message, with the exit code for it."""
    process = mortal.after(
        "start", 2, lambda: mortal_verify.start("--only=8,22,30", f"--image={TINY}", verb="conformance")
    )
    mortal.kill()
    found = mortal_verify.end(process)
    assert found.code == 4
    assert found.message.startswith("spawner-limits: the Docker engine does not answer (")


def test_an_image_without_python_is_unknown_and_says_so(own_verify):
    """Nothing is counted as held because its load never began."""
    found = own_verify.end(own_verify.start("--only=13", f"--image={TINY}", "--json", "-", verb="conformance"))
    (only,) = found.report["cases"]
    assert (found.code, only["outcome"]) == (3, "UNKNOWN")
    assert only["reason"].startswith("the load did not begin")
    assert only["remedy"] == "give an --image with python3 and sh"


def test_no_such_image(verify):
    """Said once, before any case."""
    found = verify.end(verify.start("--only=8", "--image=spawner-limits/none:1", verb="conformance"))
    assert found.code == 2
    assert found.message.startswith("spawner-limits: no image spawner-limits/none:1 on this machine")
