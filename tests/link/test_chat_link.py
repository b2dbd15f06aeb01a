"""The link over real sockets: whatever its hub does, the call goes on, and nothing is lost, doubled or out of order."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from evi_mcp.link import (
    AssistantInput,
    ChatLink,
    Command,
    PauseAssistantMessage,
    Refused,
    SessionSettings,
    SupervisedTools,
    ToolAnswer,
    UserInput,
    dialing,
)
from evi_mcp.link.outbox import DROPPED, Outbox
from tests.link.fake_hub import KEY, FakeHub, fake_hub

pytestmark = pytest.mark.anyio


def at_once() -> Iterator[float]:
    return repeat(0.01)


def link_to(hub: FakeHub, **options: Any) -> ChatLink:
    return ChatLink(hub.url, **{"key": KEY, "delays": at_once, **options})


def say(link: ChatLink, first: int, last: int) -> list[str]:
    texts = [f"line {number}" for number in range(first, last + 1)]
    for text in texts:
        link.user_message(text)
    return texts


async def test_what_a_bot_tells_arrives_in_evis_words() -> None:
    """Contract, section 9: hello, then EVI's messages in order; the key goes in the header and nowhere else."""
    async with fake_hub() as hub:
        async with link_to(hub, chat_id="c-1", source="test 1", metadata={"desk": "returns"}) as link:
            said = link.user_message("Where is it?", begin_ms=100, end_ms=900, scores={"joy": 0.5, "bad": float("nan")})
            link.tool_call("t1", "parcel", {"number": "LY"})
            link.tool_response("t1", {"place": "Lyon"}, name="parcel")
            spoken = link.assistant_message("In Lyon.")
            link.audio_output(spoken, b"\0\0" * 10, 24_000)
            link.audio_output(spoken, b"\0\0" * 10, 24_000)
            link.expression(spoken, {"Calmness": 0.4})
            link.expression(said, {"Doubt": 1})
            link.assistant_end()
            link.user_interruption()
            link.tool_error("t2", "no answer", content="Say so.", code="x")
            link.session_settings({"system_prompt": "Be brief.", "language_model_api_key": "s3cret-key"})
            link.error("bot", "the voice is gone")
            link.chat_metadata(request_id="r")
            link.message({"type": "weather", "rain": True})
        chat = await hub.chat("c-1")
        assert chat.ended == "the bot left" and hub.keys == [KEY]
    hello = chat.hellos[0]
    assert (hello["source"], hello["supports"], json.loads(hello["metadata"])) == ("test 1", [], {"desk": "returns"})
    assert KEY not in json.dumps(chat.hellos)
    assert [message["type"] for message in chat.log] == [
        *("user_message", "tool_call", "tool_response", "assistant_message", "audio_output", "audio_output"),
        *("assistant_prosody", "user_prosody", "assistant_end", "user_interruption", "tool_error"),
        *("session_settings", "error", "chat_metadata", "weather"),
    ]
    user, call, answer, assistant, first, second, prosody = chat.log[:7]
    assert user["time"] == {"begin": 100, "end": 900} and user["models"] == {"prosody": {"scores": {"joy": 0.5}}}
    assert json.loads(call["parameters"]) == {"number": "LY"} and call["response_required"] is False
    assert json.loads(answer["content"]) == {"place": "Lyon"}
    assert (first["id"], first["index"], second["index"]) == (assistant["id"], 0, 1)
    assert prosody["id"] == assistant["id"] and chat.log[7]["id"] == user["id"]
    assert "s3cret" not in json.dumps(chat.log)


async def test_every_message_is_one_that_the_server_understands() -> None:
    """What the link sends is decoded by the codec that reads EVI, field by field."""
    from evi_mcp.protocol.codec import decode

    async with fake_hub() as hub:
        async with link_to(hub) as link:
            link.user_message("a", language="fr", interim=True)
            message = link.assistant_message("b", is_quick_response=True)
            link.expression(message, {"Joy": 0.1})
            link.audio_output(message, b"\0\0", 8000)
            link.tool_call("t", "n", "{}", response_required=True)
            link.tool_response("t", "x")
            link.tool_error("t", "x")
            link.user_interruption()
            link.assistant_end()
            link.session_settings({"context": {"text": "x", "type": "persistent"}})
            link.error("c", "m")
            link.chat_metadata()
        chat = await hub.chat()
    for told in chat.log:
        decoded = decode(json.dumps(told))
        assert type(decoded).__name__ not in ("UnknownMessage", "ProtocolFault"), told


async def test_a_bot_may_be_there_before_its_hub() -> None:
    """A call does not wait for its supervision; what was said meanwhile is told when the hub comes."""
    async with fake_hub() as hub:
        await hub.kill()
        async with link_to(hub) as link:
            texts = say(link, 1, 50)
            await asyncio.sleep(0.1)
            assert (link.state, link.unsent) == ("reconnecting", 50)
            await hub.start()
            chat = await hub.chat()
            await hub.until(lambda: len(chat.log) == 50)
        assert chat.texts() == texts and link.state == "ended"


async def test_a_hub_that_was_killed_and_comes_back_has_each_message_once() -> None:
    """Contract, section 9: what was not acknowledged is sent again after a resume; each number is taken once."""
    async with fake_hub(ack_every=7) as hub, link_to(hub) as link:
        chat = await hub.chat()
        texts = say(link, 1, 20)
        await hub.until(lambda: len(chat.log) == 20)
        await hub.kill()
        texts += say(link, 21, 40)
        await hub.start()
        await hub.until(lambda: len(chat.log) == 40)
        assert chat.texts() == texts
        known = {"chat_id": link.chat_id, "token": chat.token, "sent": 20}
        assert chat.hellos[1]["resume"] == {**known, "tells_past": True}


async def test_a_hub_that_has_forgotten_gets_the_whole_chat_again_under_its_id() -> None:
    """A restart without a store: whoever attaches later must see the past as well."""
    async with fake_hub() as hub, link_to(hub) as link:
        chat = await hub.chat()
        texts = say(link, 1, 20)
        await hub.until(lambda: link.unsent == 0)
        await hub.kill()
        hub.forget()
        texts += say(link, 21, 30)
        await hub.start()
        again = await hub.chat(link.chat_id)
        assert again is not chat
        await hub.until(lambda: len(again.log) == 30)
        assert again.texts() == texts and "resume" not in again.hellos[0]


async def test_a_line_that_breaks_at_any_moment_loses_and_doubles_nothing() -> None:
    """A phone's network, a proxy's timeout: thirty cuts in one talk."""
    async with fake_hub(ack_every=3) as hub, link_to(hub) as link:
        chat = await hub.chat()
        texts: list[str] = []
        for cut in range(30):
            texts += say(link, 20 * cut + 1, 20 * cut + 20)
            reached, hellos = 20 * cut + cut % 20, len(chat.hellos)
            await hub.until(lambda reached=reached: len(chat.log) >= reached)  # type: ignore[misc]
            hub.cut(chat)
            await hub.until(lambda hellos=hellos: len(chat.hellos) > hellos)  # type: ignore[misc]
        await hub.until(lambda: len(chat.log) == 600)
        assert chat.texts() == texts and link.dropped == 0


async def test_a_hub_that_stops_reading_never_holds_up_the_bot() -> None:
    """The queue takes it, and says what it had to drop."""
    async with fake_hub() as hub, link_to(hub) as link:
        link._outbox.__init__(max_messages=200, max_bytes=4 * 1024 * 1024)  # type: ignore[misc]
        chat = await hub.chat()
        await hub.until(lambda: link.state == "live")
        hub.reads.clear()
        for number in range(1000):
            link.user_message(f"{number} {'x' * 20_000}")
            await asyncio.sleep(0)
        assert link.dropped > 0
        hub.reads.set()
        await hub.until(lambda: link.unsent == 0)
        told = sum(count for note in chat.of(DROPPED) for count in note["counts"].values())
        numbers = [int(text.split()[0]) for text in chat.texts()]
        assert told == link.dropped == 1000 - len(numbers)
        assert numbers == sorted(set(numbers)) and numbers[-1] == 999


async def test_a_hub_that_acknowledges_nothing_is_left_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be stuck; its `welcome` says what it has, so nothing is told twice."""
    monkeypatch.setattr(dialing, "STALL_S", 0.1)
    async with fake_hub(ack_every=0) as hub, link_to(hub) as link:
        chat = await hub.chat()
        texts = say(link, 1, 5)
        await hub.until(lambda: len(chat.hellos) == 2 and link.unsent == 0)
        texts += say(link, 6, 9)
        await hub.until(lambda: len(chat.hellos) == 3 and link.unsent == 0)
        assert chat.texts() == texts and chat.refused_numbers == []


async def test_a_hub_that_reads_no_more_is_left_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in a full buffer would else go out late, and pings behind it."""
    monkeypatch.setattr(dialing, "SEND_TIMEOUT_S", 0.2)
    async with fake_hub() as hub, link_to(hub) as link:
        link._outbox.__init__(max_bytes=128 * 1024 * 1024)  # type: ignore[misc]  # more than the system's buffers take
        chat = await hub.chat()
        await hub.until(lambda: chat.socket)
        hub.reads.clear()
        for number in range(40):
            link.user_message(f"{number} {'€' * 250_000}")
        await hub.until(lambda: len(chat.hellos) >= 2)
        hub.reads.set()
        await hub.until(lambda: link.unsent == 0)
        assert [int(text.split()[0]) for text in chat.texts()] == list(range(40)) and link.dropped == 0


async def test_a_wrong_key_is_said_once_and_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """It does not heal by itself; the call goes on without supervision and without a queue that fills."""
    async with fake_hub() as hub, link_to(hub, key="wrong") as link:
        say(link, 1, 100)
        await asyncio.wait_for(asyncio.wait(link._tasks[:1]), 5)
        assert link.state == "refused" and len(hub.keys) == 1
        say(link, 1, 100)
        assert link.unsent == 0
    assert [record.levelname for record in caplog.records] == ["ERROR"] and "refuses the key" in caplog.text


async def test_garbage_from_the_hub_is_passed_over() -> None:
    """A broken hub must not break a call, nor the link to a hub that mends itself."""

    async def babble(socket: ServerConnection) -> None:
        for frame in ("", "no json", "[]", "7", '{"ack": -1}', '{"ack": true}', '{"command": {}, "id": 7}', b"\xff\0"):
            await socket.send(frame)
        await socket.send("[" * 100_000)
        await socket.send('{"what": "is this"}')

    async with fake_hub(on_welcome=babble) as hub, link_to(hub) as link:
        chat = await hub.chat()
        texts = say(link, 1, 3)
        await hub.until(lambda: len(chat.log) == 3)
        assert await hub.command(chat, "user_input", text="hello") == "this chat does not support user_input"
        assert chat.texts() == texts and link._dialer.faults == 10 and len(chat.hellos) == 1


async def test_a_frame_of_20_mib_costs_the_connection_and_nothing_else() -> None:
    """Reading it would hold up the bot's event loop, and with it the voice of the call."""
    async with fake_hub() as hub, link_to(hub) as link:
        chat = await hub.chat()
        assert chat.socket is not None or await hub.until(lambda: chat.socket)
        assert chat.socket is not None
        texts = say(link, 1, 10)
        await chat.socket.send(
            json.dumps({"command": {"type": "user_input", "text": "x" * 20 * 1024 * 1024}, "id": "c"})
        )
        await hub.until(lambda: len(chat.hellos) == 2)
        texts += say(link, 11, 20)
        await hub.until(lambda: len(chat.log) == 20)
        assert chat.texts() == texts


async def test_messages_that_are_too_large_are_cut_or_left_out_and_said() -> None:
    """A tool may return a whole file."""
    async with fake_hub() as hub, link_to(hub) as link:
        chat = await hub.chat()
        link.tool_response("t", "y" * 20 * 1024 * 1024)
        link.message({"type": "dump", "data": "z" * 20 * 1024 * 1024})
        link.user_message("and on it goes")
        await hub.until(lambda: len(chat.log) == 3)
        response, left_out, _ = chat.log
        assert len(response["content"]) < 300_000 and "more characters]" in response["content"]
        assert left_out["type"] == "error" and "dump" in left_out["message"]


async def test_the_key_does_not_follow_a_redirect() -> None:
    """A header with a key would go to wherever the redirect points."""
    keys: list[str | None] = []

    def elsewhere(connection: ServerConnection, request: Request) -> Response:
        keys.append(request.headers.get("X-Hume-Api-Key"))
        response = connection.respond(302, "")
        response.headers["Location"] = f"ws://localhost:{port}/v0/evi/link"
        return response

    async def never(_: ServerConnection) -> None:
        raise AssertionError

    async with serve(never, "127.0.0.1", 0, process_request=elsewhere) as server:
        port = server.sockets[0].getsockname()[1]
        async with ChatLink(f"http://127.0.0.1:{port}", key=KEY, delays=lambda: iter([3600.0])) as link:
            await FakeHub().until(lambda: link.state == "reconnecting")
            await link.stop(flush_s=0)
        assert keys == [KEY]


async def test_secrets_stand_in_no_log_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG the WebSocket library would write every header."""
    caplog.set_level(logging.DEBUG)
    async with fake_hub() as hub, link_to(hub) as link:
        await hub.chat()
        assert KEY not in repr(link) and KEY not in repr(link._dialer)
        await hub.kill()
        await link.stop(flush_s=0)
    ours = [record for record in caplog.records if record.name.startswith("evi_mcp")]
    assert ours and KEY not in "".join(record.getMessage() for record in ours)


async def test_commands_are_carried_out_once_also_over_a_reconnect() -> None:
    """Contract, section 9. The outcome of a command whose connection broke is told to the next one."""
    spoken: list[str] = []
    at_it, go_on = asyncio.Event(), asyncio.Event()
    async with fake_hub() as hub:
        link = link_to(hub)

        @link.on(AssistantInput)
        async def _(command: AssistantInput) -> None:
            spoken.append(command.text)
            at_it.set()
            await go_on.wait()

        async with link:
            chat = await hub.chat()
            await hub.until(lambda: chat.socket)
            await hub.send(chat, "assistant_input", id_="x", text="One moment.")
            await at_it.wait()
            hub.cut(chat)
            await hub.until(lambda: len(chat.hellos) == 2 and link.state == "live")
            await hub.send(chat, "assistant_input", id_="x", text="One moment.")
            go_on.set()
            await hub.until(lambda: chat.outcomes["x"])
            hub.cut(chat)
            await hub.until(lambda: len(chat.hellos) == 3 and link.state == "live")
            before = len(chat.outcomes["x"])
            await hub.send(chat, "assistant_input", id_="x", text="One moment.")
            await hub.until(lambda: len(chat.outcomes["x"]) > before)
            assert await hub.command(chat, "assistant_input", text="Another.") is None
    assert spoken == ["One moment.", "Another."]
    assert all(outcome == {"done": "x"} for outcome in chat.outcomes["x"])


async def test_another_hub_numbers_its_commands_anew() -> None:
    """A restarted hub begins again with the ids of before; its commands are new ones."""
    spoken: list[str] = []
    async with fake_hub() as hub:
        link = link_to(hub)
        link.on(AssistantInput)(lambda command: spoken.append(command.text))
        async with link:
            chat = await hub.chat()
            await hub.until(lambda: chat.socket)
            assert await hub.command(chat, "assistant_input", id_="1", text="before") is None
            await hub.kill()
            hub.forget()
            await hub.start()
            chat = await hub.chat()
            await hub.until(lambda: chat.socket)
            assert await hub.command(chat, "assistant_input", id_="1", text="after") is None
    assert spoken == ["before", "after"]


async def test_a_command_that_cannot_be_carried_out_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason reaches the agent: it has to say what is wrong."""
    monkeypatch.setattr("evi_mcp.link.obeying.COMMAND_TIMEOUT_S", 0.05)
    async with fake_hub() as hub:
        link = link_to(hub)

        @link.on(UserInput)
        async def _(command: UserInput) -> None:
            match command.text:
                case "refuse":
                    raise Refused("not now")
                case "fail":
                    raise RuntimeError("a secret of the bot")
                case "hang":
                    await asyncio.sleep(60)

        link.on(SessionSettings)(lambda _: None)
        async with link:
            chat = await hub.chat()
            await hub.until(lambda: chat.socket)
            assert chat.hellos[0]["supports"] == ["session_settings", "user_input"]
            assert await hub.command(chat, "user_input", text="refuse") == "not now"
            assert await hub.command(chat, "user_input", text="fail") == "it failed in the bot (RuntimeError)"
            assert "did not finish it within" in (await hub.command(chat, "user_input", text="hang") or "")
            assert await hub.command(chat, "user_input", text="well") is None
            assert "`text` must be text" in (await hub.command(chat, "user_input", text=["a"]) or "")
            assert "does not support" in (await hub.command(chat, "pause_assistant_message") or "")
            assert "knows no command" in (await hub.command(chat, "dance") or "")
            assert "`tools` must be" in (await hub.command(chat, "session_settings", tools=["a"]) or "")
            assert "`context` must be" in (await hub.command(chat, "session_settings", context="a") or "")


async def test_a_flood_of_commands_is_refused_and_not_kept() -> None:
    """A hub that floods must not fill a bot's memory, nor hold up the commands before."""
    at_work, go_on = asyncio.Event(), asyncio.Event()
    async with fake_hub() as hub:
        link = link_to(hub)

        @link.on(UserInput)
        async def _(command: UserInput) -> None:
            at_work.set()
            await go_on.wait()

        async with link:
            chat = await hub.chat()
            await hub.until(lambda: chat.socket)
            ids = [await hub.send(chat, "user_input", text="a")]
            await at_work.wait()
            ids += [await hub.send(chat, "user_input", text="a") for _ in range(399)]
            await hub.until(lambda: len(chat.outcomes) == 400 - 257)  # one is at work, and 256 wait
            go_on.set()
            await hub.until(lambda: len(chat.outcomes) == 400)
        refused = [id_ for id_ in ids if "too many commands" in chat.outcomes[id_][0].get("reason", "")]
        assert refused == ids[257:]


async def test_settings_and_answers_that_were_accepted_are_shown_to_all() -> None:
    """A receipt is confirmed by what comes back; a secret does not."""
    settings = {"system_prompt": "Be brief.", "context": None, "language_model_api_key": "s3cret-key"}
    seen: list[SessionSettings] = []
    async with fake_hub() as hub:
        link = link_to(hub)
        link.on(SessionSettings)(seen.append)
        async with link:
            chat = await hub.chat()
            await hub.until(lambda: chat.socket)
            assert await hub.command(chat, "session_settings", **settings) is None
            (shown,) = await hub.until(lambda: chat.of("session_settings"))
    assert shown == {"type": "session_settings", **settings, "language_model_api_key": "[redacted]"}
    assert seen[0].changed == set(settings) and seen[0].context is None and "s3cret" not in repr(seen)


async def test_a_tool_call_waits_for_a_supervisor_and_takes_the_first_answer() -> None:
    """The bot's LLM goes on with what the supervisor says; a later answer is refused."""
    async with fake_hub() as hub:
        link = link_to(hub)
        tools = SupervisedTools(link)
        async with link:
            chat = await hub.chat()
            asking = asyncio.create_task(tools.ask("refund", {"order": 7}, "t1"))
            (call,) = await hub.until(lambda: chat.of("tool_call"))
            assert call["response_required"] is True
            assert await hub.command(chat, "tool_response", tool_call_id="t1", content="granted") is None
            assert await asking == ToolAnswer("granted")
            assert await hub.command(chat, "tool_response", tool_call_id="t1", content="no") == (
                "the tool call was answered already"
            )
            assert await hub.command(chat, "tool_response", tool_call_id="t9", content="no") == (
                "no tool call of this id waits for an answer"
            )
            assert [message["content"] for message in chat.of("tool_response")] == ["granted"]
            asking = asyncio.create_task(tools.ask("refund", {"order": 8}, "t1"))
            await hub.until(lambda: len(chat.of("tool_call")) == 2)
            assert await hub.command(chat, "tool_error", tool_call_id="t1", error="down", content="Say sorry.") is None
            assert await asking == ToolAnswer("Say sorry.", is_error=True)


async def test_nobody_answers_and_the_bot_goes_on() -> None:
    """The bot's own time-out and fallback: a caller must not hear silence for a supervisor who is away."""
    async with fake_hub() as hub:
        link = link_to(hub)
        tools = SupervisedTools(link, timeout_s=0.01, fallback={"refund": "Offer to call back."})
        async with link:
            chat = await hub.chat()
            assert await tools.ask("refund", "{}", "t1") == ToolAnswer("Offer to call back.", is_error=True)
            (error,) = await hub.until(lambda: chat.of("tool_error"))
            assert (error["code"], error["content"]) == ("no_answer", "Offer to call back.")
            refusal = await hub.command(chat, "tool_response", tool_call_id="t1", content="late")
            assert refusal == "the tool call is closed: the bot waits no longer"


async def test_a_tool_call_that_the_conversation_left_behind_is_closed() -> None:
    """The user spoke again and the bot dropped the call: it must not stay open for the supervisors."""
    async with fake_hub() as hub:
        link = link_to(hub)
        tools = SupervisedTools(link)
        async with link:
            chat = await hub.chat()
            asking = asyncio.create_task(tools.ask("refund", "{}", "t1"))
            await hub.until(lambda: chat.of("tool_call"))
            asking.cancel()
            (error,) = await hub.until(lambda: chat.of("tool_error"))
            assert error["code"] == "cancelled" and not tools.is_open("t1")


async def test_what_other_threads_tell_arrives_in_their_order() -> None:
    """A bot's tools may run in threads."""
    async with fake_hub() as hub, link_to(hub) as link:
        chat = await hub.chat()

        def talk(name: str) -> None:
            for number in range(200):
                link.user_message(f"{name} {number}")

        threads = [threading.Thread(target=talk, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        await hub.until(lambda: len(chat.log) == 600)
        for thread in threads:
            thread.join()
        for name in "abc":
            mine = [text for text in chat.texts() if text.startswith(name)]
            assert mine == [f"{name} {number}" for number in range(200)]


async def test_a_bot_that_leaves_is_not_held_up_by_a_hub_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    """The end of a process waits for nobody for long, and says what was lost."""
    async with fake_hub() as hub:
        await hub.kill()
        link = link_to(hub)
        link.start()
        say(link, 1, 3)
        await link.stop(flush_s=0.1)
        assert link.state == "ended"
    assert "3 messages are lost" in caplog.text


async def test_the_end_is_told_after_everything_else() -> None:
    """What was said last must be in the log before the chat closes."""
    async with fake_hub() as hub:
        link = link_to(hub)
        link.start()
        texts = say(link, 1, 500)
        await link.stop("the caller hung up")
        link.user_message("too late")
        chat = await hub.chat()
        assert (chat.ended, chat.texts(), link.unsent) == ("the caller hung up", texts, 0)


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("a bot's own object")

    __repr__ = __str__


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.just("\ud83d")
    | st.binary(max_size=5)
    | st.builds(Hostile)
    | st.builds(object),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(anything, anything)
def test_nothing_that_a_bot_tells_is_ever_raised_back(value: Any, other: Any) -> None:
    """A call must not end for its transcript, whatever its tools return."""
    link = ChatLink()
    link.tool_response("t", value)
    link.tool_call("t", "name", value)
    link.message({"type": value, "value": other})
    link.expression(link.user_message("\ud83d"), {"a": value})
    link.session_settings({"metadata": value})
    for _ in range(link.unsent):
        frame = _next(link._outbox)
        json.loads(frame)


def _next(outbox: Outbox) -> bytes:
    frame = outbox.next_frame()
    assert frame is not None
    return frame


async def test_a_link_that_was_never_started_can_be_stopped() -> None:
    """A call may fail before it begins."""
    link = ChatLink()
    link.user_message("a")
    await link.stop()
    link.user_message("too late")
    assert (link.state, link.unsent) == ("new", 1) and "new, 1 unsent" in repr(link)


async def test_a_loop_that_is_gone_costs_a_thread_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A tool's thread may outlive the call."""
    link = ChatLink(delays=lambda: repeat(3600.0))

    async def call() -> None:
        link.start()
        await link.stop(flush_s=0)

    await asyncio.to_thread(asyncio.run, call())
    link._ended = False  # what it tells in the moment in which the loop closes
    link._dialer.state = "live"
    link.user_message("a")
    link.user_message("b")
    assert caplog.text.count("a message was not sent (RuntimeError)") == 1


def test_sound_that_is_none_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A voice that says nothing of its rate must not end the call."""
    link = ChatLink()
    link.audio_output(link.assistant_message("a"), b"\0\0", 0)
    assert link.unsent == 1 and "a message was not sent" in caplog.text


def test_what_contains_itself_is_told_in_part() -> None:
    """A dict that holds itself twice would be a tree without end."""
    loop: dict[str, Any] = {}
    loop["a"] = loop["b"] = [loop, loop]
    link = ChatLink()
    link.tool_response("t", loop)
    assert b"nested too deeply" in _next(link._outbox)


@pytest.mark.parametrize(
    ("hub", "wrong"),
    [
        ("http://hub.example.com", "clear text"),
        ("ws://10.0.0.7:8770", "clear text"),
        ("ftp://localhost", "address such as"),
        ("http://", "address such as"),
        ("http://localhost:8770/\r\nX: y", "address such as"),
        ("https://key@hub.example.com", "plain address"),
        ("https://hub.example.com/?api_key=k", "plain address"),
    ],
)
def test_an_address_that_would_fail_or_leak_is_refused_before_the_call(hub: str, wrong: str) -> None:
    """The only error of a link comes where its author sees it."""
    with pytest.raises(ValueError, match=wrong):
        ChatLink(hub)


@pytest.mark.parametrize(
    ("hub", "uri"),
    [
        ("127.0.0.1:8770", "ws://127.0.0.1:8770/v0/evi/link"),
        ("HTTP://LOCALHOST:1", "ws://LOCALHOST:1/v0/evi/link"),
        ("http://[::1]:8770/", "ws://[::1]:8770/v0/evi/link"),
        ("https://hub.example.com/base/", "wss://hub.example.com/base/v0/evi/link"),
    ],
)
def test_addresses_that_people_write(hub: str, uri: str) -> None:
    assert ChatLink(hub)._dialer._uri == uri


@pytest.mark.parametrize("chat_id", ["", ".", "..", "a b", "a/b", "x" * 129, "é"])
def test_a_chat_id_that_the_hub_would_refuse_is_refused_here(chat_id: str) -> None:
    """Contract, section 3 has the letters that an id may have."""
    with pytest.raises(ValueError, match="chat_id"):
        ChatLink(chat_id=chat_id)


def test_the_link_is_light() -> None:
    """It lives in a bot's process: the standard library and `websockets`, nothing of MCP and no models."""
    heavy = "{'mcp', 'pydantic', 'anyio', 'httpx', 'starlette', 'click', 'rich', 'jsonschema'}"
    code = f"import sys, evi_mcp.link; print(sorted({{name.split('.')[0] for name in sys.modules}} & {heavy}))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path.cwd())
    assert run.stdout.strip() == "[]"


def test_a_handler_is_declared_by_being_there() -> None:
    """Contract, section 8: `supports` names what this chat understands, so a tool can say no before it sends."""
    link = ChatLink()
    kinds: list[type[Command]] = [PauseAssistantMessage, UserInput]
    for kind in kinds:
        link.on(kind)(lambda _: None)
    assert link.supports == ["pause_assistant_message", "user_input"]
