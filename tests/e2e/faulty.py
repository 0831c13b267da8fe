"""`FaultySpawner`: the hub's own spawner, in which a test can have one thing go wrong at a named point, once.

A fault is armed by a file of its name and its user's in `SPAWNER_LIMITS_TEST_FAULTS`; who acts removes it first.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from spawner_limits.kernel.cgroups import find
from spawner_limits.spawners.docker import LimitedDockerSpawner


class FaultySpawner(LimitedDockerSpawner):
    """Goes wrong where it is told to."""

    def armed(self, fault):
        """Whether that fault is to happen to this user now."""
        file = Path(os.environ["SPAWNER_LIMITS_TEST_FAULTS"], f"{fault}-{self.user.name}")
        there = file.exists()
        file.unlink(missing_ok=True)
        return there

    async def start_object(self):
        """Between the container's creation and its start."""
        await self._hold("held-before-start")
        if self.armed("refused-before-start"):
            raise self.refusal("A test refuses this", reason="test")
        await super().start_object()

    async def _copy_notebook(self):
        if self.armed("removed-before-copy"):
            await self.state.threads.run(self._remove)
        if self.armed("removed-during-copy"):
            removing = asyncio.ensure_future(self.state.threads.run(self._remove))
            await super()._copy_notebook()
            await removing
            return
        await super()._copy_notebook()

    async def attest_limits(self):
        """Between the container's start and its attestation."""
        await self._hold("held-before-attest")
        if self.armed("killed-before-attest"):
            await self.state.threads.run(self.state.engine.kill, self.container_id)
        if self.armed("limit-raised-before-attest"):
            await self.state.threads.run(self._raise_limit)
        await super().attest_limits()

    async def _hold(self, fault):
        """Go no further, until the hub is killed."""
        if self.armed(fault):
            await asyncio.sleep(600)

    def _remove(self):
        self.state.engine.api.remove_container(self.container_id, force=True)

    def _raise_limit(self):
        """As anybody on the engine's host can, behind its back."""
        pid = self.state.engine.process(self.container_id)
        (find(pid, container_id=self.container_id).directories["pids"] / "pids.max").write_text("max")
