"""Makes a user's named server when it is first looked at, as JupyterHub did before version 6. Loaded with `-p`.

The suite was written for that: from 6 on its tests of named servers end before they come to the spawner.
"""

from __future__ import annotations

from jupyterhub.user import User

_new_spawner = User._new_spawner


def _made(self, server_name, *arguments, **named):
    if server_name not in self.orm_spawners:
        self._new_orm_spawner(server_name, server_name)
    return _new_spawner(self, server_name, *arguments, **named)


User._new_spawner = _made
