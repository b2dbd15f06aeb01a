"""Watching a chat on the in-memory connector: what processes would only show by luck."""

import io

import anyio
import pytest
from pydantic import SecretStr

from evi_mcp.cli.terminal import Screen
from evi_mcp.cli.watch import Watching
from evi_mcp.config import Settings
from evi_mcp.ledger.journal import NullJournal
from evi_mcp.supervision.following import Pace
from evi_mcp.supervision.service import Service
from evi_mcp.upstream.memory import MemoryConnector
from evi_mcp.upstream.rest import RestClient
from tests import frames
from tests.harness import CHAT
from tests.supervision.following import ME, following

pytestmark = pytest.mark.anyio


async def test_what_evi_says_after_the_error_that_ends_a_chat_is_shown() -> None:
    """The chat is over with the error, and said to be, but its socket is not: last words are words."""
    connector, shown = MemoryConnector((frames.metadata(),)), io.StringIO()
    async with following(connector, Pace(first_frame=0.05, quiet=0.02, last_words=30)) as registry:
        settings = Settings(hume_api_key=SecretStr("any"))
        service = Service(settings, registry, RestClient(settings.base_url, SecretStr("any")), NullJournal())
        watching = Watching(service.desk(ME), Screen(shown))

        async def until_shown(text: str) -> None:
            while text not in shown.getvalue():  # noqa: ASYNC110 - it is shown by a thread, which tells nobody
                await anyio.sleep(0.005)

        async def speak() -> None:
            await until_shown("chat  live")
            [transport] = connector.connections[CHAT]
            transport.push(frames.error("E0714", "inactivity_timeout", "nobody there"))
            await until_shown("chat  ended (inactivity_timeout)")
            transport.push(frames.assistant("Goodbye."))
            transport.shut()

        async with anyio.create_task_group() as group:
            group.start_soon(speak)
            await watching.follow(CHAT)
            assert "Goodbye." in shown.getvalue()
    assert watching.status == 0
