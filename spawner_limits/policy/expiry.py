"""When a policy comes to give something else although its file stays as it is. Pure."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from spawner_limits.policy.model import Policy, Rule


def next_end(policy: Policy, after: datetime) -> datetime | None:
    """The first moment later than `after`, which has a zone, at which a rule no longer counts; `None`: there is none.

    At that moment itself it counts no more.
    """
    return min((moment for moment in _ends(policy) if moment > after), default=None)


def _ends(policy: Policy) -> Iterator[datetime]:
    single = (policy.defaults, policy.ceiling)
    for rule in chain(single, policy.sizes.values(), policy.groups.values(), policy.users.values()):
        yield from _ends_of(rule)


def _ends_of(rule: Rule) -> Iterator[datetime]:
    if rule.until is not None:
        yield rule.until
    if rule.temporarily is not None:
        yield from _ends_of(rule.temporarily)
