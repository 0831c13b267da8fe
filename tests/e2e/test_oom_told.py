"""OOM kills, told: to the user on the hub's pages, to the administrator in the hub's log."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import eventually, log_in, own_hub

HERE = Path(__file__).parent
WAIT_MS = 60_000
POLICY = """\
version: 1
contact: Ann <ann@example.org>
defaults: {mem_limit: 256M, cpu_limit: 1, pids_limit: 200}
groups:
  students: {mem_limit: 288M}
users:
  tim: {mem_limit: 40M}
"""
PEOPLE = ("sam", "kim", "tim", "kay")
HOG = """
import mmap
open("/proc/self/oom_score_adj", "w").write("1000")
taken = mmap.mmap(-1, 400 << 20)
for at in range(0, len(taken), 4096): taken[at] = 1
"""
CLOCK, CONTACT = r"\d\d:\d\d [A-Z]+", r"ask Ann <ann@example\.org>"
"""of the sentence that tests/unit/test_exit_reason.py has whole"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub for a few people, of whom sam and kay are students."""
    folder, groups = tmp_path_factory.mktemp("oom-hub"), {"students": ["sam", "kay"]}
    with own_hub(folder, POLICY, "oom_config.py", users=PEOPLE, groups=groups) as running:
        yield running


def running(hub, user):
    """Start a user's server; its container."""
    answer, events = hub.start(user)
    assert answer.status_code == 201 or events[-1].get("ready"), (answer.text, events)
    return hub.container(user)


def hog(client, container):
    """Take more memory than there is, as a Jupyter kernel may: a process that is not the server."""
    made = client.exec_create(container["Id"], ["python3", "-c", HOG])["Id"]
    client.exec_start(made)
    assert client.exec_inspect(made)["ExitCode"] == 137


def take_the_server(client, container):
    """Have the Linux kernel take the server itself: it is the worst, and something else asks for more."""
    wanted = [row[1] for row in client.top(container["Id"])["Processes"] if "jupyterhub-singleuser" in row[-1]]
    for pid in wanted:
        Path("/proc", pid, "oom_score_adj").write_text("1000")
    made = client.exec_create(container["Id"], ["python3", "-c", HOG.replace("1000", "0")])["Id"]
    client.exec_start(made, detach=True)


def ended(hub, user):
    """Wait until the hub knows that a user's server has ended."""
    eventually(lambda: "" not in hub.api("GET", f"/users/{user}").json()["servers"])


def records(hub, container):
    """What was kept about a container, without the moments."""
    lines = (hub.policy.parent / "records" / f"{container['Id']}.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "at"} for line in lines]


def test_a_person_sees_it_in_the_browser(client, hub, page):
    """On the hub's page that the server was ended, and why, until it has started again."""
    log_in(page, hub, "sam")
    page.wait_for_url("**/user/sam/lab**", timeout=WAIT_MS)
    expect(page.locator(".jp-DirListing-content")).to_contain_text("mnist.ipynb", timeout=WAIT_MS)
    take_the_server(client, hub.container("sam"))
    ended(hub, "sam")
    page.goto(f"{hub.url}user/sam/lab")
    reached = rf"stopped at {CLOCK}: it reached its memory limit of 288 MiB \(rule: group students\).*{CONTACT}"
    expect(page.locator("#last-end")).to_have_text(re.compile(reached), timeout=WAIT_MS)
    page.screenshot(path=hub.policy.parent / "not_running.png")
    page.click("#start")
    expect(page.locator("#last-end")).to_contain_text("it reached its memory limit of 288 MiB", timeout=WAIT_MS)
    page.screenshot(path=hub.policy.parent / "spawn_pending.png")
    page.wait_for_url("**/user/sam/lab**", timeout=WAIT_MS)
    hub.stop("sam")
    page.goto(f"{hub.url}user/sam/lab")
    expect(page.locator("#start")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("#last-end")).to_have_count(0)


def test_only_one_process_of_a_server(client, hub):
    """The line in the hub's log, and the record, for each kill; the running server is left as it is."""
    container = running(hub, "kay")
    before = client.diff(container["Id"])
    hog(client, container)
    limit = r"at its memory limit of 288 MiB \(rule: group students\)"
    told = rf"of kay: the OOM killer took python3 \(pid \d+\), which held \d+ MiB, {limit}; the server goes on"
    eventually(lambda: re.search(told, hub.said()))
    hog(client, container)
    eventually(lambda: len(re.findall(told, hub.said())) == 2)
    found = [one for one in records(hub, container) if one["event"] == "oom"]
    assert [(one["count"], one["process"], one["user"], one["server_died"]) for one in found] == [
        (1, "python3", "kay", False)
    ] * 2
    time.sleep(1)  # for whatever would be done to it after the line
    assert [one for one in client.diff(container["Id"]) or () if one not in (before or ())] == []
    hub.stop("kay")
    assert "The server of kay ended" not in hub.said()


def test_a_server_that_is_killed_while_it_starts(hub):
    """The spawn fails at once, not after `http_timeout`, and says why."""
    begin = time.monotonic()
    answer, events = hub.start("tim")
    message = events[-1]["message"] if events else answer.json()["message"]
    assert re.search(rf"it reached its memory limit of 40 MiB \(rule: user tim\).*{CONTACT}", message), message
    assert time.monotonic() - begin < 60


def restarted(hub):
    """Restart the hub's process, in the same folder."""
    folder = Path(f"/proc/{hub._process.pid}/cwd").resolve()
    hub._process.send_signal(signal.SIGTERM)
    hub._process.wait(60)
    hub._start(folder)


def test_a_server_that_somebody_killed(client, hub, page):
    """Memory is not blamed; and the page says it still after a restart of the hub, until the server was started."""
    container = running(hub, "kim")
    os.kill(container["State"]["Pid"], signal.SIGKILL)
    ended(hub, "kim")
    assert "The server of kim ended: SIGKILL, and not by the OOM killer" in hub.said()
    assert re.search(r"User kim server stopped, with exit code: .*SIGKILL, and not by the OOM killer", hub.said())
    assert [(one["event"], one.get("cause")) for one in records(hub, container)][-1] == ("ended", "killed")
    restarted(hub)
    log_in(page, hub, "kim")
    expect(page.locator("#last-end")).to_contain_text("somebody or something ended it (SIGKILL)", timeout=WAIT_MS)
    page.wait_for_url("**/user/kim/lab**", timeout=WAIT_MS)
    hub.stop("kim")
    page.goto(f"{hub.url}user/kim/lab")
    expect(page.locator("#start")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("#last-end")).to_have_count(0)
    assert client.containers(all=True, filters={"id": container["Id"]}) == []
