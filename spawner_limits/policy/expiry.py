"""When a policy comes to give something else although its file stays as it is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from spawner_limits.policy.model import Policy


def next_end(policy: Policy, after: datetime) -> datetime | None:
    """The first moment later than `after`, which has a zone, at which a rule no longer counts; `None`: there is none.

    At that moment itself it counts no more.
    """
    ends = (rule.until for _, rule in policy.rules() if rule.until is not None)
    return min((moment for moment in ends if moment > after), default=None)
