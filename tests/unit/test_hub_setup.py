"""What `setup(c)` does for the hub's own process, and what is said of a host whose bridges are not filtered."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spawner_limits.spawners.network import unfiltered
from spawner_limits.spawners.setup import protect

UNFILTERED = (
    "servers reach one another, as the kernel filters nothing within a bridge; run sysctl "
    "net.bridge.bridge-nf-call-iptables=1"
)
PROGRAM = """\
from pathlib import Path
from spawner_limits.spawners.setup import protect

own = Path("/proc/self/oom_score_adj")
own.write_text("500")
for wanted in (400, 600):  # no privilege is needed while it does not go below what the process began with
    print(protect(wanted), own.read_text().strip())
"""


def test_the_linux_kernel_takes_it():
    """A process becomes less of a victim, and never more of one."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=True)
    assert ran.stdout.splitlines() == ["None 400", "None 400"]


def test_where_it_may_not_the_remedy_is_said(tmp_path):
    """The hub starts all the same."""
    (tmp_path / "proc/self/oom_score_adj").mkdir(parents=True)  # neither read nor written
    assert protect(-900, root=tmp_path) == (
        "the hub is not protected from the OOM killer (Is a directory: it takes CAP_SYS_RESOURCE); set "
        "OOMScoreAdjust=-900 in its systemd unit, or oom_score_adj=None in setup()"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1\n", None),
        (
            "0\n",
            UNFILTERED,
        ),
        (None, None),
    ],
)
def test_a_bridge_that_is_not_filtered_is_told(tmp_path, text, told):
    """Without br_netfilter's hook Docker's rules see no packet between two ports of one bridge."""
    folder = tmp_path / "proc/sys/net/bridge"
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "bridge-nf-call-iptables").write_text(text)
    assert unfiltered(tmp_path) == told
