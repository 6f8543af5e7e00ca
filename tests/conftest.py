import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, before torch is imported

import pytest
from hypothesis import HealthCheck, settings

# One profile for every machine: no deadlines (timed tests fail on busy machines), few examples by default.
settings.register_profile("xfeat", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xfeat")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real open data, or a skip that says so."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("XFEAT_SHARED_DATA", default))
    if not (folder / "wikipedia").is_dir():
        pytest.skip(f"no real data at {folder} (set XFEAT_SHARED_DATA to its folder)")
    return folder
