"""The hub of jupyterhub_config.py; `old` copies on DockerSpawner's own thread, and `ada` is polled on it."""

import io
import tarfile
from pathlib import Path

from dockerspawner import DockerSpawner

from spawner_limits.spawners.docker import LimitedDockerSpawner

c = get_config()
load_subconfig(str(Path(__file__).with_name("jupyterhub_config.py")))


class Spawner(LimitedDockerSpawner):
    """Asks the engine about ada's server as DockerSpawner does."""

    def docker(self, method, *args, **kwargs):
        """Call the engine."""
        is_stock = self.user.name == "ada" and method == "inspect_container"
        return (DockerSpawner if is_stock else LimitedDockerSpawner).docker(self, method, *args, **kwargs)


def _nothing():
    buffer = io.BytesIO()
    tarfile.open(fileobj=buffer, mode="w").close()
    return buffer.getvalue()


async def copy_the_old_way(spawner):
    """Into a container that is there already."""
    if spawner.user.name == "old":
        beside = spawner.container_name.replace("old", "amy")
        await spawner.docker("put_archive", beside, "/tmp", _nothing())


c.JupyterHub.spawner_class = Spawner
c.Spawner.pre_spawn_hook = copy_the_old_way
