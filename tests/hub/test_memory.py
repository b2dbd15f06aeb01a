"""The hub in the process of a supervisor: a real `ChatRegistry` on `HubConnector`, no socket between."""

import json

import anyio
import pytest

from evi_mcp.errors import InvalidSetting
from evi_mcp.hub import Hub, SourceCommand
from evi_mcp.protocol.commands import AssistantInput, UserInput
from evi_mcp.upstream.transport import Closed, NotTaken, Refused, Transport
from tests.clocks import HandClock
from tests.harness import agent_on, supervising
from tests.hub.rig import line

pytestmark = pytest.mark.anyio


async def test_an_agent_supervises_a_chat_of_the_hub_without_a_socket() -> None:
    """Attach late and see the past, act, see the effect, and see the end: through the tools of the server."""

    def speak(command: SourceCommand) -> None:
        source.publish(line(command.message["text"], id="m-2", from_text=True))
        command.done()

    async with Hub(None) as hub:
        source = hub.open_chat(chat_id="chat-1", on_command=speak)
        source.publish(line("Hello, how can I help?", id="m-1"))
        async with supervising(connector=hub.connector) as server, agent_on(server) as agent:
            chat = await agent.call("attach_chat", chat_id="chat-1")
            assert chat["state"] == "live" and "Hello, how can I help?" in str(chat["last_turns"])
            receipt = await agent.call("send_assistant_input", chat_id="chat-1", text="One moment, please.")
            assert receipt["status"] == "confirmed"
            source.end("the caller hung up")
            assert "the caller hung up" in (await agent.until_state("ended"))["reason"]
            assert "no bot has dialled in" in await agent.error("attach_chat", chat_id="nobody")


async def test_what_a_bot_does_not_carry_out_is_said_in_the_receipt_and_the_call_can_be_answered_again() -> None:
    """The receipt was `sent`, and the tool call closed for good, though the bot still waited."""
    refused: list[str] = []

    def refuse_once(command: SourceCommand) -> None:
        if command.message["type"] in refused:
            command.done()
            source.publish(line("Granted.", id="m-1"))
        else:
            refused.append(command.message["type"])
            command.refuse("busy just now")

    async with Hub(None) as hub:
        source = hub.open_chat(chat_id="chat-1", source="custom 1", on_command=refuse_once)
        call = {"type": "tool_call", "tool_call_id": "t-1", "name": "refund", "parameters": "{}"}
        source.publish({**call, "tool_type": "function", "response_required": True})
        async with supervising(connector=hub.connector) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id="chat-1")
            receipts = [
                await agent.call("send_assistant_input", chat_id="chat-1", text="One moment."),
                await agent.call("update_session_settings", chat_id="chat-1", system_prompt="Be brief."),
                await agent.call("answer_tool_call", chat_id="chat-1", tool_call_id="t-1", content="yes"),
            ]
            for receipt in receipts:
                assert receipt["status"] == "sent" and "no effect" in receipt["warning"]
                assert "busy just now" in receipt["warning"]
            again = await agent.call("answer_tool_call", chat_id="chat-1", tool_call_id="t-1", content="yes")
            assert again["status"] == "confirmed"


async def test_a_command_that_a_chat_does_not_take_is_refused_with_its_source_and_what_it_takes() -> None:
    """Contract, section 8: before the network."""
    asked: list[SourceCommand] = []
    async with Hub(None) as hub:
        hub.open_chat(chat_id="chat-1", source="custom 1", supports=["user_input"], on_command=asked.append)
        async with supervising(connector=hub.connector) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id="chat-1")
            for tool, arguments in {
                "send_assistant_input": {"text": "Hello."},
                "pause": {},
                "resume": {},
                "update_session_settings": {"system_prompt": "Be brief."},
            }.items():
                why = await agent.error(tool, chat_id="chat-1", **arguments)
                assert "custom 1" in why and "does not take it. It takes: user_input" in why
            assert not asked


async def test_frames_come_in_order_and_then_the_close() -> None:
    """The `Transport` that the registry expects; what it sends reaches the source."""
    async with Hub(None) as hub:
        source = hub.open_chat(chat_id="chat-1")
        source.publish(line("before"))
        transport = await hub.connector.connect("chat-1")
        source.publish(line("after"))
        frames = [json.loads(await text(transport)) for _ in range(3)]
        assert [frame["type"] for frame in frames] == ["chat_metadata", "assistant_message", "assistant_message"]
        await transport.send('{"type": "user_input", "text": "Hello"}')
        commands = source.commands()
        command = await anext(commands)
        assert command.message == {"type": "user_input", "text": "Hello"}
        command.refuse("not now")
        assert json.loads(await text(transport))["slug"] == "command_refused"
        async with anyio.create_task_group() as group:
            group.start_soon(_expect_close, transport, 1000, "over")
            source.end("over")
        assert not transport.is_open
        with pytest.raises(Closed):
            await transport.send("{}")
        with pytest.raises(StopAsyncIteration):
            await anext(commands)


async def text(transport: Transport) -> str:
    frame = await transport.receive()
    assert isinstance(frame, str)
    return frame


async def _expect_close(transport: Transport, code: int, reason: str) -> None:
    with pytest.raises(Closed) as end:
        await transport.receive()
    assert (end.value.code, end.value.reason) == (code, reason)


async def test_a_transport_that_is_closed_leaves_no_consumer_behind() -> None:
    """Attaching and detaching a thousand times costs nothing in the end."""
    async with Hub(None) as hub:
        source = hub.open_chat(chat_id="chat-1")
        for _ in range(10):
            await (await hub.connector.connect("chat-1")).close()
        assert not source.chat.consumers


async def test_attaching_is_refused_as_over_a_socket() -> None:
    """404 for what is not there, 403 without `allow_connection`; the words say what to do."""
    async with Hub(None) as hub:
        hub.open_chat(chat_id="closed", allow_connection=False)
        hub.open_chat(chat_id="over").end("done")
        for chat_id, status, said in (
            ("nobody", 404, "list_chats"),
            ("over", 404, "is over (USER_ENDED)"),
            ("closed", 403, "allow_connection"),
        ):
            with pytest.raises(Refused) as refused:
                await hub.connector.connect(chat_id)
            assert refused.value.status == status
            assert said in await hub.connector.explain_refusal(chat_id, status)


async def test_the_directory_answers_what_rest_would() -> None:
    """Which chats are active, how one stands, and a command without a socket."""
    async with Hub(None, clock=(clock := HandClock())) as hub:
        told: list[str] = []
        first = hub.open_chat(
            chat_id="first", supports=["user_input"], on_command=lambda c: told.append(c.message["text"])
        )
        clock.jump(5)
        hub.open_chat(chat_id="second")
        chats, more = await hub.directory.active_chats()
        assert ([chat.chat_id for chat in chats], more) == (["second", "first"], False)
        await hub.connector.post("first", UserInput.of(text="Hello").frame(), 1)
        assert told == ["Hello"]
        with pytest.raises(NotTaken, match="takes user_input"):
            await hub.connector.post("first", AssistantInput.of(text="Hello").frame(), 1)
        first.end("done")
        assert await hub.directory.chat_status("first") == "USER_ENDED"
        assert await hub.directory.chat_status("nobody") is None
        with pytest.raises(NotTaken, match="no live chat") as refusal:
            await hub.connector.post("first", UserInput.of(text="Hello").frame(), 1)
        assert refusal.value.gone


async def test_a_listener_that_fails_costs_nobody_else_anything() -> None:
    """A chat must open although somebody who wanted to know of it cannot hear."""

    def fail() -> None:
        raise ZeroDivisionError

    async with Hub(None) as hub:
        told: list[int] = []
        hub.on_chats_changed(fail)
        hub.on_chats_changed(lambda: told.append(1))
        hub.open_chat()
        assert told == [1]


async def test_a_source_that_fails_on_a_command_refuses_it() -> None:
    """The sender is told; the chat goes on."""

    def fail(command: SourceCommand) -> None:
        raise ZeroDivisionError

    async with Hub(None) as hub:
        source = hub.open_chat(chat_id="chat-1", on_command=fail)
        transport = await hub.connector.connect("chat-1")
        await transport.send('{"type": "user_input", "text": "Hello"}')
        assert [json.loads(await text(transport))["type"] for _ in range(2)] == ["chat_metadata", "error"]
        assert not source.ended and not len(source.chat.pending)


async def test_a_command_that_waited_too_long_for_its_source_is_not_handed_over() -> None:
    """A source that takes commands one by one may be slow; a line must not be spoken late."""
    async with Hub(None, clock=(clock := HandClock())) as hub:
        source = hub.open_chat(chat_id="chat-1")
        transport = await hub.connector.connect("chat-1")
        await transport.send('{"type": "assistant_input", "text": "late"}')
        await transport.send('{"type": "pause_assistant_message"}')
        await clock.advance(7)
        command = await anext(source.commands())
        assert command.message["type"] == "pause_assistant_message"
        slugs = [json.loads(await text(transport)).get("slug") for _ in range(2)]
        assert slugs == [None, "command_not_delivered"]


async def test_leaving_the_hub_closes_in_memory_as_well() -> None:
    """1001: a supervisor tries again, and no chat is taken for ended."""
    async with Hub(None) as hub:
        hub.open_chat(chat_id="chat-1")
        transport = await hub.connector.connect("chat-1")
        await transport.receive()
    with pytest.raises(Closed) as end:
        await transport.receive()
    assert end.value.code == 1001


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "hub.example"])
async def test_an_address_that_others_can_reach_needs_keys(host: str) -> None:
    """Contract, section 8: none: loopback only."""
    with pytest.raises(InvalidSetting, match="EVI_MCP_HUB_KEYS"):
        Hub(host)
    Hub(host, keys=["a-long-key"])


async def test_a_wait_for_a_score_that_a_chat_never_gave_says_so_at_once() -> None:
    """Issue 12: nobody but EVI scores every voice, and the agent would wait for ever. A score that came counts, in
    any case."""
    angry = {"kind": "expression", "score": "Anger", "at_least": 0.5}
    said = {"role": "user", "content": "Where is it?"}
    message = {"type": "user_message", "message": said, "from_text": False, "interim": False}
    async with Hub(None) as hub:
        source = hub.open_chat(chat_id="chat-1", source="custom 1")
        source.publish({**message, "models": {}, "time": {"begin": 100, "end": 900}})
        async with supervising(connector=hub.connector) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id="chat-1")
            waiting = {"after": "earliest", "chat_ids": ["chat-1"], "timeout_s": 50}
            with anyio.fail_after(20):
                page = await agent.call("wait_for_events", **waiting, until=[angry])
            assert page["woken_by"] == "no_scores" and "Anger" in page["note"] and "turn_end" in page["note"]
            assert "note: no chat here has ever given" in await agent.text("wait_for_events", **waiting, until=[angry])
            shown = await agent.call("get_expression", chat_id="chat-1")
            assert shown["turns"] == 0 and "custom 1" in shown["note"]

            beside = [angry, {"kind": "turn_end"}]
            page = await agent.call("wait_for_events", **{**waiting, "timeout_s": 0.1}, until=beside)
            assert page["woken_by"] == "timeout" and "Anger" in page["note"]

            models = {"prosody": {"scores": {"anger": 0.8}}}
            source.publish({**message, "models": models, "time": {"begin": 1000, "end": 1900}})
            since = {**waiting, "after": page["cursor"]}
            with anyio.fail_after(20):
                assert len((await agent.call("wait_for_events", **since))["events"]) == 1
                page = await agent.call("wait_for_events", **since, until=[angry])
            assert page["woken_by"] == "trigger" and "note" not in page
