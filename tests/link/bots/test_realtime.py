"""Bots whose model hears and speaks by itself: what works, and what is declared as not working."""

import base64
import io
import wave
from pathlib import Path
from typing import Any

import pytest

from examples.letters import Reader
from tests.link.bots.call import Program, call_with, environment
from tests.link.fake_hub import FakeHub, fake_hub

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent


async def check_settings(hub: FakeHub, chat: Any) -> None:
    """Nothing stands between a supervisor and such a model but its instructions."""
    assert not {"pause_assistant_message", "resume_assistant_message"} & set(chat.hellos[0]["supports"])
    assert "does not support" in (await hub.command(chat, "pause_assistant_message") or "")
    refusal = await hub.command(chat, "session_settings", context={"text": "be brief"}, system_prompt="No.")
    assert "cannot change a temporary context; nothing was changed" in (refusal or "")
    context = {"text": "he is angry", "type": "persistent"}
    assert await hub.command(chat, "session_settings", context=context, system_prompt="Help.") is None


async def test_a_pipecat_bot_on_a_realtime_service(bots_python: Path) -> None:
    """Its voice comes in pieces without sentences; supervisors get sentences."""
    bot = HERE / "realtime_bot.py"
    async with fake_hub() as hub, call_with("pipecat", bots_python, hub, bot=bot) as call:
        chat = await call.chat()
        assert "assistant_input" not in chat.hellos[0]["supports"]  # it has no voice to give exact words to
        await call.say("hello")
        await call.hears("My orders: Be a desk.")
        await hub.until(lambda: chat.of("assistant_end"))
        assert chat.texts("user_message") == ["hello"]
        assert chat.texts("assistant_message") == ["You said: hello.", "My orders: Be a desk."]
        await check_settings(hub, chat)
        for again in range(20):  # the settings are on their way through the pipeline
            await call.say(f"again {again}")
            await call.hears(f"You said: again {again}. My orders: ")
            await hub.until(lambda again=again: len(chat.of("assistant_end")) == again + 2)  # type: ignore[misc]
            if "My orders: Help." in chat.texts("assistant_message"):
                break
        assert chat.texts("assistant_message")[-1] == "Context: he is angry"


async def test_a_livekit_agent_on_a_realtime_model(bots_python: Path) -> None:
    """Transcripts of both sides, typed turns, standing instructions."""
    async with fake_hub() as hub:
        agent = await Program.start(bots_python, HERE / "realtime_agent.py", env=environment(hub.url))
        try:
            chat = await hub.chat()
            await hub.until(lambda: chat.socket)
            assert agent.process.stdin is not None
            agent.process.stdin.write(b"hello\n")
            await hub.until(lambda: chat.of("assistant_end"))
            assert chat.texts("user_message") == ["hello"]
            assert chat.texts("assistant_message") == ["You said: hello.", "My orders: Be a desk."]
            await check_settings(hub, chat)
            assert await hub.command(chat, "user_input", text="typed") is None
            await hub.until(lambda: len(chat.of("assistant_end")) == 2)
            assert chat.texts("assistant_message")[2:] == ["My orders: Help.", "Context: he is angry"]
            assert [(m["message"]["content"], m["from_text"]) for m in chat.of("user_message")] == [
                ("hello", False),
                ("typed", True),
            ]
            agent.process.stdin.close()
            await hub.until(lambda: chat.ended)
            assert chat.ended == "the session closed: user_initiated" and await agent.ends() == 0
        finally:
            await agent.kill()


async def test_what_a_pipecat_bot_sounds_like_is_told_if_asked_for(bots_python: Path) -> None:
    """`audio=True`: what the hub gets is what the caller hears, as EVI's small WAVs with the id of their message."""
    async with fake_hub() as hub, call_with("pipecat", bots_python, hub, more=["--audio"]) as call:
        chat = await call.chat()
        await call.say("hello there")
        await call.hears("You said: hello there.")
        await hub.until(lambda: chat.of("assistant_end"))
        chunks, (message,) = chat.of("audio_output"), chat.of("assistant_message")
        assert {chunk["id"] for chunk in chunks} == {message["id"]}
        assert [chunk["index"] for chunk in chunks] == list(range(len(chunks)))
        ear, heard = Reader(24_000), ""
        for chunk in chunks:
            with wave.open(io.BytesIO(base64.b64decode(chunk["data"]))) as piece:
                assert (piece.getframerate(), piece.getsampwidth(), piece.getnchannels()) == (24_000, 2, 1)
                heard += ear.read(piece.readframes(piece.getnframes()))
        assert heard.strip() == "You said: hello there."
