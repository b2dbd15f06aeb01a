"""How calls become known, since the service lists none: somebody says so on the hub, or the service's webhook does.

`POST /v0/evi/chats` with `{"call_id": "rtc_..."}` and a key of the hub announces a call. `POST /webhooks/openai` takes
the webhook `realtime.call.incoming`, whose signature is its key. Accepting a call stays with the application.
"""

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evi_mcp.errors import InvalidChatId
from evi_mcp.hub import Hub
from evi_mcp.hub.app import problem
from evi_mcp.hub.json_frames import Unreadable, read
from evi_mcp.openai_realtime.calls import RealtimeCalls
from evi_mcp.openai_realtime.reading import text, thing
from evi_mcp.openai_realtime.webhooks import BadSignature, check_signature

MAX_BODY_BYTES = 256 * 2**10
INCOMING = "realtime.call.incoming"
RINGING_S = 60.0
"""For how long an incoming call may be unknown to the service: until the application has accepted it."""
WEBHOOK_PATH = "/webhooks/openai"


class Announcement(BaseModel):
    """A call, as somebody announces it. `recap`: the model is asked for its own account of what was said before."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    call_id: str
    recap: bool = False


def add_intake(hub: Hub, calls: RealtimeCalls, webhook_secret: SecretStr | None = None) -> None:
    """Adds the addresses to a hub that is not entered yet.

    Args:
        hub: Takes them.
        calls: Are told.
        webhook_secret: The signing secret of the webhook; without one none is taken.
    """

    async def announce(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return problem(413, f"an announcement has at most {MAX_BODY_BYTES} bytes")
        try:
            announced = Announcement.model_validate_json(body)
            calls.announce(announced.call_id, recap=announced.recap)
        except (ValidationError, InvalidChatId):
            return problem(422, 'the body must be {"call_id": "rtc_..."}, perhaps with "recap": true')
        return JSONResponse({"chat_id": announced.call_id}, 202)

    async def incoming(request: Request) -> Response:
        assert webhook_secret is not None
        body = await _body(request)
        if body is None:
            return problem(413, f"a webhook has at most {MAX_BODY_BYTES} bytes")
        try:
            check_signature(webhook_secret, request.headers, body, hub.clock.now())
            event = read(body.decode("utf-8", "replace"))
            if text(event, "type") == INCOMING:
                calls.announce(text(thing(event, "data"), "call_id"), fresh_s=RINGING_S)
        except BadSignature as why:
            return problem(401, f"the webhook was not taken: {why}")
        except (Unreadable, InvalidChatId):
            return problem(422, "the webhook names no call")
        return Response(status_code=204)  # other types too: the service would send them again

    hub.addresses.routes.append(Route("/chats", announce, methods=["POST"]))
    if webhook_secret is not None:
        hub.routes.append(Route(WEBHOOK_PATH, incoming, methods=["POST"]))


async def _body(request: Request) -> bytes | None:
    """The body; `None` if it is too large, empty if the client is gone."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return None
    except ClientDisconnect:
        return b""
    return bytes(body)
