"""sockets.py MIB CONNECTIONS SECONDS: fill loopback TCP connections, one after the other, that nobody reads from.

At most so much together, and so many connections. Prints "filled" and the MiB sent, and keeps them.
"""

import socket
import sys
import time

size, most, seconds = int(sys.argv[1]) << 20, int(sys.argv[2]), float(sys.argv[3])
# tries after the last one that sent something: the kernel enlarges a buffer only once it is nearly full
TRIES, PAUSE_S = 8, 0.004


def fill(one: socket.socket, room: int) -> int:
    """Send until the buffers of both ends are full; how much that was."""
    sent, left = 0, TRIES
    while left and sent < room:
        try:
            sent += one.send(bytes(min(1 << 16, room - sent)))
            left = TRIES
        except BlockingIOError:
            left -= 1
            time.sleep(PAUSE_S)
    return sent


server = socket.create_server(("127.0.0.1", 0))
held: list[tuple[socket.socket, socket.socket]] = []
sent = 0
while sent < size and len(held) < most:
    try:
        one = socket.create_connection(server.getsockname(), timeout=2)
    except OSError:  # no memory left for another one
        break
    held.append((one, server.accept()[0]))
    one.settimeout(0)
    sent += fill(one, size - sent)
print("filled", sent >> 20, flush=True)
time.sleep(seconds)
