"""What every limited spawner shares, whatever its engine: the policy, the entitlement, and what the spawn page says."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jupyterhub.spawner import SpawnException
from jupyterhub.utils import maybe_future
from traitlets import HasTraits, Unicode, default

from spawner_limits.errors import RequestError
from spawner_limits.limits import tell
from spawner_limits.policy.reload import PolicyFile, State
from spawner_limits.policy.resolve import resolve
from spawner_limits.policy.user_options import SIZE, Request, without_ours
from spawner_limits.spawners import options_form, thread_env

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from spawner_limits.policy.capacity import Allocatable
    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.policy.model import Policy


_ASK = "Ask the administrator of this hub."


def refused(message: str, *, reason: str, status_code: int) -> SpawnException:
    """A spawn that is refused: a page and a log line without traceback, and `reason` in the hub's metrics."""
    exception = SpawnException(message, reason=reason, status_code=status_code)
    # what the form shows; it would else begin with the exception's name
    exception.jupyterhub_message = message
    return exception


class LimitedSpawner(HasTraits):  # type: ignore[misc]  # traitlets is not typed
    """Gives a spawner its policy. To be inherited from before the spawner class of an engine."""

    policy_file = Unicode(
        config=True, help="The policy: what each user and group may use. A change counts from the next spawn on."
    )

    user_options: dict[str, Any]
    """JupyterHub's: what the server asks for"""
    entitlement: Entitlement | None = None
    policy: Policy | None = None
    """the one that the entitlement was made from, without its groups and users"""
    host_cpus: int | None = None
    """`None`: not known"""
    image_variables: frozenset[str] = frozenset()
    """environment variables that the server's image sets itself; spawners of an engine that can tell, do"""
    standings: ClassVar[dict[str, PolicyFile]] = {}
    """by the file's path: one for all spawners"""
    _readings: ClassVar[dict[str, asyncio.Task[State]]] = {}
    _told: tuple[dict[str, Any], ...] = ()
    _news: asyncio.Event | None = None

    @property
    def log_name(self) -> str:
        """Whose server it is, for the log."""
        return str(self._log_name)

    # -- the policy ----------------------------------------------------------------------------------------------

    @property
    def standing(self) -> PolicyFile:
        """Which policy counts now, and what is wrong with its file."""
        return self.standings.setdefault(self.policy_file, PolicyFile(Path(self.policy_file)))

    async def current_policy(self) -> Policy:
        """The last good policy of the file. SpawnException (503) when there is none."""
        state = await self._read() if self.standing.is_stale() else self.standing.state
        if state.policy is None:
            count = len(state.problems)
            mistakes = "1 mistake" if count == 1 else f"{count} mistakes"
            fact = f"There is no valid policy of limits ({mistakes} in {Path(self.policy_file).name})"
            raise refused(f"{fact}. {_ASK}", reason="policy", status_code=503)
        return state.policy

    async def _read(self) -> State:
        """Read the file beside the event loop, once for all who wait for it."""
        if self.policy_file not in self._readings:
            self._readings[self.policy_file] = asyncio.ensure_future(self._refresh())
        return await asyncio.shield(self._readings[self.policy_file])

    async def _refresh(self) -> State:
        try:
            state = await asyncio.to_thread(self.standing.refresh)
        finally:
            del self._readings[self.policy_file]
        if state.problems:
            what = "every spawn is refused" if state.policy is None else "the last good one stays in force"
            self.log.error("The policy can't be used, so %s:\n%s", what, "\n".join(map(str, state.problems)))
        elif state.policy is not None:
            self.log.info("The policy %s is in force (sha256 %.12s)", self.policy_file, state.policy.sha256)
        return state

    # -- the entitlement -----------------------------------------------------------------------------------------

    async def entitle(self) -> Entitlement:
        """Decide what this server may use, and say so on the spawn page. SpawnException where that can't be decided."""
        policy = await self.current_policy()
        self._told, self.policy = (), policy.without_people()
        try:
            self.entitlement = self._resolved(policy, Request.read(self.user_options))
        except RequestError as error:
            # JupyterHub has kept it, and would give it to each later spawn that comes without one
            self.user_options = self.orm_spawner.user_options = without_ours(self.user_options)
            self.db.commit()
            raise refused(f"{error}.", reason="request", status_code=400) from error
        for place, (name, grant) in enumerate(self.entitlement.grants.items()):
            self.tell(f"{name} {tell(name, grant.value)}, from {grant.origin}", progress=10 + place)
        return self.entitlement

    def _resolved(self, policy: Policy, request: Request) -> Entitlement:
        groups = [group.name for group in self.user.groups]
        return resolve(policy, self.user.name, groups, self.name, now=datetime.now(UTC), request=request)

    def refusal(self, fact: str, *, reason: str, status_code: int = 403, remedy: str = "") -> SpawnException:
        """A spawn that is refused: fact, remedy, and whom the policy says to ask."""
        contact = self.policy.contact if self.policy is not None else None
        text = " ".join(filter(None, (f"{fact}.", remedy, f"Ask {contact}." if contact else _ASK)))
        return refused(text, reason=reason, status_code=status_code)

    def get_env(self) -> dict[str, str]:
        """JupyterHub's environment; beside its `MEM_LIMIT` and `CPU_LIMIT` also `PIDS_LIMIT`, and hints for threads."""
        env: dict[str, str] = super().get_env()
        if self.entitlement is None:
            return env
        if (pids_limit := self.entitlement.limits.pids_limit) is not None:
            env["PIDS_LIMIT"] = str(pids_limit)
        given = env.keys() | self.image_variables
        return env | thread_env.environment(self.entitlement, cpus=self.host_cpus, given=given)

    # -- what people see -----------------------------------------------------------------------------------------

    @default("options_form")  # type: ignore[untyped-decorator]  # traitlets is not typed
    def _options_form(self) -> Callable[[Any], Any]:
        """Before a start: what one gets and why, and the sizes, where there are some to pick; then the engine's own."""
        others = self._default_options_form() if hasattr(self, "_default_options_form") else ""

        async def options_form(_spawner: Any) -> str:
            return await self._sizes_form() + (await maybe_future(others) or "")

        return options_form

    @default("options_from_form")  # type: ignore[untyped-decorator]
    def _default_options_from_form(self) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        others: Any = super()._default_options_from_form() if hasattr(super(), "_default_options_from_form") else dict

        def options_from_form(given: Mapping[str, Any]) -> dict[str, Any]:
            theirs = {key: value for key, value in others(given).items() if key != SIZE}
            return theirs | ({SIZE: given[SIZE][0]} if given.get(SIZE) else {})

        return options_from_form

    @default("apply_user_options")  # type: ignore[untyped-decorator]
    def _default_apply_user_options(self) -> Callable[[Any, Mapping[str, Any]], None]:
        # ours are read in `start`; without this, JupyterHub would warn of them at each spawn
        def apply_user_options(_spawner: Any, options: Mapping[str, Any]) -> None:
            if unknown := without_ours(options):
                self.log.debug("user_options of %s that are not about limits: %s", self._log_name, ", ".join(unknown))

        return apply_user_options

    async def _sizes_form(self) -> str:
        policy = await self.current_policy()
        usual = self._resolved(policy, Request())
        if not usual.sizes:
            return ""
        offers = [self._resolved(policy, Request(size=size)) for size in usual.sizes]
        # whoever holds a large old policy while it is replaced has it freed at one go, on the event loop
        policy = policy.without_people()
        return options_form.render(offers, self._last_size(usual), await self.room(policy), policy)

    def _last_size(self, usual: Entitlement) -> str | None:
        """The size that was picked the last time, if it still may be; else the usual one."""
        try:
            last = Request.read(self.orm_spawner.user_options).size
        except RequestError:
            last = None
        return last if last in usual.sizes else usual.size

    async def room(self, policy: Policy) -> tuple[Allocatable, ...] | None:
        """What the host has for servers; `None`: it is not known. Spawners of an engine that can tell, do."""
        del policy
        return ()

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
