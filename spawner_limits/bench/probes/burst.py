"""burst.py SECONDS BUSY_MS IDLE_MS: one process, busy for a moment and then idle for one, again and again."""

import sys
import time

seconds, busy, idle = float(sys.argv[1]), float(sys.argv[2]) / 1000, float(sys.argv[3]) / 1000
end = time.monotonic() + seconds
while time.monotonic() < end:
    done = time.process_time() + busy
    while time.process_time() < done:
        pass
    time.sleep(idle)
