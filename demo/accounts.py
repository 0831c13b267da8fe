"""Accounts that exist for as long as one demonstration hub runs, each with a password of its own."""

from __future__ import annotations

from hmac import compare_digest
from typing import Any

from jupyterhub.auth import Authenticator
from traitlets import Dict


class ThrowAwayAuthenticator(Authenticator):  # type: ignore[misc]  # jupyterhub is not typed
    """Names and passwords from the configuration."""

    passwords = Dict(config=True, help="User name → password.")

    async def authenticate(self, _handler: Any, data: dict[str, str]) -> str | None:
        """The user's name where the password is right, else nobody."""
        expected = self.passwords.get(data["username"], "")
        given = data.get("password", "")
        return data["username"] if expected and compare_digest(expected.encode(), given.encode()) else None
