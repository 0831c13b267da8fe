"""The hub of jupyterhub_config.py, for those who run out of memory."""

from pathlib import Path

c = get_config()
load_subconfig(str(Path(__file__).with_name("jupyterhub_config.py")))
