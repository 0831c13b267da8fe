"""stairs.py MIB STEP_MIB SECONDS: take memory in steps, with a pause after each, then hold it for some seconds."""

import mmap
import sys
import time

size, step, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
held = []
for reached in range(step, size + step, step):
    part = mmap.mmap(-1, step << 20)
    for page in range(0, len(part), mmap.PAGESIZE):
        part[page] = 1
    held.append(part)
    print(reached, flush=True)
    time.sleep(pause)
time.sleep(2)
