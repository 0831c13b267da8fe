"""What a server's environment says of its limits to libraries and runtimes that look at the host's CPUs instead. Pure.

They are hints: a variable that the image or the hub's configuration sets is left as it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spawner_limits import units

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from spawner_limits.limits import Limits
    from spawner_limits.policy.entitlement import Entitlement

_OMP = "OMP_NUM_THREADS"
THREADS: Mapping[str, str | None] = {
    _OMP: None,
    # README of OpenBLAS, "Setting the number of threads using environment variables"
    "OPENBLAS_NUM_THREADS": _OMP,
    # PyTorch's documentation, "Threading Environment Variables": it takes precedence
    "MKL_NUM_THREADS": _OMP,
    # numexpr/utils.py, _init_num_threads. NUMEXPR_MAX_THREADS is no hint: numexpr.set_num_threads fails above it
    "NUMEXPR_NUM_THREADS": _OMP,
    "TF_NUM_INTRAOP_THREADS": None,
    "TF_NUM_INTEROP_THREADS": None,
    # os.cpu_count() and os.process_cpu_count(), from Python 3.13 on
    "PYTHON_CPU_COUNT": None,
}
"""variable that takes a number of threads → the one that its library goes by where this one is not set"""
JAVA = "JAVA_TOOL_OPTIONS"
HEAP_PERCENT = 50
"""of `mem_limit`, for Java's heap: the rest is for what else a virtual machine needs, and for the server itself"""


def environment(entitlement: Entitlement, *, cpus: int | None = None, given: Collection[str] = ()) -> dict[str, str]:
    """The hints for a server on a host with so many CPUs, if that is known. `given`: variables that are set already."""
    if not entitlement.thread_hints:
        return {}
    count = threads(entitlement.limits, cpus)
    hints = {} if count is None else dict.fromkeys(THREADS, str(count))
    if options := [*_java(entitlement.limits, count)]:
        hints[JAVA] = " ".join(options)
    # who sets OMP_NUM_THREADS alone means all that go by it
    return {name: hint for name, hint in hints.items() if name not in given and THREADS.get(name) not in given}


def threads(limits: Limits, cpus: int | None = None) -> int | None:
    """How many threads can run at a time: cores rounded up, within the CPU set and the host. `None`: not limited."""
    most = [] if limits.cpu_limit is None else [math.ceil(limits.cpu_limit)]
    most += [] if limits.cpuset_cpus is None else [len(units.cpus_in(limits.cpuset_cpus))]
    return min(most + ([] if cpus is None else [cpus])) if most else None


def _java(limits: Limits, count: int | None) -> Iterator[str]:
    """Options that a virtual machine takes from 8u191 on (JDK-8146115, JDK-8186248); what its user says comes later.

    Not -XX:MaxRAM, which will end JDK 28 with an error (JDK-8369347), and not -Xmx, beside which a user's own
    -XX:MaxRAMPercentage does nothing. Versions 8 to 12 take no percentage without a decimal point.
    """
    if count is not None:
        yield f"-XX:ActiveProcessorCount={count}"
    if limits.mem_limit is not None:
        yield f"-XX:MaxRAMPercentage={HEAP_PERCENT}.0"
