"""docker/engine.sh and docker/build.sh where everything is there already, or nothing can be done; and the images."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import time
from pathlib import Path

import pytest

from tests import locks
from tests.conftest import MINIMAL, ROOT, TENSORFLOW

ENGINE, BUILD = ROOT / "docker" / "engine.sh", ROOT / "docker" / "build.sh"
PID_FILE = Path("/var/run/docker.pid")
NOWHERE = "unix:///nowhere/docker.sock"


def run(*command, script=None, **environment):
    """Run a command without a terminal; `script` is what it reads; a variable that is None is not set."""
    variables = {**os.environ, **environment}
    return subprocess.run(
        command,
        input=None if script is None else script.read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={name: value for name, value in variables.items() if value is not None},
    )


def as_nobody(script, **environment):
    """Run a script as a user who has no rights, and may not even be able to read it: from stdin."""
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    return run(*user, "bash", "-s", script=script, HOME="/nonexistent", **environment)


def ended(process):
    """How it ended: exit code, stdout, and stderr without the seconds."""
    return (
        process.returncode,
        process.stdout,
        re.sub(r"^build: +\d+ s  ", "build: ", process.stderr, flags=re.MULTILINE),
    )


def test_every_script_is_tested():
    """There is no other."""
    assert {*(ROOT / "docker").glob("*.sh")} == {ENGINE, BUILD}


@pytest.mark.parametrize("script", [ENGINE, BUILD], ids=lambda script: script.name)
def test_syntax(script):
    """Bash reads them, without a word."""
    assert ended(run("bash", "-n", str(script))) == (0, "", "")


# -- engine.sh ---------------------------------------------------------------------------------------------------------


def test_an_engine_that_answers(client):
    """It is used as it is, and one line says which."""
    version, at = client.version()["Version"], os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    assert ended(run(ENGINE)) == (0, "", f"engine: Docker {version} answers at {at}\n")


NO_ENGINE = {
    "an engine of the user's own that does not answer": (
        {"DOCKER_HOST": NOWHERE},
        (
            f"nothing answers at {NOWHERE}: start that engine, or unset DOCKER_HOST (docker context use default) "
            "to use one on this machine"
        ),
    ),
    "an engine that the user may not use": (
        {"DOCKER_HOST": None},
        "nobody may not use /var/run/docker.sock: join the group docker and log in again, or run this as root",
    ),
}


@pytest.mark.parametrize(("environment", "said"), NO_ENGINE.values(), ids=NO_ENGINE)
def test_no_engine_and_no_right_to_start_one(client, environment, said):  # noqa: ARG001  its socket is there
    """One line says what to do."""
    assert ended(as_nobody(ENGINE, **environment)) == (4, "", f"engine: {said}\n")


def test_root_does_not_replace_an_engine_that_was_named(client):
    """An engine that DOCKER_HOST names and that does not answer is not ours to start, and nothing is installed."""
    before = client.info()["ID"], PID_FILE.read_text(encoding="ascii")
    _, said = NO_ENGINE["an engine of the user's own that does not answer"]
    assert ended(run(ENGINE, DOCKER_HOST=NOWHERE)) == (4, "", f"engine: {said}\n")
    assert (client.info()["ID"], PID_FILE.read_text(encoding="ascii")) == before


def test_engine_takes_no_arguments():
    """What it can't understand it refuses, even with an engine there."""
    assert ended(run(ENGINE, "stop")) == (2, "", "engine: takes no arguments\n")


# -- build.sh ----------------------------------------------------------------------------------------------------------

UP_TO_DATE = {
    "both": ((), ("minimal", "tensorflow")),
    "all": (("all",), ("minimal", "tensorflow")),
    "minimal": (("minimal",), ("minimal",)),
    "tensorflow": (("tensorflow",), ("tensorflow",)),
}


@pytest.mark.parametrize(("arguments", "targets"), UP_TO_DATE.values(), ids=UP_TO_DATE)
def test_images_that_are_up_to_date(client, tmp_path, arguments, targets):
    """Nothing is built, each image is named, nothing is left behind, and it takes no time."""
    before, began = [client.inspect_image(image)["Id"] for image in (MINIMAL, TENSORFLOW)], time.monotonic()
    process = run(BUILD, *arguments, TMPDIR=str(tmp_path))
    seconds = time.monotonic() - began
    said = "".join(f"build: spawner-limits/singleuser:{target} is up to date\n" for target in targets)
    assert ended(process) == (0, "", said)
    assert [client.inspect_image(image)["Id"] for image in (MINIMAL, TENSORFLOW)] == before
    assert list(tmp_path.iterdir()) == []
    # a build takes minutes
    assert seconds < 20


@pytest.mark.parametrize("arguments", [("nope",), ("minimal", "tensorflow"), ("--help",)], ids=" ".join)
def test_build_usage(arguments):
    """What it can't understand it refuses, with one line."""
    assert ended(run(BUILD, *arguments)) == (2, "", "usage: build.sh [minimal|tensorflow|all|overhead]\n")


def test_build_without_an_engine(tmp_path):
    """One line says what to run first, and nothing is left behind."""
    process = run(BUILD, DOCKER_HOST=NOWHERE, TMPDIR=str(tmp_path))
    assert ended(process) == (4, "", f"build: no Docker engine answers: run {ENGINE} first\n")
    assert list(tmp_path.iterdir()) == []


# -- the images --------------------------------------------------------------------------------------------------------

IMAGES = {"minimal": MINIMAL, "tensorflow": TENSORFLOW}
images = pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)


@pytest.fixture
def inside(client):
    """Runs a Python program in a container of an image, and gives back what it wrote."""
    made = []

    def inside(image, program, user=None):
        name = f"test-scripts-{secrets.token_hex(4)}"
        config = client.create_host_config(network_mode="none")
        container = client.create_container(image, ["python", "-c", program], name=name, user=user, host_config=config)
        made.append(container["Id"])
        client.start(made[-1])
        code = client.wait(made[-1])["StatusCode"]
        said = client.logs(made[-1]).decode()
        assert (code, said) == (0, said)
        return said

    yield inside
    for container in made:
        client.remove_container(container, force=True)


@images
def test_what_the_image_says_of_itself(client, image):
    """User, working directory, environment and command are as in docker-stacks' images; nothing lent is in them."""
    config = client.inspect_image(image)["Config"]
    assert (config["User"], config["WorkingDir"], config["Entrypoint"], config["Cmd"], config["ExposedPorts"]) == (
        "1000:100",
        "/home/jovyan",
        ["tini", "-g", "--"],
        ["jupyterhub-singleuser"],
        {"8888/tcp": {}},
    )
    assert config["Env"] == [
        "PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG=C.UTF-8",
        "LC_ALL=C.UTF-8",
        "SHELL=/bin/bash",
        "HOME=/home/jovyan",
        "NB_USER=jovyan",
        "NB_UID=1000",
        "NB_GID=100",
    ]
    assert list(config["Labels"]) == ["spawner-limits.inputs"]


USER = """
import grp, os, pwd
home, work = os.stat("/home/jovyan"), os.stat("/home/jovyan/work")
print(pwd.getpwuid(os.getuid()).pw_name, os.getuid(), os.getgid(), os.getcwd(), os.path.expanduser("~"))
print(home.st_uid, home.st_gid, work.st_uid, work.st_gid, os.listdir("/home/jovyan/work"))
print(os.access("/opt/venv/lib", os.W_OK), os.access("/etc", os.W_OK))
"""


@images
def test_the_user(inside, image):
    """jovyan, 1000:100, who owns the home, ~/work and the environment, and nothing else."""
    assert inside(image, USER).splitlines() == [
        "jovyan 1000 100 /home/jovyan /home/jovyan",
        "1000 100 1000 100 []",
        "True False",
    ]


VERSIONS = """
import re
from importlib.metadata import distributions
for one in distributions():
    print(re.sub("[-_.]+", "-", one.name).lower(), one.version)
"""


@images
def test_versions(inside, image):
    """Exactly what the lock files name, and what every virtual environment has."""
    lists = ("minimal",) if image == MINIMAL else ("minimal", "tensorflow")
    wanted = {}
    for name in lists:
        wanted |= locks.versions(f"docker/singleuser/requirements-{name}.txt")
    found = dict(line.split() for line in inside(image, VERSIONS).splitlines())
    assert {name: found.pop(name, None) for name in wanted} == wanted
    assert set(found) == {"pip", "setuptools"}


LENT = r"""
import os, pathlib, re
names = {"pip.conf", ".pip", ".netrc", ".pypirc", "host-ca.crt", "ca.crt", "build"}
for folder, folders, files in os.walk("/"):
    folders[:] = [one for one in folders if os.path.join(folder, one) not in {"/proc", "/sys", "/dev"}]
    if not folder.startswith(("/opt/venv/lib", "/usr/share", "/usr/lib/python")):
        for one in names & {*folders, *files}:
            print(os.path.join(folder, one))
for path in pathlib.Path("/etc/apt").rglob("*"):
    if path.is_file() and re.search(rb"://[^/ ]*@|^[^#]*(Proxy|Verify|CaInfo)", path.read_bytes(), re.M):
        print(path)
"""


@images
def test_no_settings_of_the_host(inside, image):
    """No pip settings, no password, no proxy, no lent certificate and no build directory is left in it."""
    assert inside(image, LENT, user="0:0") == ""


CERTIFICATES = """
import base64, csv, hashlib, pathlib, re, subprocess
def pem(*paths):
    text = "".join(path.read_text() for path in paths)
    return {"".join(one.split()) for one in re.findall("-----BEGIN CERTIFICATE-----(.*?)-----END", text, re.S)}
changed = subprocess.run(["dpkg", "--verify", "ca-certificates"], capture_output=True, text=True).stdout.splitlines()
# documentation and translations are left out of the base
print([one for one in changed if not re.search("/usr/share/(doc|man|locale)/", one)])
debian = pem(*pathlib.Path("/usr/share/ca-certificates").rglob("*.crt"))
trusted = pem(*(one for one in pathlib.Path("/etc/ssl").rglob("*") if one.is_file() and one.suffix in {".crt", ".pem"}))
print(len(trusted) > 100, trusted == debian, list(pathlib.Path("/usr/local/share/ca-certificates").rglob("*")))
import certifi, importlib.metadata
file = next(one for one in importlib.metadata.files("certifi") if one.name == "cacert.pem")
found = base64.urlsafe_b64encode(hashlib.sha256(file.locate().read_bytes()).digest()).rstrip(b"=").decode()
print(found == file.hash.value, certifi.where() == str(file.locate()))
"""


@images
def test_no_certificate_of_the_host(inside, image):
    """What it trusts are Debian's certificates, as its package brought them, and certifi's, to the byte."""
    assert inside(image, CERTIFICATES).splitlines() == ["[]", "True True []", "True True"]


@images
def test_history(client, image):
    """No index, no proxy and no certificate is in the image's history, only these steps."""
    steps = [one["CreatedBy"] for one in client.history(image)]
    assert [step for step in steps if re.search(r"https?://|CERTIFICATE|PIP_|_PROXY|_proxy|host-", step)] == []
    assert len(steps) >= 5
