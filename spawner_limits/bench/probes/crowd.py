"""crowd.py COUNT MIB: so many children take so much memory each, and keep it until all have theirs, or were killed.

Prints how many were killed.
"""

import contextlib
import mmap
import os
import signal
import sys
import time

count, size = int(sys.argv[1]), int(sys.argv[2])
ready, tell = os.pipe()
os.set_blocking(ready, False)
living = set()
for _ in range(count):
    child = os.fork()
    if child == 0:
        part = mmap.mmap(-1, size << 20)
        for page in range(0, len(part), mmap.PAGESIZE):
            part[page] = 1
        os.write(tell, b".")
        time.sleep(240)
    living.add(child)
touched = 0
while touched < len(living):
    time.sleep(0.02)
    with contextlib.suppress(BlockingIOError):
        touched += len(os.read(ready, count))
    while living and (ended := os.waitpid(-1, os.WNOHANG)[0]):
        living.discard(ended)
print(count - len(living), flush=True)
for child in living:
    os.kill(child, signal.SIGKILL)
