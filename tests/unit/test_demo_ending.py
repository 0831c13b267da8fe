"""The last lines of a demonstration: the one cause, said once."""

from __future__ import annotations

import pytest

from demo.ending import causes

MOVED = "a process of the container was moved to the cgroup /"
BUSY = "not pressed: other work on this machine left too little CPU to reach the limit"


def trial(subject, *, control=False, outcome="HELD", problem=None, **verdicts):
    """One of a report's trials; field → (outcome, reason)."""
    told = [{"field": field, "outcome": one, "reason": reason} for field, (one, reason) in verdicts.items()]
    return {"subject": subject, "control": control, "outcome": outcome, "verdicts": told, "load": {"problem": problem}}


HELD, BROKEN, UNKNOWN = ("HELD", "the OOM killer ended it"), ("BROKEN", MOVED), ("UNKNOWN", BUSY)
CONTROL = trial("alice", control=True, outcome="BROKEN", mem_limit=("BROKEN", "peak 1.76 GiB"))
ENDINGS = {
    "all held": ([trial("alice", mem_limit=HELD), CONTROL], []),
    "several for one reason": (
        [trial("alice", mem_limit=BROKEN, memswap_limit=BROKEN, cpu_limit=BROKEN, pids_limit=BROKEN), CONTROL],
        [f"BROKEN: alice's memory, memory + swap, CPU, processes: {MOVED}"],
    ),
    "two users for one reason": (
        [trial("alice", mem_limit=HELD, cpu_limit=UNKNOWN), trial("bob", cpu_limit=UNKNOWN), CONTROL],
        [f"UNKNOWN: alice's CPU; bob's CPU: {BUSY}"],
    ),
    "the worst first": (
        [trial("alice", cpu_limit=UNKNOWN), trial("bob", mem_limit=BROKEN), CONTROL],
        [f"BROKEN: bob's memory: {MOVED}", f"UNKNOWN: alice's CPU: {BUSY}"],
    ),
    "no verdict": ([trial("carol", problem="the load did not end")], ["not judged: carol: the load did not end"]),
    "a control that held": (
        [trial("alice", mem_limit=HELD), trial("alice", control=True, mem_limit=HELD)],
        ["the control without limits was not BROKEN, so this judge has no power here"],
    ),
    "what a terminal would obey": ([trial("a\x1b]0;b", mem_limit=BROKEN)], [f"BROKEN: a\ufffd]0;b's memory: {MOVED}"]),
}


@pytest.mark.parametrize(("trials", "said"), ENDINGS.values(), ids=ENDINGS)
def test_the_causes(trials, said):
    """Each reason once, with whose limits it is behind; the control's own BROKEN is none."""
    assert causes({"trials": trials}) == said
