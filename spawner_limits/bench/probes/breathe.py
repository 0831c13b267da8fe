"""breathe.py WORKERS MIB: processes that each take memory and give it back, again and again.

They ask the OOM killer to take them before any other in their container. The first one only waits for them; on SIGUSR1
it takes memory itself, each time twice as much.
"""

import mmap
import os
import signal
import sys
import time


def breathe(size: int, pause: float) -> None:
    """Take so many MiB, and give them back."""
    part = mmap.mmap(-1, size << 20)
    for page in range(0, len(part), mmap.PAGESIZE):
        part[page] = 1
    time.sleep(pause)
    part.close()
    time.sleep(pause)


workers, size = int(sys.argv[1]), int(sys.argv[2])
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
left = 0
for number in range(workers):
    if os.fork() == 0:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
        while True:
            breathe(size, 0.04 + 0.01 * number)
    left += 1
while left:
    os.wait()
    left -= 1
signal.sigwait({signal.SIGUSR1})
while True:
    breathe(size, 0.1)
    size *= 2
