"""fork_hog.py MIB: a child takes so much memory; this process lives on.

The child's exit code is written to /dev/shm/ended.
"""

import mmap
import os
import pathlib
import sys
import time

child = os.fork()
if child == 0:
    part = mmap.mmap(-1, int(sys.argv[1]) << 20)
    for page in range(0, len(part), mmap.PAGESIZE):
        part[page] = 1
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
told = pathlib.Path("/dev/shm/ended.new")
told.write_text(str(128 - code if code < 0 else code))
told.rename("/dev/shm/ended")
time.sleep(240)
