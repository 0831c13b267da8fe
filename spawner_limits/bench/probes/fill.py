"""fill.py PATH MIB: write a file of that size, and remove it."""

import pathlib
import sys

path, size = sys.argv[1], int(sys.argv[2])
try:
    with open(path, "wb", buffering=0) as file:
        file.writelines(bytes(1 << 20) for _ in range(size))
finally:
    pathlib.Path(path).unlink()
