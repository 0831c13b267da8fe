"""What our images are for runs without capabilities, without new privileges, and with a small /dev/shm."""

from __future__ import annotations

import pytest

from spawner_limits.spawners.hardening import hardening
from tests.conftest import MINIMAL, TENSORFLOW

SUM = "import tensorflow as tf; print(float(tf.reduce_sum(tf.matmul(tf.ones((64, 64)), tf.ones((64, 64))))))"
WORKS = {
    "TensorFlow": (TENSORFLOW, ["python3", "-c", SUM], "262144.0"),
    "pip into the user's environment": (MINIMAL, ["sh", "-c", "touch /opt/venv/x && rm /opt/venv/x && echo ok"], "ok"),
    "files of one's own": (MINIMAL, ["sh", "-c", "touch work/x && chmod 600 work/x && stat -c %U work/x"], "jovyan"),
    "processes between two Pythons": (
        MINIMAL,
        [*("python3", "-c"), "import multiprocessing as m; print(sum(m.Pool(2).map(abs, range(-9, 0))))"],
        "45",
    ),
}


@pytest.mark.parametrize(("image", "command", "wanted"), WORKS.values(), ids=WORKS)
def test_it_works_hardened(client, image, command, wanted):
    """As the image's own user, who has no capability to lose."""
    limits = {"mem_limit": "2g", "pids_limit": 256, "network_mode": "none"}
    config = client.create_host_config(**limits, **hardening({}, 2 << 30))
    container = client.create_container(image, command, host_config=config)["Id"]
    try:
        client.start(container)
        assert client.wait(container, timeout=60)["StatusCode"] == 0, client.logs(container)
        assert client.logs(container, stderr=False).decode().strip().splitlines()[-1] == wanted
    finally:
        client.remove_container(container, force=True)
