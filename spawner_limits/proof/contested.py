"""The judge of CPU shares, against siblings that want the same CPUs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spawner_limits.proof import windows
from spawner_limits.proof.evidence import Outcome
from spawner_limits.proof.finding import Finding, nothing
from spawner_limits.proof.tolerances import OVER, SATURATED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.engines.enforcement import Expectation
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Contest, Evidence
    from spawner_limits.proof.finding import Figures
    from spawner_limits.proof.windows import Window

_QUOTA_FIRST = "cpu_limit was reached before the share was: it binds first"


def judge_share(expectation: Expectation, evidence: Evidence) -> Finding:
    """Against its siblings on the same CPUs, the share of their time must be that of the kernel's own weights."""
    contest = evidence.contest
    if contest is None:
        return nothing("not pressed: a share shows only when a sibling wants the same CPU", {}, ())
    pairs = (contest.subject, *contest.rivals)
    measured, weights = [windows.between(*one) for one in pairs], [_weight(one[-1]) for one in pairs]
    if None in measured or None in weights:
        return nothing("CPU use or weight of the siblings could not be read", {}, ())
    promised = _promised(expectation, contest.subject[-1], weights[0] or 0)
    return _contested(contest, [one for one in measured if one], [promised, *(one or 0 for one in weights[1:])])


def _promised(expectation: Expectation, shown: Snapshot, weight: int) -> int:
    """The weight that a share is judged by: the kernel's own, if it is right; else the one that should be there."""
    files = [file for file in (*expectation.v1, *expectation.v2) if file.name in shown.limits]
    accept = [text for file in files for text in file.accept]
    return weight if not accept or str(weight) in accept else int(accept[-1])


def _contested(contest: Contest, measured: Sequence[Window], weights: Sequence[int]) -> Finding:
    """The first of them against all the others."""
    subject = measured[0]
    expected = weights[0] / sum(weights)
    busy = sum(one.cores for one in measured)
    share = subject.cores / busy if busy else 0.0
    figures: Figures = {
        "share": round(share, 4),
        "expected_share": round(expected, 4),
        "weight": weights[0],
        "rival_weight": sum(weights[1:]),
        "saturation": round(busy / contest.cpus, 4),
    }
    outcome, reason = _shared(contest, measured, weights, share)
    of = "of a CPU" if contest.cpus == 1 else f"of {contest.cpus} CPUs"
    seen = f"{share:.1%} {of} (expected {expected:.1%})"
    return Finding(outcome=outcome, seen=seen, reason=reason, figures=figures, counters=())


def _shared(contest: Contest, measured: Sequence[Window], weights: Sequence[int], share: float) -> tuple[Outcome, str]:
    busy = sum(one.cores for one in measured)
    of = "one CPU" if contest.cpus == 1 else f"{contest.cpus} CPUs"
    rivals = f"a sibling's {weights[1]}" if len(weights) == 2 else f"siblings' {' and '.join(map(str, weights[1:]))}"  # noqa: PLR2004
    told = f"weight {weights[0]} against {rivals} on {of} for {measured[0].wall_s:.0f} s"
    expected, tolerated = weights[0] / sum(weights), contest.tolerance * weights[0] / sum(weights)
    held_back = _held_back(contest, measured[0])
    if held_back > tolerated:
        return Outcome.UNKNOWN, _QUOTA_FIRST
    if busy < SATURATED * contest.cpus:
        whose = f"the CPU was only {busy:.0%} theirs" if contest.cpus == 1 else f"only {busy:.2f} CPUs were theirs"
        return Outcome.UNKNOWN, f"{whose}: something else is busy here"
    span = _span(contest, measured, held_back)
    rest = 1 - expected
    # a weight is divided among the CPUs where its cgroup runs (calc_group_shares), so it counts less on each of them
    if span.most < expected * (1 - span.mine) - tolerated or span.least > expected + rest * span.theirs + tolerated:
        return Outcome.BROKEN, f"{told} gave {share:.1%}, expected {expected:.1%}"
    certain = expected - tolerated <= span.least and span.most <= expected + tolerated
    if not certain or busy - span.others < SATURATED * contest.cpus:
        others = f"something else runs in these containers and used {span.others:.2f} cores"
        return Outcome.UNKNOWN, _QUOTA_FIRST if held_back else f"{others}: the share can't be told"
    return Outcome.HELD, told


def _held_back(contest: Contest, subject: Window) -> float:
    """Of the time, in how much the quota may have taken the CPU that the share would have given; 0 to 1.

    A server's own processes beside the load may use up a period now and then. Throttled time is of all CPUs together.
    """
    if not subject.throttled:
        return 0.0
    first, last = contest.subject
    throttled_ns = windows.rise(first.throttled_ns, last.throttled_ns)
    return 1.0 if throttled_ns is None else min(1.0, throttled_ns / windows.SECOND_NS / subject.wall_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    """Where a share of the CPUs that were contended for lies."""

    least: float
    most: float
    mine: float
    """of the time, something else may have run in the subject's container"""
    theirs: float
    """the same, in the rivals'"""
    others: float
    """cores that something else in the containers used"""


def _span(contest: Contest, measured: Sequence[Window], held_back: float) -> _Span:
    """What else ran took of its container's share where it ran on these CPUs, and nothing where it ran on others.

    What the quota took, the subject might have had.
    More than these CPUs have must have been used elsewhere.
    """
    wall_s, subject, busy = measured[0].wall_s, measured[0].cores, sum(one.cores for one in measured)
    known = sum(contest.others_s) / wall_s
    unknown = max(0.0, busy - (1 + OVER) * contest.cpus - known)
    mine, theirs = (one / wall_s + unknown for one in contest.others_s)
    beyond = min(max(0.0, busy - contest.cpus), known + unknown)
    mine, theirs = min(mine, subject), min(theirs, busy - subject)

    def share(elsewhere: float, of_rivals: float) -> float:
        left = busy - elsewhere - of_rivals
        return (subject - elsewhere) / left if left > 0 else 0.0

    return _Span(
        least=share(mine, max(0.0, beyond - mine)),
        most=share(max(0.0, beyond - theirs), theirs) + held_back,
        mine=min(1.0, mine),
        theirs=min(1.0, theirs),
        others=max(known + unknown, busy - contest.cpus),
    )


def _weight(snapshot: Snapshot) -> int | None:
    text = snapshot.limits.get("cpu.shares") or snapshot.limits.get("cpu.weight")
    return int(text) if text else None
