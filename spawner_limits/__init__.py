"""Limits for JupyterHub's servers: one policy file, enforced by the engine, proved from the Linux kernel's counters."""

__version__ = "0.1.0"
