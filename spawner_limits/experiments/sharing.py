"""`sharing` and `shares`: three containers want one CPU; then one of them stops. The same contest, by other weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spawner_limits.conformance.setting import kernel_file
from spawner_limits.conformance.share import Phase, Rivalry, Rivals, contend, fair, formula, plot
from spawner_limits.experiments.experiment import Experiment, Judged, figures
from spawner_limits.proof.evidence import Outcome
from spawner_limits.proof.series import counter_file
from spawner_limits.proof.tolerances import SHARE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.conformance.share import Shares
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.experiments.experiment import Figure, Stage

SHARING = "Three containers without any CPU limit on one CPU"
SHARES = "cpu_shares 2048, 1024 and 1024 on one CPU"
NAMES = ("first", "second", "third")
_TRIES = 3
"""a contest that others disturbed may be repeated so often; one that was not, never"""
_PHASES = ("all three", "the third stopped")
_ORDINARY = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestants:
    """Three containers on one CPU."""

    shares: Shares
    """of each, as asked; `None`: not given"""
    phases: tuple[Rivals, Rivals]
    """with all three; and, of the same three, once the third has stopped"""

    @property
    def version(self) -> CgroupVersion:
        """Of cgroups."""
        return self.phases[0].taken[0][0].versions["cpu"]

    @property
    def named(self) -> tuple[tuple[str, Rivals], ...]:
        """Each phase with its name, and with those in it who want the CPU."""
        three, two = self.phases
        return tuple(zip(_PHASES, (three, replace(two, taken=two.taken[:-1])), strict=True))


def sharing(stage: Stage) -> Experiment:
    """Three containers that were given no shares. CannotError where the load can't run."""
    return told_sharing(_contest(stage, (None, None, None)))


def shares(stage: Stage) -> Experiment:
    """Three containers with 2048, 1024 and 1024 shares. CannotError where the load can't run."""
    return told_shares(_contest(stage, (2048, _ORDINARY, _ORDINARY)))


def _contest(stage: Stage, asked: Shares) -> Contestants:
    rivalry = Rivalry(shares=asked, phases=(Phase(seconds=stage.seconds), Phase(seconds=stage.seconds, resting=1)))
    for number in range(1, _TRIES + 1):
        stage.say(f"three containers on one CPU: {2 * stage.seconds:.0f} s{'' if number == 1 else ', again'}")
        three, two = contend(stage.bench, rivalry)
        found = Contestants(shares=asked, phases=(three, two))
        if all(one.verdict.outcome is not Outcome.UNKNOWN for one in judged(found)):
            break
    return found


# -- told --------------------------------------------------------------------------------------------------------


def judged(found: Contestants) -> list[Judged]:
    """Each container of each phase: its part must be what the kernel's own weights come to."""
    return [
        Judged(part=phase, verdict=replace(verdict, field=f"{verdict.field} of the {name}"))
        for phase, rivals in found.named
        for name, verdict in zip(NAMES, fair(found.shares[: len(rivals.taken)], SHARE)(rivals), strict=False)
    ]


def weight(rivals: Rivals, index: int) -> int | None:
    """The kernel's own weight of a container."""
    limits = rivals.taken[index][-1].limits
    text = limits.get("cpu.shares") or limits.get("cpu.weight")
    return int(text) if text else None


def parts(rivals: Rivals) -> list[float]:
    """Of the CPU time that they had together, what each got."""
    whole = sum(rivals.cores)
    return [one / whole if whole else 0.0 for one in rivals.cores]


def _due(rivals: Rivals, index: int) -> float | None:
    """What a container's weight comes to among these."""
    found = [weight(rivals, one) for one in range(len(rivals.taken))]
    mine = found[index]
    return None if mine is None or None in found else mine / sum(one or 0 for one in found)


def _figures(found: Contestants) -> list[Figure]:
    """The weights, and for each phase what each container got."""
    file, usage = kernel_file("cpu_shares", found.version), counter_file("cpu_usage_ns", found.version)
    kept = [weight(found.phases[0], index) for index in range(len(NAMES))]
    asked = zip(NAMES, found.shares, kept, strict=True)
    rows = figures(
        "weights",
        [(f"{one}: {_asked(given)}", str(own or "not read"), file, f"{one}_weight", own) for one, given, own in asked],
    )
    for phase, rivals in found.named:
        got = [(NAMES[index], _percent(_due(rivals, index)), part) for index, part in enumerate(parts(rivals))]
        shared = [
            (f"{name}: weights say {due}", _percent(part), usage, f"{name}_share", round(part, 4))
            for name, due, part in got
        ]
        whole = rivals.saturation
        rows += figures(
            phase, [*shared, ("of the CPU, together", _percent(whole), usage, "saturation", round(whole, 4))]
        )
    return rows


def _asked(asked: int | None) -> str:
    return "no cpu_shares" if asked is None else f"cpu_shares {asked}"


def _percent(part: float | None) -> str:
    return "–" if part is None else f"{100 * part:.1f}%"


def _told(found: Contestants, name: str, title: str, setup: str, findings: Sequence[str]) -> Experiment:
    labels = [f"{one}: {_asked(asked)}" for one, asked in zip(NAMES, found.shares, strict=True)]
    return Experiment(
        name=name,
        title=title,
        setup=f"{setup} All are bound to the same CPU, with one process each that never rests. Then the third stops.",
        figures=tuple(_figures(found)),
        findings=tuple(_disturbed(found) or findings),
        judged=tuple(judged(found)),
        plots=(plot(found.phases, labels, "Parts of one CPU, over the last second", ["the third stops"]),),
    )


def _disturbed(found: Contestants) -> list[str]:
    """What can be said where not everything held: nothing of shares, only what was in the way."""
    wrong = [one for one in judged(found) if one.verdict.outcome is not Outcome.HELD]
    told = dict.fromkeys(f"{one.part}: {one.verdict.outcome}: {one.verdict.reason}." for one in wrong)
    if all(one.verdict.outcome is Outcome.UNKNOWN for one in wrong) and wrong:
        return [*told, "Nothing is said of the parts above: they are what others left. Repeat it on a quiet host."]
    return list(told)


def _list(values: Sequence[float]) -> str:
    return " / ".join(f"{100 * one:.1f}" for one in values) + " %"


def _sharing_found(found: Contestants) -> list[str]:
    (_, three), (_, two) = found.named
    return [
        (
            f"Three containers that were given nothing shared the CPU {_list(parts(three))}: each has the Linux "
            f"kernel's ordinary weight ({weight(three, 0)}), so each gets a third."
        ),
        (
            f"When the third stopped, the other two had {_list(parts(two))} at once: a weight reserves nothing. What "
            "one does not use, the others get; nobody has to set anything, and nothing is lost."
        ),
        "So without any limit nobody starves, but nobody can count on more than one part in as many as want the CPU.",
    ]


def _shares_found(found: Contestants) -> list[str]:
    (_, three), (_, two) = found.named
    return [
        f"With cpu_shares {' / '.join(map(str, found.shares))} they got {_list(parts(three))}.",
        (
            f"When the third stopped, the first two had {_list(parts(two))}: shares are proportions among those who "
            "want the CPU now, and no limit: alone, each of them would get all of it."
        ),
        *_formula(found),
    ]


def _formula(found: Contestants) -> list[str]:
    """On cgroup v2 the runtime makes a weight of the shares; which formula it has, the weight itself says."""
    if found.version == 1:
        return [
            "On cgroup v1 the Linux kernel takes the shares as they are (cpu.shares), so 2048 to 1024 is two to one."
        ]
    shown = str(weight(found.phases[0], 0))
    by = formula(found.shares[0] or _ORDINARY, shown) or "no formula that is known here"
    kept = " / ".join(str(weight(found.phases[0], one)) for one in range(len(NAMES)))
    first, second = weight(found.phases[0], 0) or 0, weight(found.phases[0], 1) or 1
    told = f"On cgroup v2 the container's runtime makes weights of them: {kept} here, by {by}."
    if first / second >= 1.9:  # noqa: PLR2004  nearly two to one, as was asked
        return [told]
    return [f"{told} So twice the shares are {first / second:.2f} times the CPU, and not twice: plan with the weights."]


def told_sharing(found: Contestants) -> Experiment:
    """`sharing`, from what was read. Pure."""
    setup = "Three containers that were given no CPU limit and no shares."
    return _told(found, "sharing", SHARING, setup, _sharing_found(found))


def told_shares(found: Contestants) -> Experiment:
    """`shares`, from what was read. Pure."""
    return _told(found, "shares", SHARES, "Three containers with cpu_shares 2048, 1024 and 1024.", _shares_found(found))
