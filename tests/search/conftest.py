import pytest

from tests.search.building import Made, make


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Trained runs over media, to read only."""
    return make(tmp_path_factory.mktemp("search"))
