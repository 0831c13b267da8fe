"""threads.py COUNT SECONDS: so many threads that wait, or as many as it gets; then, so long, one more now and then.

Prints how many it got, and why it got no more.
"""

import sys
import threading
import time

over, at_once = threading.Event(), threading.Event()
at_once.set()


def start(until: threading.Event) -> threading.Thread:
    """A thread that waits for that."""
    one = threading.Thread(target=until.wait, daemon=True)
    one.start()
    return one


got = 0
try:
    while got < int(sys.argv[1]):
        start(over)
        got += 1
except RuntimeError as error:
    print(error)
print("got", got, flush=True)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        start(at_once).join()
    except RuntimeError as error:
        print(error, flush=True)
    time.sleep(0.05)
