"""The addresses of the simulated service, and what is answered there. No sockets, no awaiting.

Paths, queries and answers: Hume's OpenAPI and AsyncAPI references. With which status a handshake on `/connect` is
refused is not documented; here it is 404 for a chat that is unknown or over, and 403 without `allow_connection`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote
from uuid import UUID

import pydantic_core
from pydantic import BaseModel, TypeAdapter, ValidationError

from evi_mcp.protocol.commands import SessionSettings
from evi_mcp.simulator.credentials import TOKEN_LIFETIME_S, Credentials
from evi_mcp.simulator.engine import ChatEngine
from evi_mcp.simulator.history import ChatsQuery, Paging, chat_page, chats_page
from evi_mcp.simulator.recording import Attachment
from evi_mcp.simulator.scenario import Scenario, scenarios
from evi_mcp.simulator.service import EviService

_CHAT = "/v0/evi/chat"
_CONNECT = re.compile(r"/v0/evi/chat/([^/]+)/connect")
_SEND = re.compile(r"/v0/evi/chat/([^/]+)/send")
_CHATS = "/v0/evi/chats"
_ONE_CHAT = re.compile(r"/v0/evi/chats/([^/]+)")
_TOKEN = "/oauth2-cc/token"
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")

_boolean: TypeAdapter[bool] = TypeAdapter(bool)
_Query = TypeVar("_Query", bound=BaseModel)


@dataclass(frozen=True)
class HttpRequest:
    """A request: `target` is path and query as they came, names of `headers` are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @cached_property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The last value of each name."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer; `content` is sent as JSON."""

    status: int
    content: Any


@dataclass(frozen=True, slots=True)
class Admission:
    """A handshake that is accepted, with the connection's place in the chat."""

    chat: ChatEngine
    attachment: Attachment


class Api:
    """Answers requests for a service, from clients with the right credentials."""

    def __init__(self, service: EviService, credentials: Credentials) -> None:
        self._service = service
        self._credentials = credentials

    def answer(self, request: HttpRequest, now: float) -> HttpResponse:
        """The answer to a request that is no WebSocket handshake."""
        if request.path == _TOKEN:
            return self._token(request, now)
        if not self._credentials.accept(request.headers, request.query, now):
            return _unauthorized()
        if found := _SEND.fullmatch(request.path):
            return self._send(unquote(found[1]), request, now)
        if request.path == _CHATS or _ONE_CHAT.fullmatch(request.path):
            return self._chats(request)
        if request.path == _CHAT or _CONNECT.fullmatch(request.path):
            return _problem(426, "this address takes WebSocket connections")
        return _problem(404, "there is nothing at this address")

    def admit(self, request: HttpRequest, now: float) -> Admission | HttpResponse:
        """Accepts a WebSocket handshake, which opens a chat or attaches to one, or says why not."""
        if not self._credentials.accept(request.headers, request.query, now):
            return _unauthorized()
        if request.path == _CHAT:
            return self._open(request.query, now)
        if found := _CONNECT.fullmatch(request.path):
            chat = self._service.chat(unquote(found[1]))
            if chat is None or chat.ended is not None:
                return _problem(404, "no live chat has this id")
            if not chat.opening.allow_connection:
                return _problem(403, "the chat was opened without allow_connection")
            return Admission(chat, chat.attach())
        return _problem(404, "there is no socket at this address")

    def _open(self, query: Mapping[str, str], now: float) -> Admission | HttpResponse:
        """Opens a chat. A `config_id` of one of the scripts, or a script's name, plays it; else the primary types."""
        if self._service.busy:
            return _problem(429, "too many chats are live")
        settings = _nested("session_settings", query)
        settings.pop("event_limit", None)  # of the connection, not of the session
        try:
            allow_connection = _boolean.validate_python(query.get("allow_connection", "false"))
            verbose_transcription = _boolean.validate_python(query.get("verbose_transcription", "false"))
            SessionSettings.model_validate(settings)
        except ValidationError:
            return _problem(400, "a query parameter cannot be used")
        config_id = query.get("config_id", "")
        chat = self._service.open_chat(
            now,
            scenario=_scenario(config_id),
            chat_group_id=query.get("resumed_chat_group_id"),
            config_id=_uuid(config_id),
            allow_connection=allow_connection,
            verbose_transcription=verbose_transcription,
        )
        primary = chat.attach(primary=True)
        if settings:
            chat.obey({"type": "session_settings", **settings}, primary, now)
        return Admission(chat, primary)

    def _send(self, chat_id: str, request: HttpRequest, now: float) -> HttpResponse:
        if request.method != "POST":
            return _problem(405, "use POST")
        chat = self._service.chat(chat_id)
        if chat is None or chat.ended is not None:
            return _problem(404, "no live chat has this id")
        try:
            chat.obey(pydantic_core.from_json(request.body, allow_inf_nan=False), None, now)
        except ValidationError as error:
            return HttpResponse(422, {"detail": _detail(error)})
        except ValueError:
            return HttpResponse(422, {"detail": [{"loc": ["body"], "msg": "not JSON", "type": "json_invalid"}]})
        return HttpResponse(200, {})

    def _chats(self, request: HttpRequest) -> HttpResponse:
        if request.method != "GET":
            return _problem(405, "use GET")
        try:
            if found := _ONE_CHAT.fullmatch(request.path):
                chat = self._service.chat(unquote(found[1]))
                if chat is None:
                    return _problem(404, "no chat has this id")
                return HttpResponse(200, chat_page(chat, _query(Paging, request)))
            return HttpResponse(200, chats_page(self._service, _query(ChatsQuery, request)))
        except ValidationError as error:
            return _problem(400, f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}")

    def _token(self, request: HttpRequest, now: float) -> HttpResponse:
        if request.method != "POST":
            return _problem(405, "use POST")
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        if form.get("grant_type") != "client_credentials":
            return _problem(400, "grant_type must be client_credentials")
        token = self._credentials.token(request.headers.get("authorization", ""), now)
        if token is None:
            return _unauthorized()
        return HttpResponse(200, {"access_token": token, "token_type": "bearer", "expires_in": TOKEN_LIFETIME_S})


def _query(model: type[_Query], request: HttpRequest) -> _Query:
    return model.model_validate(request.query)


def _problem(status: int, message: str) -> HttpResponse:
    """An error in the shape that Hume documents for a 400; which other statuses have it is not documented."""
    return HttpResponse(status, {"code": str(status), "error": "invalid_request", "message": message})


def _unauthorized() -> HttpResponse:
    return _problem(401, "a valid API key or access token is needed")


def _detail(error: ValidationError) -> list[dict[str, Any]]:
    """Problems as Hume's 422 lists them. Their `loc` begins with the type of the message here, which is left out."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return [{"loc": ["body", *item["loc"][1:]], "msg": item["msg"], "type": item["type"]} for item in problems]


def _scenario(config_id: str) -> Scenario | None:
    known = scenarios().values()
    return next((script for script in known if config_id in (script.name, str(script.config_id))), None)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _nested(name: str, query: Mapping[str, str]) -> dict[str, Any]:
    """The object that `name[a]=1&name[b][c]=2` stands for, as Hume's SDKs write one into a query."""
    found: dict[str, Any] = {}
    for key, value in query.items():
        if not key.startswith(f"{name}["):
            continue
        *parents, last = _BRACKETS.findall(key) or [""]
        place = found
        for parent in parents[:8]:
            inner = place.setdefault(parent, {})
            if not isinstance(inner, dict):
                break
            place = inner
        place[last] = value
    return found
