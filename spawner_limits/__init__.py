"""Limits for JupyterHub's servers: one policy file, enforced by the engine, proved from the kernel's counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spawner_limits.spawners.setup import setup

__all__ = ["__version__", "setup"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # the hub takes seconds to import, and most of the package needs none of it
    if name == "setup":
        from spawner_limits.spawners.setup import setup  # noqa: PLC0415

        return setup
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
