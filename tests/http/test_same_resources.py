"""What holds of `tests/server/test_resources.py` holds over HTTP too: the transport adds nothing and takes nothing."""

import pytest

from tests import harness
from tests.http.rig import over_http
from tests.server.test_resources import *  # noqa: F403  # the tests themselves
from tests.server.test_resources import pytestmark as pytestmark


@pytest.fixture(autouse=True)
def _over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "reach", over_http)
