"""The project's own jupyterhub_config.py, as it is, but for ports, names and the small image."""

import json
import os
from pathlib import Path

c = get_config()
load_subconfig(str(Path(__file__).parents[2] / "jupyterhub_config.py"))

settings = json.loads(os.environ["SPAWNER_LIMITS_DEMO"])
c.DockerSpawner.image = "spawner-limits/singleuser:minimal"
c.DockerSpawner.prefix = settings["prefix"]
c.LimitedDockerSpawner.cgroup_parent = settings["prefix"]
c.JupyterHub.bind_url = settings["url"]
c.JupyterHub.hub_port = settings["hub_port"]
c.ConfigurableHTTPProxy.api_url = settings["proxy_api"]
