"""What a handshake that fails says: when to come again, and what was wrong."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from evi_mcp.upstream.reconnect import MAX_RETRY_AFTER_S, retry_after
from evi_mcp.upstream.transport import Refused, Unreachable
from evi_mcp.upstream.websocket import WebSocketConnector
from tests.secrets.places import somewhere

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ([], None),
        (["120"], 120.0),
        ([" 7 "], 7.0),
        (["0"], 0.0),
        (["9" * 5000], MAX_RETRY_AFTER_S),
        (["86400"], MAX_RETRY_AFTER_S),
        ([formatdate(NOW + 90, usegmt=True)], 90.0),
        ([formatdate(NOW - 90, usegmt=True)], 0.0),
        ([formatdate(NOW + 1e6, usegmt=True)], MAX_RETRY_AFTER_S),
        (["Sun, 06 Nov 1994 08:49:37 GMT"], 0.0),
        (["-5"], None),
        (["1.5"], None),
        (["soon"], None),
        (["٣"], None),
        ([""], None),
        (["soon", "30"], 30.0),
        (["10", "30"], 10.0),
    ],
)
def test_when_to_come_again_is_read_in_both_forms_and_bounded(headers: list[str], wait: float | None) -> None:
    """RFC 9110, section 10.2.3: seconds or a date; more than an hour is nobody's patience."""
    assert retry_after(headers, NOW) == wait


@given(st.lists(st.text(max_size=40), max_size=3), st.floats(0, 4e9))
def test_no_header_makes_it_fail(headers: list[str], now: float) -> None:
    """It comes from a service that is in trouble already."""
    wait = retry_after(headers, now)
    assert wait is None or 0 <= wait <= MAX_RETRY_AFTER_S


@pytest.mark.parametrize(
    ("lines", "wait"),
    [
        ("", None),
        ("Retry-After: 120\r\n", 120.0),
        ("Retry-After: 99999999\r\n", 3600.0),
        ("Retry-After: x\r\n" * 2, None),
    ],
)
async def test_a_refused_handshake_carries_when_to_come_again(lines: str, wait: float | None) -> None:
    """On a real socket; who reconnects has to know it."""
    answer = f"HTTP/1.1 503 Busy\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
    async with somewhere(answer=answer) as place:
        with pytest.raises(Refused) as refused:
            await WebSocketConnector(f"HTTP://{place.address}", SecretStr("test-key")).connect("c-1")
    assert (refused.value.status, refused.value.retry_after) == (503, wait)


@pytest.mark.parametrize(
    ("base_url", "said"),
    [
        ("http://127.0.0.1:9", "the service cannot be reached (connection refused)"),
        ("http://localhost:9", "the service cannot be reached (connection refused)"),
        ("http://no-such-host.invalid", "its name is not known"),
        (f"http://{'x' * 70}.invalid", "the base URL cannot be used"),
        ("http://a..b", "the base URL cannot be used"),
    ],
)
async def test_what_the_system_says_is_passed_on_in_plain_words(base_url: str, said: str) -> None:
    """Several addresses, as `localhost` has, were told of as a connection that broke."""
    with pytest.raises(Unreachable) as error:
        await WebSocketConnector(base_url, SecretStr("test-key")).connect("c-1")
    assert said in str(error.value)
