"""hog.py MIB [STEP_MIB [HOLD_SECONDS [first]]]: take memory step by step and touch each page; print each step reached.

With `first`, this process asks the OOM killer to take it before any other in its container.
"""

import mmap
import sys
import time

size, step = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 4
if "first" in sys.argv:
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
held = []
for reached in range(step, size + step, step):
    part = mmap.mmap(-1, step << 20)
    for page in range(0, len(part), mmap.PAGESIZE):
        part[page] = 1
    held.append(part)
    print(reached, flush=True)
time.sleep(float(sys.argv[3]) if len(sys.argv) > 3 else 0)
