"""What runs in the container, for so many seconds: `hinted.py matrix 5` or `hinted.py training 5`.

It has Python and what the image has; nothing of this project is there.
"""

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

DATA = "/notebook/mnist_2k_500.npz"
OPENBLAS = "OPENBLAS_THREADS_BY_CALL"
"""OpenBLAS caps what its variables say at the CPUs that it sees, but not what it is told by a call"""
REST_S = 0.3
"""for whoever reads the Linux kernel's counters at the beginning and at the end"""


def matrix() -> Callable[[], object]:
    """A product of two matrices of 512 × 512, by NumPy's OpenBLAS."""
    numpy: Any = import_module("numpy")
    if count := int(os.environ.get(OPENBLAS, "0")):
        (library,) = Path(numpy.__file__).parents[1].glob("numpy.libs/libscipy_openblas64_*.so")
        ctypes.CDLL(str(library)).scipy_openblas_set_num_threads64_(count)
    one = numpy.random.default_rng(1).random((512, 512), dtype="float32")
    return lambda: one @ one


def training() -> Callable[[], object]:
    """An epoch of the notebook's training, by TensorFlow: 63 steps of 32 images."""
    tensorflow: Any = import_module("tensorflow")
    keras, images = tensorflow.keras, import_module("numpy").load(DATA)
    inputs, labels = images["x_train"][..., None], images["y_train"]
    network = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(16, 5, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile(optimizer="adam", loss="sparse_categorical_crossentropy", jit_compile=False)
    return lambda: network.fit(inputs, labels, batch_size=32, verbose=0)


LOADS = {"matrix": matrix, "training": training}


def main(load: str, seconds: float) -> None:
    """Warm up, print "go", work for so long, and print what was done, in what time, with how many threads."""
    work, done = LOADS[load](), 0
    work()
    print("go", flush=True)  # noqa: T201  what is read
    time.sleep(REST_S)
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        work()
        done += 1
    took = time.monotonic() - begin
    threads = len(list(Path("/proc/self/task").iterdir()))
    print(json.dumps({"done": done, "seconds": took, "threads": threads}), flush=True)  # noqa: T201
    time.sleep(REST_S)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
