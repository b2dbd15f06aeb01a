"""Who may use the simulated service: an API key, or a token made from it.

Ways: header `X-Hume-Api-Key`, query `api_key`, query `access_token` (Hume's references of the sockets and its
page on keys), header `Authorization: Bearer` (which Hume's TypeScript SDK turns into `access_token`).
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Callable, Mapping

TOKEN_LIFETIME_S = 1800
MAX_TOKENS = 1000


class Credentials:
    """Checks keys, and makes and checks tokens.

    Args:
        api_key: The key that is accepted; `None` accepts every one that is not empty.
        secret_key: What it takes beside the key to get a token; `None` likewise.
        new_token: Makes a token that nobody can guess.
    """

    def __init__(
        self, api_key: str | None, secret_key: str | None, new_token: Callable[[], str] = secrets.token_urlsafe
    ) -> None:
        self._api_key = api_key
        self._secret_key = secret_key
        self._new_token = new_token
        self._tokens: dict[str, float] = {}

    def accept(self, headers: Mapping[str, str], query: Mapping[str, str], now: float) -> bool:
        """Whether a request may pass. Any one valid key or token is enough.

        Args:
            headers: With names in lower case.
            query: Of the address.
            now: The time, in seconds.
        """
        keys = headers.get("x-hume-api-key", ""), query.get("api_key", "")
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        tokens = query.get("access_token", ""), bearer.strip() if scheme.lower() == "bearer" else ""
        return any(_matches(key, self._api_key) for key in keys) or any(
            self._tokens.get(token, 0.0) > now for token in tokens
        )

    def token(self, authorization: str, now: float) -> str | None:
        """A new token, valid for `TOKEN_LIFETIME_S`; `None` if the header is not `Basic` with both keys."""
        scheme, _, encoded = authorization.partition(" ")
        try:
            pair = base64.b64decode(encoded.strip(), validate=True).decode() if scheme.lower() == "basic" else ""
        except (binascii.Error, UnicodeDecodeError):
            return None
        api_key, _, secret_key = pair.partition(":")
        if not (_matches(api_key, self._api_key) and _matches(secret_key, self._secret_key)):
            return None
        token = self._new_token()
        self._tokens[token] = now + TOKEN_LIFETIME_S
        while len(self._tokens) > MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        return token


def _matches(given: str, expected: str | None) -> bool:
    if expected is None:
        return bool(given)
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())
