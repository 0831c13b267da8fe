"""climb.py MIB STEP_MIB PAUSE_MS: take memory step by step, touch each page, print each step reached, rest on it."""

import mmap
import sys
import time

size, step, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000
held = []
for reached in range(step, size + step, step):
    part = mmap.mmap(-1, step << 20)
    for page in range(0, len(part), mmap.PAGESIZE):
        part[page] = 1
    held.append(part)
    print(reached, flush=True)
    time.sleep(pause)
