"""Reach: engines and the hub over their APIs, behind ports of our own. Decides nothing."""
