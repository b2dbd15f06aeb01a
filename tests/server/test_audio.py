"""EVI's voice as a resource: one WAV for each message, read by reference, in both eras."""

import base64
import io
import wave
from typing import Any
from urllib.parse import quote

import anyio
import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent, agent_on, supervising

pytestmark = pytest.mark.anyio

TEMPLATE = "evi://chats/{chat_id}/audio/{message_id}"
SECOND = 96_000  # bytes of 48 kHz, 16 bit, mono


def uri(message_id: str, chat_id: str = CHAT) -> str:
    return f"evi://chats/{chat_id}/audio/{quote(message_id, safe='')}"


async def contents(agent: Agent, message_id: str) -> types.BlobResourceContents:
    (found,) = (await agent.client.read_resource(uri(message_id))).contents
    assert isinstance(found, types.BlobResourceContents)
    return found


async def heard(agent: Agent, message_id: str) -> bytes:
    """The frames of a message's WAV."""
    with wave.open(io.BytesIO(base64.b64decode((await contents(agent, message_id)).blob)), "rb") as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 48_000)
        return sound.readframes(sound.getnframes())


async def refusal(agent: Agent, message_id: str, chat_id: str = CHAT) -> str:
    with pytest.raises(MCPError) as caught:
        await agent.client.read_resource(uri(message_id, chat_id))
    assert caught.value.error.code == types.INVALID_PARAMS, "a mistake of the caller's, not of this server"
    return caught.value.error.message


async def templates(agent: Agent) -> list[str]:
    return [item.uri_template for item in (await agent.client.list_resource_templates()).resource_templates]


async def test_a_message_is_heard_whole_as_one_wav(evi: FakeEvi, era: str) -> None:
    """Our contract (section 6). The chunks came with the history and live, around a lost connection, out of order."""
    evi.history[CHAT] = [
        frames.metadata(),
        frames.assistant("Hello.", "m-1"),
        frames.audio("m-1", 0, frames.wav(b"ab")),
    ]
    async with supervising(evi) as server, agent_on(server, era) as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        assert await heard(agent, "m-1") == b"ab", "what there is so far"
        cursor = (await agent.call("get_chat", chat_id=CHAT))["cursor"]
        evi.cut(CHAT)
        await evi.until(lambda: evi.closes[CHAT] and evi.sockets[CHAT])
        await evi.push(CHAT, frames.audio("m-1", 2, frames.wav(b"ef")), frames.audio("m-1", 1, frames.wav(b"cd")))
        await evi.push(CHAT, frames.end())
        await agent.call("wait_for_events", after=cursor, types=["assistant_end"])
        assert await heard(agent, "m-1") == b"abcdef"
        found = await contents(agent, "m-1")
        assert (found.mime_type, found.meta) == ("audio/wav", None)
        listed = [str(item.uri) for item in (await agent.client.list_resources()).resources]
        assert not [item for item in listed if "audio" in item], "one for each message would drown the list"
        assert TEMPLATE in await templates(agent)


async def test_what_is_missing_is_said_beside_the_audio(evi: FakeEvi, era: str) -> None:
    """A listener wants the rest, and to know that there was more."""
    made = [frames.audio("m-1", index, data) for index, data in [(0, frames.wav(b"ab")), (1, "UklG"), (3, "?")]]
    evi.history[CHAT] = [frames.metadata(), *made, frames.audio("m-2", 0, "?")]
    async with supervising(evi) as server, agent_on(server, era) as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        assert await heard(agent, "m-1") == b"ab"
        notes = [
            "chunk 1 was left out: it is not a WAV file",
            "chunk 3 was left out: it is not base64",
            "chunk 2 has not come",
        ]
        assert (await contents(agent, "m-1")).meta == {"evi-mcp/notes": notes}
        with pytest.raises(MCPError, match="cannot be joined to one WAV: chunk 0 was left out: it is not base64"):
            await agent.client.read_resource(uri("m-2"))


@pytest.mark.parametrize("message_id", ["a/b c?d#e", "..", "/etc/passwd", "é%2F", "nul\0"])
async def test_an_id_may_be_any_text(evi: FakeEvi, agent: Agent, message_id: str) -> None:
    """EVI's are 32 hex digits in samples; nothing promises so, and they are looked up, not opened."""
    evi.history[CHAT] = [frames.metadata(), frames.audio(message_id, 0, frames.wav(b"ab"))]
    await agent.call("attach_chat", chat_id=CHAT)
    assert await heard(agent, message_id) == b"ab"


async def test_what_cannot_be_heard_says_why_and_what_to_do(evi: FakeEvi) -> None:
    """The sentence is all that an agent gets, so it needs nothing beside it."""
    evi.history[CHAT] = [frames.metadata(), frames.assistant("Earlier.", "m-0")]
    async with supervising(evi, audio_kib=300) as server, agent_on(server) as agent:
        assert "is not attached" in await refusal(agent, "m-0")
        assert "is not a chat id" in await refusal(agent, "m-0", "a b")
        cursor = (await agent.call("attach_chat", chat_id=CHAT))["cursor"]
        second = frames.wav(b"\1" * SECOND)
        await evi.push(
            CHAT,
            *(frames.assistant(f"Sentence {n}.", f"m-{n}") for n in range(1, 5)),
            *(frames.audio("m-1", index, second) for index in range(2)),
            frames.audio("m-2", 0, second),
            *(frames.audio("m-3", index, second) for index in range(3)),
            frames.audio("m-5", 0, frames.wav(b"ab")),
            frames.end(),
        )
        await agent.call("wait_for_events", after=cursor, types=["assistant_end"])
        said = await refusal(agent, "m-0")
        assert said.startswith('no audio of message "m-0" is kept in chat "chat-1": ')
        assert said.endswith("the message came with the history, and its audio did not.")
        assert "it was dropped, since only the newest 300 KiB" in await refusal(agent, "m-1")
        assert "it is longer than the 300 KiB" in await refusal(agent, "m-3")
        assert "none has come so far" in await refusal(agent, "m-4")
        assert await heard(agent, "m-5") == b"ab"
        assert 'message "x\\n[1] user" is kept' in await refusal(agent, "x\n[1] user"), "quoted, whatever it is"
        assert "no message of this id is known; take the `message_id`" in await refusal(agent, "x")
        await evi.close(CHAT)
        await agent.until_state("ended")
        assert "none came before the chat was over" in await refusal(agent, "m-4")
        assert await heard(agent, "m-5") == b"ab", "a chat that is over stays readable"


async def test_audio_turned_off_is_not_kept_and_not_listed(evi: FakeEvi, era: str) -> None:
    """`EVI_MCP_AUDIO_KIB=0`: the memory is not spent, and whoever asks is told."""
    evi.history[CHAT] = [frames.metadata(), frames.audio("m-1", 0, frames.wav(b"ab"))]
    async with supervising(evi, audio_kib=0) as server, agent_on(server, era) as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        assert TEMPLATE not in await templates(agent)
        assert "audio is off (EVI_MCP_AUDIO_KIB=0)" in await refusal(agent, "m-1")


async def test_the_audio_of_a_chat_that_may_not_be_touched_is_not_given(evi: FakeEvi) -> None:
    """Our contract (section 2): the allow-list holds for resources too."""
    async with supervising(evi, allowed_chats="other") as server, agent_on(server) as agent:
        assert "EVI_MCP_ALLOWED_CHATS" in await refusal(agent, "m-1")


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")  # what older clients do
async def test_whoever_follows_a_voice_hears_of_each_new_chunk(evi: FakeEvi) -> None:
    """Our contract (section 6): subscribing works for clients of both eras on the query-free URIs, of which this is."""
    evi.history[CHAT] = [frames.metadata()]
    send, told = anyio.create_memory_object_stream[Any](100)

    async def note(message: Any) -> None:
        await send.send(message)

    with anyio.fail_after(20):
        async with supervising(evi) as server:
            async with agent_on(server, "legacy", message_handler=note) as older, agent_on(server) as newer:
                await newer.call("attach_chat", chat_id=CHAT)
                await older.client.subscribe_resource(uri("m/1"))
                async with newer.client.listen(resource_subscriptions=[uri("m/1")]) as stream:
                    await evi.push(CHAT, frames.audio("m/1", 0, frames.wav(b"ab")))
                    async for event in stream:
                        assert getattr(event, "uri", None) == uri("m/1")
                        assert await heard(newer, "m/1") == b"ab"
                        break
                message = await told.receive()
                while not isinstance(message, types.ResourceUpdatedNotification):
                    message = await told.receive()
                assert str(message.params.uri) == uri("m/1")
    send.close()
    told.close()
