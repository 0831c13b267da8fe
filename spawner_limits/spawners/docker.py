"""`LimitedDockerSpawner`: DockerSpawner, with the policy's limits on every container, and the notebook in it."""

from __future__ import annotations

import asyncio
import mmap
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

import requests
from docker.utils import kwargs_from_env, parse_bytes
from dockerspawner import DockerSpawner
from traitlets import Bool, Integer, Unicode

import docker
from spawner_limits.engines import labels
from spawner_limits.engines.docker import CONFLICTS, host_config, mismatch, mismatches, translate
from spawner_limits.engines.enforcement import shares_told
from spawner_limits.limits import tell
from spawner_limits.policy.capacity import RETRY_S, room
from spawner_limits.spawners import notebook, thread_env
from spawner_limits.spawners.admission import FullError
from spawner_limits.spawners.aside import TIMEOUT_S, Aside
from spawner_limits.spawners.attested import AttestedMixin
from spawner_limits.spawners.hardening import HardeningMixin
from spawner_limits.spawners.limited import LimitsMixin
from spawner_limits.spawners.sweeping import SweepingMixin
from spawner_limits.spawners.telling import TellingMixin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from jupyterhub.spawner import SpawnException

    from spawner_limits.engines.enforcement import CgroupVersion, Enforcement
    from spawner_limits.policy.capacity import Allocatable, NoCapacity
    from spawner_limits.policy.entitlement import Entitlement
    from spawner_limits.policy.model import Host, Policy

_TRAITS = ("mem_limit", "mem_guarantee", "cpu_limit", "cpu_guarantee")
_READS = frozenset({"inspect_container", "inspect_image", "port"})
"""quick calls, such as a poll's: on DockerSpawner's one thread they would wait for everybody's starts"""
_NOT_COPIED = (notebook.CopyError, docker.errors.APIError, requests.RequestException, OSError)
_REMEDY = "Take it out of the hub's configuration: the policy file alone sets limits."


class LimitedDockerSpawner(
    SweepingMixin,
    TellingMixin,
    AttestedMixin,
    HardeningMixin,
    LimitsMixin,
    DockerSpawner,  # type: ignore[misc]  # dockerspawner is not typed
):
    """DockerSpawner whose servers run inside the policy's limits, or not at all."""

    copy_notebook = Bool(default_value=True, config=True, help="Copy the stress notebook into each container.")
    notebook_target = Unicode(
        "/home/jovyan/work", config=True, help="The directory in the container that the notebook is copied to."
    )
    notebook_uid = Integer(1000, config=True, help="The user id that the copied notebook belongs to.")
    notebook_gid = Integer(100, config=True, help="The group id that the copied notebook belongs to.")

    enforcement: Enforcement | None = None
    asides: ClassVar[dict[str, Aside]] = {}
    """by the engine's address"""
    bare_images: ClassVar[set[notebook.Bare]] = set()

    async def start(self) -> tuple[str, int]:
        """Start the server inside its limits. SpawnException when they can't be had."""
        try:
            entitlement = await self._decide()
            await self.renew_old_container()
            async with self.aside.places.taken(entitlement, self.container_name, self._host()):
                started: tuple[str, int] = await super().start()
        except FullError as error:
            raise self._refusal_of_full(error.full) from error
        except docker.errors.APIError as error:
            raise self._refusal_of_engine(error) from error
        except (docker.errors.DockerException, requests.RequestException, TimeoutError) as error:
            told = str(error) or f"not within {TIMEOUT_S} s"
            raise self.refusal(
                f"The Docker engine does not answer ({told})", reason="engine", status_code=503
            ) from error
        return started

    async def _decide(self) -> Entitlement:
        """Put what this server may use into Docker's words. SpawnException where that can't be had."""
        entitlement = await self.entitle()
        version = await self._cgroup_version()
        self.enforcement = translate(entitlement.limits, version=version, page_size_bytes=mmap.PAGESIZE)
        self._refuse_what_cannot(entitlement)
        await self._tell_shares(entitlement)
        return entitlement

    async def _cgroup_version(self) -> CgroupVersion:
        return await self.aside.run(lambda _client: self.aside.cgroup_version)

    def _refuse_what_cannot(self, entitlement: Entitlement) -> None:
        """Refuse what Docker can't hold, unless the policy says that it is best effort: then it is told."""
        for field, why in self._enforced().cannot.items():
            fact = f"{field} (from {entitlement.grants[field].rule}) can't be held: {why}"
            if self.policy is None or field not in self.policy.best_effort:
                raise self.refusal(fact, reason="cannot")
            self.log.warning("The server of %s starts without a limit, as the policy allows: %s", self._log_name, fact)
            self.tell(f"{fact}; the policy lets the server start without it")

    async def _tell_shares(self, entitlement: Entitlement) -> None:
        """Say what a weight comes to on this engine: on cgroup v2 the number in the policy does not."""
        if (shares := entitlement.limits.cpu_shares) is None:
            return
        for one in await self.aside.run(lambda _: shares_told(shares, self.aside.cgroup_version, self.aside.runtime)):
            by = f", {one.runtime}" if one.runtime else ""
            beside = f"{one.part:.1%} of a CPU that one busy server without shares wants too"
            self.tell(f"cpu_shares {shares}: {beside} (weight {one.weight} to {one.ordinary}{by})")

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
        places = self.aside.places
        try:
            return room(policy.host, await places.machine(), await places.holdings())
        except (docker.errors.DockerException, requests.RequestException, TimeoutError) as error:
            self.log.warning("The engine does not say what its host has left: %s", error)
            return None

    def _enforced(self) -> Enforcement:
        if self.enforcement is None:  # start() was bypassed: nothing may run without limits
            raise self.refusal("No limits were decided for this server", reason="limits")
        return self.enforcement

    async def pull_image(self, image: str) -> None:
        """Pull the image where it is not here yet. docker.errors.APIError, noting which it is, when that can't be."""
        try:
            await super().pull_image(image)
        except docker.errors.APIError as error:
            error.add_note(f"The image {image} is not on this machine, and can't be pulled")
            raise

    def _refusal_of_engine(self, error: docker.errors.APIError) -> SpawnException:
        noted = getattr(error, "__notes__", ())
        reason, fact = ("image", noted[0]) if noted else ("engine", "Docker refused the server's container")
        return self.refusal(f"{fact}: {error.explanation or error}", reason=reason, status_code=500)

    # -- creation ------------------------------------------------------------------------------------------------

    async def create_object(self) -> dict[str, Any]:
        """Create the container with the policy's limits, whatever else the hub's configuration says."""
        if self.enforcement is None:  # called without start()
            await self._decide()
        ask = self._enforced().ask
        self._refuse_rival_traits()
        theirs = await self._awaited(self.extra_host_config)
        self._refuse_rival_host_config(self._render_templates(theirs))
        self.host_cpus, self.image_variables = await self.aside.run(self._host_and_image)
        with self._holding(**self._our_traits(), extra_host_config={**theirs, **await self.hardened(theirs), **ask}):
            created: dict[str, Any] = await super().create_object()
        return created

    def _host_and_image(self, client: docker.APIClient) -> tuple[int, frozenset[str]]:
        """What hints for threads go by: the host's CPUs, and the variables that the image sets itself."""
        # types-docker leaves it without types
        image = client.inspect_image(self.image)  # type: ignore[no-untyped-call]
        return int(self.aside.info["NCPU"]), thread_env.variables(image)

    def docker(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call the engine. A container's creation passes here last: what is sent is compared with the policy."""
        if method in _READS:
            return asyncio.ensure_future(self.aside.run(lambda client: getattr(client, method)(*args, **kwargs)))
        if method != "create_container":
            return super().docker(method, *args, **kwargs)
        kwargs["labels"] = {**(kwargs.get("labels") or {}), **self._labels()}
        if wrong := mismatches(self._enforced().ask, kwargs["host_config"]):
            raise self.refusal(f"The hub's configuration would change a limit: {'; '.join(wrong)}", reason="override")
        return asyncio.ensure_future(self._created(super().docker(method, *args, **kwargs)))

    async def _created(self, answer: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        created = await answer
        for warning in created.get("Warnings") or ():
            self.log.warning("Docker warned about the container of %s: %s", self._log_name, warning)
            self.tell(f"Docker warns: {warning}")
        return created

    async def _awaited(self, setting: Any) -> dict[str, Any]:
        value = self._eval_if_callable(setting)
        return dict((await value if asyncio.iscoroutine(value) or asyncio.isfuture(value) else value) or {})

    def _our_traits(self) -> dict[str, Any]:
        # the server's MEM_LIMIT and CPU_LIMIT are made from these, so they must agree with its container
        limits = self.entitlement.limits if self.entitlement is not None else None
        values = {trait: getattr(limits, trait) for trait in _TRAITS}
        return {trait: value for trait, value in values.items() if value is not None}

    def _refuse_rival_traits(self) -> None:
        for trait, ours in self._our_traits().items():
            theirs = getattr(self, trait)
            # a callable's answer is not read by the trait
            theirs = parse_bytes(theirs) if isinstance(theirs, str) else theirs
            if theirs and theirs != ours:  # DockerSpawner's own default is 0
                how = "loosen" if theirs > ours else "change"
                told = f"{trait} is {tell(trait, theirs)}, the policy says {tell(trait, ours)}"
                fact = f"The hub's configuration would {how} a limit: {told}"
                raise self.refusal(fact, reason="override", remedy=_REMEDY)

    def _refuse_rival_host_config(self, theirs: dict[str, Any]) -> None:
        ask = self._enforced().ask
        # the SDK reads "8g" and the like
        said = self.client.create_host_config(**theirs)
        wanted, policy = host_config(ask), self._host_config_of_policy()
        wrong = [
            mismatch(key, said, wanted)
            for key, ours in wanted.items()
            if key in said and said[key] not in (ours, policy.get(key))
        ]
        wrong += [f"{key} is {said[key]!r}" for option, key in CONFLICTS.items() if option in ask and said.get(key)]
        if wrong:
            fact = f"extra_host_config would loosen or change a limit: {'; '.join(wrong)}"
            raise self.refusal(fact, reason="override", remedy=_REMEDY)

    def _host_config_of_policy(self) -> dict[str, Any]:
        """Memory and swap as the policy has them: Docker is told no swap otherwise, which nobody need write."""
        limits = self.entitlement.limits if self.entitlement is not None else None
        return host_config({option: getattr(limits, option) for option in ("mem_limit", "memswap_limit")})

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
        given |= {labels.HUB: hub} if (hub := self.hub_identity()) else {}
        return given | ({labels.NOTEBOOK: str(self._place().notebook)} if self.copy_notebook else {})

    # -- the notebook --------------------------------------------------------------------------------------------

    async def start_object(self) -> None:
        """Look whether there still is room, copy the notebook into the container, then start it."""
        if self.entitlement is not None:
            await self.aside.places.check(self.entitlement, self.container_name, self._host())
        if self.copy_notebook:
            await self._copy_notebook()
        self.tell(f"Starting with {self.summary()}", progress=50)
        await self.hold_parent()
        await super().start_object()
        await self.attest_limits()
        await self.look_after_start()

    def _place(self) -> notebook.Place:
        directory = PurePosixPath(self.notebook_target)
        return notebook.Place(directory=directory, uid=self.notebook_uid, gid=self.notebook_gid)

    async def _copy_notebook(self) -> None:
        try:
            wanted = self.container_id, self._place(), notebook.packaged(), self.bare_images
            copied = await self.aside.run_inside(notebook.copy, *wanted)
        except (*_NOT_COPIED, TimeoutError) as error:
            why = getattr(error, "explanation", None) or str(error) or f"it took over {TIMEOUT_S} s"
            self._tell_no_notebook(why)
        else:
            if copied.oversized:
                self.log.warning("In %s of %s: %s", self.notebook_target, self._log_name, copied)
            self.tell(f"{self.notebook_target}: {copied}", progress=40)

    def _tell_no_notebook(self, why: str) -> None:
        self.log.error("The stress notebook of %s was not copied: %s", self._log_name, why)
        self.tell(f"The stress notebook was not copied, the server starts without it: {why}")

    @property
    def aside(self) -> Aside:
        """A client and threads of our own, shared by all spawners of one engine."""
        # as DockerSpawner.client
        tls = {"tls": docker.tls.TLSConfig(**self.tls_config)} if self.tls_config else {}
        arguments = {"version": "auto"} | tls | kwargs_from_env() | self.client_kwargs
        address = str(arguments.get("base_url"))
        if address not in self.asides:
            self.asides[address] = Aside(arguments)
        return self.asides[address]
