"""forks.py COUNT SECONDS: so many processes that wait, or as many as it gets; then, so long, one more now and then.

Prints how many it got, and why it got no more.
"""

import os
import sys
import time

waiting, over = os.pipe()
at_once, nothing = os.pipe()
os.close(nothing)


def start(until: int) -> int:
    """A child that ends as soon as the pipe has no writer; its id."""
    child = os.fork()
    if child == 0:
        os.close(over)
        os.read(until, 1)
        os._exit(0)
    return child


got = 0
try:
    while got < int(sys.argv[1]):
        start(waiting)
        got += 1
except OSError as error:
    print(error.strerror)
print("got", got, flush=True)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        os.waitpid(start(at_once), 0)
    except OSError as error:
        print(error.strerror, flush=True)
    time.sleep(0.05)
