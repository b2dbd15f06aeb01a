"""Calls over real sockets: attach, follow, lose the connection, be refused, end."""

import json
from functools import partial
from itertools import repeat
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from evi_mcp.openai_realtime.calls import CallsConnector, RealtimeCalls
from evi_mcp.openai_realtime.endpoints import Endpoint
from evi_mcp.openai_realtime.refusals import CallNotAttached
from evi_mcp.openai_realtime.sideband import Refused as SidebandRefused
from evi_mcp.openai_realtime.sideband import open_sideband
from evi_mcp.upstream.transport import Refused, Unreachable
from tests.clocks import HandClock
from tests.hub.wire import consumer, eventually, until
from tests.openai_realtime.rig import KEY, rig

pytestmark = pytest.mark.anyio
FOUND = '{"status": "in transit", "eta": "Friday"}'


async def test_a_call_is_a_chat_like_any_other() -> None:
    """Attach by the id alone; live transcript, a tool call answered from outside and used, an interruption, the end."""
    async with rig() as made:
        call_id = await made.attached("support")
        agent = await made.supervise(call_id)
        metadata = await agent.until("chat_metadata")
        assert metadata["chat_id"] == call_id and metadata["source"]["name"] == "openai_realtime"
        assert {"end_chat", "transfer_chat", "user_input"} <= set(metadata["supports"])
        await agent.until("history_truncated", lambda message: message["reason"] == "before_attach")
        call = await agent.until("tool_call")
        await agent.send("tool_response", tool_call_id=call["tool_call_id"], content=FOUND)
        await agent.until("tool_response")
        await agent.until("assistant_message", lambda message: "in transit" in message["message"]["content"])
        await agent.until("user_interruption")
        assert await made.ended(call_id) == "the call is over: the service no longer knows it (HTTP 404)"


async def test_the_key_is_in_the_header_and_nowhere_else() -> None:
    """An address ends in logs."""
    async with rig() as made:
        await made.attached()
        [handshake] = made.service.handshakes
        assert handshake["authorization"] == f"Bearer {KEY}"
        assert [name for name, value in handshake.items() if KEY in value] == ["authorization"]
        assert "openai-beta" not in handshake


def test_azure_is_shown_the_key_in_its_own_header() -> None:
    """The same wire, another way to show who one is."""
    azure = Endpoint(SecretStr("k"), "https://mine.openai.azure.com/openai/v1")
    assert azure.headers == {"api-key": "k"}
    assert azure.socket_url("rtc_1") == "wss://mine.openai.azure.com/openai/v1/realtime?call_id=rtc_1"
    openai = Endpoint(SecretStr("k"))
    assert openai.headers == {"Authorization": "Bearer k"} and "k'" not in repr(openai)
    assert openai.socket_url("rtc_1") == "wss://api.openai.com/v1/realtime?call_id=rtc_1"


async def test_a_fresh_id_that_is_not_known_yet_is_tried_again() -> None:
    """Right after a call is created the service answers 404; reported again and again."""
    async with rig() as made, anyio.create_task_group() as group:
        group.start_soon(made.calls.attach, "rtc_soon")
        await eventually(lambda: len(made.service.handshakes) >= 2)
        made.service.start_call(None, "rtc_soon")
        await eventually(lambda: made.hub.chats.live("rtc_soon") is not None)


async def test_an_id_that_stays_unknown_is_given_up_after_15_s() -> None:
    """Time is a number here: 15 s of it, in steps of at most 2 s."""
    async with rig() as made:
        clock = HandClock()
        endpoint = Endpoint(SecretStr(KEY), made.service.base_url)
        async with RealtimeCalls(made.hub, endpoint, clock, delays=lambda: repeat(5.0)) as calls:
            found: list[CallNotAttached] = []

            async def attach() -> None:
                with pytest.raises(CallNotAttached) as refused:
                    await calls.attach("rtc_never")
                found.append(refused.value)

            async with anyio.create_task_group() as group:
                group.start_soon(attach)
                for tries in range(1, 9):
                    await eventually(partial(lambda tries: len(made.service.handshakes) >= tries or found, tries))
                    await anyio.sleep(0.02)
                    await clock.advance(2.0)
            assert "also after 15 s" in str(found[0]) and "another project" in str(found[0])
            assert 7 <= len(made.service.handshakes) <= 8


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_is_said_at_once(status: int) -> None:
    """No waiting heals it."""
    async with rig() as made:
        made.service.refuse["rtc_1"] = [(status, {})]
        with pytest.raises(CallNotAttached, match=rf"refuses the key \(HTTP {status}.*OPENAI_API_KEY"):
            await made.calls.attach("rtc_1")
        assert len(made.service.handshakes) == 1


async def test_a_wrong_key_is_named_by_the_services_own_code() -> None:
    """The library leaves the body out of its text."""
    async with rig(key="sk-wrong-wrong") as made:
        made.service.start_call(None, "rtc_1")
        with pytest.raises(CallNotAttached, match="HTTP 401, invalid_api_key") as refused:
            await made.calls.attach("rtc_1")
        assert "sk-wrong" not in str(refused.value) + repr(refused.value)


async def test_too_many_requests_are_waited_for_as_long_as_the_service_asks() -> None:
    """If that is longer than an attach may take, the sentence says how long."""
    async with rig() as made:
        made.service.start_call(None, "rtc_1")
        made.service.refuse["rtc_1"] = [(429, {"Retry-After": "60"})]
        with pytest.raises(CallNotAttached, match=r"HTTP 429.*try again in 60 s"):
            await made.calls.attach("rtc_1")
        await made.calls.attach("rtc_1")
        assert made.hub.chats.live("rtc_1") is not None


async def test_a_connection_that_breaks_comes_back_and_the_chat_goes_on() -> None:
    """With trouble on the way; what was missed is restored or said."""
    async with rig() as made:
        call_id = await made.attached("support", tool_timeout_s=0.5)
        agent = await made.supervise(call_id)
        await agent.until("assistant_message")
        made.service.refuse[call_id] = [(503, {}), (429, {})]
        made.service.cut(call_id)
        await agent.until("user_message", lambda message: "human" in message["message"]["content"])
        assert len(made.service.handshakes) == 4
        said = [m["item_id"] for m in agent.seen if m["type"] == "user_message" and not m["interim"]]
        assert len(said) == len(set(said))


async def test_the_60_minute_limit_has_its_sentence() -> None:
    """The service says `session_expired` and closes."""
    async with rig() as made:
        call_id = await made.attached()
        made.service.call(call_id).expire()
        made.service.wake(call_id)
        assert await made.ended(call_id) == "the call has reached its maximum duration of 60 minutes"
        chat = made.hub.chats.get(call_id)
        assert chat is not None and chat.status == "MAX_DURATION_TIMEOUT"


async def test_a_key_that_is_taken_back_ends_the_chat_and_says_so() -> None:
    """On the way back no waiting heals it either."""
    async with rig() as made:
        call_id = await made.attached()
        made.service.refuse[call_id] = [(401, {})]
        made.service.cut(call_id)
        assert "refuses the key (HTTP 401)" in await made.ended(call_id)


async def test_a_service_that_stays_away_is_given_up() -> None:
    """The last cause is in the sentence."""
    async with rig(reconnect_for_s=0.2) as made:
        call_id = await made.attached()
        made.service.refuse[call_id] = [(503, {})] * 1000
        made.service.cut(call_id)
        ended = await made.ended(call_id)
        assert ended.startswith("gave up after 0.2 s") and "HTTP 503" in ended


async def test_a_supervisor_ends_the_call() -> None:
    """EVI has no such command; the hub passes what `supports` names."""
    async with rig() as made:
        call_id = await made.attached()
        agent = await made.supervise(call_id)
        await agent.send("end_chat")
        assert await made.ended(call_id) == "a supervisor has ended the call"


async def test_a_supervisor_transfers_the_call() -> None:
    """To a number or a SIP address; anything else is refused before the network."""
    async with rig() as made:
        call_id = await made.attached()
        agent = await made.supervise(call_id)
        await agent.send("transfer_chat", target_uri="https://example.com")
        assert "tel:" in (await agent.until("error"))["message"]
        await agent.send("transfer_chat", target_uri="tel:+14155550123")
        assert await made.ended(call_id) == "a supervisor has transferred the call"
        assert made.service.referred == {call_id: "tel:+14155550123"}


async def test_a_command_that_the_service_refuses_is_told_to_its_sender_alone() -> None:
    """Two supervisors: only one of them has asked."""
    async with rig() as made:
        call_id = await made.attached()
        one, other = await made.supervise(call_id), await made.supervise(call_id)
        await one.send("tool_response", tool_call_id="call_nobody", content="x")
        error = await one.until("error")
        assert error["slug"] == "command_refused" and "not found in conversation" in error["message"]
        await one.send("user_input", text="Hello?")
        for agent in (one, other):
            await agent.until("user_message", lambda message: message["from_text"])
        assert not [message for message in other.seen if message["type"] == "error"]


async def test_of_two_supervisors_the_first_answer_counts() -> None:
    """The second one is told who was first; the model gets one output."""
    async with rig() as made:
        call_id = await made.attached("support")
        one, other = await made.supervise(call_id), await made.supervise(call_id)
        call = await one.until("tool_call")
        await one.send("tool_response", tool_call_id=call["tool_call_id"], content=FOUND)
        await one.until("tool_response")
        await other.send("tool_response", tool_call_id=call["tool_call_id"], content="another")
        error = await other.until("error")
        assert "answered already" in error["message"]
        outputs = [item for item in made.service.call(call_id).items.values() if item["type"] == "function_call_output"]
        assert [item["output"] for item in outputs] == [FOUND]
        answers = [message for message in other.seen if message["type"] == "tool_response"]
        assert len(answers) == 1


async def test_a_pause_ends_with_the_process() -> None:
    """An assistant that stays mute because its supervisor is gone harms the caller."""
    async with rig() as made:
        endpoint = Endpoint(SecretStr(KEY), made.service.base_url)
        async with RealtimeCalls(made.hub, endpoint) as calls:
            call_id = made.service.start_call(None)
            await calls.attach(call_id)
            agent = await made.supervise(call_id)
            await agent.send("pause_assistant_message")
            await agent.until("command_result")
            detection = made.service.call(call_id).session["audio"]["input"]["turn_detection"]
            assert detection["create_response"] is False
        await eventually(
            lambda: made.service.call(call_id).session["audio"]["input"]["turn_detection"]["create_response"]
        )
        assert "no longer follows" in await made.ended(call_id)


async def test_frames_that_are_no_events_harm_nothing() -> None:
    """Whatever comes, the call is followed."""
    async with rig() as made:
        call_id = await made.attached()
        strange: list[Any] = [
            [],
            "text",
            5,
            None,
            {"no": "type"},
            {"type": 7},
            {"type": "response.done", "response": []},
        ]
        for odd in strange:
            made.service.push(call_id, odd)
        agent = await made.supervise(call_id)
        await agent.send("user_input", text="Hello?")
        await agent.until("user_message")


async def test_a_key_that_the_service_repeats_is_masked() -> None:
    """A chat is read by whoever may use the hub."""
    async with rig() as made:
        call_id = await made.attached()
        error = {"type": "server_error", "message": f"bad key {KEY}"}
        made.service.push(call_id, {"type": "error", "error": error})
        agent = await made.supervise(call_id)
        assert KEY not in json.dumps(await agent.until("error"))


async def test_who_attaches_through_the_connector_needs_the_id_alone() -> None:
    """What a supervisor holds is a `Connector`; a refusal is explained in its words."""
    async with rig() as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        call_id = made.service.start_call(None)
        transport = await connector.connect(call_id)
        assert json.loads(str(await transport.receive()))["chat_id"] == call_id
        made.service.refuse["rtc_2"] = [(401, {})]
        with pytest.raises(Refused):
            await connector.connect("rtc_2")
        assert "OPENAI_API_KEY" in await connector.explain_refusal("rtc_2", 401)
        with pytest.raises(Refused):
            await connector.connect("somebody")
        assert "no bot has dialled in" in await connector.explain_refusal("somebody", 404)


async def test_a_call_is_reached_over_the_hubs_own_socket() -> None:
    """Other clients of the hub, such as Hume's, supervise it too."""
    async with rig() as made:
        call_id = await made.attached()
        async with consumer(made.hub, call_id) as client:
            await client.send(json.dumps({"type": "assistant_input", "text": "One moment."}))
            message = await until(client, "assistant_message")
            assert message["from_text"] and message["message"]["content"] == "One moment."


async def test_a_call_that_was_lost_and_goes_on_can_be_attached_again() -> None:
    """A chat that ended because of trouble here is not the end of the call."""
    async with rig(reconnect_for_s=0.1) as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        call_id = await made.attached()
        made.service.refuse[call_id] = [(503, {})] * 20
        made.service.cut(call_id)
        await made.ended(call_id)
        made.service.refuse.clear()
        transport = await connector.connect(call_id)
        assert json.loads(str(await transport.receive()))["chat_id"] == call_id


def test_which_ids_may_be_calls_depends_on_the_service() -> None:
    """Nobody lists calls, so an id is all there is to go by."""
    uuid = "0b1f6f1e-8f0c-4a39-9d2e-0d1a5a8c7f11"
    for base_url, may in (
        ("https://api.openai.com/v1", False),
        ("https://mine.openai.azure.com/openai/v1", False),
        ("https://api.inworld.ai/v1", True),
        ("https://api.inworld.ai.example.com/v1", False),
    ):
        endpoint = Endpoint(SecretStr("k"), base_url)
        assert endpoint.may_be_call("rtc_u1_0") and endpoint.may_be_call(uuid) is may, base_url


async def test_a_service_whose_ids_are_uuids_is_attached_to_by_the_id_alone() -> None:
    """Inworld's are. A bot of the hub that has the id comes first."""
    async with rig() as made:
        endpoint = Endpoint(SecretStr(KEY), made.service.base_url, call_ids="")
        async with RealtimeCalls(made.hub, endpoint) as calls:
            connector = CallsConnector(made.hub.connector, calls, made.hub)
            uuid = made.service.start_call(None, "0b1f6f1e-8f0c-4a39-9d2e-0d1a5a8c7f11")
            transport = await connector.connect(uuid)
            assert json.loads(str(await transport.receive()))["source"]["name"] == "openai_realtime"
            made.hub.open_chat(source="custom", chat_id="a-bot")
            transport = await connector.connect("a-bot")
            assert json.loads(str(await transport.receive()))["source"] == "custom"
            assert len(made.service.handshakes) == 1


async def test_an_announced_id_may_be_any() -> None:
    """Whoever announces it knows that it is one of a call."""
    async with rig() as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        uuid = made.service.start_call(None, "0b1f6f1e-8f0c-4a39-9d2e-0d1a5a8c7f11")
        with pytest.raises(Refused):
            await connector.connect(uuid)
        made.calls.announce(uuid)
        await eventually(lambda: made.hub.chats.live(uuid) is not None)
        transport = await connector.connect(uuid)
        assert json.loads(str(await transport.receive()))["chat_id"] == uuid


@pytest.mark.parametrize(
    ("asked", "waits"), [("7", 7.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0), ("soon", None), ("", None)]
)
async def test_how_long_the_service_asks_to_wait_is_read_as_http_has_it(asked: str, waits: float | None) -> None:
    """Seconds or a date (RFC 9110); anything else says nothing."""
    async with rig() as made:
        made.service.refuse["rtc_1"] = [(429, {"Retry-After": asked})]
        with pytest.raises(SidebandRefused) as refused:
            await open_sideband(Endpoint(SecretStr(KEY), made.service.base_url), "rtc_1")
        assert refused.value.retry_after == waits


async def test_why_there_is_no_way_to_the_service_is_said_as_for_evi(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's words, and what to do about a certificate; never those of whoever answers."""
    with pytest.raises(Unreachable, match="connection refused"):
        await open_sideband(Endpoint(SecretStr(KEY), "http://127.0.0.1:9/v1"), "rtc_1")
    async with rig() as made:
        with pytest.raises(Unreachable, match="does not speak TLS; is it http"):
            await open_sideband(Endpoint(SecretStr(KEY), made.service.base_url.replace("http:", "https:")), "rtc_1")
    monkeypatch.setenv("HTTPS_PROXY", "socks4://x")
    with pytest.raises(Unreachable, match="socks4"):
        await open_sideband(Endpoint(SecretStr(KEY), "https://api.example.com/v1"), "rtc_1")
