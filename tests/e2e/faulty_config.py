"""The hub of jupyterhub_config.py, in which things go wrong, and whose servers outlive it."""

import sys
from pathlib import Path

c = get_config()
load_subconfig(str(Path(__file__).with_name("jupyterhub_config.py")))

sys.path.insert(0, str(Path(__file__).parents[2]))
c.JupyterHub.spawner_class = "tests.e2e.faulty.FaultySpawner"
c.JupyterHub.cleanup_servers = False
