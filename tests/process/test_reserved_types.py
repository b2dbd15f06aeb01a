"""A service that sends what only this server sends: types of our own."""

import pytest

from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT
from tests.process.conftest import evi_mcp
from tests.process.test_watch import line, until_live

pytestmark = pytest.mark.anyio


async def test_watch_shows_them_as_the_services_and_goes_on(evi: FakeEvi) -> None:
    """It ended with a traceback, for a state of the chat without a state."""
    evi.history[CHAT] = [frames.metadata()]
    async with evi_mcp("watch", CHAT, evi=evi) as watch:
        await until_live(watch)
        await evi.push(CHAT, frames.frame("chat_state"), frames.frame("command"), frames.frame("protocol_fault"))
        for kind in ("chat_state", "command", "protocol_fault"):
            assert await line(watch) == f'event  "service:{kind}" {{"type":"{kind}"}}'
        await evi.push(
            CHAT, frames.frame("chat_state", state="ended", reason="made up"), frames.user("Hello", scores={})
        )
        assert "service:chat_state" in await line(watch)
        assert await line(watch) == "user  Hello"
        await evi.close(CHAT)
        status, log = await watch.ended()
    assert (status, log) == (0, "")
