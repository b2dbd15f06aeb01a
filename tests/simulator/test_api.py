"""What the service answers to requests, without sockets."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from evi_mcp.simulator.api import Admission, Api, HttpRequest, HttpResponse
from evi_mcp.simulator.credentials import MAX_TOKENS, Credentials
from evi_mcp.simulator.engine import ChatEngine, Timing
from evi_mcp.simulator.recording import Attachment
from evi_mcp.simulator.scenario import scenarios
from evi_mcp.simulator.service import MAX_ENDED, EviService
from tests.simulator.play import read

KEY = {"x-hume-api-key": "key"}
EPOCH_MS = 1_762_430_100_000


class Desk:
    """A service with its addresses."""

    def __init__(self, api_key: str | None = None, secret_key: str | None = None) -> None:
        self.service = EviService(seed=7, epoch_ms=EPOCH_MS, timing=Timing())
        self.credentials = Credentials(api_key, secret_key)
        self.api = Api(self.service, self.credentials)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | Any = b"",
        headers: Mapping[str, str] = KEY,
        now: float = 0.0,
    ) -> HttpResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.api.answer(HttpRequest(method, target, headers, raw), now)

    def get(self, target: str) -> Any:
        answer = self.ask("GET", target)
        assert answer.status == 200, answer
        return answer.content

    def admit(self, target: str, headers: Mapping[str, str] = KEY, now: float = 0.0) -> Admission | int:
        answer = self.api.admit(HttpRequest("GET", target, headers), now)
        return answer if isinstance(answer, Admission) else answer.status

    def open(self, query: str = "", now: float = 0.0) -> tuple[ChatEngine, Attachment]:
        admission = self.admit(f"/v0/evi/chat?{query}", now=now)
        assert isinstance(admission, Admission)
        return admission.chat, admission.attachment


def basic(api_key: str, secret_key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{api_key}:{secret_key}".encode()).decode()}


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {"x-hume-api-key": "right"}, 200),
        ("?api_key=right", {}, 200),
        ("", {"x-hume-api-key": "wrong"}, 401),
        ("?api_key=wrong", {}, 401),
        ("?access_token=right", {}, 401),
        ("", {"authorization": "Bearer right"}, 401),
        ("", {"x-hume-api-key": "r\u00efght"}, 401),
        ("", {}, 401),
    ],
)
def test_a_key_is_taken_from_the_header_or_the_query(query: str, headers: dict[str, str], status: int) -> None:
    """Both ways are in Hume's references; a key is no token."""
    assert Desk(api_key="right").ask("GET", f"/v0/evi/chats{query}", headers=headers).status == status


def test_without_a_set_key_every_key_passes_but_none_at_all_does_not() -> None:
    """A client that forgets its key should find out here, and not at Hume."""
    desk = Desk()
    assert desk.ask("GET", "/v0/evi/chats", headers={"x-hume-api-key": "anything"}).status == 200
    assert desk.ask("GET", "/v0/evi/chats", headers={"x-hume-api-key": ""}).status == 401


def test_a_token_is_made_from_both_keys_and_expires() -> None:
    """`POST /oauth2-cc/token` with Basic authentication; 1800 s (Hume's page on keys)."""
    desk = Desk(api_key="key", secret_key="secret")
    form = b"grant_type=client_credentials"
    answer = desk.ask("POST", "/oauth2-cc/token", form, basic("key", "secret"), now=100.0)
    assert answer.status == 200
    assert answer.content["token_type"] == "bearer" and answer.content["expires_in"] == 1800
    token = answer.content["access_token"]
    bearer = {"authorization": f"Bearer {token}"}
    assert desk.ask("GET", f"/v0/evi/chats?access_token={token}", headers={}, now=1899.0).status == 200
    assert desk.ask("GET", "/v0/evi/chats", headers=bearer, now=1899.0).status == 200
    assert desk.ask("GET", "/v0/evi/chats", headers=bearer, now=1901.0).status == 401


@pytest.mark.parametrize(
    ("method", "form", "headers", "status"),
    [
        ("POST", b"grant_type=client_credentials", basic("key", "wrong"), 401),
        ("POST", b"grant_type=client_credentials", basic("wrong", "secret"), 401),
        ("POST", b"grant_type=client_credentials", {"authorization": "Basic !"}, 401),
        ("POST", b"grant_type=client_credentials", {"authorization": "Bearer x"}, 401),
        ("POST", b"grant_type=client_credentials", {}, 401),
        ("POST", b"grant_type=password", basic("key", "secret"), 400),
        ("POST", b"\xff", basic("key", "secret"), 400),
        ("GET", b"", basic("key", "secret"), 405),
    ],
)
def test_a_token_is_refused(method: str, form: bytes, headers: dict[str, str], status: int) -> None:
    """Our choice of statuses; Hume documents the good case only."""
    desk = Desk(api_key="key", secret_key="secret")
    assert desk.ask(method, "/oauth2-cc/token", form, headers).status == status


def test_tokens_do_not_pile_up() -> None:
    """Every buffer is bounded; the oldest goes first."""
    credentials = Credentials(None, None)
    tokens = [credentials.token(basic("k", "s")["authorization"], 0.0) for _ in range(MAX_TOKENS + 1)]
    alive = [credentials.accept({}, {"access_token": token or ""}, 1.0) for token in (tokens[0], tokens[-1])]
    assert alive == [False, True]


def test_chats_come_in_pages_oldest_first_unless_asked_otherwise() -> None:
    """Hume's OpenAPI reference: `page_number` from 0, `page_size` 10, `ascending_order` true."""
    desk = Desk()
    ids = [desk.service.open_chat(float(second)).opening.chat_id for second in range(12)]
    first = desk.get("/v0/evi/chats")
    assert [chat["id"] for chat in first["chats_page"]] == ids[:10]
    assert (first["page_number"], first["page_size"], first["total_pages"]) == (0, 10, 2)
    assert first["pagination_direction"] == "ASC"
    newest = desk.get("/v0/evi/chats?ascending_order=false&page_size=5&page_number=2")
    assert [chat["id"] for chat in newest["chats_page"]] == [ids[1], ids[0]]
    assert newest["pagination_direction"] == "DESC"


def test_a_chat_is_listed_with_its_times_in_milliseconds_and_its_status() -> None:
    """Documented as seconds, milliseconds in every sample of Hume's."""
    desk = Desk()
    chat = desk.service.open_chat(2.0, scenario=scenarios()["quiet"])
    (listed,) = desk.get("/v0/evi/chats")["chats_page"]
    assert (listed["status"], listed["start_timestamp"], listed["end_timestamp"]) == ("ACTIVE", EPOCH_MS + 2000, None)
    assert listed["config"] == {"id": str(scenarios()["quiet"].config_id), "version": 0}
    chat.advance(500.0)
    (listed,) = desk.get("/v0/evi/chats")["chats_page"]
    assert listed["status"] == "INACTIVITY_TIMEOUT"
    assert listed["end_timestamp"] > EPOCH_MS + 60_000
    assert listed["event_count"] == len(desk.get(f"/v0/evi/chats/{listed['id']}?page_size=100")["events_page"])


def test_chats_are_filtered_by_status_and_config() -> None:
    """Hume's OpenAPI reference."""
    desk = Desk()
    quiet = desk.service.open_chat(0.0, scenario=scenarios()["quiet"])
    support = desk.service.open_chat(0.0, scenario=scenarios()["support"])
    quiet.advance(500.0)

    def listed(query: str) -> list[str]:
        return [chat["id"] for chat in desk.get(f"/v0/evi/chats?{query}")["chats_page"]]

    assert listed("status=ACTIVE") == [support.opening.chat_id]
    assert listed("status=INACTIVITY_TIMEOUT") == [quiet.opening.chat_id]
    assert listed(f"config_id={quiet.opening.config_id}") == [quiet.opening.chat_id]
    assert listed("status=ERROR") == []


@pytest.mark.parametrize(
    "query", ["page_size=0", "page_size=101", "page_number=-1", "page_size=x", "ascending_order=2"]
)
def test_a_page_that_cannot_be_is_a_400(query: str) -> None:
    """Hume's bounds are 1 to 100; a 400 is `{code, error, message}`."""
    answer = Desk().ask("GET", f"/v0/evi/chats?{query}")
    assert answer.status == 400
    assert answer.content.keys() == {"code", "error", "message"}


def test_the_history_of_a_chat_has_events_with_ids_and_the_pauses_that_no_socket_shows() -> None:
    """Hume's OpenAPI reference of `GET /v0/evi/chats/{id}`."""
    desk = Desk()
    chat, primary = desk.open("allow_connection=true")
    for type_, fields in (
        ("session_settings", {"system_prompt": "Be brief.", "language_model_api_key": "sk-hidden"}),
        ("pause_assistant_message", {}),
        ("user_input", {"text": "Hello"}),
        ("resume_assistant_message", {}),
    ):
        assert desk.ask("POST", f"/v0/evi/chat/{chat.opening.chat_id}/send", {"type": type_, **fields}).status == 200
    chat.advance(20.0)
    history = desk.get(f"/v0/evi/chats/{chat.opening.chat_id}?page_size=100")
    events = history["events_page"]
    assert [event["type"] for event in events][:5] == [
        "CHAT_START_MESSAGE",
        "SESSION_SETTINGS",
        "PAUSE_ONSET",
        "USER_MESSAGE",
        "RESUME_ONSET",
    ]
    assert len({event["id"] for event in events}) == len(events)
    assert "sk-hidden" not in json.dumps(history)
    prosody = next(event for event in events if event["type"] == "ASSISTANT_PROSODY")
    spoken = next(event for event in events if event["id"] == prosody["related_event_id"])
    assert spoken["type"] == "AGENT_MESSAGE" and spoken["role"] == "AGENT"
    assert len(json.loads(prosody["emotion_features"])) == 48
    assert not {"PAUSE_ONSET", "pause_assistant_message"} & {event["type"] for event in read(primary)}


def test_the_events_of_a_scripted_call_are_all_of_documented_types() -> None:
    """The list in Hume's reference; tool calls and interruptions among them, interims and audio not."""
    desk = Desk()
    chat = desk.service.open_chat(0.0, scenario=scenarios()["support"])
    chat.advance(300.0)
    first = desk.get(f"/v0/evi/chats/{chat.opening.chat_id}?page_size=100")
    types = {event["type"] for event in first["events_page"]}
    assert first["total_pages"] == 1
    assert types == {
        "CHAT_START_MESSAGE",
        "CHAT_END_MESSAGE",
        "USER_MESSAGE",
        "AGENT_MESSAGE",
        "ASSISTANT_PROSODY",
        "USER_INTERRUPTION",
        "FUNCTION_CALL",
        "FUNCTION_CALL_RESPONSE",
    }
    assert [event["timestamp"] for event in first["events_page"]] == sorted(
        event["timestamp"] for event in first["events_page"]
    )


def test_send_takes_one_message_and_names_what_is_wrong_with_it() -> None:
    """Hume's OpenAPI reference: 200 for accepted, 422 with `detail` of `loc`, `msg`, `type`."""
    desk = Desk()
    chat = desk.service.open_chat(0.0)
    address = f"/v0/evi/chat/{chat.opening.chat_id}/send"
    assert desk.ask("POST", address, {"type": "user_input", "text": "Hi"}) == HttpResponse(200, {})
    answer = desk.ask("POST", address, {"type": "user_input"})
    assert answer.status == 422
    assert answer.content["detail"][0]["loc"] == ["body", "text"]
    for body in (b"{", b"\xff", b"[]", {"type": "audio_input", "data": "AA"}, {"text": "x"}):
        assert desk.ask("POST", address, body).status == 422
    secret = desk.ask("POST", address, {"type": "session_settings", "language_model_api_key": ["sk-hidden"]})
    assert secret.status == 422 and "sk-hidden" not in str(secret.content)
    assert desk.ask("GET", address).status == 405


def test_send_needs_a_live_chat_and_no_allow_connection() -> None:
    """That `allow_connection` is for `/connect` alone is inferred from Hume's example; 404 is our choice."""
    desk = Desk()
    chat, primary = desk.open()
    address = f"/v0/evi/chat/{chat.opening.chat_id}/send"
    assert desk.ask("POST", address, {"type": "user_input", "text": "Hi"}).status == 200
    chat.detach(primary, 1.0)
    assert desk.ask("POST", address, {"type": "user_input", "text": "Hi"}, now=2.0).status == 404
    assert desk.ask("POST", "/v0/evi/chat/nobody/send", {"type": "user_input", "text": "Hi"}).status == 404


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v0/evi/chats/nobody", 404),
        ("POST", "/v0/evi/chats", 405),
        ("GET", "/v0/evi/chat", 426),
        ("GET", "/v0/evi/chat/x/connect", 426),
        ("GET", "//[", 404),
    ],
)
def test_other_addresses_are_refused(method: str, target: str, status: int) -> None:
    """Statuses of the standard."""
    assert Desk().ask(method, target).status == status


def test_a_handshake_is_refused_with_a_status_that_says_why() -> None:
    """Undocumented by Hume; chosen so that a client can tell the cases apart by their class."""
    desk = Desk()
    closed, _ = desk.open()
    ended, primary = desk.open("allow_connection=true")
    ended.detach(primary, 1.0)
    assert desk.admit("/v0/evi/chat", headers={}) == 401
    assert desk.admit("/v0/evi/chat/nobody/connect") == 404
    assert desk.admit(f"/v0/evi/chat/{ended.opening.chat_id}/connect", now=2.0) == 404
    assert desk.admit(f"/v0/evi/chat/{closed.opening.chat_id}/connect") == 403
    assert desk.admit("/v0/evi/chat?allow_connection=perhaps") == 400
    assert desk.admit("/v0/evi/chat?session_settings[context][text]=a&session_settings[context]=b") == 400
    assert desk.admit("/v0/tts/stream") == 404


def test_a_chat_may_be_opened_with_settings_in_its_query() -> None:
    """Bracket notation (Hume's reference of `/chat`): the context is used in the first answer."""
    desk = Desk()
    chat, primary = desk.open(
        "session_settings[context][text]=The+parcel+is+blue.&session_settings[variables][name]=Ines&session_settings[event_limit]=3"
    )
    chat.obey({"type": "user_input", "text": "Hello"}, primary, 0.0)
    chat.advance(20.0)
    assert any("The parcel is blue." in json.dumps(event) for event in read(primary))


def test_a_primary_may_play_a_script_by_its_config() -> None:
    """Our addition: a `/chat` that speaks, without a microphone."""
    desk = Desk()
    by_id, _ = desk.open(f"config_id={scenarios()['support'].config_id}&verbose_transcription=true")
    by_name, _ = desk.open("config_id=quiet")
    typed, _ = desk.open("config_id=5b1c3a0e-6c0e-4f55-9a0b-0d5c5e0a7711")
    assert by_id.opening.scenario is scenarios()["support"] and by_id.opening.verbose_transcription
    assert by_name.opening.scenario is scenarios()["quiet"] and not by_name.opening.verbose_transcription
    assert typed.opening.scenario is None and str(typed.opening.config_id).startswith("5b1c")


def test_a_chat_may_go_on_in_the_group_of_an_earlier_one() -> None:
    """`resumed_chat_group_id` (Hume's reference of `/chat`): another chat, the same group."""
    desk = Desk()
    first, _ = desk.open()
    second, _ = desk.open(f"resumed_chat_group_id={first.opening.chat_group_id}")
    third, _ = desk.open("resumed_chat_group_id=unknown")
    assert second.opening.chat_id != first.opening.chat_id
    assert second.opening.chat_group_id == first.opening.chat_group_id != third.opening.chat_group_id


def test_ended_chats_are_forgotten_oldest_first_and_live_ones_never() -> None:
    """Every buffer is bounded."""
    service = EviService(seed=1, epoch_ms=0, timing=Timing())
    live = service.open_chat(0.0)
    ended = []
    for _ in range(MAX_ENDED + 2):
        chat = service.open_chat(0.0)
        chat.detach(chat.attach(primary=True), 0.0)
        ended.append(chat.opening.chat_id)
    service.open_chat(0.0)
    assert service.chat(live.opening.chat_id) is live
    assert service.chat(ended[0]) is None and service.chat(ended[-1]) is not None
    assert sum(chat.ended is not None for chat in service) == MAX_ENDED


def test_the_number_of_live_chats_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans of Hume's have a limit; 429 is likely and not documented."""
    monkeypatch.setattr("evi_mcp.simulator.service.MAX_LIVE", 1)
    desk = Desk()
    desk.open()
    assert desk.admit("/v0/evi/chat") == 429


def test_two_services_with_the_same_seed_make_the_same_ids() -> None:
    """A demonstration can be repeated."""
    ids = [
        [service.open_chat(0.0).opening.chat_id for _ in range(3)]
        for service in (EviService(seed=seed, epoch_ms=0, timing=Timing()) for seed in (1, 1, 2))
    ]
    assert ids[0] == ids[1] != ids[2]


def test_a_chat_id_is_given_once() -> None:
    """Two chats with one id could not be told apart."""
    service = EviService(seed=1, epoch_ms=0, timing=Timing())
    service.open_chat(0.0, chat_id="mine")
    with pytest.raises(ValueError, match="already"):
        service.open_chat(0.0, chat_id="mine")
