"""The hub of ../jupyterhub_config.py, with throw-away accounts in the place of the machine's own."""

import json
import os
import sys
from pathlib import Path

c = get_config()
load_subconfig(str(Path(__file__).parents[1] / "jupyterhub_config.py"))

settings = json.loads(os.environ["SPAWNER_LIMITS_DEMO"])

sys.path.insert(0, str(Path(__file__).parents[1]))
from demo.accounts import ThrowAwayAuthenticator  # noqa: E402  the checkout is no package

c.JupyterHub.authenticator_class = ThrowAwayAuthenticator
c.ThrowAwayAuthenticator.passwords = settings["passwords"]
c.Authenticator.allow_all = False
c.Authenticator.allowed_users = set(settings["passwords"])
c.JupyterHub.load_groups = {group: {"users": users} for group, users in settings["groups"].items()}

# what `verify` needs, and no more
c.JupyterHub.services = [{"name": "verify", "api_token": settings["token"]}]
c.JupyterHub.load_roles = [
    {"name": "verify", "services": ["verify"], "scopes": ["servers", "read:users", "admin:server_state"]}
]

# a second hub may run on this machine
c.DockerSpawner.prefix = settings["prefix"]
c.LimitedDockerSpawner.cgroup_parent = settings["prefix"]
c.JupyterHub.bind_url = settings["url"]
c.JupyterHub.hub_port = settings["hub_port"]
c.ConfigurableHTTPProxy.api_url = settings["proxy_api"]
c.JupyterHub.cleanup_servers = True
c.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
