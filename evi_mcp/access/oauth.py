"""OAuth tokens: JWTs by the keys of their issuer, all others by asking it.

Sources: RFC 8725 (what to check of a JWT), RFC 9068 (JWTs as access tokens), RFC 7662 (introspection).
"""

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import jwt

from evi_mcp.access.callers import Rights
from evi_mcp.access.issuer import Issuer
from evi_mcp.access.principals import Principal, access_of
from evi_mcp.access.refusals import NoScope, TokenRefused, TokenUnverified
from evi_mcp.access.tokens import digest_of
from evi_mcp.clock import Clock
from evi_mcp.errors import InvalidChatId
from evi_mcp.protocol.chat_id import check_chat_id

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"},
)
"""What a token may be signed with. Never the one that its header wishes: `none`, or HS256 with a public key."""
TYPES = frozenset({"at+jwt", "application/at+jwt", "jwt", ""})
"""`typ` of an access token, in small letters; others are tokens for something else."""
LEEWAY_S = 30
"""How far the clocks of issuer and server may be apart."""
CHATS_CLAIM, TENANT_CLAIM = "evi_chats", "evi_tenant"
MAX_NAME = 256
REMEMBERED_S = 60.0
"""How long the answer of an introspection counts."""
MAX_REMEMBERED = 10_000
MAX_ASKING = 10


class OAuthTokens:
    """Verifies the tokens of one issuer.

    Args:
        audiences: One of them has to be in `aud`.
        client: Id and secret with which the issuer is asked about opaque tokens; `None` takes only JWTs.
    """

    def __init__(
        self, issuer: Issuer, audiences: Collection[str], clock: Clock, client: tuple[str, str] | None = None
    ) -> None:
        self._issuer = issuer
        self._audiences = tuple(audiences)
        self._clock = clock
        self._client = client
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._asking = anyio.Semaphore(MAX_ASKING)

    async def verify(self, token: str) -> Principal:
        """Whoever it was issued to.

        Raises:
            TokenRefused: It is not for us, not now, or not from the issuer.
            NoScope: It grants nothing of this server.
            TokenUnverified: The issuer has to be asked, and does not answer.
        """
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            if self._client is None:
                raise TokenRefused("it is not a JWT") from None
            return await self._introspected(token, self._client)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise TokenRefused("it is signed with an algorithm that is not accepted")
        if str(header.get("typ", "")).lower() not in TYPES:
            raise TokenRefused("it is a token for something else")
        key = await self._issuer.key(kid if isinstance(kid, str) else None, algorithm)
        return self._principal(self._decoded(token, key, algorithm), digest_of(token))

    async def is_revoked(self, principal: Principal) -> bool:
        """Whether the issuer has taken back a token of which it was asked; a JWT is good until it expires."""
        answer = self._answers.get(principal.token_id)
        if answer is None or self._client is None:
            return False
        try:
            await self._introspected(answer.token, self._client)
        except (TokenRefused, NoScope):
            return True
        except TokenUnverified:
            return False
        return False

    def _decoded(self, token: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=self._audiences,
                issuer=self._issuer.url,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise TokenRefused(_WHY.get(type(error), "it cannot be read")) from None

    async def _introspected(self, token: str, client: tuple[str, str]) -> Principal:
        digest, now = digest_of(token), self._clock.elapsed()
        id = digest[:12]
        known = self._answers.get(id)
        if known is None or known.token != token or known.at + REMEMBERED_S <= now:
            async with self._asking:
                url = await self._issuer.endpoint("introspection_endpoint")
                form = {"token": token, "token_type_hint": "access_token"}
                known = _Answer(token, now, await self._issuer.ask.post(url, form, client))
            self._answers[id] = known
            if len(self._answers) > MAX_REMEMBERED:
                self._answers.popitem(last=False)
        self._answers.move_to_end(id)
        claims = known.claims
        if not isinstance(claims, dict) or claims.get("active") is not True:
            raise TokenRefused("its issuer does not know it, or no more")
        if claims.get("iss", self._issuer.url) != self._issuer.url:
            raise TokenRefused("it is of another issuer")
        audience = claims.get("aud")
        if not set([audience] if isinstance(audience, str) else audience or ()) & set(self._audiences):
            raise TokenRefused(_WHY[jwt.InvalidAudienceError])
        for claim, is_good in (("exp", time.time() - LEEWAY_S), ("nbf", None)):
            at = claims.get(claim)
            if at is not None and not isinstance(at, int | float):
                raise TokenRefused("it cannot be read")
            if at is not None and is_good is not None and at <= is_good:
                raise TokenRefused(_WHY[jwt.ExpiredSignatureError])
            if at is not None and is_good is None and at > time.time() + LEEWAY_S:
                raise TokenRefused(_WHY[jwt.ImmatureSignatureError])
        return self._principal({**claims, "jti": id}, digest)

    def _principal(self, claims: Mapping[str, Any], digest: str) -> Principal:
        subject, tenant = claims.get("sub"), claims.get(TENANT_CLAIM, "")
        client = claims.get("client_id") or claims.get("azp") or ""
        if not (isinstance(subject, str) and isinstance(tenant, str) and isinstance(client, str)):
            raise TokenRefused("its claims cannot be read")
        if not subject or max(len(subject), len(tenant), len(client)) > MAX_NAME:
            raise TokenRefused("its subject, tenant or client is empty or too long")
        access = access_of(_words(claims.get("scope", claims.get("scp"))))
        if access is None:
            raise NoScope
        expires, id = claims.get("exp"), claims.get("jti")
        return Principal(
            subject=subject,
            rights=Rights(access, _chats(claims.get(CHATS_CLAIM))),
            tenant=tenant,
            client=client,
            issuer=self._issuer.url,
            token_id=id if isinstance(id, str) and 0 < len(id) <= MAX_NAME else digest[:12],
            expires_at=None if expires is None else float(expires) + LEEWAY_S,
        )


@dataclass(frozen=True)
class _Answer:
    """What the issuer said of a token, and when."""

    token: str
    at: float
    claims: Any


_WHY = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidIssuedAtError: "it is not valid yet",
    jwt.InvalidAudienceError: "it was issued for another resource",
    jwt.InvalidIssuerError: "it is of another issuer",
    jwt.InvalidSignatureError: "its signature is wrong",
    jwt.MissingRequiredClaimError: "it lacks one of exp, iss, aud and sub",
}


def _words(value: Any) -> list[str]:
    """The words of a claim that is text or a list."""
    if isinstance(value, str):
        return value.split()
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _chats(value: Any) -> frozenset[str] | None:
    """The chats of the claim; one that cannot be read must not end up allowing all of them."""
    if value is None:
        return None
    try:
        if not isinstance(value, str | list) or (isinstance(value, list) and len(_words(value)) < len(value)):
            raise TokenRefused(f"its {CHATS_CLAIM} cannot be read")
        return frozenset(map(check_chat_id, _words(value)))
    except InvalidChatId:
        raise TokenRefused(f"its {CHATS_CLAIM} names no chat id") from None
