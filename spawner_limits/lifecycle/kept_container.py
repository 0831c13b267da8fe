"""`renewal`: what is to be done to a container that was kept, before it may be started again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spawner_limits.engines.docker import CONFLICTS, PAIRS, ROWS, TABLE, host_config, mismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spawner_limits.engines.enforcement import Enforcement

_PAIRS = tuple((ROWS[first].inspect, ROWS[then].inspect) for first, then in PAIRS)
_FIXED = frozenset(row.inspect for row in TABLE if not row.live)
"""keys of `HostConfig` that `docker update` does not take"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Renewal:
    """What a kept container needs."""

    update: Mapping[str, Any]
    """what to ask the engine for, in the words of its API; empty: nothing"""
    changes: tuple[str, ...] = ()
    """the same for people"""
    cannot: str = ""
    """why it can't be changed, and a new container is needed"""


def renewal(wanted: Enforcement, asked: Mapping[str, Any]) -> Renewal:
    """What brings a container that is not running to `wanted`. `asked`: its `HostConfig`, what counts at its start."""
    whole = host_config(wanted.ask)
    differs = {key: value for key, value in whole.items() if asked.get(key) != value}
    rivals = [key for option, key in CONFLICTS.items() if option in wanted.ask and asked.get(key)]
    stuck = [mismatch(key, asked, whole) for key in differs if key in _FIXED]
    if rivals or stuck:
        return Renewal(update={}, cannot="; ".join((*stuck, *(f"{key} is set" for key in rivals))))
    # half of a pair is refused, or counts by the old other
    sent = differs.keys() | {key for pair in _PAIRS if differs.keys() & set(pair) for key in pair}
    return Renewal(
        update={key: value for key, value in whole.items() if key in sent},
        changes=tuple(mismatch(key, asked, whole) for key in differs),
    )
