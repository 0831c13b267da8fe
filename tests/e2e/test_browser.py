"""What people see: a real browser on a real hub."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import TestHub, log_in

HERE = Path(__file__).parent
WAIT_MS = 90_000


def test_a_person_sees_limits_and_finds_the_notebook(hub, page, tmp_path):
    """Login, the spawn page with each limit and its rule, JupyterLab with the notebook and the memory limit in it."""
    log_in(page, hub, "pat", hub.passwords["pat"])
    log = page.locator("#progress-log")
    for line in (
        "mem_limit 256 MiB, from defaults (limits.yaml:3)",
        "cpu_limit 1.00 cores, from defaults (limits.yaml:4)",
    ):
        expect(log).to_contain_text(line, timeout=WAIT_MS)
    page.screenshot(path=tmp_path / "spawn.png")
    page.wait_for_url("**/user/pat/lab**", timeout=WAIT_MS)
    expect(page.get_by_text("mnist.ipynb").first).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("/ 256.00 MB").first).to_be_visible(timeout=WAIT_MS)
    page.screenshot(path=tmp_path / "lab.png")
    hub.stop("pat")


def test_a_refused_spawn_is_a_page_that_says_why(hub, page, tmp_path):
    """The person reads which setting would loosen which limit, and no traceback."""
    log_in(page, hub, "loose-host", hub.passwords["loose-host"])
    expect(page.locator("body")).to_contain_text(
        "extra_host_config would loosen or change a limit: Memory is 8.00 GiB, the policy says 256 MiB",
        timeout=WAIT_MS,
    )
    assert "Traceback" not in page.content()
    page.screenshot(path=tmp_path / "refused.png")


def test_a_wrong_password_opens_nothing(hub, page):
    """Nor does the password of somebody else."""
    log_in(page, hub, "pat", hub.passwords["dan"])
    expect(page.locator("body")).to_contain_text("Invalid username or password")


@pytest.fixture
def account():
    """An account on this machine, with a password, for the time of the test."""
    name, password = f"sl-{secrets.token_hex(4)}", secrets.token_urlsafe(12)
    subprocess.run(["useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", name], check=True)
    try:
        subprocess.run(["chpasswd"], input=f"{name}:{password}", text=True, check=True)
        yield name, password
    finally:
        subprocess.run(["userdel", name], check=True)


def test_the_projects_own_configuration_lets_the_machines_accounts_in(client, account, page, tmp_path):
    """`jupyterhub_config.py` as it is: PAM, limits.yaml's defaults, and no entry for a wrong password."""
    name, password = account
    config = HERE / "pam_config.py"
    with TestHub(users=(name,), groups={}, config=config, log=tmp_path / "hub.log") as hub:
        log_in(page, hub, name, "wrong")
        expect(page.locator("body")).to_contain_text("Invalid username or password", timeout=WAIT_MS)
        log_in(page, hub, name, password)
        expect(page.locator("#progress-log")).to_contain_text("mem_limit 512 MiB, from defaults", timeout=WAIT_MS)
        page.wait_for_url(f"**/user/{name}/lab**", timeout=WAIT_MS)
    assert client.containers(all=True, filters={"name": f"^/{hub.prefix}-"}) == []
