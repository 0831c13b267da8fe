"""What may run beside what, and how long a test may hold up those that run beside it."""

from __future__ import annotations

import os

import pytest
from xdist.scheduler import LoadScopeScheduling

LONGEST_S = 60
"""three times what a test should take: the same one takes twice as long in a machine's slow hours"""
APART = ("alone", "soak")
"""the marks of what runs when nothing else does, or not each time"""
SHARED = {
    # the session's hub and its users
    **dict.fromkeys(("test_browser.py", "test_spawn.py", "test_verify_users.py"), "hub"),
    # the Linux kernel's log, which leaves lines out where there are too many OOM kills in a few seconds
    **dict.fromkeys(("test_oom_told.py", "test_oom_seen.py", "test_experiments_run.py"), "log"),
}
"""module → what it shares with others"""


def pytest_addoption(parser):
    """A machine that is slower, or busy with other things, may be given more."""
    parser.addoption(
        "--longest",
        type=float,
        default=LONGEST_S,
        metavar="SECONDS",
        help=(
            "fail a test that takes longer, on a machine with a CPU for all that run, and is neither "
            f"{' nor '.join(APART)} (default: {LONGEST_S})"
        ),
    )


def pytest_collection_modifyitems(items):
    """A guest is emulated, which takes more than one CPU, and waits until no other one runs."""
    for item in items:
        if item.path.name.startswith("test_guest"):
            item.add_marker("alone")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`pytest -n` goes by `Modules`, whatever `--dist` says."""
    config.option.loadscopereorder = False
    return Modules(config, log)


class Modules(LoadScopeScheduling):
    """One worker runs all tests of a module, in their order: they share its hub or its containers.

    Not `--dist loadgroup`: xdist 3.8 hands its groups on in a place where pytest 9.2 no longer looks, and says nothing.
    Modules begin in their order, the longest, which run hubs, first.
    """

    def _split_scope(self, nodeid):
        return group(nodeid)


def group(nodeid):
    """What one worker runs of it: its module, and those that share something with that."""
    module = nodeid.partition("::")[0]
    return SHARED.get(module.rpartition("/")[2], module)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that passed, and took too long to run beside others, has failed."""
    report = yield
    longest = item.config.getoption("--longest") * crowding(os.getloadavg()[0], os.cpu_count())
    if report.when == "call" and report.passed and call.duration > longest and not is_apart(item):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} took {call.duration:.1f} s, over {longest:g} s: "
            f"make it faster, or mark it {' or '.join(APART)} and say why"
        )
    return report


def crowding(load, cpus):
    """How much longer things take where more want to run than there are CPUs; `load`: the last minute's average."""
    return max(1.0, load / cpus)


def is_apart(item):
    """Whether it does not run beside others."""
    return any(item.get_closest_marker(name) for name in APART)
