"""Enforce: the JupyterHub classes, the notebook copy, and `setup(c)` for the hub's configuration file."""
