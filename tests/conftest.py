import os
import signal
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, before torch is imported
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background, where Ctrl-C could not be tested
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: timed tests fail on busy machines. The same examples in every run, so that a failure can be repeated;
# HYPOTHESIS_PROFILE=search looks for new ones.
common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("xfeat", max_examples=20, derandomize=True, **common)
settings.register_profile("search", max_examples=500, **common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "xfeat"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real open data, or a skip that says so."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("XFEAT_SHARED_DATA", default))
    if not (folder / "wikipedia").is_dir():
        pytest.skip(f"no real data at {folder} (set XFEAT_SHARED_DATA to its folder)")
    return folder
