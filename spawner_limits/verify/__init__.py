"""Verify: one server, or one image, pressed against each of its limits."""
