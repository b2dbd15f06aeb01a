"""The REST calls that a supervisor needs: list chats, get the status of one, post a message to one.

Shapes: Hume's OpenAPI reference of `GET /v0/evi/chats`, `GET /v0/evi/chats/{id}` and `POST /v0/evi/chat/{id}/send`.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from evi_mcp.clock import Clock, SystemClock
from evi_mcp.errors import SendNotReached, SendRefused, SendUnknown, ServiceUnavailable
from evi_mcp.protocol.redaction import Mask
from evi_mcp.upstream.directory import ServiceChat, about
from evi_mcp.upstream.http_client import Answer, HttpClient, NoAnswer

TIMEOUT_S = 5.0
"""How long an answer may take, from the attempt to connect to its last byte, in seconds."""
LIST_TIMEOUT_S = 10.0
"""After this many seconds no further page of a list is requested."""
PAGE_SIZE = 100
MAX_PAGES = 10


class RestClient:
    """Calls the service's REST API with the key in a header, following no redirects.

    Args:
        base_url: `http` or `https`.
        api_key: Sent as `X-Hume-Api-Key`.
        mask: Removes secrets from what the service says; by default there are none.
        clock: Measures the timeouts.
    """

    more_commands = frozenset[str]()
    """As in `Directory`: EVI has none; what chats of other services take is known once they are attached."""

    def __init__(self, base_url: str, api_key: SecretStr, mask: Mask | None = None, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._http = HttpClient(base_url, api_key, self._clock)
        self._mask = mask or Mask()

    def check_route(self) -> None:
        """Returns if the settings of this machine allow a way to the service.

        Raises:
            ServiceUnavailable: They name an unusable proxy; only other settings can change that.
        """
        if self._http.route.trouble:
            raise ServiceUnavailable(f"the service cannot be reached: {self._http.route.trouble}.")

    def warm(self) -> None:
        """Loads what the first call needs. That takes up to half a second, so do it before a call that has less time.

        May be called in a thread, and more than once.
        """
        if not self._http.route.trouble:
            self._http.warm()

    async def chat_status(self, chat_id: str) -> str | None:
        """The status of a chat, such as `ACTIVE` or `USER_ENDED`; `None` if the service does not say."""
        try:
            found = await self._get(f"/v0/evi/chats/{quote(chat_id, safe='')}", {"page_size": 1})
        except ServiceUnavailable:
            return None
        status = found.get("status")
        return self._mask.said(status) if isinstance(status, str) else None

    async def active_chats(self) -> tuple[list[ServiceChat], bool]:
        """The chats that the service calls ACTIVE, newest first, and whether there may be more than these.

        Raises:
            ServiceUnavailable: The service cannot be reached, or does not answer as documented.
        """
        seen: dict[str, ServiceChat] = {}
        ends = self._clock.elapsed() + LIST_TIMEOUT_S
        for page in range(MAX_PAGES):
            if page and self._clock.elapsed() >= ends:
                break
            answer = await self._get(
                "/v0/evi/chats",
                # The default of `ascending_order` is true: oldest first.
                {"status": "ACTIVE", "ascending_order": "false", "page_size": PAGE_SIZE, "page_number": page},
            )
            items = answer.get("chats_page")
            if not isinstance(items, list):
                raise ServiceUnavailable("the service's list of chats has no chats_page; check EVI_MCP_BASE_URL.")
            before = len(seen)
            for chat in filter(None, map(_service_chat, items)):
                seen.setdefault(chat.chat_id, chat)
            total = answer.get("total_pages")
            # Without a total, a page with nothing new is the last: an empty page, or one that repeats.
            if len(seen) == before or (type(total) is int and page + 1 >= total):
                return self._active(seen), False
        return self._active(seen), True

    async def send(self, chat_id: str, command_frame: str, *, within_s: float) -> None:
        """Posts a message to a chat, without a socket; returns once the service has taken it. Never retried: a message
        that is taken twice is said twice.

        Args:
            chat_id: The id of a live chat; whether the chat has to allow connections is not documented.
            command_frame: The JSON text of one message, as it would be written to the socket.
            within_s: Seconds that the whole request may take.

        Raises:
            SendRefused: The service refused it, with a 4xx (or a redirect, which is not followed).
            SendNotReached: Nothing of it was written.
            SendUnknown: It was written, at least in part, and the answer did not come or does not tell (5xx).
        """
        path = f"/v0/evi/chat/{quote(chat_id, safe='')}/send"
        try:
            answer = await self._http.post(path, command_frame, within_s=within_s)
        except NoAnswer as trouble:
            raise (SendUnknown if trouble.written else SendNotReached)(trouble.why) from None
        except ServiceUnavailable as trouble:
            raise SendNotReached(str(trouble).rstrip(".")) from None
        if 300 <= answer.status < 500:
            raise SendRefused(answer.status)
        if not 200 <= answer.status < 300:
            raise SendUnknown(f"HTTP {answer.status}")

    async def aclose(self) -> None:
        """Closes the open connections."""
        await self._http.aclose()

    async def _get(self, path: str, query: Mapping[str, str | int]) -> dict[str, Any]:
        try:
            answer = await self._http.get(path, query, within_s=TIMEOUT_S)
        except NoAnswer as trouble:
            raise ServiceUnavailable(
                f"the service cannot be asked ({trouble.why}); check EVI_MCP_BASE_URL and the network."
            ) from None
        if answer.status != 200:
            raise ServiceUnavailable(_refusal(answer))
        if not isinstance(answer.value, dict):
            raise ServiceUnavailable("the service answered with something other than JSON; check EVI_MCP_BASE_URL.")
        return answer.value

    def _active(self, seen: Mapping[str, ServiceChat]) -> list[ServiceChat]:
        """The active chats, newest first. The service filters too, but does not document how current its filter is."""
        active = [chat for chat in seen.values() if chat.status == "ACTIVE"]
        active.sort(key=lambda chat: -(chat.started_ms or 0))
        return [
            chat._replace(
                chat_id=self._mask(chat.chat_id),
                chat_group_id=self._mask(chat.chat_group_id),
                config=self._mask(chat.config),
                metadata=None if chat.metadata is None else self._mask.said(chat.metadata),
            )
            for chat in active
        ]


def _refusal(answer: Answer) -> str:
    match answer.status:
        case 401 | 403:
            return f"the service refuses the key (HTTP {answer.status}); check HUME_API_KEY."
        case 404:
            return "the service knows no such address (HTTP 404); check EVI_MCP_BASE_URL."
        case _:
            again = "later" if answer.retry_after is None else f"in {answer.retry_after:.0f} s"
            return f"the service answered with HTTP {answer.status}; try again {again}."


def _service_chat(item: Any) -> ServiceChat | None:
    """An entry of `chats_page`; `None` if it has no id."""
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        return None

    started, group = item.get("start_timestamp"), item.get("chat_group_id")
    if not isinstance(started, int) or isinstance(started, bool):
        started = None
    else:
        # Documented as seconds, but milliseconds in every sample: both are accepted, and nothing else.
        started = started * 1000 if started < 10**11 else started
        started = started if 0 < started < 10**14 else None
    config = item.get("config")
    named = (config.get("name") or config.get("id")) if isinstance(config, dict) else None
    return ServiceChat(
        item["id"],
        group if isinstance(group, str) else None,
        str(item.get("status")),
        started,
        named if isinstance(named, str) else None,
        about(item.get("metadata")),
    )
