"""A hub as of ../../jupyterhub_config.py, with what a guest has: no accounts, and an image without packages."""

from spawner_limits import setup
from spawner_limits.spawners.setup import users_network

c = get_config()

setup(c, "limits.yaml")

c.DockerSpawner.image = "guest/singleuser:1"
c.DockerSpawner.volumes = {"/opt/packages": {"bind": "/opt/packages", "mode": "ro"}}
c.Spawner.cmd = ["jupyterhub-singleuser"]
# an emulated CPU is slow
c.Spawner.http_timeout = 180
c.Spawner.start_timeout = 180
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}

c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.allowed_users = {"dan", "sue"}
c.JupyterHub.services = [{"name": "tests", "api_token": "0123456789abcdef0123456789abcdef"}]
c.JupyterHub.load_roles = [
    {"name": "tests", "services": ["tests"], "scopes": ["servers", "read:users", "read:servers"]}
]

c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.DockerSpawner.network_name, c.JupyterHub.hub_ip = users_network()
