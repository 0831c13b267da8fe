"""The demonstration hub, on the small image, for whose token servers are open too, and one user on an open network."""

import os
from pathlib import Path

c = get_config()
load_subconfig(str(Path(__file__).parents[2] / "demo" / "jupyterhub_config.py"))

c.DockerSpawner.image = "spawner-limits/singleuser:minimal"
c.LimitedDockerSpawner.policy_file = os.environ["SPAWNER_LIMITS_TEST_POLICY"]
c.Spawner.group_overrides = {"open": {"groups": ["open"], "spawner_override": {"network_name": "bridge"}}}
c.JupyterHub.load_roles += [{"name": "watch", "services": ["verify"], "scopes": ["list:users", "access:servers"]}]
