"""What a policy costs: its load, its reload, and who gets what; beside JupyterHub's `group_overrides`."""
