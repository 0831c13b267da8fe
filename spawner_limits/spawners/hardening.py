"""What a container gets beside its limits, so that whoever is in it harms nobody else. Pure.

What the administrator's own `extra_host_config` says, wins. None of it is one of the user's limits, so what can't be
had is said in the hub's log, once, and refuses no spawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spawner_limits.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_NEW_PRIVILEGES = "no-new-privileges"
_SHM_BYTES = 64 * MIB
"""Docker's own default, which a daemon's configuration can raise"""
_REACHES_OUT = {
    "privileged": (True, "has every capability and every device of the host, and can lift its own limits"),
    "pid_mode": ("host", "sees and can signal the host's processes"),
    "ipc_mode": ("host", "shares the host's /dev/shm, which no limit of the server counts"),
    "network_mode": ("host", "reaches whatever listens on the host's loopback, such as the proxy's API"),
    "userns_mode": ("host", "has the host's user ids"),
}
"""option of a host config → the value that undoes the hardening, and what the server can do with it"""


def hardening(theirs: Mapping[str, Any], mem_limit: int | None) -> dict[str, Any]:
    """What to put into a host config beside `theirs`, the administrator's; no key of theirs, but `security_opt` joined.

    `mem_limit` in bytes: what is in /dev/shm counts as the container's memory, so that half of it is the most.
    """
    ours = {
        "security_opt": [_NO_NEW_PRIVILEGES],
        "cap_drop": ["ALL"],
        "shm_size": _SHM_BYTES if mem_limit is None else min(_SHM_BYTES, mem_limit // 2),
    }
    added = {key: value for key, value in ours.items() if key not in theirs}
    options = theirs.get("security_opt")
    if options and not any(str(option).startswith(_NO_NEW_PRIVILEGES) for option in options):
        added["security_opt"] = [*options, _NO_NEW_PRIVILEGES]
    return added


def loosened(theirs: Mapping[str, Any]) -> tuple[str, ...]:
    """What the administrator's host config says in place of the hardening, for the log."""
    own = [key for key in hardening({}, None) if key in theirs and key not in hardening(theirs, None)]
    effects = dict.fromkeys(own, ", which counts instead of the hardening's")
    effects |= {key: f": a server {does}" for key, (value, does) in _REACHES_OUT.items() if theirs.get(key) == value}
    return tuple(f"extra_host_config has {key} {theirs[key]!r}{effect}" for key, effect in effects.items())
