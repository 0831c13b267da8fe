"""What a hub's configuration and its Hub service agree on: names, scopes, and how it is run."""

POLICY_VARIABLE = "SPAWNER_LIMITS_POLICY"
"""the policy's path, as the spawners have it: a container says under which file it was started"""
NAME = "spawner-limits"
MODULE = "spawner_limits.service.keeper"
"""run by `python -m`"""
SCOPES = ("list:users", "read:users:groups")
"""the least by which the hub tells who is in which groups"""
