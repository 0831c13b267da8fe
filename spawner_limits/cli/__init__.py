"""Speak: the command `spawner-limits`, one file a verb."""
