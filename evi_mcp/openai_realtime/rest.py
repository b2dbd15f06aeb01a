"""Ending and transferring a call, by REST. openai-openapi: `/realtime/calls/{call_id}/hangup` and `/refer`."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from evi_mcp import __version__
from evi_mcp.clock import Clock, timeout
from evi_mcp.openai_realtime.endpoints import Endpoint
from evi_mcp.openai_realtime.reading import text, thing
from evi_mcp.protocol.call_commands import TransferChat
from evi_mcp.protocol.codec import load_json
from evi_mcp.quoting import quote
from evi_mcp.upstream.environment import route_to, tls_context
from evi_mcp.upstream.trouble import why

if TYPE_CHECKING:
    import httpx

WITHIN_S = 10.0
MAX_ANSWER_BYTES = 64 * 2**10


class NotDone(Exception):
    """The service did not do it; the text is the end of a sentence."""


def action_of(command: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None] | None:
    """The verb and the body for a command; `None` if it is none that goes by REST.

    Raises:
        NotDone: A field cannot be used.
    """
    match command["type"]:
        case "end_chat":
            return "hangup", None
        case "transfer_chat":
            try:
                return "refer", {"target_uri": TransferChat.model_validate(command).target_uri}
            except ValidationError:
                raise NotDone(
                    "target_uri must be an address such as tel:+14155550123 or sip:agent@example.com"
                ) from None
    return None


class Rest:
    """Calls of the service's REST API, with the key in a header; no redirect is followed.

    Args:
        endpoint: The service.
        clock: What the total times are reckoned by.
    """

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._client: httpx.AsyncClient | None = None

    async def post(self, call_id: str, verb: str, body: dict[str, Any] | None) -> None:
        """Does something with a call; returns when the service has said that it did.

        Raises:
            NotDone: It has not, or nobody knows.
        """
        status, answer = 0, b""
        try:
            with timeout(self._clock, WITHIN_S):
                status, answer = await self._ask(self._endpoint.call_url(call_id, verb), body)
        except Exception as error:
            import httpx

            cause = why(error) or "the connection broke"
            if isinstance(error, httpx.ConnectError | httpx.ProxyError):
                raise NotDone(f"the service cannot be asked ({cause})") from None
            raise NotDone(f"the service did not answer ({cause}); it may have been done") from None
        if not status:
            raise NotDone(f"the service did not answer within {WITHIN_S:g} s; it may have been done")
        if not 200 <= status < 300:
            said = _said(answer)
            raise NotDone(f"the service refused it (HTTP {status}{': ' + quote(said, 200) if said else ''})")

    async def aclose(self) -> None:
        """Closes the connections that are kept."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _ask(self, url: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        import httpx

        if self._client is None:
            # At DEBUG they log what the service answers, header by header, in which it may repeat the key.
            for chatty in ("httpx", "httpcore"):
                logging.getLogger(chatty).setLevel(logging.WARNING)
            self._client = httpx.AsyncClient(
                headers={
                    **self._endpoint.headers,
                    "User-Agent": f"evi-mcp/{__version__}",
                    "Accept-Encoding": "identity",
                },
                timeout=None,  # `post` has one for all of it
                follow_redirects=False,
                verify=tls_context(),
                trust_env=False,
                proxy=route_to(self._endpoint.base_url).proxy,
            )
        async with self._client.stream("POST", url, json=body) as response:
            answer = bytearray()
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > MAX_ANSWER_BYTES:
                    break
            return response.status_code, bytes(answer[:MAX_ANSWER_BYTES])


def _said(answer: bytes) -> str:
    try:
        value = load_json(answer.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return ""
    if not isinstance(value, dict):
        return ""
    error = thing(value, "error")
    return text(error, "message") or text(error, "code")
