"""The kernel's log about the OOM killer, in lines as Linux 6.1 to 6.18 write them; and the files with the counter."""

from __future__ import annotations

import pytest

from spawner_limits.kernel.cgroups import Cgroup
from spawner_limits.kernel.kmsg import KernelLog, LoggedKill, kills, logged_kills, text
from spawner_limits.kernel.oom import OomFiles

ID, OTHER = "3b" * 32, "0f" * 32
MEMCG = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0"
HOST = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=x,mems_allowed=0,global_oom"
SIZES = "total-vm:1098844kB, anon-rss:232680kB, file-rss:4996kB, shmem-rss:8kB, UID:1000 pgtables:6kB oom_score_adj:0"
SHORT = [
    "oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/docker/abc,task_memcg=/docker/abc,task=python3,pid=77,uid=1000",
    "Memory cgroup out of memory: Killed process 77 (python3) total-vm:9kB, anon-rss:8kB",
    "oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/docker/other,task_memcg=/docker/other,task=python3,pid=78,uid=0",
    "Memory cgroup out of memory: Killed process 78 (python3) total-vm:9kB, anon-rss:8kB",
]


def test_kills_of_one_container():
    """The line that names the process has no cgroup; the one before it has both."""
    assert kills(SHORT, "abc") == [SHORT[1]]


def test_a_record_of_the_log():
    """What comes before the text, and the lines below it, are not told."""
    assert text("6,1234,567890,-;the text; of it\n SUBSYSTEM=x\n") == "the text; of it"


def kill(**given):
    """A kill in the container at its own limit."""
    return LoggedKill(**{"container": ID, "process": "python3", "pid": 77, "whose": "own", "rss_bytes": None, **given})


LINES = {
    "own limit, cgroup v1": (f"{MEMCG},oom_memcg=/docker/{ID},task_memcg=/docker/{ID},task=python3,pid=77,uid=0", {}),
    "own limit, systemd": (
        f"{MEMCG},oom_memcg=/a.slice/docker-{ID}.scope,task_memcg=/a.slice/docker-{ID}.scope,task=python3,pid=77,uid=0",
        {},
    ),
    "a cgroup in the container": (
        f"{MEMCG},oom_memcg=/docker/{ID}/in,task_memcg=/docker/{ID}/in,task=python3,pid=77,uid=0", {},
    ),
    "a cgroup above": (f"{MEMCG},oom_memcg=/all,task_memcg=/all/{ID},task=python3,pid=77,uid=0", {"whose": "above"}),
    "an engine in a container": (
        f"{MEMCG},oom_memcg=/docker/{ID},task_memcg=/docker/{OTHER}/docker/{ID},task=python3,pid=77,uid=0", {},
    ),
    "the whole host": (f"{HOST},task_memcg=/docker/{ID},task=python3,pid=77,uid=0", {"whose": "host"}),
    "a process with a name of its own": (
        f"{MEMCG},oom_memcg=/docker/{ID},task_memcg=/docker/{ID},task=a,pid=1,uid=0,pid=77,uid=1000",
        {"process": "a,pid=1,uid=0"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_the_line_with_the_reason(name):
    """It says whose process it was, and whose memory was used up."""
    line, wanted = LINES[name]
    assert logged_kills([line]) == [kill(**wanted)]


def test_the_sizes_are_in_the_line_after_it():
    """Memory that is a file's is not counted: the kernel can read it again."""
    line = LINES["own limit, cgroup v1"][0]
    named = [line, "other words", f"Memory cgroup out of memory: Killed process 77 (py (x) 3) {SIZES}"]
    assert logged_kills(named) == [kill(rss_bytes=(232680 + 8) * 1024)]


def test_what_is_not_a_containers_is_left_out():
    """Such as a process of the host, and lines that say something else."""
    told = f"{MEMCG},oom_memcg=/user.slice,task_memcg=/user.slice,task=vi,pid=7,uid=0"
    assert logged_kills([told, "python3 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0", ""]) == []


def test_a_log_that_cant_be_read_says_why(tmp_path):
    """And it has no lines."""
    with KernelLog(tmp_path / "kmsg") as log:
        assert (log.problem, log.lines(), log.fileno()) == (f"{tmp_path}/kmsg: No such file or directory", [], None)


CGROUPS = {
    "cgroup v1": (
        1,
        {
            "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            "memory.limit_in_bytes": "67108864\n",
            "memory.max_usage_in_bytes": "67100672\n",
        },
        (3, 67108864, 67100672),
    ),
    "cgroup v2": (
        2,
        {
            "memory.events": "low 0\nhigh 0\nmax 120\noom 4\noom_kill 3\noom_group_kill 0\n",
            "memory.max": "67108864\n",
            "memory.peak": "67100672\n",
        },
        (3, 67108864, 67100672),
    ),
    "v1 without a limit": (
        1,
        {"memory.oom_control": "oom_kill 0\n", "memory.limit_in_bytes": "9223372036854771712\n"},
        (0, None, None),
    ),
    "v2 without a limit, Linux before 5.19": (
        2,
        {"memory.events": "oom_kill 0\n", "memory.max": "max\n"},
        (0, None, None),
    ),
}


@pytest.mark.parametrize("name", CGROUPS)
def test_the_counter_and_the_limit(tmp_path, name):
    """What is not there is not known, and an unlimited container has no limit."""
    version, contents, wanted = CGROUPS[name]
    for file, content in contents.items():
        (tmp_path / file).write_text(content)
    files = OomFiles(Cgroup(directories={"memory": tmp_path}, versions={"memory": version}, unified=None))
    assert (files.kills(), files.limit_bytes(), files.peak_bytes()) == wanted
    files.close()


def test_a_container_without_a_counter_is_an_error(tmp_path):
    """Which the caller tells: it is no zero."""
    with pytest.raises(FileNotFoundError):
        OomFiles(Cgroup(directories={"memory": tmp_path}, versions={"memory": 2}, unified=None))
