"""Accompany: a server from its start to its end: attest its limits, change them, see its kills, say why it ended."""
