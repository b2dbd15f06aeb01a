"""HTTP requests to the service that end, whatever it does: each has a total time, each answer a size.

An answer may be without an end, come byte by byte, be a bomb of compressed zeros, or JSON of a million empty lists.
What is over a limit is an error and is not kept. `httpx` is imported with the first request, since most runs of the
server never make one; `warm` does that ahead of time.
"""

import logging
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
from anyio import to_thread
from pydantic import SecretStr

from evi_mcp import __version__
from evi_mcp.addresses import is_encrypted
from evi_mcp.clock import Clock, SystemClock, timeout
from evi_mcp.errors import ServiceUnavailable
from evi_mcp.protocol.codec import load_json
from evi_mcp.upstream.environment import Route, route_to, tls_context
from evi_mcp.upstream.reconnect import retry_after
from evi_mcp.upstream.trouble import why

if TYPE_CHECKING:
    import httpx

MAX_ANSWER_BYTES = 2 * 2**20
"""The largest answer that is read, before and after inflating: 20 KiB for each of the 100 chats of a page."""
MAX_VALUES = 100_000
"""The most values in its JSON, about: more take over 50 ms to read, in which nothing else goes on, and much memory."""
_READ_IN_PASSING = 64 * 1024  # larger ones are read in a thread


class Answer(NamedTuple):
    """An answer of the service. `value` is its JSON if the status is 200, `None` where there is none."""

    status: int
    value: Any
    retry_after: float | None


class NoAnswer(Exception):
    """There was no answer that can be used.

    Attributes:
        why: As a part of a sentence, without secrets.
        written: Whether any of the request may have reached the service.
    """

    def __init__(self, why: str, *, written: bool) -> None:
        super().__init__(why)
        self.why, self.written = why, written


class HttpClient:
    """Requests to one service with the key in a header; no redirect is followed, no variable read but by `Route`.

    Args:
        base_url: `http` or `https`.
        api_key: Sent as `X-Hume-Api-Key`; `None` to a server that has no business with it.
        clock: What the total times are reckoned by.
    """

    def __init__(self, base_url: str, api_key: SecretStr | None, clock: Clock | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._clock = clock or SystemClock()
        self._client: httpx.AsyncClient | None = None
        self._making = threading.Lock()

    @cached_property
    def route(self) -> Route:
        """The way to the service, decided once."""
        return route_to(self._base_url)

    def warm(self) -> None:
        """Loads and makes what the first request needs; takes up to half a second, may be called in a thread."""
        self._made()

    async def get(self, path: str, query: Mapping[str, str | int], *, within_s: float) -> Answer:
        """The answer to `GET`, with its JSON.

        Raises:
            ServiceUnavailable: There is no way to the service from here.
            NoAnswer: There was none within this time, or it is too large.
        """
        return await self._ask("GET", path, within_s, read=True, params=dict(query))

    async def post(self, path: str, body: str, *, within_s: float) -> Answer:
        """The status with which `POST` of a JSON text is answered; what else the answer says is not read. Raises as
        `get`."""
        return await self._ask("POST", path, within_s, read=False, content=body.encode())

    async def post_form(
        self, path: str, form: Mapping[str, str], *, client: tuple[str, str], within_s: float
    ) -> Answer:
        """The answer to a form, with its JSON; `client` are a name and a password (HTTP Basic). Raises as `get`."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", path, within_s, read=True, data=dict(form), auth=client, headers=headers)

    async def aclose(self) -> None:
        """Closes the connections that are kept."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _ask(self, method: str, path: str, within_s: float, *, read: bool, **request: Any) -> Answer:
        client = self._made()
        progress = _Progress(method)
        answer: Answer | None = None
        try:
            with timeout(self._clock, within_s):
                async with client.stream(method, path, extensions={"trace": progress.see}, **request) as response:
                    value = await _json(response) if read and response.status_code == 200 else None
                    wait = retry_after(response.headers.get_list("Retry-After"), time.time())
                    answer = Answer(response.status_code, value, wait)
        except NoAnswer:
            raise
        except Exception as error:  # the libraries below raise their own kinds, those for SOCKS any at all
            if answer is None:
                raise NoAnswer(_reason(error, self.route), written=progress.written) from None
        finally:
            if answer is None:
                await progress.close()
        if answer is None:
            raise NoAnswer(f"no whole answer within {within_s:g} s", written=progress.written)
        return answer

    def _made(self) -> "httpx.AsyncClient":
        if self.route.trouble:
            raise ServiceUnavailable(f"the service cannot be reached: {self.route.trouble}.")
        with self._making:  # `warm` may be at it
            self._client = self._client or self._new()
            return self._client

    def _new(self) -> "httpx.AsyncClient":
        import httpx

        # At DEBUG they log what the service answers, header by header, in which it may repeat the key.
        for chatty in ("httpx", "httpcore"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        # Where there is no TLS, a context that trusts nobody spares loading the system's certificates.
        tls = tls_context() if is_encrypted(self._base_url) else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        proxy = self.route.proxy
        return httpx.AsyncClient(
            base_url=self._base_url,
            headers={
                **({"X-Hume-Api-Key": self._api_key.get_secret_value()} if self._api_key is not None else {}),
                "User-Agent": f"evi-mcp/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
            },
            timeout=None,  # `_ask` has one for all of it
            follow_redirects=False,
            verify=tls,
            proxy=httpx.Proxy(proxy, ssl_context=tls if is_encrypted(proxy) else None) if proxy else None,
            trust_env=False,
        )


class _Progress:
    """How far a request has come, by what the library tells (its `trace` extension)."""

    def __init__(self, method: str) -> None:
        self._method = method.encode()
        self._opened: list[Any] = []
        self.written = False
        """Whether any of the request itself may be on its way; asking a proxy for a tunnel is not part of it."""

    async def see(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(".connect_tcp.complete"):
            self._opened.append(info["return_value"])
        elif event.endswith(".send_request_headers.started"):
            self.written = self.written or info["request"].method == self._method

    async def close(self) -> None:
        """Closes what a request without an answer has opened: a TLS handshake that is given up leaves a socket open."""
        with anyio.CancelScope(shield=True):
            for stream in self._opened:
                await stream.aclose()


async def _json(response: "httpx.Response") -> Any:
    """The JSON of an answer; `None` if it is none."""
    body = await _body(response)
    if len(body) <= _READ_IN_PASSING:
        return _loaded(body)
    return await to_thread.run_sync(_loaded, body)


async def _body(response: "httpx.Response") -> bytes:
    inflated = _inflater(response.headers.get("Content-Encoding", ""))
    body, arrived = bytearray(), 0
    async for chunk in response.aiter_raw():
        arrived += len(chunk)
        body += inflated(chunk, MAX_ANSWER_BYTES + 1 - len(body))
        if max(arrived, len(body)) > MAX_ANSWER_BYTES:
            raise NoAnswer(f"the answer has more than {MAX_ANSWER_BYTES // 2**20} MiB", written=True)
    return bytes(body)


def _inflater(encoding: str) -> Callable[[bytes, int], bytes]:
    """Undoes a content encoding, which was not asked for, no further than to a number of bytes."""
    match encoding.strip().lower():
        case "" | "identity":
            return lambda chunk, most: chunk
        case "gzip" | "x-gzip" | "deflate":
            stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # with the header of either
            return stream.decompress
    raise NoAnswer("the answer is compressed in a way that was not asked for", written=True)


def _loaded(body: bytes) -> Any:
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES:
        raise NoAnswer(f"the answer has more than {MAX_VALUES} values", written=True)
    try:
        return load_json(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return None


def _reason(error: Exception, route: Route) -> str:
    import httpx

    if isinstance(error, httpx.ProxyError):
        status = str(error)[:3]  # what follows is the proxy's own text
        return f"the proxy opens no tunnel{f' (HTTP {status})' if status.isdigit() else ''}"
    if isinstance(error, (httpx.InvalidURL, UnicodeError)):
        return "the base URL cannot be used"
    if said := why(error):
        return said
    unreadable = isinstance(error, (httpx.ProtocolError, httpx.DecodingError, zlib.error))
    return "what answers there is not HTTP" if unreadable else "the connection broke"
