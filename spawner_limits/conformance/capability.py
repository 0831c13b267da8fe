"""Cases 3 to 6: the engine takes what it is asked, and a limit above the container counts. See also `identity`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spawner_limits import units
from spawner_limits.conformance.case import CannotError, Case, Group
from spawner_limits.conformance.loads import (
    EVERY,
    HOG_MIB,
    LIMIT_FILE,
    LONG_S,
    limit_parent,
    limited,
    pressed,
    under,
)
from spawner_limits.conformance.setting import Setting, made
from spawner_limits.engines.docker import mismatches, translate
from spawner_limits.proof.claims import claim, exactly
from spawner_limits.proof.tolerances import REACHED
from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.engines.enforcement import CgroupVersion
    from spawner_limits.proof.evidence import Verdict

# -- 3, 4, 5: what the engine says -------------------------------------------------------------------------------


def _press_warnings(bench: Bench, setting: Setting) -> tuple[str, ...]:
    with made(bench, setting) as subject:
        return subject.container.warnings


def judge_warnings(warnings: Sequence[str]) -> list[Verdict]:
    """A warning is how the engine says that it drops a limit."""
    return [
        claim(
            "warnings of docker create",
            expected="none",
            seen="; ".join(warnings) or "none",
            holds=not warnings,
            files=[f"Warnings: {one}" for one in warnings] or ["Warnings: none"],
        )
    ]


def _press_inspect(bench: Bench, changes: Mapping[str, int]) -> tuple[str, ...]:
    ask = translate(EVERY, version=bench.version, page_size_bytes=bench.page_size_bytes).ask
    with bench.container(**ask) as subject:
        if changes and (error := subject.update(**changes)):
            raise CannotError(f"docker update is refused: {error}")
        return mismatches(ask, subject.inspected["HostConfig"])


def judge_inspect(differing: Sequence[str]) -> list[Verdict]:
    """What the engine keeps is what it was asked."""
    seen = "; ".join(differing) or "as asked"
    return [claim("HostConfig of docker inspect", expected="as asked", seen=seen, holds=not differing, files=[seen])]


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


def _press_info(bench: Bench, instead: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**bench.engine.info, **instead}


def judge_info(info: Mapping[str, Any]) -> list[Verdict]:
    """The engine makes cgroups, and can set every limit."""
    driver = info.get("CgroupDriver")
    files = [f"docker info: {one}" for one in info.get("Warnings") or ()]
    return [
        claim("CgroupDriver", expected="cgroupfs or systemd", seen=driver, holds=driver in {"cgroupfs", "systemd"})
        if driver
        else claim("CgroupDriver", expected="cgroupfs or systemd", seen=None, holds=None),
        *(_flag(name, field, info.get(name), files) for name, field in _CAN.items()),
    ]


def _flag(name: str, field: str, value: bool | None, files: Sequence[str]) -> Verdict:
    seen = None if value is None else str(value).lower()
    reason = f"{name}: {seen}" if value else f"{name}: {seen}, so {field} is dropped, with no more than a warning"
    return claim(name, expected="true", seen=seen, holds=value, reason=reason, files=[f"{name}: {seen}", *files])


# -- 6: the cgroups above ----------------------------------------------------------------------------------------

_ABOVE_BYTES = 48 * MIB
_CONTAINER_BYTES = 96 * MIB
_PEAK_FILE: Mapping[CgroupVersion, str] = {1: "memory.max_usage_in_bytes", 2: "memory.peak"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ancestry:
    """A container below a cgroup that may have less."""

    limits: Mapping[str, str]
    """"memory.max, 1 above" → its text, from the container upwards"""
    hierarchical: str | None
    """what v1's kernel makes of them, in memory.stat"""
    peak_bytes: int | None
    """of the cgroup above, which has nothing but this container"""
    peak_file: str


def _press_ancestry(bench: Bench, above_bytes: int | None) -> Ancestry:
    with bench.parent() as parent, made(bench, under(parent, limited(_CONTAINER_BYTES))) as subject:
        if above_bytes is not None:
            limit_parent(subject, above_bytes)
        load = subject.probe("hog", HOG_MIB)
        load.wait(LONG_S)
        pressed(load)
        stat = dict(line.split() for line in (subject.read("memory.stat") or "").splitlines())
        peak = subject.read(_PEAK_FILE[bench.version], above=1)
        return Ancestry(
            limits=_upwards(subject, LIMIT_FILE[bench.version]),
            hierarchical=stat.get("hierarchical_memory_limit"),
            peak_bytes=None if peak is None else int(peak),
            peak_file=_PEAK_FILE[bench.version],
        )


def _upwards(subject: Subject, file: str) -> dict[str, str]:
    found: dict[str, str] = {}
    # the root cgroup of v2 has no such file
    while (text := subject.read(file, above=len(found))) is not None:
        found[f"{file}, {len(found)} above"] = text
    return found


def judge_ancestry(one: Ancestry) -> list[Verdict]:
    """The least of all limits upwards is the one that holds."""
    least = min((int(text) for text in one.limits.values() if text != "max"), default=None)
    verdicts = [
        claim(
            "least memory limit of the container and the cgroups above",
            expected=units.format_size(_ABOVE_BYTES),
            seen="none" if least is None else units.format_size(least),
            holds=least == _ABOVE_BYTES,
            files=[f"{name} = {text}" for name, text in one.limits.items()],
        ),
        _judge_above(one),
    ]
    if one.hierarchical is not None:
        verdicts.append(exactly("memory.stat hierarchical_memory_limit", str(_ABOVE_BYTES), one.hierarchical))
    return verdicts


def _judge_above(one: Ancestry) -> Verdict:
    """The peak above: the container's own counts what the cgroup above is about to refuse."""
    peak = one.peak_bytes
    enough = None if peak is None else peak >= REACHED * _ABOVE_BYTES
    return claim(
        "peak of memory in the cgroup above",
        expected=f"at most {units.format_size(_ABOVE_BYTES)}",
        seen=None if peak is None else units.size_usage(peak, _ABOVE_BYTES),
        holds=peak <= _ABOVE_BYTES if peak is not None and enough else None,
        files=[f"{one.peak_file}, 1 above = {peak}"],
        figures={"peak_bytes": peak, "limit_bytes": _ABOVE_BYTES},
    )


# -- the list ----------------------------------------------------------------------------------------------------

_FLAGS = (
    "the engine drops what it can't set. SwapLimit: on v2 start dockerd in a cgroup of its own (systemd does), not in "
    "the root cgroup, where it finds no memory.swap.max; on v1 put swapaccount=1 on the kernel's command line. Driver "
    "none: give a rootless engine a delegated cgroup v2. Others: switch the controller on"
)

CASES: tuple[AnyCase, ...] = (
    Case(
        number=3,
        group=Group.CAPABILITY,
        title="the engine makes a container with every limit without a warning",
        expected="no warnings",
        tolerance="zero",
        limited=Setting(limits=EVERY),
        control=Setting(host_config={"oom_kill_disable": True}),
        control_words="a host config that every engine warns of: no OOM killer, and no memory limit",
        press=_press_warnings,
        judge=judge_warnings,
        remedy=f"what an engine warns of, it drops: do what the warning says, or take the limit out. {_FLAGS}",
        quick=True,
    ),
    Case(
        number=4,
        group=Group.CAPABILITY,
        title="docker inspect shows every limit as it was asked",
        expected="HostConfig equals the request",
        tolerance="exact",
        limited={},
        control={"CpuShares": 1024},
        control_words="the same after somebody's docker update",
        press=_press_inspect,
        judge=judge_inspect,
        remedy=f"the engine has rewritten what it can't set. {_FLAGS}",
        quick=True,
    ),
    Case(
        number=5,
        group=Group.CAPABILITY,
        title="the engine says that it can set every limit",
        expected="docker info: a cgroup driver; MemoryLimit, SwapLimit, CpuCfsQuota, CPUShares … are true",
        tolerance="zero",
        limited={},
        control={"CgroupDriver": "none", **dict.fromkeys(_CAN, False)},
        control_words="a made-up docker info, with the same flags off",
        press=_press_info,
        judge=judge_info,
        remedy=_FLAGS,
        quick=True,
    ),
    Case(
        number=6,
        group=Group.CAPABILITY,
        title="the least limit of the container and all cgroups above it holds",
        expected=f"{_ABOVE_BYTES // MIB} MiB above {_CONTAINER_BYTES // MIB} MiB: hierarchical_memory_limit, and peak",
        expected_v2=f"{_ABOVE_BYTES // MIB} MiB above {_CONTAINER_BYTES // MIB} MiB: the least memory.max, and peak",
        tolerance="exact; pressed from 99 % on",
        limited=_ABOVE_BYTES,
        control=None,
        control_words="the same load without a limit above",
        press=_press_ancestry,
        judge=judge_ancestry,
        remedy=(
            "don't rely on a cgroup_parent's memory limit here (v1: memory.use_hierarchy must be 1 in it): limit each "
            "container"
        ),
        quick=True,
    ),
)
