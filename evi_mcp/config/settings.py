"""The settings: each field is a flag, an environment variable and a row of `docs/settings.md` (`table.py`)."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from evi_mcp.access.callers import Access
from evi_mcp.addresses import host_and_port, is_encrypted, is_this_machine, usable_base_url
from evi_mcp.errors import InvalidChatId
from evi_mcp.protocol.chat_id import check_chat_id
from evi_mcp.protocol.redaction import SHORTEST_SECRET, Mask
from evi_mcp.quoting import quote

PREFIX = "EVI_MCP_"
SECRETS = PREFIX + "SECRET_"


class Settings(BaseSettings):
    """All settings. A field's description is what `--help` and the docs say of it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    hume_api_key: SecretStr | None = Field(
        default=None,
        validation_alias="HUME_API_KEY",
        description="API key, sent only as the header X-Hume-Api-Key. Without it the server starts, and each tool"
        " that needs it says so. On a command line other users can read it: prefer the variable.",
    )
    base_url: str = Field(
        default="https://api.hume.ai",
        description="Any EVI-compatible service; http means ws, https means wss. http is for this machine.",
    )
    allow_plain_http: bool = Field(
        default=False,
        json_schema_extra={"shown": "off"},
        description="on allows http to another machine, and tokens over http from one. The key, the tokens and all that"
        " is said then cross the network in clear text, for everybody on the way to read: only where you trust that"
        " network, or it is encrypted by itself.",
    )
    access: Access = Field(
        default=Access.BARGE,
        description="What agents may do: monitor (look), coach (also answer tool calls and change settings),"
        " barge (also speak, pause and resume). Tools above the level are not listed and not callable.",
    )
    allowed_chats: str = Field(
        default="", description="Comma-separated chat ids; all other chats are refused. Empty allows any."
    )
    max_chats: int = Field(default=1000, ge=1, le=100_000, description="Chats attached at once.")
    log_events: int = Field(
        default=10_000, ge=1, le=10_000_000, description="Events kept per chat; the oldest is dropped first."
    )
    memory_mib: int = Field(
        default=1024,
        ge=64,
        le=1_048_576,
        description="MiB for what is kept of all chats together; the program itself takes 100 more. When it is used up,"
        " the oldest that is kept of the largest chats is dropped first, and readers are told so. The default is"
        " enough for 1000 chats of 1 MiB: 500 events with expressions take 0.4.",
    )
    audio_kib: int = Field(
        default=2048,
        ge=0,
        le=65_536,
        description="KiB of EVI's voice kept per chat, 16 seconds in 2048; the oldest message is dropped first, and one"
        " that is longer is not kept. 0 turns audio off.",
    )
    reconnect_for: float = Field(
        default=300.0, ge=0, le=86_400, description="Seconds of failed reconnecting before a chat is failed."
    )
    tool_call_fallback: float | None = Field(
        default=None,
        gt=0,
        le=3600,
        json_schema_extra={"shown": "off"},
        description="Seconds after which a tool call that nobody has answered gets a tool_error, at any access level,"
        " so that no caller is left waiting; off answers none.",
    )
    audit_log: str | None = Field(
        default=None,
        json_schema_extra={"shown": "off"},
        description="File to which every command is appended before it is sent, and its outcome after; see"
        " docs/audit.md. One server for each file. While it cannot be written, commands are refused.",
    )
    hub_keys: SecretStr | None = Field(
        default=None,
        description="Comma-separated keys of the hub: bots that dial in and clients of the hub show one of them in"
        " X-Hume-Api-Key. Without any the hub serves this machine only.",
    )
    openai_api_key: SecretStr | None = Field(
        default=None,
        validation_alias="OPENAI_API_KEY",
        description="API key of the project whose OpenAI Realtime calls are attached to, sent only in a header. Without"
        " it they cannot be. On a command line other users can read it: prefer the variable.",
    )
    openai_base_url: str = Field(
        default="https://api.openai.com/v1",
        description="A service that speaks OpenAI Realtime's wire, up to the version: for Azure"
        " https://RESOURCE.openai.azure.com/openai/v1, for Inworld https://api.inworld.ai/v1.",
    )
    openai_webhook_secret: SecretStr | None = Field(
        default=None,
        validation_alias="OPENAI_WEBHOOK_SECRET",
        description="Signing secret (whsec_...) of the webhook realtime.call.incoming; without it the hub takes none.",
    )
    claude_channel: bool = Field(
        default=False,
        json_schema_extra={"shown": "off"},
        description="on cues Claude Code (channels, a research preview) when something happens in a chat: with counts,"
        " ids and types, never with what was said.",
    )
    results: Literal["text", "structured", "both"] = Field(
        default="text",
        description="What a result holds: text for a model, structured content for clients that show nothing else, or"
        " both, with output schemas, for programs.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="Level of the log on stderr."
    )

    http: str | None = Field(
        default=None,
        json_schema_extra={"shown": "off", "bare": "127.0.0.1:8000"},
        description="HOST:PORT on which MCP is served over HTTP instead of stdin and stdout, at the path /mcp; see"
        " docs/http.md. The flag alone means 127.0.0.1:8000, port 0 a free one.",
    )
    public_url: str | None = Field(
        default=None,
        description="URL by which clients reach the server over HTTP, such as https://evi.example.com/mcp: the resource"
        " that OAuth tokens are issued for, and the host that requests may name.",
    )
    allowed_origins: str = Field(
        default="",
        description="Comma-separated origins of web pages that may use the server over HTTP, such as"
        " https://app.example.com. On a local address pages of this machine may, too.",
    )
    trusted_proxies: str = Field(
        default="127.0.0.1,::1",
        description="Comma-separated addresses and networks of reverse proxies, whose X-Forwarded-For and"
        " X-Forwarded-Proto are believed.",
    )
    max_waits: int = Field(
        default=2000, ge=1, le=100_000, description="Calls of wait_for_events, and over HTTP streams, waiting at once."
    )
    max_wait: float = Field(
        default=50.0, ge=1, le=50, description="Seconds after which wait_for_events returns, whatever was asked for."
    )
    caller_waits: int = Field(
        default=100, ge=1, le=100_000, description="Calls that wait at once for the holder of one token."
    )
    caller_chats: int = Field(
        default=200, ge=1, le=100_000, description="Chats that the holder of one token has attached at once."
    )
    caller_commands: int = Field(
        default=120,
        ge=1,
        le=1_000_000,
        description="Commands that the holder of one token gives within a minute; resume is always free.",
    )
    drain_s: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="Seconds that the server goes on after SIGTERM with /readyz at 503, for a load balancer to notice."
        " A second signal cuts them short.",
    )
    tokens: str | None = Field(
        default=None,
        description="TOML file of tokens and tenants, readable by its owner only; see docs/http.md and `evi-mcp token"
        " new`. It is read again when it changes.",
    )
    oauth_issuer: str | None = Field(
        default=None, description="URL of the OAuth authorization server whose tokens are accepted, as in their `iss`."
    )
    oauth_audience: str | None = Field(
        default=None, description="`aud` that tokens must have, where it is not EVI_MCP_PUBLIC_URL."
    )
    oauth_scopes: str = Field(
        default="evi:monitor evi:coach",
        description="Scopes that clients are told to ask for at login; evi:barge is asked for when it is needed.",
    )
    oauth_client_id: str | None = Field(
        default=None, description="Client id with which opaque tokens are introspected; without it only JWTs are taken."
    )
    oauth_client_secret: SecretStr | None = Field(default=None, description="The secret that goes with it.")

    secrets: dict[str, SecretStr] = Field(
        default_factory=dict, description="By name, from the variables EVI_MCP_SECRET_<NAME>; not a setting of its own."
    )

    @field_validator("secrets")
    @classmethod
    def _long_enough_to_be_found(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for secret_name, secret in value.items():
            if len(secret.get_secret_value()) < SHORTEST_SECRET:
                raise ValueError(
                    f"the secret {quote(secret_name, 40)} has less than {SHORTEST_SECRET} characters, so it could not"
                    " be told from ordinary words and taken out where a service repeats it"
                )
        return value

    @field_validator("tool_call_fallback", mode="before")
    @classmethod
    def _off_is_none(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.strip().lower() in ("off", "0"):
            return None
        try:
            return float(value)
        except ValueError:
            raise ValueError("is to be a number of seconds, or off") from None

    @field_validator("audit_log", "tokens")
    @classmethod
    def _usable_path(cls, value: str | None) -> str | None:
        if value is None or value.strip().lower() in ("", "off"):
            return None
        return str(Path(value.strip()).expanduser())

    @field_validator("hume_api_key", "openai_api_key", "openai_webhook_secret", mode="before")
    @classmethod
    def _empty_key_is_none(cls, value: Any) -> Any:
        # A client's configuration often has the variable with nothing, or a space or line end, in it.
        return (value.strip() or None) if isinstance(value, str) else value

    @field_validator("hume_api_key", "openai_api_key")
    @classmethod
    def _key_fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not (value.get_secret_value().isascii() and value.get_secret_value().isprintable()):
            raise ValueError("has characters that an HTTP header cannot carry")
        return value

    @field_validator("hub_keys")
    @classmethod
    def _usable_keys(cls, value: SecretStr | None) -> SecretStr | None:
        # An empty entry too: a list that was meant to lock must not end up open.
        for key in value.get_secret_value().split(",") if value is not None else ():
            if len(key.strip()) < SHORTEST_SECRET or not (key.isascii() and key.isprintable()):
                raise ValueError(f"each key in it needs at least {SHORTEST_SECRET} characters that a header can carry")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _level_in_any_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("base_url", "openai_base_url")
    @classmethod
    def _usable_base_url(cls, value: str) -> str:
        return usable_base_url(value)

    @field_validator("http")
    @classmethod
    def _usable_address(cls, value: str | None) -> str | None:
        if value is None or value.strip().lower() in ("", "off"):
            return None
        host_and_port(value)
        return value.strip()

    @field_validator("public_url", "oauth_issuer")
    @classmethod
    def _usable_url(cls, value: str | None) -> str | None:
        if not value:
            return None
        return usable_base_url(value) + ("/" if value.endswith("/") else "")  # an issuer is compared to the letter

    @field_validator("allowed_origins")
    @classmethod
    def _usable_origins(cls, value: str) -> str:
        origins = [usable_base_url(item) for item in value.split(",")] if value.strip() else []
        if any(origin.count("/") != 2 for origin in origins):
            raise ValueError("an origin is a scheme, a host and perhaps a port, such as https://app.example.com")
        return ",".join(origins)

    @field_validator("trusted_proxies")
    @classmethod
    def _usable_networks(cls, value: str) -> str:
        return ",".join(str(ip_network(item.strip(), strict=False)) for item in value.split(",") if item.strip())

    @model_validator(mode="after")
    def _no_key_in_clear_text(self) -> Self:
        if not (self.allow_plain_http or is_encrypted(self.base_url) or is_this_machine(self.base_url)):
            raise ValueError(
                "EVI_MCP_BASE_URL: http to another machine sends the key in clear text; use https, or allow it with"
                " EVI_MCP_ALLOW_PLAIN_HTTP=on where the network is yours"
            )
        for name, url in (("PUBLIC_URL", self.public_url), ("OAUTH_ISSUER", self.oauth_issuer)):
            if url and not (self.allow_plain_http or is_encrypted(url) or is_this_machine(url)):
                raise ValueError(
                    f"{PREFIX}{name}: http to another machine sends tokens in clear text; use https, or allow it with"
                    " EVI_MCP_ALLOW_PLAIN_HTTP=on where the network is yours"
                )
        return self

    @field_validator("allowed_chats")
    @classmethod
    def _normal_list(cls, value: str) -> str:
        chats = [item.strip() for item in value.split(",")] if value.strip() else []
        try:
            return ",".join(map(check_chat_id, chats))
        except InvalidChatId as error:
            # An empty entry too: a list that was meant to forbid must not end up allowing everything.
            raise ValueError(f"{quote(error.chat_id, 40)} in it is not a chat id") from None

    @property
    def allow_list(self) -> frozenset[str] | None:
        """The chats that may be touched; `None` means any."""
        return frozenset(self.allowed_chats.split(",")) if self.allowed_chats else None

    @property
    def hub_key_list(self) -> tuple[str, ...]:
        """The keys of the hub, each by itself."""
        keys = self.hub_keys.get_secret_value() if self.hub_keys is not None else ""
        return tuple(key.strip() for key in keys.split(",")) if keys else ()

    @property
    def mask(self) -> Mask:
        """Takes out every value that must not be seen: the API keys, the hub's keys, the named secrets, OAuth's."""
        keys = (self.hume_api_key, self.openai_api_key, self.openai_webhook_secret, self.oauth_client_secret)
        secrets = [*self.secrets.values(), *filter(None, keys)]
        return Mask([*(secret.get_secret_value() for secret in secrets), *self.hub_key_list])
