"""storm.py SECONDS: two workers, each starting one short-lived process after the other."""

import os
import sys
import time

end = time.monotonic() + float(sys.argv[1])
os.fork()
while time.monotonic() < end:
    child = os.fork()
    if child == 0:
        for _ in range(50_000):
            pass
        os._exit(0)
    os.waitpid(child, 0)
