"""disk.py BYTES MOST SECONDS: so many bytes at a time, at most MOST times, to the disk itself: the same 16 MiB."""

import mmap
import os
import pathlib
import sys
import tempfile
import time

size, most, end = int(sys.argv[1]), int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
block = mmap.mmap(-1, size)  # O_DIRECT wants aligned memory
block.write(os.urandom(size))
name = pathlib.Path(tempfile.gettempdir(), "spawner-limits-disk")
file = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_DIRECT, 0o600)
name.unlink()
written = 0
while written < most and time.monotonic() < end:
    os.pwrite(file, block, written * size % (16 << 20))
    written += 1
print(written)
