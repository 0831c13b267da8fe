"""`OUT_OF_MEMORY.md`: tells a person, in JupyterLab's file browser, that a process of the running server was ended.

JupyterLab itself says only that a Jupyter kernel "appears to have died". It looks for new files every ten seconds, and
nothing has to be installed in it for that. A file of that name which is not ours, or was changed, is left alone.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from spawner_limits.spawners import notebook
from spawner_limits.units import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import PurePosixPath

    from docker import APIClient
    from spawner_limits.live.ends import Oom
    from spawner_limits.spawners.notebook import Place

NAME = "OUT_OF_MEMORY.md"
_MOST = 20
"""kills that it tells of: the last ones"""
_MARK = re.compile(r"<!-- spawner-limits ([0-9a-f]{16}) -->\n")
_TEXT = """\
# Out of memory

A process of your server wanted more memory than the server may use, so the operating system ended that process. Your
server goes on. If it was the kernel of a notebook, JupyterLab has started it anew: what it had in memory is lost, what
was saved in files is not.

{entries}

What to do: load less data at once, shut down kernels that you no longer need (Running Terminals and Kernels, at the
left), or {ask} for more. You may delete this file.
"""


def entry(oom: Oom, now: datetime) -> str:
    """One line of the file. `now` has the time zone that is told."""
    many = f"{oom.count} processes were ended, the last of them " if oom.count > 1 else ""
    process = f"`{oom.process.replace('`', '')}`" if oom.process else "a process"
    held = f", which held {format_size(oom.rss_bytes)}" if oom.rss_bytes else ""
    at = oom.at.astimezone(now.tzinfo)
    return f"- {at:%Y-%m-%d %H:%M:%S %Z}: {many}{process}{'' if many else ' was ended'}{held}, {oom.limit}"


def page(entries: Sequence[str], contact: str | None) -> str:
    """The whole file."""
    ask = f"ask {contact}" if contact else "ask the administrator of this hub"
    text = _TEXT.format(entries="\n".join(entries[:_MOST]), ask=ask)
    return f"<!-- spawner-limits {_digest(text)} -->\n{text}"


def entries_of(text: str) -> tuple[str, ...] | None:
    """The lines of a file that `page` made; `None`: it is somebody else's, or was changed."""
    mark = _MARK.match(text)
    if mark is None or _digest(text[mark.end() :]) != mark[1]:
        return None
    return tuple(line for line in text.splitlines() if line.startswith("- "))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def put(client: APIClient, container: str, place: Place, line: str, contact: str | None) -> bool:
    """Add a line to the file in a running container; False: what is there is not ours.

    Errors: docker.errors.APIError (a read-only root, no such container), requests.RequestException (engine gone).
    """
    is_tmpfs = _under_tmpfs(client.inspect_container(container), place.directory)
    path = place.directory / NAME
    there = _shown(client, container, path) if is_tmpfs else _read(client, container, path)
    before = entries_of(there) if there is not None else ()
    if before is None:
        return False
    text = page([line, *before], contact)
    if is_tmpfs:  # the archive API would write below the mount
        _run(client, container, ["sh", "-c", 'printf %s "$1" > "$2"', "sh", text, str(path)], place)
    else:
        notebook.put(client, container, place, {NAME: text.encode()})
    return True


def _read(client: APIClient, container: str, path: PurePosixPath) -> str | None:
    """The file's text; `None`: there is none; empty for what is no plain file."""
    found = notebook.read(client, container, path)
    return None if found is None else (found.content or b"").decode(errors="replace")


def _shown(client: APIClient, container: str, path: PurePosixPath) -> str | None:
    """As `_read`, of a file that only the container sees."""
    code, output = _run(client, container, ["cat", str(path)])
    return output.decode(errors="replace") if code == 0 else None


def _run(client: APIClient, container: str, command: list[str], place: Place | None = None) -> tuple[int, bytes]:
    user = f"{place.uid}:{place.gid}" if place is not None else ""
    made = client.exec_create(container, command, user=user, stderr=False)["Id"]
    output: bytes = client.exec_start(made)
    return client.exec_inspect(made)["ExitCode"], output


def _under_tmpfs(found: Mapping[str, Any], directory: PurePosixPath) -> bool:
    mounts = [*(found["HostConfig"].get("Tmpfs") or ())]
    mounts += [one["Destination"] for one in found.get("Mounts") or () if one["Type"] == "tmpfs"]
    return any(directory.is_relative_to(one) for one in mounts)
