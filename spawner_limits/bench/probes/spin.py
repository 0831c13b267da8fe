"""spin.py WORKERS SECONDS: so many processes, each busy on one CPU."""

import os
import sys
import time

workers, seconds = int(sys.argv[1]), float(sys.argv[2])
end = time.monotonic() + seconds
for _ in range(workers - 1):
    if os.fork() == 0:
        break
while time.monotonic() < end:
    for _ in range(20_000):
        pass
