"""The REST calls that a supervisor needs: which chats there are, how one of them stands, a message to one of them.

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
"""How long an answer may take, from the first attempt to connect to its last byte."""
LIST_TIMEOUT_S = 10.0
"""How long the pages of a list may take together; no page is asked for later."""
PAGE_SIZE = 100
MAX_PAGES = 10


class RestClient:
    """Calls the service's REST API with the key in a header, following no redirects.

    Args:
        base_url: `http` or `https`.
        api_key: Sent as `X-Hume-Api-Key`.
        mask: Takes secrets out of what the service says; by default there are none.
        clock: What time limits are reckoned by.
    """

    def __init__(self, base_url: str, api_key: SecretStr, mask: Mask | None = None, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._http = HttpClient(base_url, api_key, self._clock)
        self._mask = mask or Mask()

    def check_route(self) -> None:
        """Returns if there is a way to the service, as far as this machine's settings say.

        Raises:
            ServiceUnavailable: They name a proxy that cannot be used; nothing heals that but other settings.
        """
        if self._http.route.trouble:
            raise ServiceUnavailable(f"the service cannot be reached: {self._http.route.trouble}.")

    def warm(self) -> None:
        """Loads what the first call needs, which takes up to half a second: to be called ahead of one that has less.

        May be called in a thread, and again.
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
        """The chats that the service calls ACTIVE, newest first, and whether there may be more than were asked for.

        Raises:
            ServiceUnavailable: The service cannot be reached or does not answer as documented.
        """
        seen: dict[str, ServiceChat] = {}
        ends = self._clock.elapsed() + LIST_TIMEOUT_S
        for page in range(MAX_PAGES):
            if page and self._clock.elapsed() >= ends:
                break
            answer = await self._get(
                "/v0/evi/chats",
                # `ascending_order` is true unless said otherwise: oldest first.
                {"status": "ACTIVE", "ascending_order": "false", "page_size": PAGE_SIZE, "page_number": page},
            )
            items = answer.get("chats_page")
            if not isinstance(items, list):
                raise ServiceUnavailable("the service's list of chats has no chats_page; check EVI_MCP_BASE_URL.")
            before = len(seen)
            for chat in filter(None, map(_service_chat, items)):
                seen.setdefault(chat.chat_id, chat)
            total = answer.get("total_pages")
            # Without a total, the end is where nothing new comes: an empty page, or the same one for every number.
            if len(seen) == before or (type(total) is int and page + 1 >= total):
                return self._active(seen), False
        return self._active(seen), True

    async def send(self, chat_id: str, command_frame: str, *, within_s: float) -> None:
        """Gives a message to a chat, without a socket; returns once the service has taken it. Never tried again: a
        message that was taken twice is said twice.

        Args:
            chat_id: Of a chat that is alive; whether it has to allow connections is not documented.
            command_frame: The JSON text of one message, as it would be written to the socket.
            within_s: Seconds that all of it may take.

        Raises:
            SendRefused: The service said no, with a 4xx (or a redirect, which is not followed).
            SendNotReached: Nothing of it was written.
            SendUnknown: It was written, in part at least, and no answer came, or one that leaves it open (5xx).
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
        """Closes the connections that are kept."""
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
        """Those that are active, newest first. The service was asked for these alone: how fast its filter follows
        reality is not documented."""
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
        # Documented as seconds, milliseconds in every sample: both are read, and nothing else.
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
