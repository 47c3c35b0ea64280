"""For all tests: few threads (a test is small, other work shares the machine) and nothing fetched from outside."""

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

# Speed is not what property tests are about, and it varies with whatever else the machine does.
settings.register_profile("polymnia", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("polymnia")
