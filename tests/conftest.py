"""What every test may rely on: anyio on asyncio, and hypothesis without a clock of its own."""

import pytest
from hypothesis import HealthCheck, Phase, settings

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# For `make mutants`: the same examples each time, and a failure is enough, however large its example.
settings.register_profile(
    "mutants", settings.get_profile("suite"), derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("suite")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
