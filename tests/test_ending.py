"""The end of the process, and what it has time for."""

import pytest

from evi_mcp import ending
from evi_mcp.server import stdio
from evi_mcp.server.http import serve, tenants
from evi_mcp.supervision import registry


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param(stdio.GRACE_S + stdio.LAST_ANSWERS_S, id="stdio"),
        pytest.param(tenants.ANSWERS_S + serve.LAST_ANSWERS_S, id="http"),
    ],
)
def test_what_an_orderly_end_takes_at_most_is_less_than_what_cuts_it_short(beside: float) -> None:
    """Else a service that takes nothing would keep the sockets of all other chats from being closed."""
    assert registry.RESUME_S < registry.STOP_S
    assert registry.STOP_S + beside < ending.LIMIT_S - ending.LAST_LINES_S
