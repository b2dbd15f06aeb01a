"""Asking an OAuth authorization server: as careful as with EVI, and without its key."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from evi_mcp.access.refusals import TokenUnverified
from evi_mcp.clock import Clock
from evi_mcp.errors import ServiceUnavailable
from evi_mcp.upstream.http_client import Answer, HttpClient, NoAnswer

WITHIN_S = 5.0
MAX_SERVERS = 4
"""Connections are kept to so many: metadata, keys and introspection may each be another."""


class Asking:
    """Asks whatever server an address names. Implements `access.issuer.Ask`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._clients: OrderedDict[str, HttpClient] = OrderedDict()

    async def get(self, url: str) -> Any:
        """As `Ask.get`."""
        return await self._ask(url, lambda client, path: client.get(path, {}, within_s=WITHIN_S))

    async def post(self, url: str, form: Mapping[str, str], client: tuple[str, str]) -> Any:
        """As `Ask.post`."""
        return await self._ask(url, lambda to, path: to.post_form(path, form, client=client, within_s=WITHIN_S))

    async def _ask(self, url: str, ask: Callable[[HttpClient, str], Awaitable[Answer]]) -> Any:
        parts = urlsplit(url)
        client = self._client(f"{parts.scheme}://{parts.netloc}")
        try:
            answer = await ask(client, parts._replace(scheme="", netloc="", fragment="").geturl() or "/")
        except (NoAnswer, ServiceUnavailable) as error:
            said = error.why if isinstance(error, NoAnswer) else str(error).rstrip(".")
            raise TokenUnverified(f"its issuer does not answer ({said})") from None
        if answer.status != 200 or answer.value is None:
            raise TokenUnverified(f"its issuer does not answer as it should (HTTP {answer.status})")
        return answer.value

    def _client(self, origin: str) -> HttpClient:
        if origin not in self._clients:
            self._clients[origin] = HttpClient(origin, None, self._clock)
            if len(self._clients) > MAX_SERVERS:
                self._clients.popitem(last=False)
        return self._clients[origin]

    async def aclose(self) -> None:
        """Closes the connections that are kept."""
        for client in self._clients.values():
            await client.aclose()
