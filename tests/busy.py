"""Whether others had this host's CPUs just now: by as much CPU time as is then missing elsewhere, too."""

from __future__ import annotations

import os
import subprocess
import sys

from spawner_limits.proof.tolerances import SATURATED

TRIES = 3
"""what others disturb is UNKNOWN, and may be tried so often; HELD and BROKEN never are"""
LOOKS = 3
SPIN = "import time\nend = time.monotonic() + 5\nwhile time.monotonic() < end: pass\nprint(time.process_time())"


def is_busy():
    """Whether busy processes, one for each CPU, get less of this host's CPUs in five seconds than a judge would need.

    What others do comes and goes, so it is looked for a few times.
    """
    return any(_free() < SATURATED for _ in range(LOOKS))


def _free():
    """What part of this host's CPUs they get."""
    cpus = os.cpu_count() or 1
    loads = [subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE, text=True) for _ in range(cpus)]
    return sum(float(one.communicate()[0]) for one in loads) / 5 / cpus
