"""The chat's own socket, `/v0/evi/chat`, and the route that gives tokens: what EVI has and the hub has not."""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import pydantic_core
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from evi_mcp.hub import Hub
from evi_mcp.hub.app import body_of, deny, only_sockets, problem
from evi_mcp.hub.chats import TooManyChats
from evi_mcp.protocol.commands import SessionSettings
from evi_mcp.simulator.bots import ScriptedBot, ScriptedBots
from evi_mcp.simulator.credentials import TOKEN_LIFETIME_S, Credentials
from evi_mcp.simulator.scenario import Scenario, scenarios

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_boolean: TypeAdapter[bool] = TypeAdapter(bool)


class PrimarySocket:
    """`/v0/evi/chat` (Hume's reference of the chat socket): opens a chat, which ends with the connection.

    Args:
        hub: Where the chat is.
        bots: Open it.
        start: Given the bot of a new chat, lets it run.
    """

    def __init__(self, hub: Hub, bots: ScriptedBots, start: Callable[[ScriptedBot], None]) -> None:
        self._hub, self._bots, self._start = hub, bots, start
        self.routes: list[BaseRoute] = [WebSocketRoute("/chat", self._serve), Route("/chat", only_sockets)]
        """Relative to `/v0/evi`."""

    async def _serve(self, websocket: WebSocket) -> None:
        settings = _nested("session_settings", websocket.query_params)
        settings.pop("event_limit", None)  # of the connection, not of the session
        try:
            bot = self._open(websocket.query_params, settings)
        except TooManyChats:
            await deny(websocket, problem(429, "too many chats are live"))
            return
        except ValidationError:
            await deny(websocket, problem(400, "a query parameter cannot be used"))
            return
        chat = bot.source.chat
        primary = chat.attach()
        if settings:
            chat.command({"type": "session_settings", **settings}, primary, self._hub.clock.elapsed())

        def receive(frame: str | bytes) -> None:
            if not _is_audio(frame):  # there is nobody to listen: scripts and typed words make the user
                chat.receive(frame, primary, self._hub.clock.elapsed())

        try:
            await self._hub.addresses.serve_consumer(websocket, primary, receive)
        finally:
            chat.detach(primary)
            bot.leave()

    def _open(self, query: Mapping[str, str], settings: Mapping[str, Any]) -> ScriptedBot:
        """Opens a chat. A `config_id` of one of the scripts, or a script's name, plays it; else the primary types."""
        allow_connection = _boolean.validate_python(query.get("allow_connection", "false"))
        verbose_transcription = _boolean.validate_python(query.get("verbose_transcription", "false"))
        SessionSettings.model_validate(settings)
        config_id = query.get("config_id", "")
        bot = self._bots.open(
            _scenario(config_id),
            chat_group_id=query.get("resumed_chat_group_id"),
            config_id=_uuid(config_id),
            allow_connection=allow_connection,
            verbose_transcription=verbose_transcription,
        )
        self._start(bot)
        return bot


def token_route(credentials: Credentials, clock: Callable[[], float]) -> Route:
    """`POST /oauth2-cc/token` (Hume's page on keys)."""

    async def token(request: Request) -> Response:
        form = dict(parse_qsl(await body_of(request)))
        if form.get("grant_type") != "client_credentials":
            return problem(400, "grant_type must be client_credentials")
        made = credentials.token(request.headers.get("authorization", ""), clock())
        if made is None:
            return problem(401, "a valid API key and secret key are needed")
        return JSONResponse({"access_token": made, "token_type": "bearer", "expires_in": TOKEN_LIFETIME_S})

    return Route("/oauth2-cc/token", token, methods=["POST"])


def _is_audio(frame: str | bytes) -> bool:
    if isinstance(frame, bytes) or '"audio_input"' not in frame:
        return False
    try:
        value = pydantic_core.from_json(frame)
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("type") == "audio_input"


def _scenario(config_id: str) -> Scenario | None:
    known = scenarios().values()
    return next((script for script in known if config_id in (script.name, str(script.config_id))), None)


def _uuid(text: str) -> str | None:
    try:
        return str(UUID(text))
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
