"""`serve --simulate=openai` as a process: calls of another service, supervised as any chat."""

import signal

import pytest

from tests.process.conftest import evi_mcp

pytestmark = pytest.mark.anyio


async def test_simulated_calls_of_openai_are_live_chats_at_once() -> None:
    """No key and no account: an agent attaches, speaks, and sees its words come back."""
    async with evi_mcp("serve", "--simulate=openai") as server:
        await server.initialize()
        chats = (await server.call("list_chats", scope="active"))["structuredContent"]["chats"]
        assert len(chats) == 3 and all(chat["chat_id"].startswith("rtc_") for chat in chats)
        chat_id = chats[0]["chat_id"]
        chat = (await server.call("attach_chat", chat_id=chat_id))["structuredContent"]
        assert chat["state"] == "live"
        receipt = await server.call("send_user_input", chat_id=chat_id, text="Are you there?", wait_for_effect_s=5)
        assert receipt["structuredContent"]["status"] == "confirmed"
        server.process.send_signal(signal.SIGINT)
        assert (await server.ended())[0] == 130
