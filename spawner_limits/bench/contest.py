"""Press on `cpu_shares`: the container and a sibling with a known weight both want one CPU, for some seconds.

One busy process each, pinned to the same CPU: measured error 0.25 % in 5 s, against 16 % when they may roam. The load
is `sh`, which every image has, pinned from the host: the container's limits are not touched.
"""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from spawner_limits.bench.burn import burner
from spawner_limits.engines.docker import translate
from spawner_limits.errors import UsageError
from spawner_limits.interrupt import pause
from spawner_limits.kernel.host import idle_seconds
from spawner_limits.kernel.processes import cpu_seconds
from spawner_limits.kernel.reader import Reader
from spawner_limits.limits import Limits
from spawner_limits.proof import windows
from spawner_limits.proof.evidence import Contest
from spawner_limits.proof.tolerances import SATURATED
from spawner_limits.units import MIB, cpus_in

if TYPE_CHECKING:
    from spawner_limits.clients.own_commands import Command
    from spawner_limits.clients.own_containers import Container, Engine
    from spawner_limits.deadline import Deadline

WINDOW_S = 5.0
WARM_UP_S = 1.0
TRIES = 3
"""a contest that others disturbed may be repeated so often; one that was not, never"""
_RIVAL = Limits(mem_limit=64 * MIB, memswap_limit=64 * MIB, pids_limit=64)

_BURN_S = 60
_QUIET = 0.03
"""of a CPU, what else may run in the containers: an idle single-user server uses 0.01 to 0.02"""

ORDINARY_SHARES = 1024
_MOST_SHARES = 262_144
_ROOM = 0.7


def rival_shares(shares: int, cpu_limit: float | None) -> int:
    """The sibling's `cpu_shares`: an ordinary weight, unless the subject's quota would bind before its share."""
    most = _ROOM * (1.0 if cpu_limit is None else min(cpu_limit, 1.0))
    return min(_MOST_SHARES, max(ORDINARY_SHARES, math.ceil(shares * (1 - most) / most)))


def contest(engine: Engine, subject: Container, limits: Limits) -> Contest:
    """Measure the subject against a sibling made from its image.

    Errors: UsageError when the image can't run the load, OvertimeError when the engine's deadline leaves no time.
    """
    engine.deadline.later(-WARM_UP_S - WINDOW_S).check("the contest for CPU")
    shares = rival_shares(limits.cpu_shares or ORDINARY_SHARES, limits.cpu_limit)
    host_config = {
        **translate(replace(_RIVAL, cpu_shares=shares)).ask,
        "network_mode": "none",
        "cgroup_parent": subject.cgroup_parent or None,
    }
    with ExitStack() as stack:
        rival = stack.enter_context(
            engine.trial_container(subject.image, host_config=host_config, environment={}, seconds=_BURN_S * 2)
        )
        readers = [stack.enter_context(Reader(engine.cgroup(container))) for container in (subject, rival)]
        limits_shown = readers[0].read_limits().limits
        allowed = limits_shown.get("cpuset.cpus.effective") or limits_shown.get("cpuset.cpus")
        cpu = idlest(cpus_in(allowed) if allowed else frozenset(os.sched_getaffinity(0)))
        pids = []
        for container in (subject, rival):
            load = burner(engine, container, _BURN_S)
            stack.callback(load.stop)
            pids.append(_pin(load, cpu))
        pause(WARM_UP_S)
        return _undisturbed(readers, pids, engine.deadline)


def _undisturbed(readers: list[Reader], pids: list[int], deadline: Deadline) -> Contest:
    """The first window that was theirs alone, or else the last one. OvertimeError when there is no time for it."""
    for _ in range(TRIES):
        deadline.later(-WINDOW_S).check("the contest for CPU")
        first, before = [reader.read_limits() for reader in readers], [cpu_seconds(pid) for pid in pids]
        pause(WINDOW_S)
        last, after = [reader.read_limits() for reader in readers], [cpu_seconds(pid) for pid in pids]
        measured = [windows.between(*pair) for pair in zip(first, last, strict=True)]
        used = [0.0 if window is None else window.used_s for window in measured]
        others = [
            max(0.0, all_of_it - (end - begin)) for all_of_it, begin, end in zip(used, before, after, strict=True)
        ]
        throttled = measured[0] is not None and measured[0].throttled
        if not throttled and sum(used) >= SATURATED * WINDOW_S and sum(others) <= _QUIET * WINDOW_S:
            break
    return Contest(subject=(first[0], last[0]), rivals=((first[1], last[1]),), others_s=(others[0], others[1]))


def _pin(load: Command, cpu: int) -> int:
    pid = _started(load)
    if not pid:  # to sched_setaffinity, 0 would be ourselves
        raise UsageError(f"the load for cpu_shares does not run: {_said(load) or 'it did not start'}")
    try:
        os.sched_setaffinity(pid, {cpu})
    except OSError as error:
        raise UsageError(f"the load for cpu_shares does not run: {_said(load) or error}") from error
    return pid


def _started(load: Command) -> int:
    """The load's process id, once it has one; 0 when it never gets one."""
    for _ in range(100):
        if (pid := load.pid) or not load.running:
            return pid
        pause(0.02)
    return 0


def _said(load: Command) -> str:
    # what could not be executed is complained of on stdout by the engine
    return (load.stderr or load.stdout).strip()


def idlest(cpus: frozenset[int]) -> int:
    """Of these CPUs, the one that was idle longest in a third of a second."""
    before = idle_seconds()
    pause(0.3)
    after = idle_seconds()
    return max(sorted(cpus), key=lambda cpu: after.get(cpu, 0.0) - before.get(cpu, 0.0))
