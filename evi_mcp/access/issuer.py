"""The OAuth authorization server, as far as a resource server asks it: its metadata and its keys.

Sources: RFC 8414 and OpenID Connect Discovery 1.0 (metadata), RFC 7517 (keys).
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import anyio
import jwt

from evi_mcp.access.refusals import TokenRefused, TokenUnverified
from evi_mcp.clock import Clock
from evi_mcp.logs import fields

FRESH_S = 300.0
"""How long keys are used before they are fetched again,"""
STALE_S = 3600.0
"""and for how long they are still good while the issuer does not answer."""
UNKNOWN_S = 60.0
"""How often they are fetched for a key that nobody knows: else anybody could have us storm the issuer."""
RETRY_S = 10.0
"""How soon an issuer that did not answer is asked again."""
MAX_KEYS = 100
KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""The start of an algorithm's name to the type of its keys (RFC 7518, RFC 8037)."""

_log = logging.getLogger(__name__)


class Ask(Protocol):
    """Asks other servers, within a time and a size."""

    async def get(self, url: str) -> Any:
        """The JSON at this address. Raises `TokenUnverified` if there is none."""
        ...

    async def post(self, url: str, form: Mapping[str, str], client: tuple[str, str]) -> Any:
        """The JSON with which a form is answered; `client` are id and secret. Raises as `get`."""
        ...


class Issuer:
    """An authorization server.

    Args:
        url: Exactly as tokens name it.
        allow_plain_http: Whether what it points to may be reached without TLS.
    """

    def __init__(self, url: str, ask: Ask, clock: Clock, *, allow_plain_http: bool = False) -> None:
        self.url = url
        self.ask = ask
        self._clock = clock
        self._schemes = ("https", "http") if allow_plain_http else ("https",)
        self._metadata: Mapping[str, Any] | None = None
        self._keys: list[_Key] = []
        self._fetched = -STALE_S
        self._failed = self._missed = float("-inf")
        self._fetching = anyio.Lock()

    async def key(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """The key that has signed a token.

        Raises:
            TokenRefused: It has none of this name and type.
            TokenUnverified: It does not answer, and what is known of it is too old.
        """
        now = self._clock.elapsed()
        if now - self._fetched > FRESH_S:
            await self._refresh(now, needed=now - self._fetched > STALE_S)
        if (key := self._find(kid, algorithm)) is None and self._clock.elapsed() - self._missed >= UNKNOWN_S:
            self._missed = self._clock.elapsed()
            await self._refresh(self._missed, needed=False)
            key = self._find(kid, algorithm)
        if key is None:
            raise TokenRefused("its key is not one of its issuer")
        return key

    async def count_keys(self) -> int:
        """How many keys it has that can be used, asked for now. Raises `TokenUnverified` if they cannot be had."""
        await self._refresh(self._clock.elapsed(), needed=True)
        return len(self._keys)

    async def endpoint(self, name: str) -> str:
        """An address that its metadata name. Raises `TokenUnverified` if they do not, or cannot be had."""
        if self._metadata is None:
            self._metadata = await self._discover()
        return self._address(self._metadata, name)

    def _find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        fitting = [
            found.key
            for found in self._keys
            if found.key.key_type == KEY_TYPES[algorithm[:2]]
            and found.algorithm in (algorithm, None)
            and kid in (found.key.key_id, None)
        ]
        return fitting[0] if len(fitting) == 1 or (fitting and kid is not None) else None

    async def _refresh(self, now: float, *, needed: bool) -> None:
        """Fetches the keys, unless that has just failed; who comes meanwhile goes on with those there are."""
        if self._fetching.locked() and not needed:
            return
        async with self._fetching:
            if self._fetched > now:
                return  # somebody else did, while this one waited
            try:
                if self._clock.elapsed() - self._failed < RETRY_S:
                    raise TokenUnverified("its issuer did not answer a moment ago")
                self._keys = _read(await self.ask.get(await self.endpoint("jwks_uri")))
                self._fetched = self._clock.elapsed()
            except TokenUnverified as error:
                if self._clock.elapsed() - self._failed >= RETRY_S:
                    self._failed = self._clock.elapsed()
                    self._metadata = None  # they may say another address now
                    _log.warning("the keys of the issuer cannot be fetched", extra=fields(reason=error.why))
                if needed:
                    raise

    async def _discover(self) -> Mapping[str, Any]:
        parts = urlsplit(self.url)
        origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        places = (
            f"{origin}/.well-known/oauth-authorization-server{path}",
            f"{origin}/.well-known/openid-configuration{path}",
            f"{origin}{path}/.well-known/openid-configuration",
        )
        trouble, is_another = TokenUnverified("its issuer has no metadata"), False
        for place in dict.fromkeys(places):
            try:
                found = await self.ask.get(place)
            except TokenUnverified as error:
                trouble = error
                continue
            if isinstance(found, dict) and found.get("issuer") == self.url:
                return found
            is_another = True
        raise TokenUnverified("the metadata of its issuer are those of another") if is_another else trouble

    def _address(self, metadata: Mapping[str, Any], name: str) -> str:
        url = metadata.get(name)
        if not isinstance(url, str) or urlsplit(url).scheme not in self._schemes:
            raise TokenUnverified(f"the metadata of its issuer name no usable {name}")
        return url


class _Key(NamedTuple):
    """A key, and the only algorithm that it is for; `None` for any of its type."""

    key: jwt.PyJWK
    algorithm: str | None


def _read(answer: Any) -> list[_Key]:
    """The keys of an answer; those that cannot be used, and those of symmetric algorithms, are left out."""
    listed = answer.get("keys") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        raise TokenUnverified("its issuer does not answer with keys")
    keys = []
    for item in listed[:MAX_KEYS]:
        if not isinstance(item, dict) or item.get("use", "sig") != "sig" or item.get("kty") not in KEY_TYPES.values():
            continue
        with suppress(Exception):  # whatever a library makes of what somebody sends
            keys.append(_Key(jwt.PyJWK.from_dict(item), item.get("alg")))
    if not keys:
        raise TokenUnverified("its issuer has no key that can be used")
    return keys
