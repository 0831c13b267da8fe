"""cache.py MIB SECONDS: write a file of that size to the disk, so that its pages are clean, and keep it for a while."""

import os
import pathlib
import sys
import tempfile
import time

name = pathlib.Path(tempfile.gettempdir(), "spawner-limits-cache")
file = os.open(name, os.O_CREAT | os.O_WRONLY, 0o600)
name.unlink()
for _ in range(int(sys.argv[1])):
    os.write(file, bytes(1 << 20))
os.fsync(file)
print("written", flush=True)
time.sleep(float(sys.argv[2]))
