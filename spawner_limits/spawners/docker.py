"""`LimitedDockerSpawner`: DockerSpawner, with the policy's limits on every container, and the notebook in it."""

from __future__ import annotations

import asyncio
import mmap
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from html import escape
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import requests
from docker.utils import kwargs_from_env
from dockerspawner import DockerSpawner
from jupyterhub.spawner import SpawnException
from traitlets import Bool, Integer, Unicode

import docker
from spawner_limits.clients.engine import RefusedError
from spawner_limits.engines import labels
from spawner_limits.engines.docker import translate
from spawner_limits.engines.enforcement import shares_told
from spawner_limits.errors import UnreachableError
from spawner_limits.policy.capacity import RETRY_S, room
from spawner_limits.spawners import hub_compat, notebook, overrides
from spawner_limits.spawners.admission import FullError
from spawner_limits.spawners.attestation import Attestation
from spawner_limits.spawners.base import LimitedSpawner
from spawner_limits.spawners.engine_threads import TIMEOUT_S
from spawner_limits.spawners.exit_messages import ExitMessages
from spawner_limits.spawners.hardening import hardening, loosened
from spawner_limits.spawners.hub_state import HubState
from spawner_limits.spawners.kept_container import KeptContainer
from spawner_limits.spawners.orphan_cleanup import OrphanCleanup
from spawner_limits.spawners.parent_cgroup import ParentCgroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping

    from spawner_limits.engines.enforcement import Enforcement
    from spawner_limits.policy.capacity import Amount, Full
    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.policy.model import Host, Policy

_READS = frozenset({"inspect_container", "inspect_image", "port"})
"""quick calls, such as a poll's: on DockerSpawner's one thread they would wait for everybody's starts"""
_UNANSWERED = (docker.errors.DockerException, requests.RequestException, UnreachableError, TimeoutError)
_NOT_COPIED = (*notebook.NOT_COPIED, RefusedError, UnreachableError, OSError, TimeoutError)


class LimitedDockerSpawner(LimitedSpawner, DockerSpawner):  # type: ignore[misc]  # dockerspawner is not typed
    """DockerSpawner whose servers run inside the policy's limits, or not at all."""

    copy_notebook = Bool(default_value=True, config=True, help="Copy the stress notebook into each container.")
    notebook_target = Unicode(
        "/home/jovyan/work", config=True, help="The directory in the container that the notebook is copied to."
    )
    notebook_uid = Integer(1000, config=True, help="The user id that the copied notebook belongs to.")
    notebook_gid = Integer(100, config=True, help="The group id that the copied notebook belongs to.")
    attest = Bool(
        default_value=True,
        config=True,
        help="Read each limit from the Linux kernel before a server is handed to its user; one that is not as the "
        "policy says refuses the spawn. The hub must run on the engine's host.",
    )
    harden = Bool(
        default_value=True,
        config=True,
        help="Give each container no new privileges, no capabilities and a small /dev/shm; extra_host_config wins.",
    )
    cgroup_parent = Unicode(
        "spawner-limits",
        config=True,
        help="The cgroup above all servers, capped by the policy's `host`; a slice under systemd. Empty: Docker's own.",
    )

    enforcement: Enforcement | None = None

    def __init__(self, *arguments: Any, **traits: Any) -> None:
        super().__init__(*arguments, **traits)
        self.orphans = OrphanCleanup(self)
        self.kept_container = KeptContainer(self)
        self.parent = ParentCgroup(self)
        self.attestation = Attestation(self)
        self.exits = ExitMessages(self)

    @cached_property
    def state(self) -> HubState:
        """What all spawners of one engine share."""
        # as DockerSpawner.client
        tls = {"tls": docker.tls.TLSConfig(**self.tls_config)} if self.tls_config else {}
        return HubState.of({"version": "auto"} | tls | kwargs_from_env() | self.client_kwargs, self.log)

    # -- a start, from its beginning to its end ------------------------------------------------------------------

    async def start(self) -> tuple[str, int]:
        """Start the server inside its limits. SpawnException when they can't be had.

        1. What it may use is decided, and put into Docker's words (`_decide`).
        2. What an earlier hub has left of it is ended; a container that was kept is brought to what it may use.
        3. Room for it is looked for, and held.
        4. Its user is told why it was not there.
        5. DockerSpawner pulls the image (`pull_image`), makes the container (`create_object`, whose last step is
           `docker("create_container")`) and starts it (`start_object`: room, notebook, parent cgroup, start, attest).
        6. It is watched for its end.
        """
        self.orphans.started()
        async with self._refusals():
            entitlement = await self._decide()
            await self.orphans.before_start()
            await self.kept_container.bring_to(entitlement)
            reserved = self.state.places.taken(entitlement, self.container_name, self._host())
            async with reserved, self._failing_clean():
                await self.exits.begin()
                started: tuple[str, int] = await super().start()
                self.exits.wait_no_longer_than_it_lives()
        return started

    @asynccontextmanager
    async def _refusals(self) -> AsyncIterator[None]:
        """Whatever goes wrong in the block becomes one page: fact, cause, remedy."""
        try:
            yield
        except FullError as error:
            raise self._refusal_of_full(error.full) from error
        except (docker.errors.APIError, RefusedError) as error:
            noted = getattr(error, "__notes__", ())
            reason, fact = ("image", noted[0]) if noted else ("engine", "Docker refused the server's container")
            words = getattr(error, "words", None) or getattr(error, "explanation", None) or str(error)
            raise self.refusal(f"{fact}: {words}", reason=reason, status_code=500) from error
        except _UNANSWERED as error:
            cause = error.__cause__ if isinstance(error, UnreachableError) and error.__cause__ else error
            words = str(cause) or f"not within {TIMEOUT_S} s"
            raise self.refusal(
                f"The Docker engine does not answer ({words})", reason="engine", status_code=503
            ) from error

    @asynccontextmanager
    async def _failing_clean(self) -> AsyncIterator[None]:
        """Of a start that fails no container is left that never ran; and an OOM kill is told as its cause."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001  raised again; also where the hub loses patience and cancels it
            try:
                if isinstance(error, (SpawnException, docker.errors.APIError, RefusedError)):
                    end = await self.exits.end()
                    if end is not None and end.cause == "oom":
                        raise await self.exits.refusal(end) from error
                raise
            finally:
                await asyncio.shield(self.orphans.after_failure())

    async def _decide(self) -> Entitlement:
        """Put what this server may use into Docker's words. SpawnException where that can't be had."""
        entitlement = await self.entitle()
        info = await self.state.threads.run(self.state.engine.info)
        self.enforcement = translate(entitlement.limits, version=info.cgroup_version, page_size_bytes=mmap.PAGESIZE)
        self._refuse_what_cannot(entitlement)
        await self._tell_shares(entitlement)
        return entitlement

    def _refuse_what_cannot(self, entitlement: Entitlement) -> None:
        """Refuse what Docker can't hold, unless the policy says that it is best effort: then it is told."""
        for field, why in self._enforced().cannot.items():
            fact = f"{field} (from {entitlement.grants[field].rule}) can't be held: {why}"
            if self.policy is None or field not in self.policy.best_effort:
                raise self.refusal(fact, reason="cannot")
            self.log.warning("The server of %s starts without a limit, as the policy allows: %s", self.log_name, fact)
            self.tell(f"{fact}; the policy lets the server start without it")

    async def _tell_shares(self, entitlement: Entitlement) -> None:
        """Say what a weight comes to on this engine: on cgroup v2 the number in the policy does not."""
        if (shares := entitlement.limits.cpu_shares) is None:
            return
        engine = self.state.engine
        for share in await self.state.threads.run(
            lambda: shares_told(shares, engine.info().cgroup_version, engine.runtime)
        ):
            by = f", {share.runtime}" if share.runtime else ""
            beside = f"{share.part:.1%} of a CPU that one busy server without shares wants too"
            self.tell(f"cpu_shares {shares}: {beside} (weight {share.weight} to {share.ordinary}{by})")

    def _enforced(self) -> Enforcement:
        if self.enforcement is None:  # start() was bypassed: nothing may run without limits
            raise self.refusal("No limits were decided for this server", reason="limits")
        return self.enforcement

    # -- what DockerSpawner calls back, in this order ------------------------------------------------------------

    async def pull_image(self, image: str) -> None:
        """Pull the image where it is not here yet. docker.errors.APIError, noting which it is, when that can't be."""
        try:
            await super().pull_image(image)
        except docker.errors.APIError as error:
            error.add_note(f"The image {image} is not on this machine, and can't be pulled")
            raise

    async def create_object(self) -> dict[str, Any]:
        """Create the container with the policy's limits, whatever else the hub's configuration says."""
        if self.enforcement is None or self.entitlement is None:  # called without start()
            await self._decide()
        ours = overrides.traits(self._limits())
        self._refuse_override(overrides.by_traits(self._limits(), {trait: getattr(self, trait) for trait in ours}))
        theirs = await self._awaited(self.extra_host_config)
        self._refuse_override(overrides.unusable(self.client, self._render_templates(theirs)), remedy="")
        more = await self._awaited(self.extra_create_kwargs)
        self._refuse_override(overrides.unknown_to_create(self.client, more), remedy="")
        # the SDK reads "8g" and the like
        said = self.client.create_host_config(**self._render_templates(theirs))
        self._refuse_override(overrides.by_host_config(self._enforced(), self._limits(), said))
        engine = self.state.engine
        self.host_cpus = (await self.state.threads.run(engine.info)).cores
        self.image_variables = await self.state.threads.run(engine.variables, self.image)
        host_config = {**theirs, **self._hardened(theirs), **await self.parent.option(theirs), **self._enforced().ask}
        with self._holding(**ours, extra_host_config=host_config):
            created: dict[str, Any] = await super().create_object()
        return created

    def docker(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call the engine. A container's creation passes here last: what is sent is compared with the policy."""
        if method in _READS:
            return asyncio.ensure_future(
                self.state.threads.run(lambda: getattr(self.state.engine.api, method)(*args, **kwargs))
            )
        if method != "create_container":
            return super().docker(method, *args, **kwargs)
        kwargs["labels"] = {**(kwargs.get("labels") or {}), **self._labels()}
        self._refuse_override(overrides.by_what_is_sent(self._enforced(), kwargs["host_config"]), remedy="")
        return asyncio.ensure_future(self._created(super().docker(method, *args, **kwargs)))

    async def _created(self, answer: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        created = await answer
        for warning in created.get("Warnings") or ():
            self.log.warning("Docker warned about the container of %s: %s", self.log_name, warning)
            self.tell(f"Docker warns: {warning}")
        return created

    async def start_object(self) -> None:
        """Look whether there still is room, copy the notebook into the container, start it, and attest its limits."""
        if self.entitlement is not None:
            await self.state.places.check(self.entitlement, self.container_name, self._host())
        if self.copy_notebook:
            await self._copy_notebook()
        self.tell(f"Starting with {self.summary()}", progress=50)
        await self.parent.hold()
        await super().start_object()
        self.exits.watch()
        await self.attest_limits()
        await self.parent.look()

    async def attest_limits(self) -> None:
        """Compare what the Linux kernel shows with what was asked for. SpawnException where it differs."""
        if self.attest:
            await self.attestation.attest(self._enforced().expect)

    # -- while it runs, and at its end ---------------------------------------------------------------------------

    async def poll(self) -> int | str | None:
        """`None` while it runs; else how it ended, in words after DockerSpawner's own; 0: as its user wanted it."""
        was_cut_short = await self.orphans.before_poll()
        self.exits.is_there()
        try:
            status: int | str | None = await super().poll()
        except (requests.RequestException, UnreachableError, TimeoutError) as error:
            told = self.exits.without_an_answer(error)
        else:
            if status is None:
                self.exits.watch()
                return None
            told = await self.exits.status(status)
        # `None`: it could not be ended
        return self.orphans.interrupted() if was_cut_short and told is not None else told

    async def stop(self, now: bool = False) -> None:
        """Stop it, as its user or the hub wants."""
        self.exits.asked_to_stop()
        await super().stop(now)
        self.exits.stopped()

    async def told_end(self) -> str | None:
        """Why the server is not there, for the hub's pages; `None`: there is nothing to explain."""
        return await self.exits.text()

    async def get_options_form(self) -> str:
        """The form before a start, if there is one, below why the server is not there."""
        form: str = await super().get_options_form()
        told = await self.told_end()
        return f'<p id="last-end" class="alert alert-warning">{escape(told)}</p>{form}' if form and told else form

    def get_state(self) -> dict[str, Any]:
        """JupyterHub keeps it over its own restarts."""
        state: dict[str, Any] = super().get_state()
        return state | self.exits.kept()

    def load_state(self, state: dict[str, Any]) -> None:
        """What `get_state` gave."""
        super().load_state(state)
        self.exits.restore(state)

    # -- room ----------------------------------------------------------------------------------------------------

    def _host(self) -> Host | None:
        return self.policy.host if self.policy is not None else None

    def _refusal_of_full(self, full: Full) -> SpawnException:
        if full.reason == "servers":
            return self.refusal(full.fact, reason=full.reason, remedy=full.remedy)
        exception = self.refusal(full.fact, reason=full.reason, status_code=503, remedy=full.remedy)
        exception.headers = {"Retry-After": str(RETRY_S)}  # JupyterHub sends them
        return exception

    async def room(self, policy: Policy) -> tuple[Amount, ...] | None:
        """What the engine's host has for servers; `None` when the engine does not answer."""
        if policy.host is None:
            return ()
        places = self.state.places
        try:
            return room(policy.host, await places.machine(), await places.holdings())
        except (RefusedError, UnreachableError, TimeoutError) as error:
            self.log.warning("The engine does not say what its host has left: %s", error)
            return None

    # -- what goes into the container's creation -----------------------------------------------------------------

    def _limits(self) -> Any:
        return self.entitlement.limits if self.entitlement is not None else None

    def _refuse_override(self, fact: str, *, remedy: str = overrides.REMEDY) -> None:
        if fact:
            raise self.refusal(fact, reason="override", remedy=remedy)

    async def _awaited(self, setting: Any) -> dict[str, Any]:
        value = self._eval_if_callable(setting)
        return dict((await value if asyncio.iscoroutine(value) or asyncio.isfuture(value) else value) or {})

    def _hardened(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        if not self.harden:
            return {}
        self.state.warn(loosened(theirs))
        return hardening(theirs, self._limits().mem_limit)

    @contextmanager
    def _holding(self, **values: Any) -> Iterator[None]:
        """Set traits for one creation only, so that the next spawn sees what the configuration really says."""
        before = {name: getattr(self, name) for name in values}
        try:
            for name, value in values.items():
                setattr(self, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def _labels(self) -> dict[str, str]:
        if self.entitlement is None:
            return {}
        given = {
            labels.USER: self.user.name,
            labels.SERVER: self.name,
            labels.POLICY: self.entitlement.policy_sha256,
            labels.ENTITLEMENT: self.entitlement.to_json(),
        }
        given |= {labels.HUB: hub} if (hub := hub_compat.hub_identity(self)) else {}
        return given | ({labels.NOTEBOOK: str(self._place().notebook)} if self.copy_notebook else {})

    # -- the notebook --------------------------------------------------------------------------------------------

    def _place(self) -> notebook.Place:
        directory = PurePosixPath(self.notebook_target)
        return notebook.Place(directory=directory, uid=self.notebook_uid, gid=self.notebook_gid)

    async def _copy_notebook(self) -> None:
        state = self.state
        wanted = self.container_id, self._place(), notebook.packaged(), state.bare_images
        try:
            copied = await state.threads.run_inside(notebook.copy, state.engine, *wanted)
        except _NOT_COPIED as error:
            why = getattr(error, "words", None) or str(error) or f"it took over {TIMEOUT_S} s"
            self.log.error("The stress notebook of %s was not copied: %s", self.log_name, why)  # noqa: TRY400  no traceback
            self.tell(f"The stress notebook was not copied, the server starts without it: {why}")
        else:
            if copied.oversized:
                self.log.warning("In %s of %s: %s", self.notebook_target, self.log_name, copied)
            self.tell(f"{self.notebook_target}: {copied}", progress=40)
