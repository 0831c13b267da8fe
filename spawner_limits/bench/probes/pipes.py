"""pipes.py MIB SECONDS: fill pipes of a MiB each: memory of the Linux kernel itself.

Prints "filled", and keeps it.
"""

import fcntl
import os
import sys
import time

for _ in range(int(sys.argv[1])):
    _, into = os.pipe()
    room = fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(into, bytes(room))
print("filled", flush=True)
time.sleep(float(sys.argv[2]))
