"""The spawn page's form: what each size gives and why, and what the host has left. Pure; works without JavaScript.

JupyterHub puts it into its own page, with Bootstrap 5 there. Every text is escaped.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from spawner_limits.limits import FIELDS, tell
from spawner_limits.policy.capacity import LIMITS
from spawner_limits.policy.keys import REQUESTABLE, show_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spawner_limits.policy.capacity import Allocatable
    from spawner_limits.policy.entitlement import Entitlement, Grant
    from spawner_limits.policy.model import Policy


def render(
    offers: Sequence[Entitlement], chosen: str | None, room: Sequence[Allocatable] | None, policy: Policy
) -> str:
    """The form as HTML. `offers`: one entitlement for each size; `room`: of the host, `None` where it is unknown."""
    template = _environment().get_template("form.html.j2")
    page: str = template.render(offers=offers, chosen=chosen, room=room, policy=policy)
    return page


def limits(offer: Entitlement) -> list[tuple[str, str]]:
    """What a size gives: each resource and its limit, for people."""
    return [(FIELDS[name].words, tell(name, offer.grants[name].value)) for name in REQUESTABLE if name in offer.grants]


def reasons(offer: Entitlement) -> str:
    """`memory and CPU from size small; processes from defaults`."""
    resources: dict[str, list[str]] = {}
    for name in REQUESTABLE:
        if name in offer.grants:
            resources.setdefault(why(name, offer.grants[name]), []).append(FIELDS[name].words)
    listed = {
        reason: " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) for reason, names in resources.items()
    }
    return "; ".join(f"{names} {reason}" for reason, names in listed.items())


def shared(offers: Sequence[Entitlement]) -> list[tuple[str, str, str]]:
    """The limits that no size changes."""
    first = offers[0].grants
    names = [name for name in first if name not in REQUESTABLE and first[name].follows is None]
    same = [name for name in names if all(offer.grants.get(name) == first[name] for offer in offers)]
    return [(FIELDS[name].words, tell(name, first[name].value), why(name, first[name])) for name in same]


def why(name: str, grant: Grant) -> str:
    """`from group research until 2026-12-31 17:00 UTC (lowered from 8.00 GiB by ceiling)`."""
    until = f" until {show_until(grant.until)}" if grant.until is not None else ""
    origin = f"from {grant.rule}{until}"
    if grant.clamped_by is None:
        return origin
    return f"{origin} (lowered from {tell(name, grant.clamped_from)} by {grant.clamped_by})"


def too_large(offer: Entitlement, room: Sequence[Allocatable] | None) -> str:
    """Of which resource the host has too little left for a size; empty where it fits."""
    asked = {amount: getattr(offer.limits, LIMITS[amount.resource]) for amount in room or ()}
    short = (amount for amount, value in asked.items() if value is not None and not amount.fits(value))
    return " and ".join(amount.resource for amount in short)


@cache
def _environment() -> Environment:
    loader = PackageLoader("spawner_limits.spawners", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(limits=limits, reasons=reasons, shared=shared, too_large=too_large, tell=tell)
    return environment
