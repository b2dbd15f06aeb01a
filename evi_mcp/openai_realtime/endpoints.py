"""Where a service that speaks this wire is, and how the key is shown to it.

OpenAI: `https://api.openai.com/v1` with `Authorization: Bearer`. Azure: `https://{resource}.openai.azure.com/openai/v1`
with `api-key`. Inworld: `https://api.inworld.ai/v1`. A socket takes `call_id` and no `model`, which exclude each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

DEFAULT_BASE_URL = "https://api.openai.com/v1"

CALL_IDS = "rtc_"
"""How the ids of calls begin at OpenAI and Azure."""

_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_INWORLD = ".inworld.ai"


@dataclass(frozen=True)
class Endpoint:
    """A service.

    Args:
        base_url: `http` or `https`, with the path up to the version.
        api_key: Sent in a header, and nowhere else.
        call_ids: How the ids of its calls begin; empty for any id, `None` for what its host is known for: Inworld's are
            UUIDs, all others `rtc_`.
    """

    api_key: SecretStr = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    call_ids: str | None = None

    def may_be_call(self, chat_id: str) -> bool:
        """Whether an id that nobody has announced may be that of a call."""
        if self.call_ids is not None:
            return chat_id.startswith(self.call_ids)
        return self._host.endswith(_INWORLD) or chat_id.startswith(CALL_IDS)

    @property
    def _host(self) -> str:
        return (urlsplit(self.base_url).hostname or "").lower()

    @property
    def is_azure(self) -> bool:
        """Whether it is Azure, by its host."""
        return self._host.endswith(_AZURE)

    @property
    def headers(self) -> Mapping[str, str]:
        """The header with the key."""
        key = self.api_key.get_secret_value()
        return {"api-key": key} if self.is_azure else {"Authorization": f"Bearer {key}"}

    def socket_url(self, call_id: str) -> str:
        """Of the sideband of a call."""
        return f"ws{self.base_url.rstrip('/').removeprefix('http')}/realtime?call_id={quote(call_id, safe='')}"

    def call_url(self, call_id: str, verb: str) -> str:
        """Of what can be done with a call by REST: `hangup`, `refer`."""
        return f"{self.base_url.rstrip('/')}/realtime/calls/{quote(call_id, safe='')}/{verb}"
