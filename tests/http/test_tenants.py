"""Tenants share nothing: whatever one does, it finds no trace of another, and answers for what is another's are those
for what does not exist."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from evi_mcp.access.callers import Access
from evi_mcp.access.token_edits import add
from evi_mcp.server.tools import ALL_TOOLS
from tests import frames
from tests.fake_evi import FakeEvi, fake_evi
from tests.harness import Agent
from tests.http.rig import Served, answer_of, serving, tokens_file, until
from tests.server.test_tool_table import ANY_COMMAND, arguments_of

pytestmark = pytest.mark.anyio

MINE, THEIRS, NOBODYS = "alpha-chat-0001", "bravo-chat-0002", "gamma-chat-0003"
TRACES = ("bravo", "whisky", "key-of-bravo")
SERVER_KEY = "key-of-the-server"


class Both:
    """Two tenants, each with an EVI of its own, and an agent at each."""

    def __init__(self, served: Served, evis: dict[str, FakeEvi], one: Agent, other: Agent) -> None:
        self.served, self.evis, self.one, self.other = served, evis, one, other


@pytest.fixture
async def both(era: str, tmp_path: Path) -> AsyncIterator[Both]:
    async with fake_evi() as alpha, fake_evi() as bravo:
        evis = {"alpha": alpha, "bravo": bravo}
        for name, chat_id, words in (("alpha", MINE, "hello"), ("bravo", THEIRS, "whisky")):
            evis[name].key = f"key-of-{name}"
            evis[name].history[chat_id] = [
                frames.metadata(chat_id, source="custom", supports=ANY_COMMAND),
                frames.user(words, 100),
                frames.tool_call(f"call-{chat_id}", words, json.dumps({"words": words})),
            ]
            evis[name].chats[chat_id] = {"id": chat_id, "status": "ACTIVE"}
        text = "".join(
            f'[tenant.{name}]\nhume_api_key = "key-of-{name}"\nbase_url = "{evi.base_url}"\n'
            f'secrets = {{ "{name}_llm" = "secret-of-{name}" }}\n'
            for name, evi in evis.items()
        )
        file = tokens_file(tmp_path / "tokens.toml", text)
        tokens = {name: add(file, f"agent-of-{name}", access=Access.BARGE, tenant=name) for name in evis}
        audit_log = tmp_path / "audit.jsonl"
        async with serving(tokens=str(file), hume_api_key=SERVER_KEY, audit_log=str(audit_log)) as served:
            async with served.agent(tokens["alpha"], era) as one, served.agent(tokens["bravo"], era) as other:
                await one.call("attach_chat", chat_id=MINE)
                await other.call("attach_chat", chat_id=THEIRS)
                yield Both(served, evis, one, other)


def clean(found: Any, *allowed: str) -> str:
    """The whole of it as text, in which there is no trace but what was asked for."""
    shown = found.model_dump_json() if hasattr(found, "model_dump_json") else json.dumps(found)
    for each in allowed:
        shown = shown.replace(each, "")
    assert not any(trace in shown.lower() for trace in TRACES), shown
    return str(shown)


@pytest.mark.parametrize("tool", [spec.name for spec in ALL_TOOLS])
async def test_every_tool_answers_as_if_there_were_no_other(both: Both, tool: str) -> None:
    """For a chat of another tenant in the very words for one that nobody has; and nothing reaches it."""
    schemas = {tool.name: tool.input_schema for tool in (await both.one.client.list_tools()).tools}
    before = list(both.evis["bravo"].received[THEIRS])
    said = []
    for chat_id in (THEIRS, NOBODYS):
        for evi in both.evis.values():
            evi.refuse[NOBODYS] = 404
        both.evis["alpha"].refuse[THEIRS] = 404
        answer = await both.one.client.call_tool(tool, arguments_of(schemas[tool], chat_id))
        said.append(clean(answer, THEIRS, THEIRS[:8]).replace(NOBODYS, "").replace(NOBODYS[:8], ""))
    if {"chat_id", "chat_ids"} & schemas[tool]["properties"].keys():  # a list says how long a tool call has waited
        assert said[0] == said[1]
    assert both.evis["bravo"].received[THEIRS] == before
    assert (await both.other.call("get_chat", chat_id=THEIRS))["state"] == "live"


async def test_numbers_and_cursors_are_each_tenants_own(both: Both) -> None:
    """They would show how much another one talks; a cursor of another's is one of another time."""
    mine, theirs = [
        (await agent.call("read_events", chat_id=chat_id))["cursor"]
        for agent, chat_id in ((both.one, MINE), (both.other, THEIRS))
    ]
    assert mine.split("-")[0] != theirs.split("-")[0]
    for _ in range(20):
        await both.evis["bravo"].push(THEIRS, frames.user("whisky", 200))
    await both.evis["alpha"].push(MINE, frames.user("more", 300))
    page = await both.one.call("wait_for_events", after=mine, timeout_s=5)
    assert page["events"][0]["seq"] == int(mine.split("-")[1].split("@")[0]) + 1
    page = await both.one.call("read_events", chat_id=MINE, after=theirs)
    assert page["gap"]["reason"] == "restarted" and clean(page)


async def test_a_wait_over_all_chats_is_not_woken_by_another(both: Both) -> None:
    """Neither by what is said, nor by an end."""
    page = await both.one.call("wait_for_events", timeout_s=0, after="earliest")
    async with both.one.waiting(after=page["cursor"], timeout_s=1) as pages:
        await both.evis["bravo"].push(THEIRS, frames.user("whisky, please", 5000))
        await both.evis["bravo"].close(THEIRS)
    assert clean(pages[0]) and pages[0]["woken_by"] == "timeout"


async def test_no_resource_prompt_or_completion_shows_another(both: Both) -> None:
    """Lists, templates, reads, completions and their errors."""
    client = both.one.client
    clean(await client.list_resources())
    clean(await client.list_resource_templates())
    clean(await client.read_resource("evi://chats"))
    for view in ("", "/events", "/transcript", "/tool-calls", "/audio/m-1"):
        said = []
        for chat_id in (THEIRS, NOBODYS):
            with pytest.raises(MCPError) as refused:
                await client.read_resource(f"evi://chats/{chat_id}{view}")
            said.append(clean({"error": str(refused.value)}, THEIRS).replace(chat_id, ""))
        assert said[0] == said[1]
    for ref in (PromptReference(name="look_back_on_chat"), ResourceTemplateReference(uri="evi://chats/{chat_id}")):
        for start in ("", "b", "bravo"):
            found = await client.complete(ref, {"name": "chat_id", "value": start})
            assert found.completion.values == ([MINE] if not start else [])
    for prompt in (await client.list_prompts()).prompts:
        clean(await client.get_prompt(prompt.name, {"chat_id": MINE}))


async def test_a_subscriber_hears_of_no_change_of_another(both: Both, tmp_path: Path) -> None:
    """Not of its URIs, nor that a list has changed which it does not see."""
    told: list[str] = []
    updates = both.served.web.tenants.find("alpha")._server._updates  # type: ignore[union-attr]
    leave = updates.bus.subscribe(lambda event: told.append(type(event).__name__))
    await both.evis["bravo"].push(THEIRS, frames.user("whisky", 200))
    await both.other.call("detach_chat", chat_id=THEIRS)
    await both.other.call("attach_chat", chat_id=THEIRS)
    await anyio.sleep(0.3)
    assert told == []
    await both.one.call("detach_chat", chat_id=MINE)
    await until(lambda: told)
    leave()


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("audit*.jsonl")}


async def test_each_tenant_has_its_own_key_secrets_and_audit_log(both: Both, tmp_path: Path) -> None:
    """The key of one opens the chats of its account; the name of a secret is a secret of its owner."""
    for name, evi in both.evis.items():
        keys = {headers["X-Hume-Api-Key"] for _, headers in evi.handshakes}
        assert keys == {f"key-of-{name}"}
    said = await both.one.error("update_session_settings", chat_id=MINE, language_model_api_key_name="bravo_llm")
    assert "bravo_llm" in said and "secret-of" not in said
    asked = {"chat_id": MINE, "language_model_api_key_name": "alpha_llm"}
    await both.one.call("update_session_settings", **asked)
    assert both.evis["alpha"].received[MINE][-1]["language_model_api_key"] == "secret-of-alpha"
    logs = texts(tmp_path)
    assert logs.keys() == {"audit.jsonl", "audit.alpha.jsonl", "audit.bravo.jsonl"}
    assert MINE in logs["audit.alpha.jsonl"] and "agent-of-alpha" in logs["audit.alpha.jsonl"]
    assert MINE not in logs["audit.jsonl"] + logs["audit.bravo.jsonl"]


async def test_tenants_come_and_go_with_the_file(evi: FakeEvi, tmp_path: Path) -> None:
    """Nobody restarts a server, and cuts off all others, for a new customer or a new key."""
    evi.history[MINE] = [frames.metadata(MINE), frames.user("hello", 100)]
    of_acme = f'[tenant.acme]\nhume_api_key = "test-key"\nbase_url = "{evi.base_url}"\n'
    file = tokens_file(tmp_path / "tokens.toml", "")
    async with serving(tokens=str(file)) as served:
        tokens_file(file, of_acme)
        token = add(file, "alice", access=Access.MONITOR, tenant="acme")
        await served.follow()
        async with served.raw(token) as client:
            answer = answer_of(await client.call("attach_chat", chat_id=MINE))
            assert not answer["result"].get("isError"), answer
            text = file.read_text()
            tokens_file(file, text.replace("test-key", "another-key"))
            await served.follow()
            assert evi.closes[MINE] == [1000], "what was opened with the old key is closed"
            assert answer_of(await client.call("attach_chat", chat_id=MINE))["result"]["isError"]
            tokens_file(file, "")
            await served.follow()
            assert (await client.call("list_chats")).status_code == 401
            metrics = await client.http.get("/metrics")
            assert metrics.status_code == 401


async def test_an_empty_list_of_chats_allows_none(evi: FakeEvi, tmp_path: Path) -> None:
    """Lists of server and tenant that have nothing in common must not end up allowing everything."""
    file = tokens_file(tmp_path / "tokens.toml", '[tenant.acme]\nhume_api_key = "test-key"\nchats = ["bravo-1"]\n')
    token = add(file, "alice", access=Access.BARGE, tenant="acme")
    async with serving(evi, tokens=str(file), allowed_chats="alpha-1") as served, served.agent(token) as agent:
        for chat_id in ("alpha-1", "bravo-1", "charlie-1"):
            assert "not among the chats" in await agent.error("attach_chat", chat_id=chat_id)
