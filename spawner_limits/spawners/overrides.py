"""What in the hub's own configuration would loosen or change a limit: the policy alone sets them. Pure."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from docker.errors import DockerException
from docker.utils import parse_bytes

from spawner_limits.engines.docker import CONFLICTS, host_config, mismatch, mismatches
from spawner_limits.limits import tell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker import APIClient
    from spawner_limits.engines.enforcement import Enforcement
    from spawner_limits.limits import Limits

TRAITS = ("mem_limit", "mem_guarantee", "cpu_limit", "cpu_guarantee")
"""of any JupyterHub spawner"""
REMEDY = "Take it out of the hub's configuration: the policy file alone sets limits."


def traits(limits: Limits) -> dict[str, Any]:
    """The spawner's traits that limits go into: the server's MEM_LIMIT and CPU_LIMIT are made from them."""
    values = {trait: getattr(limits, trait) for trait in TRAITS}
    return {trait: value for trait, value in values.items() if value is not None}


def unusable(client: APIClient, configured: Mapping[str, Any]) -> str:
    """What of a configured host config the SDK does not take, by its name; empty: nothing."""
    for option, value in configured.items():
        try:
            client.create_host_config(**{option: value})
        except (TypeError, ValueError, DockerException) as error:
            return f"The hub's configuration can't be used: extra_host_config has {option} {value!r} ({error})"
    return ""


def unknown_to_create(client: APIClient, configured: Mapping[str, Any]) -> str:
    """What of configured `extra_create_kwargs` is no option of a container's creation, by its name; empty: nothing."""
    known = signature(client.create_container).parameters
    if unknown := [option for option in configured if option not in known]:
        what = f"extra_create_kwargs has {', '.join(unknown)}, which is no option of a container's creation"
        return f"The hub's configuration can't be used: {what}; options of its host belong into extra_host_config"
    return ""


def by_traits(limits: Limits, configured: Mapping[str, Any]) -> str:
    """What the configured traits would do to these limits; empty: nothing."""
    for trait, ours in traits(limits).items():
        theirs = configured[trait]
        # a callable's answer is not read by the trait
        theirs = parse_bytes(theirs) if isinstance(theirs, str) else theirs
        if theirs and theirs != ours:  # DockerSpawner's own default is 0
            how = "loosen" if theirs > ours else "change"
            differs = f"{trait} is {tell(trait, theirs)}, the policy says {tell(trait, ours)}"
            return f"The hub's configuration would {how} a limit: {differs}"
    return ""


def by_host_config(enforcement: Enforcement, limits: Limits, configured: Mapping[str, Any]) -> str:
    """What a configured host config, in the API's form, would do to these limits; empty: nothing."""
    wanted = host_config(enforcement.ask)
    # memory and swap as the policy has them: Docker is asked for no swap in another way, which nobody need write
    policy = host_config({option: getattr(limits, option) for option in ("mem_limit", "memswap_limit")})
    wrong = [
        mismatch(key, configured, wanted)
        for key, ours in wanted.items()
        if key in configured and configured[key] not in (ours, policy.get(key))
    ]
    wrong += [
        f"{key} is {configured[key]!r}"
        for option, key in CONFLICTS.items()
        if option in enforcement.ask and configured.get(key)
    ]
    return f"extra_host_config would loosen or change a limit: {'; '.join(wrong)}" if wrong else ""


def by_what_is_sent(enforcement: Enforcement, sent: Mapping[str, Any]) -> str:
    """What the host config that is about to be sent would do to these limits, wherever it came from; empty: nothing."""
    wrong = mismatches(enforcement.ask, sent)
    return f"The hub's configuration would change a limit: {'; '.join(wrong)}" if wrong else ""
