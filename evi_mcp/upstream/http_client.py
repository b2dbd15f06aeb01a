"""HTTP requests to the service that always end: each request has a total timeout, each answer a size limit.

An answer may be endless, come byte by byte, be a compression bomb, or hold a million empty lists. An answer over a
limit is an error, and is not kept. `httpx` is imported at the first request, because most runs of the server make none;
`warm` imports it ahead of time.
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
"""The largest answer that is read, both before and after decompression: 20 KiB for each of the 100 chats of a page."""
MAX_VALUES = 100_000
"""The most values in an answer's JSON, roughly: more would block the process for over 50 ms and take much memory."""
_READ_IN_PASSING = 64 * 1024  # larger ones are read in a thread


class Answer(NamedTuple):
    """An answer of the service. `value` is its JSON if the status is 200; `None` if there is none."""

    status: int
    value: Any
    retry_after: float | None


class NoAnswer(Exception):
    """There was no usable answer.

    Attributes:
        why: As a part of a sentence, without secrets.
        written: Whether any of the request may have reached the service.
    """

    def __init__(self, why: str, *, written: bool) -> None:
        super().__init__(why)
        self.why, self.written = why, written


class HttpClient:
    """Sends requests to one service, with the key in a header. Follows no redirect; only `Route` reads the environment.

    Args:
        base_url: `http` or `https`.
        api_key: Sent as `X-Hume-Api-Key`; `None` for a server that must not get it.
        clock: Measures the timeouts.
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
        """Imports and creates what the first request needs. Takes up to half a second; may be called in a thread."""
        self._made()

    async def get(self, path: str, query: Mapping[str, str | int], *, within_s: float) -> Answer:
        """The answer to `GET`, with its JSON.

        Raises:
            ServiceUnavailable: There is no way to the service from here.
            NoAnswer: There was no answer within this time, or it is too large.
        """
        return await self._ask("GET", path, within_s, read=True, params=dict(query))

    async def post(self, path: str, body: str, *, within_s: float) -> Answer:
        """The status of the answer to a `POST` of JSON text; its body is not read. Raises as `get`."""
        return await self._ask("POST", path, within_s, read=False, content=body.encode())

    async def post_form(
        self, path: str, form: Mapping[str, str], *, client: tuple[str, str], within_s: float
    ) -> Answer:
        """The answer to a form, with its JSON; `client` are a name and a password (HTTP Basic). Raises as `get`."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", path, within_s, read=True, data=dict(form), auth=client, headers=headers)

    async def aclose(self) -> None:
        """Closes the open connections."""
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
        except Exception as error:  # the libraries raise their own kinds; those for SOCKS raise anything
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
        with self._making:  # `warm` may be doing this in a thread
            self._client = self._client or self._new()
            return self._client

    def _new(self) -> "httpx.AsyncClient":
        import httpx

        # At DEBUG they log the headers of answers, in which the service may repeat the key.
        for chatty in ("httpx", "httpcore"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        # Without TLS, an empty context saves the time to load the system's certificates.
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
            timeout=None,  # `_ask` has one for the whole request
            follow_redirects=False,
            verify=tls,
            proxy=httpx.Proxy(proxy, ssl_context=tls if is_encrypted(proxy) else None) if proxy else None,
            trust_env=False,
        )


class _Progress:
    """How far a request has come, as the library's `trace` extension reports it."""

    def __init__(self, method: str) -> None:
        self._method = method.encode()
        self._opened: list[Any] = []
        self.written = False
        """Whether any of the request may have been written; asking a proxy for a tunnel does not count."""

    async def see(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(".connect_tcp.complete"):
            self._opened.append(info["return_value"])
        elif event.endswith(".send_request_headers.started"):
            self.written = self.written or info["request"].method == self._method

    async def close(self) -> None:
        """Closes what a request without an answer has opened: an abandoned TLS handshake leaves its socket open."""
        with anyio.CancelScope(shield=True):
            for stream in self._opened:
                await stream.aclose()


async def _json(response: "httpx.Response") -> Any:
    """The JSON of an answer; `None` if the answer is not JSON."""
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
    """Decompresses an answer that came compressed unasked, up to a given number of bytes."""
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
        status = str(error)[:3]  # the rest is the proxy's own text
        return f"the proxy opens no tunnel{f' (HTTP {status})' if status.isdigit() else ''}"
    if isinstance(error, (httpx.InvalidURL, UnicodeError)):
        return "the base URL cannot be used"
    if said := why(error):
        return said
    unreadable = isinstance(error, (httpx.ProtocolError, httpx.DecodingError, zlib.error))
    return "what answers there is not HTTP" if unreadable else "the connection broke"
