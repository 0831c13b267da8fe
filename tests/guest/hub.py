"""A hub in a guest with systemd, as a unit of its own, asked through its REST API from inside the guest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.guest.containers import docker

if TYPE_CHECKING:
    from tests.guest.guest import Guest

CONFIG = Path(__file__).with_name("hub_config.py")
FOLDER = "/opt/hub"
UP_SECONDS = 150
SPAWN_SECONDS = 200
ASK = """
import json, sys, time
from urllib.error import URLError
from urllib.request import Request, urlopen

def api(method, path):
    headers = {"Authorization": "token 0123456789abcdef0123456789abcdef"}
    return urlopen(Request("http://127.0.0.1:8000/hub/api" + path, method=method, headers=headers))

what, *path = sys.argv[1:]
if what == "await":
    while True:
        try:
            api("GET", "/").close()
            break
        except URLError:
            time.sleep(0.3)
elif what == "start":
    api("POST", *path).close()
    with api("GET", path[0] + "/progress") as stream:
        lines = (line.removeprefix(b"data: ") for line in stream if line.startswith(b"data: "))
        print(json.dumps([json.loads(line) for line in lines]))
else:
    api("DELETE", *path).close()
"""


class GuestHub:
    """The hub of `hub_config.py` with a policy; its users are dan and sue."""

    def __init__(self, guest: Guest, policy: str) -> None:
        """Write its files, start it, and wait until it answers."""
        self.guest = guest
        files = {
            "jupyterhub_config.py": CONFIG.read_bytes(),
            "limits.yaml": policy.encode(),
            "ask.py": ASK.encode(),
        }
        unit = ("systemd-run", "--quiet", "--unit=hub", f"--working-directory={FOLDER}")
        # what the guest's commands have of it by themselves; a unit has none
        environment = ("--setenv=PYTHONPATH", "--setenv=HOME=/root")
        command = [*unit, *environment, "python3", "-m", "jupyterhub"]
        started = guest.run(command, {f"{FOLDER}/{name}": text for name, text in files.items()})
        assert started.code == 0, started.stderr
        self._ask("await", seconds=UP_SECONDS)

    def start(self, user: str) -> list[dict[str, Any]]:
        """Start a user's server; what the spawn page is told, until the spawn has ended."""
        found: list[dict[str, Any]] = json.loads(self._ask("start", f"/users/{user}/server", seconds=SPAWN_SECONDS))
        return found

    def stop(self, user: str) -> None:
        """Have a user's server stopped."""
        self._ask("stop", f"/users/{user}/server", seconds=60)

    def _ask(self, *words: str, seconds: float) -> str:
        ran = self.guest.run(["python3", f"{FOLDER}/ask.py", *words], timeout=seconds)
        assert ran.code == 0, f"{ran.stderr}\n{self.said()[-3000:]}"
        return ran.stdout

    def container(self, user: str) -> dict[str, Any]:
        """What `docker inspect` says of a user's server."""
        found: list[dict[str, Any]] = json.loads(docker(self.guest, "inspect", f"jupyter-{user}"))
        return found[0]

    def servers(self, user: str) -> list[dict[str, Any]]:
        """What `spawner-limits ps` says of a user's servers."""
        ran = self.guest.run(["spawner-limits", "ps", user, "--json"])
        assert ran.stdout, ran.stderr
        found: list[dict[str, Any]] = json.loads(ran.stdout)["servers"]
        return found

    def said(self) -> str:
        """Its log."""
        return self.guest.run(["journalctl", "--unit=hub", "--output=cat", "--no-pager"]).stdout

    def close(self) -> None:
        """End it, and remove its servers."""
        self.guest.run(["sh", "-c", "systemctl stop hub; systemctl reset-failed hub"])
        self.guest.run(
            ["sh", "-c", 'docker ps -aq --filter name=^/jupyter- | xargs -r docker rm -f; rm -rf "$0"', FOLDER]
        )
