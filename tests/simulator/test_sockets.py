"""The simulator over real loopback sockets, with clients that others wrote."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from evi_mcp.hub.chat import HubChat
from evi_mcp.protocol.codec import MAX_FRAME_BYTES
from evi_mcp.simulator import Simulator
from evi_mcp.simulator.scenario import scenarios

T = TypeVar("T")

pytestmark = pytest.mark.anyio

KEY = {"X-Hume-Api-Key": "key"}
HANDSHAKE = b"\r\n".join(
    (
        b"GET /v0/evi/chat?api_key=k HTTP/1.1",
        b"Host: x",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 13",
        b"",
        b"",
    )
)


@asynccontextmanager
async def simulator(**options: Any) -> AsyncIterator[Simulator]:
    with anyio.fail_after(10):
        async with Simulator(**{"calls": (), "speed": 50.0, "seed": 1, **options}) as sim:
            yield sim


@asynccontextmanager
async def socket(sim: Simulator, path: str, headers: dict[str, str] = KEY) -> AsyncIterator[ClientConnection]:
    address = f"ws{sim.base_url.removeprefix('http')}/v0/evi/chat{path}"
    async with connect(address, additional_headers=headers, max_size=2**24, proxy=None, close_timeout=1) as client:
        yield client


def rest(sim: Simulator) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=sim.base_url, headers=KEY, trust_env=False)


async def until(client: ClientConnection, type_: str, containing: str = "") -> dict[str, Any]:
    while True:
        event: dict[str, Any] = json.loads(await client.recv())
        if event["type"] == type_ and containing in json.dumps(event):
            return event


async def all_of(client: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """Everything up to the close, and its code."""
    events = []
    try:
        while True:
            events.append(json.loads(await client.recv()))
    except ConnectionClosed as error:
        return events, None if error.rcvd is None else error.rcvd.code


async def test_a_scripted_call_can_be_followed_to_its_end() -> None:
    """History, then live, then 1000; and the REST API agrees."""
    async with simulator(calls=None) as sim, rest(sim) as client:
        chats = (await client.get("/v0/evi/chats", params={"status": "ACTIVE"})).json()["chats_page"]
        assert len(chats) == len(sim.scenarios) == 4
        quiet = chats[sim.scenarios.index("quiet")]["id"]
        async with socket(sim, f"/{quiet}/connect") as observer:
            events, code = await all_of(observer)
        assert events[0]["type"] == "chat_metadata" and events[0]["chat_id"] == quiet
        assert events[-1]["type"] == "error" and events[-1]["code"] == "E0714"
        assert code == 1000
        assert (await client.get(f"/v0/evi/chats/{quiet}")).json()["status"] == "INACTIVITY_TIMEOUT"


async def test_there_are_always_live_calls() -> None:
    """Whoever comes later finds something to attach to: a script begins again, as another chat."""
    async with simulator(calls=None, speed=500.0) as sim:
        first, _ = await eventually(lambda: runs(sim, "quiet"), lambda found: len(found) == 2)
        assert first.ending is not None


def runs(sim: Simulator, name: str) -> list[HubChat]:
    return [chat for chat in sim.hub.chats if chat.facts.config_id == str(scenarios()[name].config_id)]


async def eventually(look: Callable[[], T], enough: Callable[[T], bool]) -> T:
    """What `look` finds once it is enough; for what no client is told of."""
    while True:
        found = look()
        if enough(found):
            return found
        await anyio.sleep(0.01)


async def test_a_primary_types_and_an_observer_sees_all_of_it() -> None:
    """`/chat` and `/connect` as Hume describes them: the observer gets the history and then goes along."""
    async with simulator() as sim, socket(sim, "?allow_connection=true") as primary:
        chat_id = (await until(primary, "chat_metadata"))["chat_id"]
        await primary.send(json.dumps({"type": "user_input", "text": "before"}))
        await until(primary, "assistant_end")
        async with socket(sim, f"/{chat_id}/connect") as observer:
            await until(observer, "user_message", "before")
            await primary.send(json.dumps({"type": "user_input", "text": "after"}))
            await until(observer, "user_message", "after")
            await until(observer, "assistant_message", "You said: after")
            await primary.close()
            _, code = await all_of(observer)
        assert code == 1000


async def test_a_tool_call_is_answered_over_the_socket() -> None:
    """The booking goes on with what it was told."""
    async with simulator() as sim:
        chat_id = sim.start_call("booking", "booking-1")
        async with socket(sim, f"/{chat_id}/connect") as observer:
            call = await until(observer, "tool_call")
            answer = {"type": "tool_response", "tool_call_id": call["tool_call_id"], "content": '{"times": ["20:15"]}'}
            await observer.send(json.dumps(answer))
            await until(observer, "assistant_message", "20:15")


async def test_send_acts_on_the_chat_and_its_effect_is_on_the_socket() -> None:
    """200 says taken; the effect is to be watched for (Hume's reference of `/send`)."""
    async with simulator() as sim, rest(sim) as client:
        chat_id = sim.start_call("support")
        async with socket(sim, f"/{chat_id}/connect") as observer:
            sent = await client.post(f"/v0/evi/chat/{chat_id}/send", json={"type": "assistant_input", "text": "Hello!"})
            assert (sent.status_code, sent.json()) == (200, {})
            assert (await until(observer, "assistant_message", "Hello!"))["from_text"]
        wrong = await client.post(f"/v0/evi/chat/{chat_id}/send", json={"type": "assistant_input"})
        assert wrong.status_code == 422 and wrong.json()["detail"][0]["loc"] == ["body", "text"]


async def test_handshakes_are_refused_with_their_status() -> None:
    """401 without a key, 403 without `allow_connection`, 404 for an unknown chat, 426 without an upgrade."""
    async with simulator(api_key="key") as sim, socket(sim, "") as primary, rest(sim) as client:
        chat_id = (await until(primary, "chat_metadata"))["chat_id"]
        for path, headers, status in (
            (f"/{chat_id}/connect", {}, 401),
            (f"/{chat_id}/connect", {"X-Hume-Api-Key": "other"}, 401),
            (f"/{chat_id}/connect", KEY, 403),
            ("/nobody/connect", KEY, 404),
        ):
            with pytest.raises(InvalidStatus) as refused:
                async with socket(sim, path, headers):
                    raise AssertionError("it was accepted")
            assert refused.value.response.status_code == status
        assert (await client.get(f"/v0/evi/chat/{chat_id}/connect")).status_code == 426


async def test_a_token_opens_rest_and_sockets() -> None:
    """Tokens of `/oauth2-cc/token` work in the query and as a bearer."""
    async with simulator(api_key="key", secret_key="secret") as sim, rest(sim) as client:
        grant = {"grant_type": "client_credentials"}
        assert (await client.post("/oauth2-cc/token", data=grant, auth=("key", "wrong"))).status_code == 401
        token = (await client.post("/oauth2-cc/token", data=grant, auth=("key", "secret"))).json()["access_token"]
        chat_id = sim.start_call("support")
        async with socket(sim, f"/{chat_id}/connect?access_token={token}", {}) as observer:
            await until(observer, "chat_metadata")
        async with socket(sim, f"/{chat_id}/connect", {"Authorization": f"Bearer {token}"}) as observer:
            await until(observer, "chat_metadata")


async def test_ten_bad_frames_close_the_connection_with_1008() -> None:
    """Hume's page on errors; the errors themselves arrive first."""
    async with simulator() as sim:
        chat_id = sim.start_call("quiet")
        async with socket(sim, f"/{chat_id}/connect") as observer:
            for _ in range(10):
                await observer.send("no json")
            events, code = await all_of(observer)
        assert [event["code"] for event in events if event["type"] == "error"] == ["E0100"] * 10
        assert code == 1008
        assert sim.hub.chats.live(chat_id) is not None


async def test_fragments_pings_and_binary_frames_are_handled() -> None:
    """The WebSocket standard; EVI itself takes text frames only."""
    async with simulator() as sim, socket(sim, "") as primary:
        await (await primary.ping())
        await primary.send(['{"type": "user_', 'input", "text": "in ', 'pieces"}'])
        await until(primary, "user_message", "in pieces")
        await primary.send(b"\x00\x01\x02")
        assert (await until(primary, "error"))["code"] == "E0100"


async def test_a_message_of_several_megabytes_is_taken() -> None:
    """16 MB a message (Hume's FAQ)."""
    async with simulator() as sim, socket(sim, "") as primary:
        await primary.send(json.dumps({"type": "user_input", "text": "x" * 3_000_000}))
        assert len((await until(primary, "user_message"))["message"]["content"]) == 3_000_000


async def test_a_message_beyond_the_limit_is_closed_with_1009() -> None:
    """The standard's code for it; the header says how long the message is, so none of it is kept."""
    too_long = b"\x81\xff" + (MAX_FRAME_BYTES + 1).to_bytes(8, "big") + b"mask"
    async with simulator() as sim:
        answer = await shout(sim, HANDSHAKE, too_long)
    assert b"\x03\xf1" + b"frame with" in answer  # 1009, and the library's reason


async def test_text_that_is_not_utf8_is_closed_with_1007() -> None:
    """The standard's code for it."""
    async with simulator() as sim:
        answer = await shout(sim, HANDSHAKE, b"\x81\x81\x00\x00\x00\x00\xff")
    assert answer.endswith(b"\x88\x02\x03\xef")


async def test_a_message_just_before_the_close_still_counts() -> None:
    """A client that says goodbye and leaves has said it, even if both arrive at once."""
    text = b'{"type":"user_input","text":"Goodbye"}'
    goodbye = b"\x81" + bytes([0x80 | len(text)]) + bytes(4) + text + b"\x88\x82" + bytes(4) + b"\x03\xe8"
    async with simulator() as sim:
        await shout(sim, HANDSHAKE, goodbye)
        (chat,) = sim.hub.chats
        await eventually(lambda: chat.ending, lambda ending: ending is not None)
        assert [entry.type for entry in chat.history] == ["user_message"]
        assert chat.status == "USER_ENDED"


async def shout(sim: Simulator, data: bytes, *after_the_answer: bytes) -> bytes:
    """Sends bytes that no client library would, and returns all that comes back."""
    answer = b""
    async with await anyio.connect_tcp("127.0.0.1", int(sim.base_url.rpartition(":")[2])) as raw:
        try:
            await raw.send(data)
            for more in after_the_answer:
                answer += await raw.receive()
                await raw.send(more)
            await raw.send_eof()
            while True:
                answer += await raw.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return answer


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\x00\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v0/evi/chats HTTP/1.1\r\n\r\n",
        b"GET /v0/evi/chats HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000,
        b"POST /oauth2-cc/token HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET /v0/evi/chat?api_key=k HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        HANDSHAKE.replace(b"Version: 13", b"Version: 7"),
    ],
)
async def test_garbage_ends_its_own_connection_and_nothing_else(garbage: bytes) -> None:
    """No client can bring the simulator down; a handshake that is none opens no chat."""
    async with simulator() as sim:
        await shout(sim, garbage)
        async with rest(sim) as client:
            chats = (await client.get("/v0/evi/chats")).json()["chats_page"]
        assert all(chat["status"] == "USER_ENDED" for chat in chats)


async def test_a_connection_is_kept_for_the_next_request() -> None:
    """HTTP/1.1: REST calls in a row, of all kinds, on one connection, and then a socket on it is no problem either."""
    async with simulator() as sim, rest(sim) as client:
        chat_id = sim.start_call("quiet")
        for _ in range(3):
            assert (await client.get("/v0/evi/chats")).status_code == 200
            assert (await client.head("/v0/evi/chats")).status_code == 200
            sent = await client.post(f"/v0/evi/chat/{chat_id}/send", json={"type": "user_input", "text": "a" * 200_000})
            assert sent.status_code == 200
            assert (await client.get("/nowhere")).status_code == 404


async def test_a_reader_that_does_not_read_holds_up_nobody() -> None:
    """One recording for all: what a slow connection has not read costs the chat and the others nothing."""
    async with simulator(speed=100.0) as sim, socket(sim, "?allow_connection=true") as primary:
        chat_id = (await until(primary, "chat_metadata"))["chat_id"]
        async with socket(sim, f"/{chat_id}/connect") as slow, socket(sim, f"/{chat_id}/connect") as quick:
            for number in range(6):
                await primary.send(json.dumps({"type": "user_input", "text": "x" * 1_000_000 + str(number)}))
                await until(quick, "user_message", f"x{number}")
            await primary.close()
            events, code = await all_of(slow)
        assert code == 1000
        assert sum(event["type"] == "user_message" for event in events) == 6


async def test_a_primary_that_never_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that takes nothing for so long is closed, and its chat with it."""
    monkeypatch.setattr("evi_mcp.hub.sockets.SLOW_READER_S", 0.1)
    monkeypatch.setattr("evi_mcp.hub.server.CLOSE_TIMEOUT_S", 0.1)
    async with simulator() as sim, socket(sim, "") as primary:
        await primary.send(json.dumps({"type": "user_input", "text": "x" * 15_000_000}))
        primary.transport.pause_reading()
        await eventually(lambda: next(iter(sim.hub.chats)).ending, lambda ending: ending is not None)


async def test_a_primary_sends_its_audio_and_no_other_connection_does() -> None:
    """Hume's guide: `audio_input` belongs to the chat's own socket."""
    async with simulator() as sim, socket(sim, "?allow_connection=true") as primary:
        chat_id = (await until(primary, "chat_metadata"))["chat_id"]
        async with socket(sim, f"/{chat_id}/connect") as observer:
            for client in (primary, observer):
                await client.send(json.dumps({"type": "audio_input", "data": "AAAA"}))
            assert "own connection" in (await until(observer, "error"))["message"]
            await primary.send(json.dumps({"type": "user_input", "text": "Hello"}))
            assert (await until(primary, "user_message"))["message"]["content"] == "Hello"


async def test_leaving_closes_everything_within_a_second() -> None:
    """Observers are told that the service goes away, and nothing is left running."""
    async with simulator(calls=None) as sim:
        chat_id = sim.start_call("support")
        async with socket(sim, f"/{chat_id}/connect") as observer, socket(sim, "") as primary:
            await until(observer, "chat_metadata")
            await until(primary, "chat_metadata")
            started = time.monotonic()
            await sim.__aexit__(None, None, None)
            assert time.monotonic() - started < 3
            assert (await all_of(observer))[1] == 1001
            assert (await all_of(primary))[1] == 1001
        with pytest.raises(OSError):
            await anyio.connect_tcp("127.0.0.1", int(sim.base_url.rpartition(":")[2]))


async def test_an_error_in_the_block_gets_out_as_it_is() -> None:
    """No test should have to unpack a group to see why it failed."""
    with pytest.raises(ZeroDivisionError):
        async with Simulator(calls=None, speed=50.0):
            await anyio.lowlevel.checkpoint()
            raise ZeroDivisionError


async def test_a_call_needs_a_script_that_exists() -> None:
    """A typing error should not start nothing in silence."""
    async with simulator() as sim:
        with pytest.raises(KeyError):
            sim.start_call("nonsense")
    with pytest.raises(ValueError, match="speed"):
        Simulator(speed=0)
