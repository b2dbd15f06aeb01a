"""The REST calls that a supervisor needs: which chats there are, and how one of them stands.

Shapes: Hume's OpenAPI reference of `GET /v0/evi/chats` and `GET /v0/evi/chats/{id}`. `httpx` is imported with the
first call, since most runs never make one.
"""

import logging
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from pydantic import SecretStr

from evi_mcp import __version__
from evi_mcp.errors import ServiceUnavailable
from evi_mcp.protocol.codec import load_json
from evi_mcp.protocol.redaction import Mask
from evi_mcp.upstream.transport import may_use_proxy

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 5.0
PAGE_SIZE = 100
MAX_PAGES = 10


class ServiceChat(NamedTuple):
    """A chat as the service lists it. `started_ms` is Unix milliseconds (as in every sample of Hume's)."""

    chat_id: str
    chat_group_id: str | None
    status: str
    started_ms: int | None


class RestClient:
    """Calls the service's REST API with the key in a header, following no redirects.

    Args:
        base_url: `http` or `https`, without a path.
        api_key: Sent as `X-Hume-Api-Key`.
        mask: Takes secrets out of what the service says; by default there are none.
    """

    def __init__(self, base_url: str, api_key: SecretStr, mask: Mask | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._mask = mask or Mask()
        self._client: httpx.AsyncClient | None = None

    async def chat_status(self, chat_id: str) -> str | None:
        """The status of a chat, such as `ACTIVE` or `USER_ENDED`; `None` if the service does not say."""
        try:
            found = await self._get(f"/v0/evi/chats/{quote(chat_id, safe='')}", {"page_size": 1})
        except ServiceUnavailable:
            return None
        status = found.get("status")
        return status if isinstance(status, str) else None

    async def active_chats(self) -> tuple[list[ServiceChat], bool]:
        """The chats that the service calls ACTIVE, newest first, and whether there are more than were asked for.

        Raises:
            ServiceUnavailable: The service cannot be reached or does not answer as documented.
        """
        found: dict[str, ServiceChat] = {}
        for page in range(MAX_PAGES):
            answer = await self._get(
                "/v0/evi/chats",
                # `ascending_order` is true unless said otherwise: oldest first.
                {"status": "ACTIVE", "ascending_order": "false", "page_size": PAGE_SIZE, "page_number": page},
            )
            items = answer.get("chats_page")
            if not isinstance(items, list):
                raise ServiceUnavailable("the service's list of chats has no chats_page; check EVI_MCP_BASE_URL.")
            for chat in filter(None, map(_service_chat, items)):
                # Filtered here again: how fast the service's filter follows reality is not documented.
                if chat.status == "ACTIVE":
                    found.setdefault(chat.chat_id, chat)
            total = answer.get("total_pages")
            if not items or not isinstance(total, int) or page + 1 >= total:
                return _newest_first(found), False
        return _newest_first(found), True

    async def aclose(self) -> None:
        """Closes the connections that are kept."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _get(self, path: str, query: dict[str, str | int]) -> dict[str, Any]:
        import httpx

        if self._client is None:
            # At DEBUG they log what the service answers, header by header, in which it may repeat the key.
            for chatty in ("httpx", "httpcore"):
                logging.getLogger(chatty).setLevel(logging.WARNING)
            self._client = httpx.AsyncClient(
                base_url=self._base_url,
                headers={
                    "X-Hume-Api-Key": self._api_key.get_secret_value(),
                    "User-Agent": f"evi-mcp/{__version__}",
                },
                timeout=TIMEOUT_S,
                follow_redirects=False,
                verify=ssl.create_default_context(),  # as for sockets: those of the system, or of SSL_CERT_FILE
                trust_env=may_use_proxy(self._base_url),
            )
        try:
            response = await self._client.get(path, params=query)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceUnavailable(
                f"the service cannot be asked ({_why(error)}); check EVI_MCP_BASE_URL and the network."
            ) from None
        if response.status_code in (401, 403):
            raise ServiceUnavailable(f"the service refuses the key (HTTP {response.status_code}); check HUME_API_KEY.")
        if response.status_code == 404:
            raise ServiceUnavailable("the service knows no such address (HTTP 404); check EVI_MCP_BASE_URL.")
        if response.status_code != 200:
            raise ServiceUnavailable(f"the service answered with HTTP {response.status_code}; try again later.")
        try:
            answer = self._mask(load_json(response.text))
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ServiceUnavailable("the service answered with something other than JSON; check EVI_MCP_BASE_URL.")
        return answer


def _why(error: Exception) -> str:
    """What the system said, if anything; the text of other errors may repeat the request."""
    import httpx

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not valid: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {TIMEOUT_S:g} s"
    unreadable = isinstance(error, (httpx.ProtocolError, httpx.DecodingError))
    return "what answers there is not HTTP" if unreadable else "the connection broke"


def _service_chat(item: Any) -> ServiceChat | None:
    """An entry of `chats_page`; `None` if it has no id."""
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        return None

    started, group = item.get("start_timestamp"), item.get("chat_group_id")
    if not isinstance(started, int) or isinstance(started, bool):
        started = None
    else:
        # Documented as seconds, milliseconds in every sample: both are read, and nothing else.
        started = started * 1000 if started < 10**11 else started
        started = started if 0 < started < 10**14 else None
    return ServiceChat(item["id"], group if isinstance(group, str) else None, str(item.get("status")), started)


def _newest_first(found: dict[str, ServiceChat]) -> list[ServiceChat]:
    return sorted(found.values(), key=lambda chat: -(chat.started_ms or 0))
