"""The tokens file: who may come with which token, and the tenants.

A token is 256 random bits, so its SHA-256 is as hard to undo as the token is to guess, and no slow hash is needed. The
file holds digests only; it names the keys of tenants, though, so nobody but its owner may read it.
"""

import hashlib
import logging
import os
import secrets
import stat
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from evi_mcp.access.callers import Access, Rights
from evi_mcp.access.principals import Principal
from evi_mcp.access.refusals import TokenRefused
from evi_mcp.errors import InvalidChatId, InvalidSetting
from evi_mcp.logs import fields
from evi_mcp.protocol.chat_id import check_chat_id
from evi_mcp.protocol.redaction import SHORTEST_SECRET
from evi_mcp.quoting import quote

PREFIX = "evi_"
MAX_FILE = 4 * 2**20
SETTING = "EVI_MCP_TOKENS"

_log = logging.getLogger(__name__)


def new_token() -> str:
    """A token, which is to be shown once."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What the file holds of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _checked(chat_id: str) -> str:
    try:
        return check_chat_id(chat_id)
    except InvalidChatId:
        raise ValueError("is not a chat id") from None


def _in_a_list(key: SecretStr) -> SecretStr:
    shown = key.get_secret_value()
    if len(shown) < SHORTEST_SECRET or not (shown.isascii() and shown.isprintable()) or set(", ") & set(shown):
        raise ValueError(f"a key of the hub has at least {SHORTEST_SECRET} characters, without commas and spaces")
    return key


HubKey = Annotated[SecretStr, AfterValidator(_in_a_list)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.@-]{1,64}$")]
Chats = frozenset[Annotated[str, AfterValidator(_checked)]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class TokenEntry(_Strict):
    """`[[token]]`: whoever shows the token with this digest."""

    name: Name
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    access: Access = Access.MONITOR
    chats: Chats | None = None
    tenant: str = ""
    expires: datetime | None = None

    @property
    def principal(self) -> Principal:
        """Whom it stands for."""
        ends = None
        if self.expires is not None:
            at = self.expires if self.expires.tzinfo is not None else self.expires.replace(tzinfo=UTC)
            ends = at.timestamp()
        rights = Rights(self.access, self.chats)
        return Principal(self.name, rights, self.tenant, token_id=self.sha256[:12], expires_at=ends)


class TenantEntry(_Strict):
    """`[tenant.NAME]`: what those who belong together share, and nobody else has."""

    hume_api_key: SecretStr | None = None
    base_url: str | None = None
    hub_keys: tuple[HubKey, ...] = ()
    access: Access = Access.BARGE
    chats: Chats | None = None
    max_chats: Annotated[int, Field(ge=1, le=100_000)] | None = None
    audit_log: str | None = None
    secrets: dict[str, SecretStr] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way_to_its_chats(self) -> Self:
        if self.hub_keys and (self.hume_api_key or self.base_url):
            raise ValueError("its chats are on the hub (hub_keys) or at a service (hume_api_key), not both")
        return self


class Table(_Strict):
    """All of the file."""

    token: tuple[TokenEntry, ...] = ()
    tenant: dict[Name, TenantEntry] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _unambiguous(self) -> Self:
        names, digests = [entry.name for entry in self.token], {entry.sha256 for entry in self.token}
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several tokens have the name {quote(twice[0], 64)}")
        if len(digests) < len(names):
            raise ValueError("several tokens have the same sha256")
        keys = [key.get_secret_value() for tenant in self.tenant.values() for key in tenant.hub_keys]
        if len(set(keys)) < len(keys):
            raise ValueError("a key of the hub belongs to one tenant, and stands in the file once")
        for entry in self.token:
            if entry.tenant and entry.tenant not in self.tenant:
                raise ValueError(f"the tenant of token {quote(entry.name, 64)} is not in the file")
        return self


def parse(text: str) -> Table:
    """The table that a file holds.

    Raises:
        ValueError: It is not one; the text says where, and repeats no value.
    """
    try:
        return Table.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {said}" if where else said) from None


@dataclass(frozen=True)
class _Read:
    """A file as it was read. `mark` is another one once it has changed."""

    mark: tuple[int, ...]
    table: Table
    principals: Mapping[str, Principal]


class TokenFile:
    """The tokens file, read again when it changes. A file that cannot be used is logged, and the one before stays.

    Raises:
        InvalidSetting: On making it, the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tried: tuple[int, ...] | None = None
        try:
            self._read = self._load()
        except (OSError, ValueError) as error:
            raise InvalidSetting(f"{SETTING}: {_reason(path, error)}.") from None

    @property
    def table(self) -> Table:
        """What it holds now."""
        self._look()
        return self._read.table

    async def verify(self, token: str) -> Principal:
        """Whoever has this token.

        Raises:
            TokenRefused: Nobody has, or it has expired.
        """
        self._look()
        principal = self._read.principals.get(digest_of(token))
        if principal is None:
            raise TokenRefused("it is not known here")
        if principal.expires_at is not None and principal.expires_at <= time.time():
            raise TokenRefused("it has expired")
        return principal

    async def is_revoked(self, principal: Principal) -> bool:
        """Whether the token is no more in the file, or grants something else now."""
        self._look()
        return principal not in self._read.principals.values()

    def _look(self) -> None:
        """Reads it again if it has changed."""
        try:
            if self._mark() in (self._read.mark, self._tried):
                return
            self._tried = self._mark()
            self._read = self._load()
            _log.info("tokens read again", extra=fields(tokens=len(self._read.principals)))
        except (OSError, ValueError) as error:
            _log.error("the tokens file cannot be used, the tokens before stay", extra=fields(why=str(error)))

    def _mark(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode)

    def _load(self) -> _Read:
        mark = self._mark()
        with self._path.open("rb") as file:
            check_mode(os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise ValueError(f"it has more than {MAX_FILE // 2**20} MiB")
        table = parse(content.decode("utf-8"))
        return _Read(mark, table, {entry.sha256: entry.principal for entry in table.token})


def check_mode(mode: int) -> None:
    """Checks that nobody but the owner may read or write a file; on Windows there are no such modes.

    Raises:
        ValueError: Others may.
    """
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError("others than its owner may read it; chmod 600")


def _reason(path: Path, error: Exception) -> str:
    said: Any = error.strerror if isinstance(error, OSError) else error
    return f"{quote(str(path), 200)} cannot be used: {said or error}"
