"""A hub on one machine: people log in with their accounts there, their servers run in Docker, inside limits.yaml."""

from spawner_limits import setup
from spawner_limits.spawners.setup import users_network

c = get_config()

# what each user and group may use; a relative path counts from this file
setup(c, "limits.yaml")

# made by docker/build.sh; any image with jupyterhub-singleuser will do, such as one of docker-stacks
c.DockerSpawner.image = "spawner-limits/singleuser:tensorflow"
c.DockerSpawner.notebook_dir = "/home/jovyan/work"
# under half a core a server takes longer to come up than the default of 30 s allows
c.Spawner.http_timeout = 120
c.Spawner.start_timeout = 120

# everybody with an account on this machine
c.JupyterHub.authenticator_class = "pam"
c.Authenticator.allow_all = True

# for people: loopback only, to be put behind a web server that speaks TLS
c.JupyterHub.bind_url = "http://127.0.0.1:8000"
# for their servers: a network of Docker's on this machine, on which no server reaches another one
c.DockerSpawner.network_name, c.JupyterHub.hub_ip = users_network()
