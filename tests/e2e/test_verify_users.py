"""`spawner-limits verify USER` through a real hub."""

from __future__ import annotations

import json
import re

import pytest

from tests.busy import TRIES, is_busy
from tests.conftest import MINIMAL, spawner_limits

pytestmark = pytest.mark.usefixtures("leaves_nothing")


def verify(hub, *arguments, **environment):
    """Run the command against the test's hub."""
    given = {"JUPYTERHUB_API_URL": hub.api_url, "JUPYTERHUB_API_TOKEN": hub.token} | environment
    return spawner_limits("verify", *arguments, **given)


@pytest.mark.alone  # it measures CPU time
def test_a_user_is_verified_through_the_hub(hub, tmp_path):
    """The server is started, pressed, judged and stopped; the report names the rules; all of them hold."""
    for _ in range(TRIES):
        found = verify(hub, "eve", f"--json={tmp_path / 'report.json'}")
        report = json.loads((tmp_path / "report.json").read_text())
        outcomes = {verdict["field"]: verdict["outcome"] for verdict in report["trials"][0]["verdicts"]}
        exact = {field: outcomes.pop(field) for field in ("mem_limit", "memswap_limit", "pids_limit")}
        assert exact == dict.fromkeys(exact, "HELD"), found.stdout
        assert set(outcomes) == {"cpu_limit", "cpu_shares"}
        assert "BROKEN" not in outcomes.values(), found.stdout
        assert found.returncode == (3 if "UNKNOWN" in outcomes.values() else 0), found.stderr
        if found.returncode == 0:
            break
    assert found.returncode == 0 or is_busy(), found.stdout
    assert "from user eve (limits.yaml:12)" in re.sub(r"\s+", " ", found.stdout)
    assert hub.container("eve") is None


def test_a_server_that_runs_is_not_pressed_unasked(hub):
    """Without --yes, and without a terminal to ask on, a running server is left alone, and stays running."""
    hub.start("dan")
    try:
        found = verify(hub, "dan")
        assert (found.returncode, found.stdout) == (2, "")
        assert found.stderr == (
            "spawner-limits: These servers are running and will be pressed to their limits: dan; "
            "say --yes if that may be\n"
        )
        assert hub.container("dan")["State"]["Running"]
    finally:
        hub.stop("dan")


def test_a_server_that_has_no_notebook_is_unknown(hub):
    """Where the hub copies none, the limits are read and not pressed: UNKNOWN, never HELD."""
    found = verify(hub, "no-notebook")
    assert found.returncode == 3, found.stderr
    assert "the hub copies no notebook into this server (copy_notebook is off)" in found.stderr
    assert "HELD" not in found.stdout.splitlines()[0]


def test_another_hubs_server_of_the_same_name_is_left_alone(hub, client):
    """A newer container with the same labels and no limits: the hub's own is read, and nothing is BROKEN."""
    hub.start("no-notebook")
    own = hub.container("no-notebook")
    other = client.create_container(MINIMAL, ["sleep", "300"], entrypoint=[], labels=own["Config"]["Labels"])["Id"]
    try:
        client.start(other)
        found = verify(hub, "no-notebook", "--yes", "--json=-")
        assert found.returncode == 3, found.stderr
        reports = {one["field"]: one["outcome"] for one in json.loads(found.stdout)["trials"][0]["verdicts"]}
        assert set(reports.values()) == {"UNKNOWN"}
        assert client.inspect_container(other)["State"]["Running"]
    finally:
        client.remove_container(other, force=True)
        hub.stop("no-notebook")


def test_a_copy_that_failed_is_said(hub):
    """Where the notebook is not in the container, verify says so and judges UNKNOWN."""
    found = verify(hub, "tmpfs")
    assert found.returncode == 3, found.stderr
    problem = (
        "the load ended with exit code 1: the notebook was not copied: /home/jovyan/work/mnist.ipynb is not in the "
        "container; the hub's log says why"
    )
    assert problem in re.sub(r"\s+", " ", found.stdout)


def test_a_notebook_that_fails_is_said(hub):
    """The user's own notebook is run as it is; when it fails, its last words are the reason for UNKNOWN."""
    found = verify(hub, "broken-notebook")
    assert found.returncode == 3, found.stderr
    assert "SystemError: my own fault" in re.sub(r"\s+", " ", found.stdout)
    assert "Traceback" not in found.stderr


BAD = {
    "a user that the hub does not know": (("nobody-here",), {}, 2, "the hub knows no user 'nobody-here'"),
    "a second user that it does not know": (("dan", "nobody-here"), {}, 2, "the hub knows no user 'nobody-here'"),
    "a name with a slash": (("../services",), {}, 2, "the hub knows no user '../services'"),
    "a wrong token": (("dan",), {"JUPYTERHUB_API_TOKEN": "wrong"}, 4, "does not accept the token"),
    "no token": (("dan",), {"JUPYTERHUB_API_TOKEN": ""}, 2, "no token for the hub"),
    "no hub": (
        ("dan",),
        {"JUPYTERHUB_API_URL": "http://127.0.0.1:9/hub/api"},
        4,
        "no hub answers at http://127.0.0.1:9",
    ),
    "a server that is refused": (("loose-host",), {}, 1, "extra_host_config would loosen or change a limit"),
    "an image that is missing": (("no-image",), {}, 1, "no-such-image"),
}


@pytest.mark.parametrize(("arguments", "environment", "code", "message"), BAD.values(), ids=BAD)
def test_bad_input(hub, arguments, environment, code, message):
    """One message, the right exit code, no traceback, no container."""
    found = verify(hub, *arguments, **environment)
    assert message in found.stderr
    assert (found.returncode, found.stdout) == (code, "")
    assert "Traceback" not in found.stderr
    assert hub.container("dan") is None
