"""Case 66: what TCP sockets buffer is the container's memory.

What the sockets hold is summed from /proc/PID/net/tcp, which is the container's own; `mem` in /proc/net/sockstat is of
the whole host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spawner_limits import interrupt
from spawner_limits.conformance.loads import FREE, LIMIT_BYTES, LIMITED, LONG_S, SAMPLE_S, memory_case, pressed
from spawner_limits.conformance.setting import made
from spawner_limits.kernel.v1 import NO_LIMIT_BYTES
from spawner_limits.proof.claims import claim, unpressed
from spawner_limits.units import MIB, format_size, size_usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spawner_limits.conformance.case import AnyCase
    from spawner_limits.conformance.seen import Seen
    from spawner_limits.conformance.setting import Setting
    from spawner_limits.conformance.trial import Bench, Subject
    from spawner_limits.kernel.snapshot import Snapshot
    from spawner_limits.proof.evidence import Verdict

LIMIT_FILE = "memory.kmem.tcp.limit_in_bytes"
"""v1's own limit of TCP memory; v2 has none, for there it is part of memory.max"""
PEAK_FILE = "memory.kmem.tcp.max_usage_in_bytes"
_SENT_MIB = 192
_CONNECTIONS = 96
_HOLD_S = 30
_ACKNOWLEDGED_S = 0.3
"""no acknowledgement is put off for longer than 0.2 s (TCP_DELACK_MAX)"""
SLACK_BYTES = 16 * MIB
"""of the limit: each socket gets its least buffers, also where nothing is left; measured 2 MiB"""
_PRESSED = 0.9
"""of the limit, what the kernel must have counted at least: some of it is the load's own memory on v2"""
_FILLED = "filled"
_SOCK = re.compile(r"^sock ([0-9]+)$", flags=re.MULTILINE)
_HOST = re.compile(r"^TCP: .*\bmem ([0-9]+)", flags=re.MULTILINE)
_LISTENS = "0A"
"""st of a socket that listens: its queues are connections, not bytes"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Socket memory at one moment, in bytes; `None` where it could not be read."""

    queued: int | None
    """sent and received, and not read, by the container's sockets"""
    sock: int | None = None
    """`sock` in memory.stat, of v2"""
    host: int | None = None
    """TCP memory of the whole host"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Buffered:
    """What the sockets of one container came to hold."""

    seen: Seen
    looks: Sequence[Look]

    @property
    def counted(self) -> int | None:
        """The most that the kernel counted: v1 of TCP memory, v2 of all memory; bytes."""
        if self.seen.version == 1:
            text = self.seen.texts.get(PEAK_FILE)
            return int(text) if text and text.isdigit() else None
        # memory.peak is there since Linux 5.19
        return _most(snapshot.memory_peak_bytes or snapshot.memory_current_bytes for snapshot in self.seen.snapshots)

    @property
    def memory(self) -> int | None:
        """The most memory in use that the kernel counted otherwise; bytes."""
        return self.seen.series.most("memory_current_bytes")

    @property
    def held(self) -> int | None:
        """What the sockets held in the end, with all acknowledged: until then a byte is in the queues of both ends."""
        return self.looks[-1].queued

    @property
    def host_rise(self) -> int | None:
        """By how much the whole host's TCP memory rose; bytes."""
        most, first = _most(look.host for look in self.looks), self.looks[0].host
        return None if most is None or first is None else most - first


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def queued(table: str) -> int:
    """Bytes in the queues of all connections in /proc/PID/net/tcp. ValueError where it is no such table."""
    rows = (line.split() for line in table.splitlines()[1:])
    queues = (row[4].split(":") for row in rows if row[3] != _LISTENS)
    return sum(int(length, 16) for pair in queues for length in pair)


def _look(subject: Subject) -> Look:
    net = Path(f"/proc/{subject.container.pid}/net")
    sock, host = _SOCK.search(subject.read("memory.stat") or ""), _HOST.search(_text(net / "sockstat") or "")
    table = _text(net / "tcp")
    return Look(
        queued=queued(table) if table else None,
        sock=None if sock is None else int(sock[1]),
        host=None if host is None else int(host[1]) * subject.bench.page_size_bytes,
    )


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii")
    except OSError:  # the container has ended
        return None


def buffered(bench: Bench, setting: Setting) -> Buffered:
    """Connections that nobody reads from, filled. Errors as `made`."""
    with made(bench, setting) as subject:
        load = subject.probe("sockets", _SENT_MIB, _CONNECTIONS, _HOLD_S)
        looks = [_look(subject)]

        def is_full(_: Snapshot) -> bool:
            filled = _FILLED in load.stdout
            looks.append(_look(subject))
            return filled

        taken = subject.follow(load, seconds=LONG_S, every_s=SAMPLE_S, until=is_full)
        if _FILLED not in load.stdout:
            pressed(load)
        interrupt.pause(_ACKNOWLEDGED_S)
        looks.append(_look(subject))
        texts = {file: subject.read(file) for file in (LIMIT_FILE, PEAK_FILE)}
        return Buffered(seen=subject.seen(taken, texts=texts), looks=looks)


# -- judged --------------------------------------------------------------------------------------------------------


def limit_file(buffered: Buffered) -> list[Verdict]:
    """v1's own: it can show that a limit is missing, not that it holds."""
    if buffered.seen.version != 1:
        return []
    text = buffered.seen.texts.get(LIMIT_FILE)
    told = "no limit" if text is not None and int(text) > NO_LIMIT_BYTES else text
    holds, files = (None, ()) if text is None else (int(text) <= LIMIT_BYTES, (f"{LIMIT_FILE} = {text}",))
    return [claim(LIMIT_FILE, f"at most {LIMIT_BYTES}", told, holds, files=files)]


def within(buffered: Buffered) -> Verdict:
    """The sockets held no more than the limit, and the kernel counted it."""
    held, counted = buffered.held, buffered.counted
    exceeds = held is not None and held > LIMIT_BYTES + SLACK_BYTES
    is_pressed = held is not None and counted is not None and counted >= _PRESSED * LIMIT_BYTES
    return claim(
        "socket buffers",
        f"at most {format_size(LIMIT_BYTES)}, and {format_size(SLACK_BYTES)} of least buffers",
        None if held is None else size_usage(held, LIMIT_BYTES),
        # a load that met no limit, and filled no more than one, has shown nothing
        False if exceeds else True if is_pressed else None,
        reason=_reason(buffered, exceeds=exceeds, is_pressed=is_pressed),
        files=_files(buffered),
        figures={
            "socket_bytes": held,
            "counted_bytes": counted,
            "memory_bytes": buffered.memory,
            "host_tcp_rise_bytes": buffered.host_rise,
            "limit_bytes": LIMIT_BYTES,
        },
    )


def _reason(buffered: Buffered, *, exceeds: bool, is_pressed: bool) -> str:
    if buffered.held is None:
        return "the container's sockets could not be read"
    told = f"its sockets held {size_usage(buffered.held, LIMIT_BYTES)}"
    if exceeds:
        return f"{told}, and the kernel counted {_size(buffered.memory)} as the container's memory"
    return told if is_pressed else f"not pressed: {told}, and the kernel counted {_size(buffered.counted)}"


def _size(size_bytes: int | None) -> str:
    return "nothing" if size_bytes is None else format_size(size_bytes)


def _files(buffered: Buffered) -> list[str]:
    told = {
        "tx_queue and rx_queue in /proc/PID/net/tcp": buffered.held,
        PEAK_FILE if buffered.seen.version == 1 else "memory.peak": buffered.counted,
        "memory.stat sock": _most(look.sock for look in buffered.looks),
        "/proc/net/sockstat TCP mem, of the whole host, in bytes: risen by": buffered.host_rise,
    }
    return [f"{name} = {value}" for name, value in told.items() if value is not None]


# -- the list ------------------------------------------------------------------------------------------------------

_SOCKETS_REMEDY = (
    "cgroup v2 counts them by itself: move the host there. On v1 each user can take the host's net.ipv4.tcp_mem beside "
    f"mem_limit: lower that. What an administrator writes into {LIMIT_FILE} of a container's own cgroup, before it has "
    "sockets, holds; in the parent cgroup alone it does nothing"
)

CASES: tuple[AnyCase, ...] = (
    memory_case(
        number=66,
        title="what sockets buffer counts as memory",
        expected=f"{_SENT_MIB} MiB in TCP buffers don't fit into {LIMIT_BYTES // MIB} MiB: {LIMIT_FILE} at most that",
        expected_v2=f"{_SENT_MIB} MiB in TCP buffers don't fit into memory.max of {LIMIT_BYTES // MIB} MiB",
        tolerance=f"{SLACK_BYTES // MIB} MiB above it: each socket gets its least buffers; pressed from 90 % on",
        press=lambda bench: buffered(bench, LIMITED),
        control=lambda bench: buffered(bench, FREE),
        claims=(unpressed(limit_file), within),
        remedy=_SOCKETS_REMEDY,
        defect=(
            "cgroup v1 counts TCP memory only where memory.kmem.tcp.limit_in_bytes was written, and then beside "
            "mem_limit (Linux mm/memcontrol-v1.c, memcg_update_tcp_max); Docker takes KernelMemoryTCP, and drops it "
            "without a word"
        ),
        defect_of=1,
    ),
)
