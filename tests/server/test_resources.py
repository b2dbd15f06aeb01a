"""The `evi://` resources: listed, read and followed, in both eras."""

import json
import re
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from evi_mcp import uris
from evi_mcp.server import prompts, updates
from evi_mcp.views import structure
from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent, agent_on, supervising

pytestmark = pytest.mark.anyio


async def read(agent: Agent, uri: str) -> str:
    contents = (await agent.client.read_resource(uri)).contents
    return str(contents[0].text)  # type: ignore[union-attr]


async def test_names_of_resources_begin_with_a_letter(evi: FakeEvi, agent: Agent) -> None:
    """Frameworks make functions of resources, by name; ids of chats begin with digits."""
    evi.history["0f3c"] = [frames.metadata("0f3c")]
    await agent.call("attach_chat", chat_id="0f3c")
    names = [resource.name for resource in (await agent.client.list_resources()).resources]
    names += [template.name for template in (await agent.client.list_resource_templates()).resource_templates]
    assert len(names) == len(set(names)) and all(re.fullmatch(r"[A-Za-z][\w.-]*", name) for name in names), names


async def test_what_changes_is_announced_in_both_eras(evi: FakeEvi, era: str) -> None:
    """Chats come and go, and with them their resources, and tools that only some chats take; prompts stay."""
    async with supervising(evi) as server, agent_on(server, era) as agent:
        has = agent.client.server_capabilities
        assert has.resources is not None and has.resources.subscribe and has.resources.list_changed
        assert has.tools is not None and has.tools.list_changed
        assert has.prompts is not None and has.prompts.list_changed is False


async def test_an_attached_chat_has_its_resources_and_loses_them_with_detaching(evi: FakeEvi, era: str) -> None:
    """Our contract (section 6): clients such as Claude Code list concrete resources only, not templates."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100), frames.tool_call("call_1")]
    async with supervising(evi) as server, agent_on(server, era) as agent:
        assert [str(item.uri) for item in (await agent.client.list_resources()).resources] == ["evi://chats"]
        await agent.call("attach_chat", chat_id=CHAT)
        listed = {str(item.uri) for item in (await agent.client.list_resources()).resources}
        views = {f"evi://chats/{CHAT}{view}" for view in ("", "/events", "/transcript", "/tool-calls")}
        assert listed == {"evi://chats"} | views
        assert json.loads(await read(agent, "evi://chats"))["chats"][0]["chat_id"] == CHAT
        assert json.loads(await read(agent, f"evi://chats/{CHAT}"))["state"] == "live"
        page = json.loads(await read(agent, f"evi://chats/{CHAT}/events"))
        assert page["events"][0]["text"] == "Hello?"
        rest = json.loads(await read(agent, f"evi://chats/{CHAT}/events?after={page['cursor']}&limit=5"))
        assert rest["events"] == []
        newest = json.loads(await read(agent, f"evi://chats/{CHAT}/events?limit=1"))
        assert newest["events"] == page["events"][-1:]
        assert '**user**: `"Hello?"`' in await read(agent, f"evi://chats/{CHAT}/transcript")
        assert json.loads(await read(agent, f"evi://chats/{CHAT}/tool-calls"))["tool_calls"][0]["status"] == "pending"
        await agent.call("detach_chat", chat_id=CHAT)
        assert len((await agent.client.list_resources()).resources) == 1


async def test_templates_name_every_view(agent: Agent) -> None:
    """Our contract (section 6)."""
    listed = [item.uri_template for item in (await agent.client.list_resource_templates()).resource_templates]
    assert listed == [
        "evi://chats/{chat_id}",
        "evi://chats/{chat_id}/events{?after,limit}",
        "evi://chats/{chat_id}/transcript",
        "evi://chats/{chat_id}/tool-calls",
        "evi://chats/{chat_id}/audio/{message_id}",
    ]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("evi://chats/nobody", "is not attached"),
        ("evi://chats/%2e%2e/events", "Unknown resource"),
        ("evi://chats/a%20b/events", "is not a chat id"),
        (f"evi://chats/{CHAT}/events?limit=999", "limit must be a number from 1 to 200"),
        (f"evi://chats/{CHAT}/events?limit=x", "limit must be a number"),
        (f"evi://chats/{CHAT}/events?after=x", "is not a cursor"),
        ("evi://nothing", "Unknown resource"),
    ],
)
async def test_a_resource_that_cannot_be_read_says_why(evi: FakeEvi, agent: Agent, uri: str, said: str) -> None:
    """A protocol error, as MCP has it for resources, with a sentence in it."""
    evi.history[CHAT] = [frames.metadata()]
    await agent.call("attach_chat", chat_id=CHAT)
    with pytest.raises(MCPError, match=said) as caught:
        await agent.client.read_resource(uri)
    assert caught.value.error.code == types.INVALID_PARAMS, "a mistake of the caller's, not of this server"


async def test_a_client_of_2026_hears_of_changes_on_its_listen_stream(evi: FakeEvi) -> None:
    """Our contract (section 6): `subscriptions/listen`."""
    evi.history[CHAT] = [frames.metadata()]
    uri = f"evi://chats/{CHAT}/events"
    with anyio.fail_after(20):
        async with supervising(evi) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id=CHAT)
            async with agent.client.listen(resource_subscriptions=[uri], resources_list_changed=True) as stream:
                await evi.push(CHAT, frames.user("news", 1))
                async for event in stream:
                    if getattr(event, "uri", None) == uri and "news" in await read(agent, uri):
                        break
                await agent.call("detach_chat", chat_id=CHAT)
                async for event in stream:
                    if "ListChanged" in type(event).__name__:
                        break


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")  # what older clients do
@pytest.mark.parametrize("uri", ["evi://chatsandmore", "evi://chats/c/events?limit=1", "evi://chats/" + "c" * 5000])
async def test_what_is_no_resource_of_ours_cannot_be_subscribed_to(evi: FakeEvi, uri: str) -> None:
    """A client that subscribed to it would wait for ever, and what is kept of it would have no bound."""
    async with supervising(evi) as server, agent_on(server, "legacy") as agent:
        with pytest.raises(MCPError, match="without a query"):
            await agent.client.subscribe_resource(uri)


async def test_who_listens_is_held_to_the_same(evi: FakeEvi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of 2026-07-28 name all their addresses at once."""
    monkeypatch.setattr(updates, "MAX_SUBSCRIPTIONS", 2)
    async with supervising(evi) as server, agent_on(server) as agent:
        for wanted, refusal in (["evi://chats/c/nonsense"], "without a query"), (["evi://chats"] * 3, "are the most"):
            with pytest.raises(MCPError, match=refusal):
                async with agent.client.listen(resource_subscriptions=wanted):
                    pass
        async with agent.client.listen(resource_subscriptions=[uris.audio("c", "\u044f" * 256)]):
            pass


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_the_subscriptions_of_a_client_have_a_limit(evi: FakeEvi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every buffer is bounded and says what happens when it is full; those it has are not lost."""
    monkeypatch.setattr(updates, "MAX_SUBSCRIPTIONS", 2)
    async with supervising(evi) as server, agent_on(server, "legacy") as agent:
        for uri in ("evi://chats", "evi://chats/c", "evi://chats"):
            await agent.client.subscribe_resource(uri)
        with pytest.raises(MCPError, match="2 subscriptions are the most"):
            await agent.client.subscribe_resource("evi://chats/d")
        await agent.client.unsubscribe_resource("evi://chats/c")
        await agent.client.subscribe_resource("evi://chats/d")


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")  # what older clients do
async def test_an_older_client_hears_of_changes_it_subscribed_to_until_it_unsubscribes(evi: FakeEvi) -> None:
    """Our contract (section 6): `resources/subscribe`, which the SDK does not serve by itself."""
    evi.history[CHAT] = [frames.metadata()]
    uri = f"evi://chats/{CHAT}/events"
    send, heard = anyio.create_memory_object_stream[Any](100)

    async def note(message: Any) -> None:
        await send.send(message)

    with anyio.fail_after(20):
        async with supervising(evi) as server, agent_on(server, "legacy", message_handler=note) as agent:
            capabilities = agent.client.server_capabilities.resources
            assert capabilities is not None and capabilities.subscribe and capabilities.list_changed
            await agent.call("attach_chat", chat_id=CHAT)
            assert isinstance(await heard.receive(), types.ResourceListChangedNotification)
            await agent.client.subscribe_resource(uri)
            await evi.push(CHAT, frames.user("news", 1))
            message = await heard.receive()
            while not isinstance(message, types.ResourceUpdatedNotification):
                message = await heard.receive()
            assert str(message.params.uri) == uri
            await agent.client.unsubscribe_resource(uri)
            await agent.call("detach_chat", chat_id=CHAT)
            while not isinstance(message, types.ResourceListChangedNotification):
                message = await heard.receive()
    send.close()
    heard.close()


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")  # what older clients do
async def test_a_thousand_events_are_told_in_a_few_notifications(evi: FakeEvi) -> None:
    """Our contract (section 6): at most ten a second for each URI."""
    evi.history[CHAT] = [frames.metadata()]
    uri = f"evi://chats/{CHAT}/events"
    updates = 0
    told = anyio.Event()

    async def note(message: Any) -> None:
        nonlocal updates
        if isinstance(message, types.ResourceUpdatedNotification):
            updates += 1
            told.set()

    with anyio.fail_after(30):
        async with supervising(evi) as server, agent_on(server, "legacy", message_handler=note) as agent:
            cursor = (await agent.call("attach_chat", chat_id=CHAT))["cursor"]
            await agent.client.subscribe_resource(uri)
            started = anyio.current_time()
            await evi.push(CHAT, *(frames.user(f"line {n}", n) for n in range(1000)), frames.tool_call("last"))
            await agent.call("wait_for_events", after=cursor, types=["tool_call"], timeout_s=20)
            await told.wait()
            took = anyio.current_time() - started
    assert 1 <= updates <= took * 10 + 2


async def test_the_stream_of_recent_events_ends_with_the_newest(evi: FakeEvi, agent: Agent) -> None:
    """A subscriber reads it on each update: what is large must not push out what is new."""
    evi.history[CHAT] = [frames.metadata(), *(frames.user("x" * 2500, n * 1000) for n in range(40))]
    await agent.call("attach_chat", chat_id=CHAT)
    page = json.loads(await read(agent, f"evi://chats/{CHAT}/events"))
    newest = (await agent.call("get_chat", chat_id=CHAT))["cursor"].partition("-")[2].partition("@")[0]
    assert page["events"][-1]["seq"] == int(newest) and not page["more"] and len(page["events"]) > 10


@pytest.mark.parametrize("wanted", ["resource", "prompt"])
async def test_a_crash_shows_no_internals(
    evi: FakeEvi, era: str, wanted: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What an exception says may be anything, so it is for the log; clients get a sentence, and the server goes on."""
    evi.history[CHAT] = [frames.metadata()]
    async with supervising(evi) as server, agent_on(server, era) as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        with monkeypatch.context() as patch, pytest.raises(MCPError) as caught:
            if wanted == "prompt":
                patch.setattr(prompts, "supervise", lambda *_: 1 / 0)
                await agent.client.get_prompt("supervise_chat", {"chat_id": CHAT})
            else:
                patch.setattr(structure, "chat", lambda *_: 1 / 0)
                await agent.client.read_resource(uris.chat(CHAT))
        assert caught.value.error.code == types.INTERNAL_ERROR
        assert "division" not in caught.value.error.message and "division" in caplog.text
        assert (await agent.call("get_chat", chat_id=CHAT))["state"] == "live"
