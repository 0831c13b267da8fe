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
from spawner_limits.spawners.attestation import attest_server
from spawner_limits.spawners.base import LimitedSpawner
from spawner_limits.spawners.container_renewal import renew_kept_container
from spawner_limits.spawners.engine_threads import TIMEOUT_S
from spawner_limits.spawners.exit_messages import ExitMessages
from spawner_limits.spawners.hardening import hardening, loosened
from spawner_limits.spawners.host_protection import HostProtection
from spawner_limits.spawners.hub_state import HubState
from spawner_limits.spawners.orphan_cleanup import OrphanCleanup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping

    from spawner_limits.engines.enforcement import Enforcement
    from spawner_limits.limits import Limits
    from spawner_limits.policy.capacity import Allocatable, NoCapacity
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
        self.protection = HostProtection(self)
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

        1. What it may use is decided, and put into Docker's words.
        2. What an earlier hub has left of it is ended.
        3. A container that was kept gets today's limits, or another name.
        4. Room for it is looked for, and reserved until its container can be seen.
        5. Its user is told why it was not there.
        6. DockerSpawner starts it, and calls back `pull_image`; where there is no container, `create_object`, and in it
           `docker("create_container")`; `start_object`. They stand below, in this order.
        7. Its user's page waits for an answer only as long as it lives.
        """
        self.orphans.started()
        async with self._refusals():
            entitlement = await self._decide()
            await self.orphans.before_start()
            await renew_kept_container(self, entitlement)
            reserved = self.state.admission.reserved(entitlement, self.container_name, self._host())
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
        """Of a start that fails no container is left that never ran; and an OOM kill is shown as its cause."""
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
        self._refuse_what_cannot(entitlement, self.enforcement)
        await self._tell_shares(entitlement)
        return entitlement

    def _refuse_what_cannot(self, entitlement: Entitlement, enforcement: Enforcement) -> None:
        """Refuse what Docker can't hold, unless the policy says that it is best effort: then its user is told."""
        for field, why in enforcement.cannot.items():
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

    def _decided(self) -> tuple[Entitlement, Enforcement]:
        """What `_decide` decided. SpawnException where `start` was bypassed: nothing may run without limits."""
        if self.entitlement is None or self.enforcement is None:
            raise self.refusal("No limits were decided for this server", reason="limits")
        return self.entitlement, self.enforcement

    # -- what DockerSpawner calls back, in this order ------------------------------------------------------------

    async def pull_image(self, image: str) -> None:
        """Pull the image where it is not here yet. docker.errors.APIError, noting which it is, when that can't be."""
        try:
            await super().pull_image(image)
        except docker.errors.APIError as error:
            error.add_note(f"The image {image} is not on this machine, and can't be pulled")
            raise

    async def create_object(self) -> dict[str, Any]:
        """Make the container with the policy's limits. SpawnException where the hub's configuration has other ones.

        Traits and host config are set for this creation alone, so that the server's MEM_LIMIT and CPU_LIMIT agree with
        its container, and the next spawn sees what the configuration really says.
        """
        if self.enforcement is None or self.entitlement is None:  # called without start()
            await self._decide()
        entitlement, enforcement = self._decided()
        limits, engine = entitlement.limits, self.state.engine
        theirs = await self._awaited(self.extra_host_config)
        await self._refuse_overrides(limits, enforcement, theirs)
        # for the environment: see LimitedSpawner.get_env
        self.host_cpus = (await self.state.threads.run(engine.info)).cores
        self.image_variables = await self.state.threads.run(engine.variables, self.image)
        hardened = self._hardened(theirs, limits)
        host_config = {**theirs, **hardened, **await self.protection.option(theirs), **enforcement.ask}
        with self._holding(**overrides.traits(limits), extra_host_config=host_config):
            created: dict[str, Any] = await super().create_object()
        return created

    async def _refuse_overrides(self, limits: Limits, enforcement: Enforcement, theirs: Mapping[str, Any]) -> None:
        """SpawnException where the hub's configuration can't be used, or would change a limit."""
        configured = {trait: getattr(self, trait) for trait in overrides.traits(limits)}
        self._refuse_override(overrides.by_traits(limits, configured))
        rendered = self._render_templates(theirs)
        self._refuse_override(overrides.unusable(self.client, rendered), remedy="")
        more = await self._awaited(self.extra_create_kwargs)
        self._refuse_override(overrides.unknown_to_create(self.client, more), remedy="")
        # the SDK reads "8g" and the like
        sent = self.client.create_host_config(**rendered)
        self._refuse_override(overrides.by_host_config(enforcement, limits, sent))

    def docker(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call the engine. A container's creation passes here last: what is sent gets our labels, and is compared."""
        if method in _READS:
            return asyncio.ensure_future(
                self.state.threads.run(lambda: getattr(self.state.engine.api, method)(*args, **kwargs))
            )
        if method != "create_container":
            return super().docker(method, *args, **kwargs)
        entitlement, enforcement = self._decided()
        kwargs["labels"] = {**(kwargs.get("labels") or {}), **self._labels(entitlement)}
        self._refuse_override(overrides.by_what_is_sent(enforcement, kwargs["host_config"]), remedy="")
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
            await self.state.admission.check(self.entitlement, self.container_name, self._host())
        if self.copy_notebook:
            await self._copy_notebook()
        self.tell(f"Starting with {self.summary()}", progress=50)
        await self.protection.hold()
        await super().start_object()
        self.exits.watch()
        await self.attest_limits()
        await self.protection.look()

    async def attest_limits(self) -> None:
        """Compare what the Linux kernel shows with what was asked for. SpawnException where it differs."""
        if self.attest:
            await attest_server(self, self._decided()[1].expect)

    # -- while it runs, and at its end ---------------------------------------------------------------------------

    async def poll(self) -> int | str | None:
        """`None` while it runs; else how it ended, in words after DockerSpawner's own; 0: as its user wanted it."""
        status: int | str | None
        was_cut_short = await self.orphans.before_poll()
        self.exits.is_there()
        try:
            status = await super().poll()
        except (requests.RequestException, UnreachableError, TimeoutError) as error:
            status = self.exits.without_an_answer(error)
        else:
            if status is None:
                self.exits.watch()
                return None
            status = await self.exits.status(status)
        # `None`: it could not be ended
        return self.orphans.interrupted() if was_cut_short and status is not None else status

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
        text = await self.told_end()
        return f'<p id="last-end" class="alert alert-warning">{escape(text)}</p>{form}' if form and text else form

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

    def _refusal_of_full(self, full: NoCapacity) -> SpawnException:
        if full.reason == "servers":
            return self.refusal(full.fact, reason=full.reason, remedy=full.remedy)
        exception = self.refusal(full.fact, reason=full.reason, status_code=503, remedy=full.remedy)
        exception.headers = {"Retry-After": str(RETRY_S)}  # JupyterHub sends them
        return exception

    async def room(self, policy: Policy) -> tuple[Allocatable, ...] | None:
        """What the engine's host has for servers; `None` when the engine does not answer."""
        if policy.host is None:
            return ()
        admission = self.state.admission
        try:
            return room(policy.host, await admission.machine(), await admission.holdings())
        except (RefusedError, UnreachableError, TimeoutError) as error:
            self.log.warning("The engine does not say what its host has left: %s", error)
            return None

    # -- what goes into the container's creation -----------------------------------------------------------------

    def _refuse_override(self, fact: str, *, remedy: str = overrides.REMEDY) -> None:
        if fact:
            raise self.refusal(fact, reason="override", remedy=remedy)

    async def _awaited(self, setting: Any) -> dict[str, Any]:
        value = self._eval_if_callable(setting)
        return dict((await value if asyncio.iscoroutine(value) or asyncio.isfuture(value) else value) or {})

    def _hardened(self, theirs: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
        if not self.harden:
            return {}
        self.state.warn(loosened(theirs))
        return hardening(theirs, limits.mem_limit)

    @contextmanager
    def _holding(self, **values: Any) -> Iterator[None]:
        """Set traits for the time of the block."""
        before = {name: getattr(self, name) for name in values}
        try:
            for name, value in values.items():
                setattr(self, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def _labels(self, entitlement: Entitlement) -> dict[str, str]:
        given = {
            labels.USER: self.user.name,
            labels.SERVER: self.name,
            labels.POLICY: entitlement.policy_sha256,
            labels.ENTITLEMENT: entitlement.to_json(),
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
