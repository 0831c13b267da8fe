"""The tests' hub, with an image and a configuration that set variables themselves."""

import os
from pathlib import Path

c = get_config()
load_subconfig(str(Path(__file__).with_name("jupyterhub_config.py")))

c.Spawner.group_overrides = {
    "imaged": {"groups": ["imaged"], "spawner_override": {"image": os.environ["SPAWNER_LIMITS_TEST_IMAGE"]}},
    "configured": {
        "groups": ["configured"],
        "spawner_override": {"environment": {"TF_NUM_INTRAOP_THREADS": "5", "JAVA_TOOL_OPTIONS": ""}},
    },
}
