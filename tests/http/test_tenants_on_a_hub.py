"""Tenants whose bots dial in to one hub share its address, and nothing else."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from evi_mcp.access.callers import Access
from evi_mcp.access.token_edits import add
from evi_mcp.errors import InvalidSetting
from evi_mcp.hub import Hub
from evi_mcp.link import ChatLink
from evi_mcp.server.http.app import PATH
from tests.http.rig import Raw, Served, serving, tokens_file
from tests.hub.wire import hub
from tests.process.conftest import evi_mcp

pytestmark = pytest.mark.anyio

CALL = "call-0001"
TENANTS = """
[tenant.alpha]
hub_keys = ["key-of-alpha"]
[tenant.bravo]
hub_keys = ["key-of-bravo", "next-key-of-bravo"]
"""


@pytest.fixture
async def served_hub() -> AsyncIterator[Hub]:
    async with hub() as served:
        yield served


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tokens_file(tmp_path / "tokens.toml", TENANTS)


def serving_on(served: Hub, file: Path) -> AbstractAsyncContextManager[Served]:
    """A server over HTTP with this hub inside."""
    return serving(tokens=str(file), connector=served.connector, directory=served.directory, apart=served.apart)


async def listed(served: Hub, key: str) -> Any:
    """What a client of the hub with this key is shown: the status and the ids."""
    async with httpx2.AsyncClient(headers={"X-Hume-Api-Key": key}) as http:
        answer = await http.get(f"{served.base_url}/v0/evi/chats")
    return answer.status_code, [chat["id"] for chat in answer.json().get("chats_page", [])]


async def test_two_tenants_have_calls_of_one_id_and_neither_sees_the_others(served_hub: Hub, file: Path) -> None:
    """Ids are the bots' own: what one tenant calls its call must not open another's."""
    tokens = {name: add(file, f"agent-of-{name}", access=Access.BARGE, tenant=name) for name in ("alpha", "bravo")}
    async with serving_on(served_hub, file) as served:
        said = {"alpha": "Hello from alpha.", "bravo": "Hello from bravo."}
        links = {name: ChatLink(served_hub.base_url or "", key=f"key-of-{name}", chat_id=CALL) for name in said}
        async with links["alpha"], links["bravo"]:
            for name, link in links.items():
                link.user_message(said[name])
            for name, token in tokens.items():
                async with served.agent(token) as agent:
                    page = await agent.call(
                        "wait_for_events", after="earliest", chat_ids=[CALL], types=["user_message"]
                    )
                    assert [event["text"] for event in page["events"]] == [said[name]]
                    active = (await agent.call("list_chats", scope="active"))["chats"]
                    assert [chat["chat_id"] for chat in active] == [CALL]
            assert await listed(served_hub, "next-key-of-bravo") == (200, [CALL])
            assert await listed(served_hub, "nobodys-key") == (401, [])
            assert not list(served_hub.chats.live_chats), "the server's own part has neither"


async def test_a_tenant_that_is_gone_takes_its_keys_along(served_hub: Hub, file: Path) -> None:
    """What is taken out of the file is noticed within a second, on the hub too; the others stay."""
    async with serving_on(served_hub, file) as served:
        assert (await listed(served_hub, "key-of-alpha"))[0] == 200
        tokens_file(file, TENANTS.partition("[tenant.bravo]")[0].replace("key-of-alpha", "new-key-of-alpha"))
        await served.follow()
        assert (await listed(served_hub, "new-key-of-alpha"))[0] == 200
        for key in ("key-of-alpha", "key-of-bravo", "next-key-of-bravo"):
            assert (await listed(served_hub, key))[0] == 401


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[tenant.a]\nhub_keys = ["same-key"]\n[tenant.b]\nhub_keys = ["same-key"]\n', "belongs to one tenant"),
        ('[tenant.a]\nhub_keys = ["key-of-a"]\nhume_api_key = "k"\n', "not both"),
        ('[tenant.a]\nhub_keys = ["short"]\n', "at least 8 characters"),
        ('[tenant.a]\nhub_keys = ["with, comma"]\n', "without commas"),
        ('[tenant.a]\nhub_keys = ["key-of-the-server"]\n', "open no other"),
    ],
)
async def test_keys_that_could_open_the_wrong_part_stop_the_server(tmp_path: Path, text: str, said: str) -> None:
    """A bot must not land among the chats of somebody else. The sentence repeats no key."""
    file = tokens_file(tmp_path / "tokens.toml", text)
    with pytest.raises((InvalidSetting, ExceptionGroup)) as refused:
        async with Hub(keys=["key-of-the-server"]) as served, serving(tokens=str(file), apart=served.apart):
            pass
    error: BaseException = refused.value
    while isinstance(error, ExceptionGroup):
        [error] = error.exceptions
    assert said in str(error) and "key-of" not in str(error) and "same-key" not in str(error)


async def test_keys_of_a_hub_without_a_hub_stop_the_server(file: Path) -> None:
    """Its bots would be refused, and nobody would know why."""
    async with evi_mcp(
        "serve", "--http", "127.0.0.1:0", environment={"EVI_MCP_TOKENS": str(file), "EVI_MCP_HTTP": ""}
    ) as process:
        status, log = await process.ended()
    assert status == 2 and "has hub_keys, and there is no hub" in log and "--hub" in log


async def test_a_bot_of_a_tenant_is_supervised_through_the_process(file: Path) -> None:
    """As it is run: one process, one port for bots and one for agents."""
    token = add(file, "agent-of-alpha", access=Access.MONITOR, tenant="alpha")
    environment = {"EVI_MCP_TOKENS": str(file), "EVI_MCP_HUB_KEYS": "key-of-the-server"}
    options = ("serve", "--http", "127.0.0.1:0", "--hub", "127.0.0.1:0")
    async with evi_mcp(*options, environment=environment) as process:
        assert process.process.stdout is not None and process.process.stderr is not None
        url = (await process.process.stdout.readline()).decode().strip()
        at = await _hub_address(process.process.stderr)
        async with ChatLink(at, key="key-of-alpha", chat_id=CALL) as link:
            link.user_message("Hello from alpha.")
            address, headers = url.removesuffix(PATH), {"Authorization": f"Bearer {token}"}
            async with httpx2.AsyncClient(base_url=address, headers=headers, timeout=30) as http:
                news = await Raw(http).call("wait_for_events", after="earliest")
                answer = await Raw(http).call("get_transcript", chat_id=CALL)
        assert CALL in news.text, news.text
        assert "Hello from alpha." in answer.text, answer.text


async def _hub_address(stderr: Any) -> str:
    while line := (await stderr.readline()).decode():
        if "voice agents dial in at " in line:
            return str(line.partition("dial in at ")[2].split('"')[0].strip())
    raise AssertionError("it says no address")
