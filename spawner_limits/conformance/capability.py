"""Cases 3 to 6: the engine takes what it is asked, and a limit above the container counts. See also `identity`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from spawner_limits.conformance.case import CannotError, Case, Group
from spawner_limits.conformance.loads import EVERY, HOG, LONG_S, limited, pressed, under
from spawner_limits.conformance.setting import Setting, kernel_file, made, read, rewrite
from spawner_limits.engines.docker import mismatches, translate
from spawner_limits.limits import Limits
from spawner_limits.proof.claims import claim, exactly, measured
from spawner_limits.proof.series import counter_file
from spawner_limits.proof.tolerances import REACHED
from spawner_limits.units import MIB, format_size, size_usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.proof.evidence import Verdict

# -- 3, 4, 5: what the engine says -------------------------------------------------------------------------------


def no_warning(seen: Seen) -> Verdict:
    """A warning is how the engine says that it drops a limit."""
    told = seen.warnings or ("none",)
    files = [f"Warnings: {warning}" for warning in told]
    return claim("warnings of docker create", "none", "; ".join(told), not seen.warnings, files=files)


def _updated(bench: Bench, **changes: Any) -> Seen:
    with made(bench, Setting(asked=EVERY)) as subject:
        if changes and (error := subject.update(**changes)):
            raise CannotError(f"docker update is refused: {error}")
        return subject.seen([], recorded=subject.recorded)


def as_asked(seen: Seen) -> Verdict:
    """What the engine keeps is what it was asked."""
    ask = translate(EVERY, version=seen.version, page_size_bytes=seen.page_size_bytes).ask
    differing = mismatches(ask, seen.recorded)
    told = "; ".join(differing) or "as asked"
    return claim("HostConfig of docker inspect", "as asked", told, not differing, files=[told])


_CAN = {
    "MemoryLimit": "mem_limit",
    "SwapLimit": "memswap_limit",
    "CpuCfsQuota": "cpu_limit",
    "CpuCfsPeriod": "cpu_period",
    "CPUShares": "cpu_shares",
    "CPUSet": "cpuset_cpus",
    "PidsLimit": "pids_limit",
}
"""flag of `docker info` → the limit that needs it"""


def driven(info: Mapping[str, Any]) -> Verdict:
    """The engine makes cgroups."""
    driver = info.get("CgroupDriver")
    return claim("CgroupDriver", "cgroupfs or systemd", driver, driver in {"cgroupfs", "systemd"} if driver else None)


def able(info: Mapping[str, Any]) -> list[Verdict]:
    """The engine can set every limit."""
    files = [f"docker info: {warning}" for warning in info.get("Warnings") or ()]
    return [_flag(name, field, info.get(name), files) for name, field in _CAN.items()]


def _flag(name: str, field: str, value: bool | None, files: Sequence[str]) -> Verdict:
    seen = None if value is None else str(value).lower()
    reason = f"{name}: {seen}" if value else f"{name}: {seen}, so {field} is dropped, with no more than a warning"
    return claim(name, "true", seen, value, reason=reason, files=[f"{name}: {seen}", *files])


# -- 6: the cgroups above ----------------------------------------------------------------------------------------

_ABOVE_BYTES = 48 * MIB
_CONTAINER_BYTES = 96 * MIB


def _below(bench: Bench, above: Limits) -> Seen:
    """A hog in a cgroup that has nothing else, and may have less than the container."""
    peak = counter_file("memory_peak_bytes", bench.version)
    with bench.parent() as parent, made(bench, under(parent, limited(_CONTAINER_BYTES))) as subject:
        rewrite(subject, above, above=1)
        load = HOG(subject)
        load.wait(LONG_S)
        pressed(load)
        texts = {"memory.stat": subject.read("memory.stat"), f"{peak}, 1 above": subject.read(peak, above=1)}
        return subject.seen([], texts={**texts, **_upwards(subject)})


def _upwards(subject: Subject) -> dict[str, str]:
    file, found = kernel_file("mem_limit", subject.bench.version), dict[str, str]()
    # the root cgroup of v2 has no such file
    while (text := subject.read(file, above=len(found))) is not None:
        found[f"{file}, {len(found)} above"] = text
    return found


def least_upwards(seen: Seen) -> Verdict:
    """The least of all limits upwards is the one above."""
    file = kernel_file("mem_limit", seen.version)
    limits = {name: text for name, text in seen.texts.items() if text and name.startswith(f"{file},")}
    least = min((int(text) for text in limits.values() if text != "max"), default=None)
    return claim(
        "least memory limit of the container and the cgroups above",
        format_size(_ABOVE_BYTES),
        "none" if least is None else format_size(least),
        least == _ABOVE_BYTES,
        files=[f"{name} = {text}" for name, text in limits.items()],
    )


def peak_above(seen: Seen) -> Verdict:
    """The peak above: the container's own counts what the cgroup above is about to refuse."""
    file = f"{counter_file('memory_peak_bytes', seen.version)}, 1 above"
    text = seen.texts[file]
    peak = None if text is None else int(text)
    return measured(
        "peak of memory in the cgroup above",
        f"at most {format_size(_ABOVE_BYTES)}",
        peak,
        lambda size: size <= _ABOVE_BYTES if size >= REACHED * _ABOVE_BYTES else None,
        tell=lambda size: size_usage(size, _ABOVE_BYTES),
        files=[f"{file} = {peak}"],
        figures={"peak_bytes": peak, "limit_bytes": _ABOVE_BYTES},
    )


def hierarchical(seen: Seen) -> list[Verdict]:
    """What v1's kernel makes of the limits upwards."""
    name = "hierarchical_memory_limit"
    found = seen.counts("memory.stat").get(name)
    return [] if found is None else [exactly(f"memory.stat {name}", str(_ABOVE_BYTES), str(found))]


# -- the list ----------------------------------------------------------------------------------------------------

_FLAGS = (
    "the engine drops what it can't set. SwapLimit: on v2 start dockerd in a cgroup of its own (systemd does), not in "
    "the root cgroup, where it finds no memory.swap.max; on v1 put swapaccount=1 on the kernel's command line. Driver "
    "none: give a rootless engine a delegated cgroup v2. Others: switch the controller on"
)

_BOTH = f"{_ABOVE_BYTES // MIB} MiB above {_CONTAINER_BYTES // MIB} MiB"
_NOTHING = {"CgroupDriver": "none", **dict.fromkeys(_CAN, False)}
_case = partial(Case, group=Group.CAPABILITY)

CASES: tuple[AnyCase, ...] = (
    _case(
        number=3,
        title="the engine makes a container with every limit without a warning",
        expected="no warnings",
        press=lambda bench: read(bench, Setting(asked=EVERY)),
        control=lambda bench: read(bench, Setting(host_config={"oom_kill_disable": True})),
        control_words="a host config that every engine warns of: no OOM killer, and no memory limit",
        claims=(no_warning,),
        remedy=f"what an engine warns of, it drops: do what the warning says, or take the limit out. {_FLAGS}",
    ),
    _case(
        number=4,
        title="docker inspect shows every limit as it was asked",
        expected="HostConfig equals the request",
        tolerance="exact",
        press=_updated,
        control=lambda bench: _updated(bench, CpuShares=1024),
        control_words="the same after somebody's docker update",
        claims=(as_asked,),
        remedy=f"the engine has rewritten what it can't set. {_FLAGS}",
    ),
    _case(
        number=5,
        title="the engine says that it can set every limit",
        expected="docker info: a cgroup driver; MemoryLimit, SwapLimit, CpuCfsQuota, CPUShares … are true",
        press=lambda bench: bench.engine.info,
        control=lambda bench: {**bench.engine.info, **_NOTHING},
        control_words="a made-up docker info, with the same flags off",
        claims=(driven, able),
        remedy=_FLAGS,
    ),
    _case(
        number=6,
        title="the least limit of the container and all cgroups above it holds",
        expected=f"{_BOTH}: hierarchical_memory_limit, and peak",
        expected_v2=f"{_BOTH}: the least memory.max, and peak",
        tolerance="exact; pressed from 99 % on",
        press=lambda bench: _below(bench, Limits(mem_limit=_ABOVE_BYTES)),
        control=lambda bench: _below(bench, Limits()),
        control_words="the same load without a limit above",
        claims=(least_upwards, peak_above, hierarchical),
        remedy=(
            "don't rely on a cgroup_parent's memory limit here (v1: memory.use_hierarchy must be 1 in it): limit each "
            "container"
        ),
    ),
)
