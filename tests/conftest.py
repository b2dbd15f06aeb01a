"""What every test may rely on: anyio on asyncio, and hypothesis without a clock of its own."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# For `make mutants`: the same examples each time, and a failure is enough, however large its example.
settings.register_profile(
    "mutants", settings.get_profile("suite"), derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("suite")


FOREIGN = tuple(Path(__file__).parent / folder for folder in ("clients", "link/bots"))
FOREIGN_TIMEOUT_S = 600
"""Their environments are made by the first test that wants them, and another worker may wait for it."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what runs the software of others, which takes longer to install than all else takes to run."""
    for item in items:
        if any(folder in item.path.parents for folder in FOREIGN):
            item.add_marker(pytest.mark.foreign)
            item.add_marker(pytest.mark.timeout(FOREIGN_TIMEOUT_S))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
