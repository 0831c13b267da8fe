"""What every limited spawner shares, whatever its engine: the policy, the entitlement, and what the spawn page says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyterhub.spawner import SpawnException
from traitlets import HasTraits, Unicode

from spawner_limits.errors import PolicyError
from spawner_limits.limits import tell
from spawner_limits.policy.file import load
from spawner_limits.policy.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.policy.model import Policy

_ADMINISTRATOR = "Ask the administrator of this hub."


def refusal(fact: str, *, reason: str, status_code: int = 403, remedy: str = _ADMINISTRATOR) -> SpawnException:
    """A spawn that is refused: a page and a log line without traceback, and `reason` in the hub's metrics."""
    return SpawnException(f"{fact}. {remedy}", reason=reason, status_code=status_code)


class LimitsMixin(HasTraits):  # type: ignore[misc]  # traitlets is not typed
    """Gives a spawner its policy. To be mixed in before the spawner class."""

    policy_file = Unicode(
        config=True, help="The policy: what each user and group may use. A change counts from the next spawn on."
    )

    entitlement: Entitlement | None = None
    _policies: dict[str, tuple[tuple[int, int, int], Policy]] = {}  # noqa: RUF012  one cache for all spawners
    _told: tuple[dict[str, Any], ...] = ()
    _news: asyncio.Event | None = None

    def policy(self) -> Policy:
        """The policy as its file is now. SpawnException (503) when there is none that can be used."""
        try:
            return self._current_policy()
        except PolicyError as error:
            self.log.error(  # noqa: TRY400  a mistake in the policy, not in the code
                "No policy that can be used, so every spawn is refused:\n%s",
                error,
            )
            count = len(error.problems)
            mistakes = "1 mistake" if count == 1 else f"{count} mistakes"
            fact = f"There is no valid policy of limits ({mistakes} in {Path(self.policy_file).name})"
            raise refusal(fact, reason="policy", status_code=503) from error

    def _current_policy(self) -> Policy:
        path = Path(self.policy_file)
        try:
            stat = path.stat()
        except OSError:
            return load(path)  # says what is wrong
        # inotify misses changes on bind mounts and ConfigMaps; a stat does not
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._policies.get(self.policy_file)
        if known is None or known[0] != state:
            self._policies[self.policy_file] = known = (state, load(path))
        return known[1]

    def entitle(self) -> Entitlement:
        """Decide what this server may use, and say so on the spawn page."""
        groups = [group.name for group in self.user.groups]
        self._told, self.entitlement = (), resolve(self.policy(), self.user.name, groups, self.name)
        for place, (name, grant) in enumerate(self.entitlement.grants.items()):
            self.tell(f"{name} {tell(name, grant.value)}, from {grant.origin}", progress=10 + place)
        return self.entitlement

    def summary(self) -> str:
        """All limits in one line, by the rule that they came from; the last line of the spawn page is the one seen."""
        rules: dict[str, list[str]] = {}
        for name, grant in (self.entitlement.grants if self.entitlement is not None else {}).items():
            rules.setdefault(grant.rule, []).append(f"{name} {tell(name, grant.value)}")
        return "; ".join(f"{', '.join(limits)} (from {rule})" for rule, limits in rules.items()) or "no limits"

    def tell(self, message: str, *, progress: int | None = None) -> None:
        """Add a line to the spawn page's progress."""
        self._told += ({"message": message} if progress is None else {"message": message, "progress": progress},)
        if self._news is not None:
            self._news.set()
        self._news = asyncio.Event()

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What was told so far, then each line as it comes; the hub ends it with the spawn."""
        seen = 0
        while True:
            news = self._news = self._news or asyncio.Event()
            for event in self._told[seen:]:
                yield event
            seen = len(self._told)
            await news.wait()
