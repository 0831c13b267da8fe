"""The hub of jupyterhub_config.py, whose token is good for `stop` and for groups, and with the service that applies."""

import os
from pathlib import Path

from spawner_limits import setup

c = get_config()
load_subconfig(str(Path(__file__).with_name("jupyterhub_config.py")))
scopes = ["list:users", "read:servers", "delete:servers", "groups"]
c.JupyterHub.load_roles.append({"name": "stop", "services": ["verify"], "scopes": scopes})
setup(c, os.environ["SPAWNER_LIMITS_TEST_POLICY"], service=True)
