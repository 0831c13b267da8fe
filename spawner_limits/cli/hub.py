"""What the verbs that ask a hub share: the option, the token, and the question before something is done to servers."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from spawner_limits.clients.hub_api import Hub
from spawner_limits.errors import UsageError

DEFAULT = "http://127.0.0.1:8081/hub/api"
"""of a hub on this machine that has no further settings"""
TOKEN = "JUPYTERHUB_API_TOKEN"  # noqa: S105  the variable's name, which JupyterHub gives to its managed services
Address = Annotated[
    str, typer.Option(envvar="JUPYTERHUB_API_URL", help="The hub's API; its token is in JUPYTERHUB_API_TOKEN.")
]
"""of the option `--hub`"""


def connect(url: str, *, scopes: str) -> Hub:
    """The hub at `url`. UsageError without a token, which says the `scopes` that it needs; else as `Hub`."""
    token = os.environ.get(TOKEN, "")
    if not token:
        raise UsageError(f"no token for the hub: put one with the scopes {scopes} in {TOKEN}")
    return Hub(url, token)


def agree(fact: str, *, yes: bool, asks: bool = True) -> None:
    """Go on with `--yes`, or when a terminal says so. UsageError where none is asked, typer.Abort on no."""
    if yes:
        return
    if not asks or not sys.stdin.isatty():
        raise UsageError(f"{fact}; say --yes if that may be")
    typer.confirm(f"{fact}. Go on?", abort=True, err=True)
