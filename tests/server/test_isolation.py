"""A caller who may see one chat finds no trace of another, wherever it looks."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError
from pydantic import SecretStr

from evi_mcp.access.callers import Access, Rights
from evi_mcp.config import Settings
from evi_mcp.server.server import EviServer
from evi_mcp.server.tools import ALL_TOOLS
from evi_mcp.supervision.service import Service, open_service
from tests import frames
from tests.fake_evi import KEY, FakeEvi
from tests.harness import Agent, agent_on, every_tool, text_of
from tests.server.test_tool_table import arguments_of
from tests.supervision.following import QUICK

pytestmark = pytest.mark.anyio

MINE, THEIRS = "alpha-chat-0001", "bravo-chat-0002"
TRACES = ("bravo", "whisky")
"""What would show that there is another chat: its id, and what is said in it."""


class Both:
    """A service with two chats, an agent that sees all, and one that may see one of them."""

    def __init__(self, evi: FakeEvi, service: Service, all_seeing: Agent, limited: Agent) -> None:
        self.evi, self.service, self.all_seeing, self.limited = evi, service, all_seeing, limited


@pytest.fixture
async def both(evi: FakeEvi, era: str) -> AsyncIterator[Both]:
    for chat_id, words in ((MINE, "hello"), (THEIRS, "whisky")):
        evi.history[chat_id] = [
            frames.metadata(chat_id),
            frames.user(words, 100),
            frames.tool_call(f"call-{chat_id}", words, json.dumps({"words": words})),
        ]
        evi.chats[chat_id] = {"id": chat_id, "chat_group_id": f"group-{chat_id}", "status": "ACTIVE"}
    settings = Settings(base_url=evi.base_url, hume_api_key=SecretStr(KEY), results="both")
    with anyio.fail_after(60):
        async with open_service(settings, pace=QUICK) as service:
            everything = EviServer(service)
            limited = EviServer(service, Rights(Access.BARGE, frozenset({MINE})))
            async with agent_on(everything, era) as one, agent_on(limited, era) as other:
                await one.call("attach_chat", chat_id=MINE)
                await one.call("attach_chat", chat_id=THEIRS)
                yield Both(evi, service, one, other)


def clean(found: Any) -> str:
    """The whole of it as text, in which there is no trace."""
    shown = found.model_dump_json() if hasattr(found, "model_dump_json") else json.dumps(found)
    assert not any(trace in shown.lower() for trace in TRACES), shown
    return str(shown)


@pytest.mark.parametrize("tool", [spec.name for spec in ALL_TOOLS])
async def test_no_tool_touches_or_names_it(both: Both, tool: str) -> None:
    """Asked for by its id, it answers as what may not be touched, and nothing reaches it."""
    listed = {name: tool.input_schema for name, tool in (await every_tool()).items()}
    arguments = arguments_of(listed[tool], THEIRS)
    if "chat_id" in arguments or "chat_ids" in arguments:
        refused = await both.limited.error(tool, **arguments)
        assert "is not among the chats that you may touch" in refused
        assert not any(word in refused for word in ("whisky", "attached", MINE))
    before = list(both.evi.received[THEIRS])
    scopes: list[dict[str, Any]] = [{}]
    if tool == "list_chats":
        scopes = [{"scope": "attached"}, {"scope": "active"}]
    for more in scopes if "chat_id" not in listed[tool].get("required", []) else []:
        timeout = {"timeout_s": 0, "after": "earliest"} if tool == "wait_for_events" else {}
        clean(await both.limited.client.call_tool(tool, {**more, **timeout}))
    assert both.evi.received[THEIRS] == before
    assert (await both.all_seeing.call("get_chat", chat_id=THEIRS))["state"] == "live", "nor can it be detached"


async def test_a_wait_on_all_chats_is_not_woken_by_it(both: Both) -> None:
    """Not by what is said in it, and not by its end."""
    page = await both.limited.call("wait_for_events", timeout_s=0, after="earliest")
    async with both.limited.waiting(after=page["cursor"], timeout_s=1) as pages:
        await both.evi.push(THEIRS, frames.user("whisky, please", 5000))
        await both.evi.close(THEIRS)
    assert clean(pages[0]) and pages[0]["woken_by"] == "timeout"


async def test_no_error_tells_which_other_chats_are_attached(both: Both) -> None:
    """The beginning of an id is completed among those that may be seen, and a list of them names no other."""
    clean(await both.limited.client.call_tool("get_chat", {"chat_id": MINE[:9]}))
    for start in (THEIRS[:8], THEIRS[:-1]):
        assert "is not among the chats that you may touch" in await both.limited.error("get_chat", chat_id=start)
    clean(await both.limited.client.call_tool("attach_chat", {"chat_id": "active"}))
    assert "may mean several" not in await both.limited.error("detach_chat", chat_id="bravo-chat")


async def test_no_resource_list_template_or_read_shows_it(both: Both) -> None:
    """Nor is its address told from one at which there is nothing."""
    client = both.limited.client
    listed = await client.list_resources()
    assert {str(item.uri) for item in listed.resources} >= {"evi://chats", f"evi://chats/{MINE}"}
    clean(listed)
    clean(await client.list_resource_templates())
    clean(await client.read_resource("evi://chats"))
    for view in ("", "/events", "/transcript", "/tool-calls", "/audio/m-1"):
        clean(await client.read_resource(f"evi://chats/{MINE}{view}")) if view != "/audio/m-1" else None
        with pytest.raises(MCPError) as refused:
            await client.read_resource(f"evi://chats/{THEIRS}{view}")
        assert "whisky" not in str(refused.value) and MINE not in str(refused.value)


async def test_it_completes_nowhere_and_no_prompt_speaks_of_it(both: Both) -> None:
    """A completion is a list of what there is."""
    client = both.limited.client
    for ref in (
        types.PromptReference(name="look_back_on_chat"),
        types.ResourceTemplateReference(uri="evi://chats/{chat_id}"),
    ):
        for start in ("", "bravo", "b"):
            found = await client.complete(ref, {"name": "chat_id", "value": start})
            assert THEIRS not in found.completion.values and (found.completion.total or 0) <= 1
    for prompt in (await client.list_prompts()).prompts:
        clean(await client.get_prompt(prompt.name, {"chat_id": MINE}))


async def test_rights_follow_the_caller_and_not_the_process(evi: FakeEvi, era: str) -> None:
    """Two callers of one service: what each is told, listed and allowed is its own."""
    settings = Settings(base_url=evi.base_url, hume_api_key=SecretStr(KEY), results="both")
    async with open_service(settings, pace=QUICK) as service:
        monitor = EviServer(service, Rights(Access.MONITOR))
        async with agent_on(EviServer(service), era) as one, agent_on(monitor, era) as other:
            assert "access level barge" in (one.client.instructions or "")
            assert "access level monitor" in (other.client.instructions or "")
            assert "pause" in {tool.name for tool in (await one.client.list_tools()).tools}
            assert "pause" not in {tool.name for tool in (await other.client.list_tools()).tools}
            assert "handle_tool_calls" not in {prompt.name for prompt in (await other.client.list_prompts()).prompts}
            assert "needs the access level 'barge'" in await other.error("pause", chat_id=MINE)


async def test_two_clients_of_one_name_are_two_callers(evi: FakeEvi, era: str) -> None:
    """The second got no silence trigger, since the first had been told."""
    evi.history[MINE] = [frames.metadata(MINE)]
    settings = Settings(base_url=evi.base_url, hume_api_key=SecretStr(KEY), results="both")
    silence = [{"kind": "silence", "seconds": 0.2}]
    async with open_service(settings, pace=QUICK) as service:
        server = EviServer(service)
        async with agent_on(server, era) as one, agent_on(server, era) as other:
            cursor = (await one.call("attach_chat", chat_id=MINE))["cursor"]
            for caller in (one, other):
                page = await caller.call("wait_for_events", after=cursor, until=silence, timeout_s=5)
                assert page["woken_by"] == "trigger"
            assert text_of((await one.client.call_tool("pause", {"chat_id": MINE})).content[0])
