"""What `verify` presses is the container that the hub names; what it removes is what it made; and it ends in time."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from spawner_limits.clients.hub_api import Hub
from spawner_limits.clients.made import Made, UnusableError, new_name
from spawner_limits.engines import labels
from spawner_limits.kernel.cgroups import find
from spawner_limits.policy.entitlement import Entitlement, Grant
from spawner_limits.verify import whose
from tests.integration.conftest import TINY, eventually
from tests.kernel_files import only_v1

PRESS = (f"--image={TINY}", "--mem-limit=64M")
GRACE_S = 10
SLOW_S = 5
"""for a machine on which other tests run"""


# -- whose container ---------------------------------------------------------------------------------------------


class _Says(BaseHTTPRequestHandler):
    """A hub's API with one user, and one server in the state that the test gives; it can stop answering."""

    def do_GET(self):
        body = json.dumps({"name": "alice", "servers": self.server.servers}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.server.ends.wait(60)

    do_DELETE = do_POST  # noqa: N815

    def log_message(self, *_):
        """Quiet."""


@contextmanager
def hub_with(servers):
    """Its address, for the time of the block."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Says) as server:
        server.servers, server.ends = servers, threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hub/api"
        finally:
            server.ends.set()
            server.shutdown()
            thread.join()


def given(user="alice"):
    """The labels of a start."""
    grants = {"mem_limit": Grant(value=64 << 20, rule="defaults", file="limits.yaml", line=2)}
    entitlement = Entitlement(user=user, server="", groups=(), grants=grants, policy_sha256="0" * 64)
    return {labels.USER: user, labels.SERVER: "", labels.ENTITLEMENT: entitlement.to_json()}


@pytest.fixture
def server(own_engine):
    """Start containers with labels, from an image; their ids."""
    client, made = own_engine.client, []

    def start(name, its_labels, image=TINY):
        made.append(client.create_container(image, ["sleep", "300"], name=name, labels=its_labels)["Id"])
        client.start(made[-1])
        return made[-1]

    yield start
    for one in made:
        client.remove_container(one, force=True)


@pytest.fixture
def committed(own_engine, server):
    """An image that was made from alice's running server, and so has all its labels."""
    source = server("test-source", given())
    own_engine.client.commit(source, repository="test-committed", tag="1")
    return "test-committed:1"


def pressed(own_verify, servers, *more):
    """`verify alice`, by a hub that says this of its servers."""
    with hub_with(servers) as url:
        return own_verify("alice", "--yes", "--hub", url, *more, JUPYTERHUB_API_TOKEN="a-token")


def test_another_hubs_container_is_not_pressed(own_verify, server):
    """The hub's own container is elsewhere; one of the same name here is another hub's: refused, and named."""
    server("test-other", given())
    found = pressed(own_verify, {"": {"state": {"object_id": "f" * 64}}})
    assert (found.code, found.stdout) == (2, "")
    assert found.message == (
        "spawner-limits: the hub says that the server of alice is the container ffffffffffff, which is not on this "
        "engine (here, but not this hub's: test-other); run verify on the machine that it runs on"
    )


def test_of_two_the_hubs_own_is_pressed(own_engine, own_verify, server):
    """The newer one has the same labels, and no limits; the report is of the older, which the hub names."""
    own = server("test-own", given())
    server("test-newer", given())
    found = pressed(own_verify, {"": {"state": {"object_id": own}}}, "--json=-")
    assert found.code in {1, 3}
    assert own_engine.client.inspect_container(own)["State"]["Running"]
    assert found.report["trials"][0]["load"]["problem"] == (
        "the hub copies no notebook into this server (copy_notebook is off)"
    )


def test_limits_that_come_with_an_image_are_no_starts(own_verify, server, committed):
    """A container of an image that carries a server's labels was started with no limits of ours: refused."""
    own = server("test-own", {}, image=committed)
    found = pressed(own_verify, {"": {"state": {"object_id": own}}})
    assert (found.code, found.stdout) == (2, "")
    assert found.message == (
        "spawner-limits: the container test-own of alice carries no limits but those that its image test-committed:1 "
        "has as a label (spawner-limits.entitlement); start it from an image without that label"
    )


def test_a_container_of_somebody_else_is_not_pressed(own_verify, server):
    """Its labels say another user than the hub does."""
    own = server("test-own", given("bob"))
    found = pressed(own_verify, {"": {"state": {"object_id": own}}})
    assert (found.code, found.stdout) == (2, "")
    assert found.message == (
        "spawner-limits: the hub says that the container test-own is the server of alice, its labels say that of bob; "
        "stop that server, and have the hub start it anew"
    )


SILENT = {
    "no scope": (
        {"": {}}, 4,
        (
            "the hub's token may not read which container the server of alice runs in; it needs the scope "
            "admin:server_state"
        ),
    ),
    "no container": (
        {"": {"state": {}}}, 2, "the hub has no container for the server of alice; is its spawner LimitedDockerSpawner?"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("servers", "code", "message"), SILENT.values(), ids=SILENT)
def test_a_hub_that_names_no_container(own_verify, server, servers, code, message):
    """Nothing is guessed from labels."""
    server("test-own", given())
    found = pressed(own_verify, servers)
    assert (found.code, found.stdout, found.message) == (code, "", f"spawner-limits: {message}")


def test_a_server_that_was_started_anew_is_told():
    """What was pressed must be what the hub still says; another container tells nothing of it."""
    container = type("Container", (), {"id": "a" * 64})()
    with hub_with({"": {"state": {"object_id": "a" * 64}}}) as url:
        assert whose.replaced(Hub(url, "a-token"), "alice", container) is None
    with hub_with({"": {"state": {"object_id": "b" * 64}}}) as url:
        assert whose.replaced(Hub(url, "a-token"), "alice", container) == (
            "the server was started anew while it was pressed: it was the container aaaaaaaaaaaa, and is bbbbbbbbbbbb"
        )
    with hub_with({}) as url:
        assert whose.replaced(Hub(url, "a-token"), "alice", container) == (
            "the server was stopped while it was pressed: the hub runs no server of alice"
        )


# -- what is removed ---------------------------------------------------------------------------------------------


VERBS = {
    "verify": ("verify", *PRESS, "--", "true"),
    "conformance": ("conformance", f"--image={TINY}", "--only=31"),
    "experiment": ("experiment", "memory", f"--image={TINY}"),
}


@pytest.mark.parametrize("arguments", VERBS.values(), ids=VERBS)
def test_what_only_says_that_it_is_a_trials_is_left_alone(own_engine, own_verify, server, arguments):
    """A label of ours comes with an image, or by anybody's hand; no container is removed for it."""
    verb, *more = arguments
    client = own_engine.client
    source = client.create_container(TINY, ["true"])["Id"]
    client.commit(source, repository="test-labelled", tag="1", conf={"Labels": {labels.TRIAL: "1.x"}})
    client.remove_container(source)
    ours = [server("test-from-image", {}, image="test-labelled:1"), server("test-by-hand", {labels.TRIAL: "1.1"})]
    own_verify.end(own_verify.start(*more, verb=verb))
    assert own_verify.made() != set()  # it came that far, and whoever makes a container has removed what was left
    assert [client.inspect_container(one)["State"]["Running"] for one in ours] == [True, True]


def noted(directory):
    """The names of what is noted as made."""
    return sorted(path.name for path in (directory / "trials").iterdir())


def test_the_next_run_removes_what_a_killed_one_noted(own_engine, own_verify, tmp_path):
    """And only that: a living run's container stays, and after an orderly end nothing is noted."""
    where = {"SPAWNER_LIMITS_RECORDS": str(tmp_path / "records")}
    begin = lambda: own_verify.start(*PRESS, "--", "sleep", "300", **where)  # noqa: E731
    living = own_engine.after("exec_start", 1, begin)
    killed = own_engine.after("exec_start", 1, begin)
    assert len(noted(tmp_path / "records")) == 2
    killed.kill()
    killed.communicate()
    assert len(own_verify.containers(killed)) == 1

    assert own_verify(*PRESS, "--", "true", **where).code == 3
    assert own_verify.containers(killed) == []
    assert len(own_verify.containers(living)) == 1
    (kept,) = noted(tmp_path / "records")
    assert kept == f"{own_verify.running(living)['Name'].lstrip('/')}.container"

    living.send_signal(signal.SIGINT)
    assert own_verify.end(living).code == 130
    assert noted(tmp_path / "records") == []


def test_a_directory_of_somebody_else_is_not_used(own_verify, tmp_path):
    """Names in it would be removed as ours: it is said, and the trial is made all the same."""
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "trials").mkdir()
    os.chown(tmp_path / "records" / "trials", 4711, 4711)
    found = own_verify(*PRESS, "--", "true", SPAWNER_LIMITS_RECORDS=str(tmp_path / "records"))
    assert found.code == 3
    assert found.stderr.splitlines()[0] == (
        f"spawner-limits: what a killed run leaves can't be found: {tmp_path}/records/trials can't be used (it belongs "
        "to the user id 4711); give SPAWNER_LIMITS_RECORDS a directory of your own, and look for what is left with "
        "docker ps -a --filter name=spawner-limits-trial-"
    )


def test_a_note_is_found_by_the_next_run_on_that_engine_alone(tmp_path):
    """Once whoever made it has ended; what is no name of ours is not looked at."""
    here = Made(tmp_path / "records" / "trials")
    name = new_name()
    note = here.note(name, "container", "engine-a")
    assert here.left("engine-a") == ()
    note.close()
    (tmp_path / "records" / "trials" / "postgres.container").write_text("engine-a\n")
    assert here.left("engine-b") == ()
    (left,) = here.left("engine-a")
    assert (left.name, left.kind) == (name, "container")
    left.forget()
    assert here.left("engine-a") == ()


LOOSE = {
    "a link": lambda at: (at.parent / "elsewhere").mkdir() or at.symlink_to("elsewhere"),
    "others may write": lambda at: at.mkdir() or at.chmod(0o777),
    "a file": lambda at: at.touch(),
}


@pytest.mark.parametrize("make", LOOSE.values(), ids=LOOSE)
@pytest.mark.parametrize("name", ["records", "records/trials"])
def test_a_directory_that_others_can_write_is_refused(tmp_path, name, make):
    """Neither the one of notes nor the one that it is in."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    make(tmp_path / name)
    with pytest.raises(UnusableError, match="can't be used"):
        Made(tmp_path / "records" / "trials").left("engine")


# -- in time -----------------------------------------------------------------------------------------------------


def timed(begin, end):
    """How one run ended, which must have been within its --timeout of 10 s and the grace."""
    began = time.monotonic()
    found = end(begin())
    assert time.monotonic() - began < 10 + GRACE_S + SLOW_S
    return found


EATER = ("python3", "-c", "import time; time.sleep(1); x = bytearray(200 << 20)")


@only_v1("there the OOM killer can't be switched off")
def test_a_load_that_waits_for_memory_ends_in_time(verify):
    """Where somebody has switched the OOM killer off: it hangs, its trial does not."""
    began = time.monotonic()
    process = verify.start(
        "--image=spawner-limits/singleuser:minimal", "--mem-limit=64M", "--cpu-shares=2048", "--timeout=10",
        "--json=-", "--", *EATER,
    )  # fmt: skip
    container = verify.running(process)
    cgroup = find(container["State"]["Pid"], container_id=container["Id"])
    (cgroup.directories["memory"] / "memory.oom_control").write_text("1")
    found = verify.end(process)
    assert time.monotonic() - began < 10 + GRACE_S + SLOW_S
    assert found.report["trials"][0]["load"]["problem"] == "the load did not end within 10 s and was ended"
    assert found.verdicts()["cpu_shares"][0] == "UNKNOWN"
    assert "the contest for CPU was not done within the 10 s of --timeout; give it longer" in found.stderr


def test_a_container_that_is_paused_ends_in_time(own_engine, own_verify):
    """Its processes can't be ended in it, which is said; it is removed."""
    began = time.monotonic()
    process = own_engine.after(
        "exec_start", 1, lambda: own_verify.start(*PRESS, "--timeout=10", "--json=-", "--", "sleep", "300")
    )
    own_engine.client.pause(own_verify.running(process)["Id"])
    found = own_verify.end(process)
    assert time.monotonic() - began < 10 + GRACE_S + SLOW_S
    assert found.code == 3
    assert found.report["trials"][0]["load"]["problem"].startswith("the load did not end within 10 s and was ended")
    assert own_verify.containers() == []


def test_an_engine_that_stops_answering_ends_in_time(mortal, mortal_verify):
    """In mid-load, without any Ctrl-C: exit code 4 in time, and no process of the load lives on."""
    began = time.monotonic()
    process = mortal.after("exec_start", 1, lambda: mortal_verify.start(*PRESS, "--timeout=10", "--", "sleep", "300"))
    container = mortal_verify.running(process)
    cgroup = find(container["State"]["Pid"], container_id=container["Id"])
    mortal.process.send_signal(signal.SIGSTOP)
    found = mortal_verify.end(process)
    assert time.monotonic() - began < 10 + GRACE_S + SLOW_S
    assert (found.code, found.stdout) == (4, "")
    assert found.message.startswith("spawner-limits: the Docker engine does not answer (")
    members = cgroup.directories["memory"] / "cgroup.procs"
    eventually(lambda: not members.exists() or members.read_text().split() == [], 5)


def test_an_engine_that_never_answers_is_not_waited_for(mortal, mortal_verify):
    """It is stopped before the run begins: exit code 4."""
    mortal.process.send_signal(signal.SIGSTOP)
    found = timed(lambda: mortal_verify.start(*PRESS, "--timeout=10", "--", "true"), mortal_verify.end)
    assert (found.code, found.stdout) == (4, "")
    assert found.message.startswith("spawner-limits: the Docker engine does not answer (")


def test_a_hub_that_does_not_get_the_server_started_ends_in_time(own_verify):
    """It takes the request, and answers no more: exit code 3, and what was waited for."""
    with hub_with({}) as url:
        begin = lambda: own_verify.start("alice", "--timeout=10", "--hub", url, JUPYTERHUB_API_TOKEN="a-token")  # noqa: E731
        found = timed(begin, own_verify.end)
    assert (found.code, found.stdout) == (3, "")
    assert found.message == (
        "spawner-limits: what the hub was asked for (POST /users/alice/server) was not done within the 10 s of "
        "--timeout; give it longer"
    )
