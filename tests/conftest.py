import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, before torch is imported
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background, where Ctrl-C could not be tested
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from hypothesis import HealthCheck, settings

# What is written survives the end of a process without it; against power cuts, which no test makes, it takes long.
# Processes that tests start do it as always. A descriptor that is none is an error here too.
os.fsync = os.fstat  # type: ignore[assignment]

# No deadlines: timed tests fail on busy machines. The same examples in every run, so that a failure can be repeated;
# HYPOTHESIS_PROFILE=search looks for new ones.
common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("xfeat", max_examples=20, derandomize=True, **common)
settings.register_profile("search", max_examples=500, **common)
profile = os.environ.get("HYPOTHESIS_PROFILE", "xfeat")
settings.load_profile(profile)

providers = sys.modules.get("hypothesis.internal.conjecture.providers")
if profile == "xfeat" and hasattr(providers, "_get_local_constants"):
    # Hypothesis tries constants of the modules that are imported by then, which are others in a file alone, and in
    # each process of a whole run: the examples would be others too. There is no setting for it.
    providers._get_local_constants = providers.Constants  # type: ignore[union-attr]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real open data, or a skip that says so."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("XFEAT_SHARED_DATA", default))
    if not (folder / "wikipedia").is_dir():
        pytest.skip(f"no real data at {folder} (set XFEAT_SHARED_DATA to its folder)")
    return folder
