"""What a guest is to the tests: commands, files and deadlines, and a pause that it notices."""

from __future__ import annotations

import time

WATCH = """
import time
times = [time.monotonic()]
for _ in range(60):
    time.sleep(0.1)
    times.append(time.monotonic())
print(max(after - before for before, after in zip(times, times[1:])))
"""


def test_a_command_gives_its_exit_code_and_both_outputs(systemd):
    """Files arrive whole, bytes that are no text too; no such command and one that takes too long are told as such."""
    content = bytes(range(256)) * 4096
    assert tuple(systemd.run(["wc", "-c", "/tmp/in/bytes"], {"/tmp/in/bytes": content})) == (
        0,
        "1048576 /tmp/in/bytes\n",
        "",
    )
    assert tuple(systemd.run(["sh", "-c", "echo out; echo err >&2; exit 7"])) == (7, "out\n", "err\n")
    assert tuple(systemd.run(["no-such-command"])) == (127, "", "no-such-command: No such file or directory\n")
    assert tuple(systemd.run(["sh", "-c", "echo begun; sleep 60"], timeout=1)) == (124, "begun\n", "")


def test_many_commands_go_in_one_message(systemd):
    """All are run, in their order, whatever became of those before."""
    ran = systemd.run_all([["sh", "-c", f"echo {number}; exit {number % 2}"] for number in range(20)])
    assert [(one.stdout, one.code) for one in ran] == [(f"{number}\n", number % 2) for number in range(20)]


def test_a_pause_is_noticed(systemd):
    """The guest's monotonic clock goes on while nothing in it runs."""
    seconds = 3
    systemd.run(["sh", "-c", 'python3 -c "$1" >/tmp/longest 2>&1 &', "sh", WATCH])
    with systemd.paused():
        time.sleep(seconds)
    ran = systemd.run(["sh", "-c", "until [ -s /tmp/longest ]; do sleep 0.2; done; cat /tmp/longest"], timeout=60)
    assert float(ran.stdout) >= seconds


def test_our_command_runs_in_the_guest(systemd):
    """With all that it imports."""
    ran = systemd.run(["spawner-limits", "--version"])
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.strip()
