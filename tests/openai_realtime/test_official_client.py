"""A client that nobody here wrote: OpenAI's own SDK as a second client of the call, on the simulated sideband."""

import contextlib
from typing import Any

import anyio
import pytest
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.exceptions import ConnectionClosed

from tests.openai_realtime.rig import KEY, rig

pytestmark = pytest.mark.anyio
SERVER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


async def test_the_official_client_attaches_answers_a_call_and_is_seen_by_the_supervisor() -> None:
    """It is the page, or another server, of the same call: what it does stands in the chat."""
    async with rig() as made, AsyncOpenAI(api_key=KEY, base_url=made.service.base_url) as client:
        call_id = await made.attached("support")
        agent = await made.supervise(call_id)
        async with client.realtime.connect(call_id=call_id) as connection:
            assert (await connection.recv()).type == "session.created"
            called = ""
            while not called:
                event = await connection.recv()
                SERVER.validate_python(event.model_dump(mode="json", exclude_unset=True))
                if event.type == "response.function_call_arguments.done":
                    called = event.call_id
            item: Any = {"type": "function_call_output", "call_id": called, "output": '{"status": "lost"}'}
            await connection.conversation.item.create(item=item)
            answer = await agent.until("tool_response")
            assert (answer["tool_call_id"], answer["content"]) == (called, '{"status": "lost"}')
            await agent.send("tool_response", tool_call_id=called, content="mine")
            assert "answered already" in (await agent.until("error"))["message"]
            await connection.response.create()
            async with anyio.create_task_group() as group:
                group.start_soon(_read_on, connection)  # with frames unread the client's close takes 10 s
                await agent.until("assistant_message", lambda message: "lost" in message["message"]["content"])
                made.service.call(call_id).hang_up()
                made.service.wake(call_id)


async def _read_on(connection: Any) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await connection.recv()


async def test_what_a_supervisor_does_is_official_to_the_official_client() -> None:
    """Whisper, typed words, a line and a pause, as another client of the call sees them."""
    async with rig() as made, AsyncOpenAI(api_key=KEY, base_url=made.service.base_url) as client:
        call_id = await made.attached()
        agent = await made.supervise(call_id)
        async with client.realtime.connect(call_id=call_id) as connection:
            await connection.recv()
            await agent.send("session_settings", context={"text": "A VIP.", "type": "persistent"})
            await agent.send("user_input", text="Hello?")
            seen: list[str] = []

            async def until(kind: str) -> None:
                while kind not in seen:
                    event = await connection.recv()
                    SERVER.validate_python(event.model_dump(mode="json", exclude_unset=True))
                    seen.append(event.type)

            await until("output_audio_buffer.started")
            await agent.send("pause_assistant_message")
            await until("session.updated")
            await until("output_audio_buffer.cleared")
            assert seen.count("conversation.item.done") >= 2 and "response.created" in seen


async def test_the_official_client_hangs_up() -> None:
    """By REST, as the adapter does."""
    async with rig() as made, AsyncOpenAI(api_key=KEY, base_url=made.service.base_url) as client:
        call_id = await made.attached()
        await client.realtime.calls.hangup(call_id)
        assert "the call is over" in await made.ended(call_id)
