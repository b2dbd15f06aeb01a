"""What the hub answers over HTTP, without sockets."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from evi_mcp.hub import Hub, SourceCommand
from evi_mcp.hub.app import build
from evi_mcp.protocol.codec import MAX_FRAME_BYTES
from tests.clocks import HandClock
from tests.hub.rig import line

pytestmark = pytest.mark.anyio

KEY = {"X-Hume-Api-Key": "a-long-key"}
ACTIVE, OVER = "ACTIVE", "USER_ENDED"


class Desk:
    """A hub, its clock, and a client of it."""

    def __init__(self, hub: Hub, clock: HandClock, client: httpx.AsyncClient) -> None:
        self.hub, self.clock, self.client = hub, clock, client

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def listed(self, **query: Any) -> list[str]:
        return [chat["id"] for chat in (await self.get("/v0/evi/chats", **query))["chats_page"]]

    async def send(self, chat_id: str, message: Any) -> httpx.Response:
        content = message if isinstance(message, bytes) else json.dumps(message).encode()
        return await self.client.post(f"/v0/evi/chat/{chat_id}/send", content=content)


@asynccontextmanager
async def desk(**options: Any) -> AsyncIterator[Desk]:
    clock = HandClock()
    async with Hub(None, keys=["a-long-key"], clock=clock, **options) as hub:
        transport = httpx.ASGITransport(app=build([*hub.routes, hub.mount]))
        async with httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=KEY) as client:
            yield Desk(hub, clock, client)


async def test_chats_come_in_pages_oldest_first_unless_asked_otherwise() -> None:
    """Hume's OpenAPI reference: `page_number` from 0, `page_size` 10, `ascending_order` true."""
    async with desk() as at:
        ids = [at.hub.open_chat().chat_id for _ in range(12)]
        first = await at.get("/v0/evi/chats")
        assert [chat["id"] for chat in first["chats_page"]] == ids[:10]
        assert (first["page_number"], first["page_size"], first["total_pages"]) == (0, 10, 2)
        assert first["pagination_direction"] == "ASC"
        newest = await at.get("/v0/evi/chats", ascending_order="false", page_size=5, page_number=2)
        assert [chat["id"] for chat in newest["chats_page"]] == [ids[1], ids[0]]
        assert newest["pagination_direction"] == "DESC"


async def test_chats_are_filtered_by_status_and_config() -> None:
    """Hume's OpenAPI reference."""
    async with desk() as at:
        over, live = at.hub.open_chat(config_id="config-1"), at.hub.open_chat()
        over.end("done", status="INACTIVITY_TIMEOUT")
        assert await at.listed(status="ACTIVE") == [live.chat_id]
        assert await at.listed(status="INACTIVITY_TIMEOUT") == [over.chat_id]
        assert await at.listed(config_id="config-1") == [over.chat_id]
        assert await at.listed(status="ERROR") == []


async def test_a_chat_is_listed_with_its_times_in_milliseconds_and_its_status() -> None:
    """Documented as seconds, milliseconds in every sample of Hume's."""
    async with desk() as at:
        source = at.hub.open_chat(metadata={"desk": "returns"}, config_id="config-1", chat_group_id="group-1")
        (listed,) = (await at.get("/v0/evi/chats"))["chats_page"]
        started = int(at.clock.now() * 1000)
        assert (listed["status"], listed["start_timestamp"], listed["end_timestamp"]) == (ACTIVE, started, None)
        assert (listed["chat_group_id"], listed["config"]) == ("group-1", {"id": "config-1", "version": 0})
        assert json.loads(listed["metadata"]) == {"desk": "returns"}
        at.clock.jump(7)
        source.end("done")
        (listed,) = (await at.get("/v0/evi/chats"))["chats_page"]
        assert (listed["status"], listed["end_timestamp"]) == (OVER, started + 7000)
        assert listed["event_count"] == len((await at.get(f"/v0/evi/chats/{source.chat_id}"))["events_page"]) == 2


async def test_the_events_of_a_chat_have_ids_and_the_pauses_that_no_socket_shows() -> None:
    """Hume's OpenAPI reference of `GET /v0/evi/chats/{id}`; audio and interim transcripts are none."""

    def carry_out(command: SourceCommand) -> None:
        command.done()

    async with desk() as at:
        source = at.hub.open_chat(on_command=carry_out)
        settings = {"type": "session_settings", "system_prompt": "Be brief.", "language_model_api_key": "sk-hidden"}
        assert (await at.send(source.chat_id, settings)).status_code == 200
        assert (await at.send(source.chat_id, {"type": "pause_assistant_message"})).status_code == 200
        said = {"role": "user", "content": "Hello"}
        source.publish({"type": "user_message", "message": said, "interim": True})
        source.publish({"type": "user_message", "message": said, "interim": False, "time": {"begin": 1, "end": 2}})
        source.publish(line("Hi", id="m-1"))
        source.publish({"type": "audio_output", "id": "m-1", "index": 0, "data": "AAAA"})
        scores = {"prosody": {"scores": {"Joy": 0.5}}}
        source.publish({"type": "assistant_prosody", "id": "m-1", "models": scores})
        source.publish({"type": "tool_call", "tool_call_id": "call_1", "name": "look_up", "parameters": "{}"})
        source.publish({"type": "dtmf", "digit": "5"})
        history = await at.get(f"/v0/evi/chats/{source.chat_id}", page_size=100)
    events = history["events_page"]
    assert [(event["type"], event["role"]) for event in events] == [
        ("CHAT_START_MESSAGE", "SYSTEM"),
        ("SESSION_SETTINGS", "SYSTEM"),
        ("PAUSE_ONSET", "SYSTEM"),
        ("USER_MESSAGE", "USER"),
        ("AGENT_MESSAGE", "AGENT"),
        ("ASSISTANT_PROSODY", "AGENT"),
        ("FUNCTION_CALL", "AGENT"),
    ]
    assert history["event_count"] == len(events) == len({event["id"] for event in events})
    assert "sk-hidden" not in json.dumps(history)
    spoken, prosody, call = events[4:]
    assert prosody["related_event_id"] == spoken["id"]
    assert json.loads(prosody["emotion_features"]) == {"Joy": 0.5}
    assert events[3]["message_text"] == "Hello" and json.loads(events[3]["metadata"]) == {
        "time": {"begin": 1, "end": 2}
    }
    assert json.loads(call["metadata"])["name"] == "look_up"


async def test_events_of_any_shape_are_shown() -> None:
    """A bot writes what it wants; a history that cannot be read for one message of it would be none."""
    async with desk() as at:
        source = at.hub.open_chat()
        for odd in ({"message": 3}, {"message": {"content": []}, "models": 7}, {"models": {"prosody": "x"}}, {}):
            source.publish({"type": "assistant_message", "id": 5, **odd})
            source.publish({"type": "assistant_prosody", "id": None, **odd})
        assert len((await at.get(f"/v0/evi/chats/{source.chat_id}", page_size=100))["events_page"]) == 9


@pytest.mark.parametrize(
    "query", ["page_size=0", "page_size=101", "page_number=-1", "page_size=x", "ascending_order=2"]
)
async def test_a_page_that_cannot_be_is_a_400(query: str) -> None:
    """Hume's bounds are 1 to 100; a 400 is `{code, error, message}`."""
    async with desk() as at:
        answer = await at.client.get(f"/v0/evi/chats?{query}")
    assert answer.status_code == 400 and answer.json().keys() == {"code", "error", "message"}


async def test_send_takes_one_message_and_names_what_is_wrong_with_it() -> None:
    """Hume's OpenAPI reference: 200 for accepted, 422 with `detail` of `loc`, `msg`, `type`."""
    async with desk() as at:
        taken: list[str] = []
        chat_id = at.hub.open_chat(on_command=lambda command: taken.append(command.message["text"])).chat_id
        sent = await at.send(chat_id, {"type": "user_input", "text": "Hi"})
        assert (sent.status_code, sent.json(), taken) == (200, {}, ["Hi"])
        wrong = await at.send(chat_id, {"type": "user_input"})
        assert wrong.status_code == 422 and wrong.json()["detail"][0]["loc"] == ["body", "text"]
        for body in (b"{", b"\xff", b"[]", b"", {"type": "audio_input", "data": "AA"}, {"text": "x"}):
            assert (await at.send(chat_id, body)).status_code == 422
        secret = await at.send(chat_id, {"type": "session_settings", "language_model_api_key": ["sk-hidden"]})
        assert secret.status_code == 422 and "sk-hidden" not in secret.text
        assert (await at.client.get(f"/v0/evi/chat/{chat_id}/send")).status_code == 405
        assert (await at.send(chat_id, b"x" * (MAX_FRAME_BYTES + 1))).status_code == 413


async def test_send_says_what_the_chat_cannot_do() -> None:
    """422, which no client tries again by itself, as some do after a 409; the text names the command."""
    async with desk() as at:
        chat_id = at.hub.open_chat(supports=["user_input"], source="livekit").chat_id
        answer = await at.send(chat_id, {"type": "assistant_input", "text": "Hi"})
    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert (problem["type"], "assistant_input" in problem["msg"]) == ("command_not_supported", True)


async def test_send_needs_a_live_chat_and_no_allow_connection() -> None:
    """That `allow_connection` is for `/connect` alone is inferred from Hume's example; 404 is our choice."""
    async with desk() as at:
        source = at.hub.open_chat(allow_connection=False)
        message = {"type": "user_input", "text": "Hi"}
        assert (await at.send(source.chat_id, message)).status_code == 200
        source.end("done")
        assert (await at.send(source.chat_id, message)).status_code == 404
        assert (await at.send("nobody", message)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v0/evi/chats/nobody", 404),
        ("GET", "/v0/evi/chats/", 404),
        ("GET", "/v0/evi/nothing", 404),
        ("POST", "/v0/evi/chats", 405),
        ("GET", "/v0/evi/link", 426),
        ("GET", "/v0/evi/chat/x/connect", 426),
        ("GET", "/v0/evi/chats/a%2Fb", 404),
    ],
)
async def test_other_addresses_are_refused(method: str, path: str, status: int) -> None:
    """Statuses of the standard, in the one shape of errors."""
    async with desk() as at:
        answer = await at.client.request(method, path)
    assert (answer.status_code, answer.json().keys()) == (status, {"code", "error", "message"})


async def test_a_hub_that_goes_lets_nobody_in() -> None:
    """503: the next one will."""
    async with desk() as at:
        await at.hub.addresses.drain()
        assert (await at.client.get("/v0/evi/chats")).status_code == 503


async def test_a_failure_of_the_hub_is_a_500_and_not_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong is in the log; the client learns nothing of it."""
    monkeypatch.setattr("evi_mcp.hub.app.chats_page", lambda *_: 1 / 0)
    async with desk() as at:
        transport = httpx.ASGITransport(app=build([at.hub.mount]), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=KEY) as client:
            answer = await client.get("/v0/evi/chats")
    assert answer.status_code == 500 and "division" not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Hume-Api-Key": "first-key"}, 200),
        ({"X-Hume-Api-Key": "second-key"}, 200),
        ({"X-Hume-Api-Key": "first-key", "Origin": "https://desk.example"}, 200),
        ({"X-Hume-Api-Key": "first-key,second-key"}, 401),
        ({"X-Hume-Api-Key": "FIRST-KEY"}, 401),
        ({"X-Hume-Api-Key": ""}, 401),
        ({"X-Hume-Api-Key": b"first-k\xeay"}, 401),
        ({"Authorization": "Bearer first-key"}, 401),
        ({}, 401),
    ],
)
async def test_a_key_is_taken_from_its_header_alone(headers: dict[str, Any], status: int) -> None:
    """Contract, section 8. In an address it would end in logs."""
    async with Hub(None, keys=["first-key", "second-key"]) as hub:
        transport = httpx.ASGITransport(app=build([hub.mount]))
        async with httpx.AsyncClient(transport=transport, base_url="http://hub.example") as client:
            assert (await client.get("/v0/evi/chats", headers=headers)).status_code == status
            assert (await client.get("/v0/evi/chats?api_key=first-key")).status_code == 401


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("127.0.0.1:8770", {}, 200),
        ("localhost:8770", {}, 200),
        ("[::1]:8770", {}, 200),
        ("127.0.0.1:8770", {"Origin": "https://evil.example"}, 401),
        ("127.0.0.1:8770", {"Origin": "null"}, 401),
        ("evil.example", {}, 401),
        ("127.0.0.1.evil.example", {}, 401),
        ("[", {}, 401),
    ],
)
async def test_without_keys_no_web_page_gets_in(host: str, headers: dict[str, str], status: int) -> None:
    """A page in a browser of this machine can open sockets to 127.0.0.1, by its own name too (DNS rebinding)."""
    async with Hub(None) as hub:
        transport = httpx.ASGITransport(app=build([hub.mount]))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answer = await client.get("/v0/evi/chats", headers={"Host": host, **headers})
    assert answer.status_code == status
