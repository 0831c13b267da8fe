"""A real hub for the whole run: proxy, spawner, engine and containers as in production."""

from __future__ import annotations

import io
import json
import os
import secrets
import tarfile
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests
from docker.utils import kwargs_from_env
from playwright.sync_api import sync_playwright

import docker
from demo.hub import DemoHub
from spawner_limits.state_folder import VARIABLE
from tests.conftest import MINIMAL
from tests.e2e.engines import OwnEngine

HERE = Path(__file__).parent
POLICY = """\
version: 1
defaults:
  mem_limit: 256M
  cpu_limit: 1
  pids_limit: 200
groups:
  students:
    mem_limit: 320M
    cpu_limit: 1.2
users:
  eve:
    mem_limit: 384M
    cpu_limit: 1.5
    cpu_shares: 2048
  gus:
    cpu_guarantee: 0.2
"""
# one user for each group of jupyterhub_config.py, named after it
OVERRIDDEN = (
    "loose-trait", "loose-answer", "tight-trait", "loose-cores", "loose-host", "loose-swap", "loose-nano",
    "loose-callable", "loose-create", "same", "harmless", "tmpfs", "kept", "no-image", "no-notebook", "no-policy",
    "broken-notebook",
)  # fmt: skip
USERS = ("dan", "sue", "eve", "gus", "pat", *OVERRIDDEN)
GROUPS = {"students": ["sue", "eve"]} | {name: [name] for name in OVERRIDDEN}


class TestHub(DemoHub):
    """A hub whose policy file tests may change, with what they ask of it."""

    __test__ = False
    policy: Path

    def __post_init__(self):
        """A name that no demonstration's hub has, beside which it may run."""
        super().__post_init__()
        self.prefix = f"test-{secrets.token_hex(4)}"

    def api(self, method, path, **arguments):
        """Call the REST API as the service `verify`."""
        headers = {"Authorization": f"token {self.token}"}
        return requests.request(method, f"{self.api_url}{path}", headers=headers, timeout=150, **arguments)

    def start(self, user, server="", **options):
        """Ask for a server; wait until it is ready, and give back how it went: the answer and the progress."""
        path = f"/users/{user}/servers/{server}" if server else f"/users/{user}/server"
        answer = self.api("POST", path, **({"json": {"user_options": options}} if options else {}))
        return answer, self.progress(path) if answer.status_code == 202 else []

    def progress(self, path):
        """What the spawn page is told, until the spawn has ended."""
        with self.api("GET", f"{path}/progress", stream=True) as stream:
            lines = (line for line in stream.iter_lines() if line.startswith(b"data: "))
            return [json.loads(line.removeprefix(b"data: ")) for line in lines]

    def refused(self, user, server="", **options):
        """Ask for a server that must not start; give back why not."""
        answer, events = self.start(user, server, **options)
        return events[-1]["message"] if events else answer.json()["message"]

    def stop(self, user, server=""):
        """Stop a server and wait for its end."""
        path = f"/users/{user}/servers/{server}" if server else f"/users/{user}/server"
        self.api("DELETE", path)
        end = time.monotonic() + 60
        while server in self.api("GET", f"/users/{user}").json()["servers"]:
            assert time.monotonic() < end, "the server does not stop"
            time.sleep(0.2)
        # the engine removes it by itself, some moments after the hub has forgotten it
        while (left := self.container(user, server)) is not None and left["HostConfig"]["AutoRemove"]:
            assert time.monotonic() < end, "the container is not removed"
            time.sleep(0.1)

    def container(self, user, server=""):
        """What `docker inspect` says of a user's server; `None` where there is none."""
        client = docker.APIClient(**kwargs_from_env(), version="auto")
        try:
            wanted = [f"spawner-limits.user={user}", f"spawner-limits.server={server}"]
            found = client.containers(all=True, filters={"label": wanted, "name": f"^/{self.prefix}-"})
            return client.inspect_container(found[0]["Id"]) if found else None
        except docker.errors.NotFound:  # between the two calls
            return None
        finally:
            client.close()

    def said(self):
        """The hub's log."""
        return self.log.read_text(errors="replace")


@contextmanager
def own_hub(folder, policy, config, *, kind=TestHub, environment=None, **people):
    """Run a hub for one module's tests, with a policy, records and files of its own; it leaves no container.

    `config`: a file beside this one. `people`: its users and groups.
    """
    file = folder / "limits.yaml"
    file.write_text(policy)
    before = dict(os.environ)
    os.environ |= {
        "SPAWNER_LIMITS_TEST_POLICY": str(file),
        "SPAWNER_LIMITS_TEST_VOLUME": "not-used",
        VARIABLE: str(folder / "records"),
    } | (environment or {})
    try:
        with kind(config=HERE / config, log=folder / "hub.log", **people) as running:
            running.policy = file
            yield running
        with closing(docker.APIClient(**kwargs_from_env(), version="auto")) as client:
            assert client.containers(all=True, filters={"name": f"^/{running.prefix}-"}) == []
    finally:
        os.environ.clear()
        os.environ.update(before)


def eventually(what, seconds=40):
    """The first true value of `what()`."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"nothing in {seconds} s"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, without windows."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page with cookies of its own."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    yield context.new_page()
    context.close()


def log_in(page, hub, user, password=None):
    """Fill in the hub's form."""
    page.goto(hub.url)
    page.fill("#username_input", user)
    page.fill("#password_input", hub.passwords[user] if password is None else password)
    page.click("#login_submit")


@pytest.fixture(scope="session")
def broken_notebook(client):
    """A volume in which the user's own mnist.ipynb fails in its first cell."""
    volume = client.create_volume(f"test-broken-notebook-{os.getpid()}")["Name"]
    mounted = client.create_host_config(binds={volume: {"bind": "/home/jovyan/work"}})
    container = client.create_container(MINIMAL, ["true"], volumes=["/home/jovyan/work"], host_config=mounted)["Id"]
    cell = {"cell_type": "code", "id": "one", "source": "raise SystemError('my own fault')", "metadata": {}}
    cell |= {"outputs": [], "execution_count": None}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    text = json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("mnist.ipynb")
        entry.uid, entry.gid, entry.size = 1000, 100, len(text)
        tar.addfile(entry, io.BytesIO(text))
    client.put_archive(container, "/home/jovyan/work", buffer.getvalue())
    client.remove_container(container)
    yield volume
    client.remove_volume(volume, force=True)


@pytest.fixture(scope="session")
def hub(client, broken_notebook, tmp_path_factory):
    """A hub with `USERS`, gone at the end of the run."""
    folder = tmp_path_factory.mktemp("hub")
    policy = folder / "limits.yaml"
    policy.write_text(POLICY)
    os.environ["SPAWNER_LIMITS_TEST_POLICY"] = str(policy)
    os.environ["SPAWNER_LIMITS_TEST_VOLUME"] = broken_notebook
    with TestHub(users=USERS, groups=GROUPS, config=HERE / "jupyterhub_config.py", log=folder / "hub.log") as running:
        running.policy = policy
        yield running
    assert client.containers(all=True, filters={"name": f"^/{running.prefix}-"}) == []


@pytest.fixture(scope="session")
def own_engine():
    """An engine with the small image that tests may stop and start; none of it runs yet."""
    engine = OwnEngine()
    try:
        engine.start()
        engine.load()
        engine.stop()
        yield engine
    finally:
        engine.close()


@pytest.fixture
def policy(hub):
    """The hub's policy file, restored afterwards."""
    yield hub.policy
    hub.policy.write_text(POLICY)
