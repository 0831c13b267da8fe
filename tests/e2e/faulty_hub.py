"""A hub in which a test arms faults, which it kills, and which comes back on its own database."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from tests.conftest import kernel
from tests.e2e.conftest import TestHub, eventually, own_hub
from tests.kernel_files import memory_limit_bytes

HERE = Path(__file__).parent


class FaultyHub(TestHub):
    """The hub of faulty_config.py."""

    __test__ = False

    def arm(self, fault, user):
        """Have it happen at the user's next start."""
        (self.faults / f"{fault}-{user}").touch()

    def held(self, fault, user):
        """Ask for a server, whose start comes so far and no further; the container that there is then."""
        self.arm(fault, user)
        headers = {"Authorization": f"token {self.token}"}
        # nobody waits for the answer
        with pytest.raises(requests.ReadTimeout):
            requests.post(f"{self.api_url}/users/{user}/server", headers=headers, timeout=0.5)
        eventually(lambda: not (self.faults / f"{fault}-{user}").exists())
        return self.container(user)

    def database(self, statement):
        """Change what the hub knows, while it does not run."""
        with closing(sqlite3.connect(self._folder / "jupyterhub.sqlite")) as database, database:
            database.execute(statement)

    def runs(self, user):
        """Start the user's server; its container, whose limits are in force, by the Linux kernel."""
        answer, events = self.start(user)
        assert answer.status_code == 201 or events[-1].get("ready"), (answer.text, events)
        container = self.container(user)
        shown = kernel(container)
        assert (memory_limit_bytes(shown), shown.limits["pids.max"]) == (container["HostConfig"]["Memory"], "200")
        return container

    def known(self, user):
        """The servers that the hub says that the user has."""
        return self.api("GET", f"/users/{user}").json()["servers"].keys()

    def page(self, user):
        """What a person reads who logs in and goes to their server, which does not run."""
        with requests.Session() as session:
            session.get(f"{self.url}hub/login", timeout=30)
            given = {"username": user, "password": self.passwords[user], "_xsrf": session.cookies["_xsrf"]}
            session.post(f"{self.url}hub/login?next=%2Fhub%2Fhome", data=given, timeout=30)
            return " ".join(session.get(f"{self.url}user/{user}/lab", timeout=30).text.split())


@contextmanager
def faulty_hub(folder, policy, *, volume="not-used", config="faulty_config.py", **people):
    """Run one, on the engine of the environment, with files in `folder`; leaves no container."""
    faults = folder / "faults"
    faults.mkdir()
    environment = {"SPAWNER_LIMITS_TEST_VOLUME": volume, "SPAWNER_LIMITS_TEST_FAULTS": str(faults)}
    with own_hub(folder, policy, config, kind=FaultyHub, environment=environment, **people) as running:
        running.faults = faults
        yield running
