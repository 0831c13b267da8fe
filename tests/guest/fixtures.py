"""Guests for tests: a plugin of pytest."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.guest.guest import Guest, package


class Guests:
    """Guests for a whole run: one at a time, kept until a test asks for another kind, or until it answers no more."""

    def __init__(self):
        self._stack, self._guest, self._kind = ExitStack(), None, None

    def __call__(self, variant, suite="trixie"):
        """One of that kind, with our package as it is now. What tests before left in it is still there."""
        if self._kind != (suite, variant) or not self._guest.answers:
            self.close()
            self._guest = self._stack.enter_context(Guest(suite, variant))
            self._guest.run(["true"], package())
            self._kind = (suite, variant)
        return self._guest

    def close(self):
        """End the one that runs."""
        self._kind = None
        self._stack.close()


@pytest.fixture(scope="session")
def guests():
    """Guests by variant; a module that asks for two of them in turn has each started anew."""
    running = Guests()
    yield running
    running.close()


@pytest.fixture
def systemd(guests):
    """A host as most people's: systemd, cgroup v2, Docker's systemd driver, with swap and with networks."""
    return guests("systemd")


@pytest.fixture
def v2(guests):
    """A host with cgroup v2 and Docker's cgroupfs driver, with swap."""
    return guests("v2")
