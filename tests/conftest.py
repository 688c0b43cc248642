"""Settings of all tests."""

import os

import torch
from hypothesis import HealthCheck, settings

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("calibrant", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calibrant")

# Tests run side by side, one process a core: threads of their own would wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
