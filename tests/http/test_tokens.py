"""Static tokens: who comes in, what each may do, and when it is over."""

import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from evi_mcp.access.callers import Access
from evi_mcp.access.token_edits import add, revoke
from evi_mcp.access.tokens import TokenFile, digest_of
from evi_mcp.errors import InvalidSetting
from evi_mcp.server.http.app import PATH
from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT
from tests.http.rig import Served, answer_of, serving, tokens_file, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


@pytest.fixture
async def served(evi: FakeEvi, file: Path) -> AsyncIterator[Served]:
    """A server that asks for tokens of the file; one chat."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    add(file, "nobody", access=Access.MONITOR)
    async with serving(evi, tokens=str(file)) as served:
        yield served


async def test_nobody_comes_in_without_a_good_token(served: Served, file: Path) -> None:
    """Whatever else a request has: the server holds a key that costs money, and people who talk."""
    good = add(file, "alice", access=Access.MONITOR)
    ended = add(file, "bob", access=Access.BARGE, expires=datetime.now(UTC) - timedelta(seconds=1))
    async with served.raw() as client:
        answer = await client.call("list_chats")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "Authorization: Bearer" in answer.json()["error"]["message"]
        for sent in (
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Bearer {ended}"},
            {"Authorization": f"Bearer {good[:-1]}"},
            {"Authorization": f"Bearer {digest_of(good)}"},
            {"Authorization": f"Basic {good}"},
            {"Authorization": "Bearer " + "x" * 20_000},
        ):
            answer = await client.post("tools/list", headers=sent)
            assert answer.status_code == 401, sent
            assert "resource_metadata" not in answer.headers["www-authenticate"]
            assert good not in answer.text and ended not in answer.text
        in_the_query = await client.http.post(f"{PATH}?access_token={good}", **client.modern("tools/list"))
        assert in_the_query.status_code == 401, "addresses end up in logs"
        assert (await client.post("tools/list", headers={"Authorization": f"bearer {good}"})).status_code == 200
        assert (await client.http.get("/healthz")).status_code == 200
        assert (await client.http.get("/metrics")).status_code == 401
        for path in ("/.well-known/oauth-protected-resource", f"/.well-known/oauth-protected-resource{PATH}"):
            assert (await client.http.get(path)).status_code == 404, "Cursor would ignore its configured headers"


async def test_a_token_over_plain_http_from_outside_is_refused(served: Served, file: Path) -> None:
    """Whoever is on the way has read it. What a trusted proxy says of the way counts."""
    token = add(file, "alice", access=Access.MONITOR)
    async with served.raw(token) as client:
        outside = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "http"}
        answer = await client.post("tools/list", headers=outside)
        assert answer.status_code == 403 and "use https" in answer.text
        assert (await client.post("tools/list", headers={**outside, "X-Forwarded-Proto": "https"})).status_code == 200
        assert (await client.post("tools/list")).status_code == 200, "it has never left this machine"


async def test_rights_are_the_smallest_of_server_and_token(evi: FakeEvi, era: str, file: Path) -> None:
    """Each caller is told, listed and allowed its own; what a token lacks is named, since a model reads it."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    monitor, barge = (add(file, level.value, access=level) for level in (Access.MONITOR, Access.BARGE))
    async with serving(evi, tokens=str(file), access=Access.COACH) as served:
        async with served.agent(monitor, era) as one, served.agent(barge, era) as other:
            assert "access level monitor" in (one.client.instructions or "")
            assert "access level coach" in (other.client.instructions or "")
            for agent in (one, other):
                listed = {tool.name for tool in (await agent.client.list_tools()).tools}
                assert "answer_tool_call" in listed and "pause" not in listed
            await one.call("attach_chat", chat_id=CHAT)
            said = await one.error("answer_tool_call", chat_id=CHAT, tool_call_id="x", content="y")
            assert "needs the scope 'evi:coach', and your token grants 'evi:monitor'" in said
            said = await other.error("answer_tool_call", chat_id=CHAT, tool_call_id="x", content="y")
            assert "no tool call" in said
            assert "EVI_MCP_ACCESS" in await other.error("pause", chat_id=CHAT)
            assert {prompt.name for prompt in (await one.client.list_prompts()).prompts} == {
                "supervise_chat",
                "look_back_on_chat",
            }
    assert evi.received[CHAT] == []


async def test_who_acts_is_the_holder_of_the_token(evi: FakeEvi, era: str, file: Path, tmp_path: Path) -> None:
    """What a client calls itself is a claim: the audit log has what its token proves, and never the token."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    token, log = add(file, "alice", access=Access.BARGE), tmp_path / "audit.jsonl"
    async with serving(evi, tokens=str(file), audit_log=str(log)) as served, served.agent(token, era) as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        await agent.call("pause", chat_id=CHAT)
    by = next(json.loads(line)["by"] for line in log.read_text().splitlines() if '"type":"command"' in line)
    assert (by["kind"], by["subject"], by["token"]) == ("agent", "alice", digest_of(token)[:12])
    assert token not in log.read_text() and digest_of(token) not in log.read_text()


async def test_a_token_that_is_revoked_opens_nothing_and_closes_what_it_had_opened(evi: FakeEvi, file: Path) -> None:
    """Streams and waits would else go on for as long as their clients like; a session would be somebody else's."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    token, other = add(file, "alice", access=Access.BARGE), add(file, "bob", access=Access.MONITOR)
    async with serving(evi, tokens=str(file)) as served, served.raw(token) as client, served.raw(other) as staying:
        await client.call("attach_chat", chat_id=CHAT)
        session, ends = await client.initialize(), dict[str, Any]()
        quiet = {"timeout_s": 50, "types": ["assistant_end"]}

        async def wait(name: str, caller: Any) -> None:
            ends[name] = await caller.call("wait_for_events", **quiet)

        async def listen() -> None:
            request = client.modern("subscriptions/listen", {"notifications": {"resourcesListChanged": True}})
            ends["listen"] = await client.http.post(PATH, **request)

        async def get() -> None:
            ends["get"] = await client.http.get(PATH, headers=session.headers)

        async with anyio.create_task_group() as group:
            group.start_soon(wait, "modern", client)
            group.start_soon(wait, "handshake", session)
            group.start_soon(listen)
            group.start_soon(get)
            group.start_soon(wait, "bob", staying)
            waits = served.web.tenants.find("").service.registry.waits  # type: ignore[union-attr]
            await until(lambda: waits.count == 3 and served.web.running.streams == 2)
            assert revoke(file, "alice")
            await served.follow()
            await until(lambda: len(ends) == 4)
            assert waits.count == 1, "who has another token waits on"
            waits.close()
        assert ends["modern"].status_code == 401 and "it has ended" in ends["modern"].text
        assert "token has ended" in ends["handshake"].text or not ends["handshake"].text.strip()
        assert ends["listen"].status_code == ends["get"].status_code == 200
        assert answer_of(ends["bob"])["result"]["structuredContent"]["woken_by"] == "timeout"
        assert (await client.post("tools/list")).status_code == 401
        assert (await session.post("tools/list")).status_code == 401
        assert (await staying.post("tools/list")).status_code == 200


async def test_a_wait_returns_its_page_when_its_token_ends(evi: FakeEvi, file: Path) -> None:
    """The cursor in it is good for the next token; a stream just ends."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    ends_at = datetime.now(UTC) + timedelta(seconds=2)
    token = add(file, "alice", access=Access.MONITOR, expires=ends_at)
    async with serving(evi, tokens=str(file), watch=True) as served, served.raw(token) as client:
        answer_of(await client.call("attach_chat", chat_id=CHAT))
        async with anyio.create_task_group() as group:
            ends = dict[str, Any]()

            async def listen() -> None:
                request = client.modern("subscriptions/listen", {"notifications": {"resourcesListChanged": True}})
                ends["listen"] = await client.http.post(PATH, **request)

            group.start_soon(listen)
            page = answer_of(await client.call("wait_for_events", timeout_s=50, types=["assistant_end"]))
            assert page["result"]["structuredContent"]["woken_by"] == "timeout"
        assert ends["listen"].status_code == 200
        assert datetime.now(UTC) > ends_at
        assert (await client.post("tools/list")).status_code == 401


async def test_limits_of_one_caller_leave_the_others_alone(evi: FakeEvi, file: Path) -> None:
    """One agent in a loop must not use up what all share; what it may do next is said in words."""
    one, other = (add(file, name, access=Access.BARGE) for name in ("alice", "bob"))
    for chat_id in ("chat-1", "chat-2", "chat-3"):
        evi.history[chat_id] = [frames.metadata(chat_id), frames.user("Hello?", 100)]
    limits: dict[str, Any] = {"caller_chats": 1, "caller_commands": 2, "caller_waits": 1}
    async with serving(evi, tokens=str(file), **limits) as served:
        async with served.agent(one) as alice, served.agent(one) as twin, served.agent(other) as bob:
            await alice.call("attach_chat", chat_id="chat-1")
            said = await twin.error("attach_chat", chat_id="chat-2")
            assert "1 chats, which is your limit (EVI_MCP_CALLER_CHATS)" in said and "detach_chat" in said
            await alice.call("attach_chat", chat_id="chat-1")
            await bob.call("attach_chat", chat_id="chat-2")
            await alice.call("detach_chat", chat_id="chat-1")
            await alice.call("attach_chat", chat_id="chat-3")
            for agent in (alice, twin):
                await agent.call("pause", chat_id="chat-3")
            assert "within a minute" in await alice.error("pause", chat_id="chat-3")
            await alice.call("resume", chat_id="chat-3")
            await bob.call("pause", chat_id="chat-2")
            async with alice.waiting(timeout_s=1, types=["error"]), bob.waiting(timeout_s=1, types=["error"]):
                waits = served.web.tenants.find("").service.registry.waits  # type: ignore[union-attr]
                await until(lambda: waits.count == 2)
                assert "EVI_MCP_CALLER_WAITS" in await twin.error("wait_for_events")


async def test_a_file_that_is_broken_or_open_to_others_changes_nothing(served: Served, file: Path) -> None:
    """A typing error locks nobody out; at the start it is refused."""
    token = add(file, "alice", access=Access.MONITOR)
    text = file.read_text()  # noqa: ASYNC240 - a few bytes
    async with served.raw(token) as client:
        assert (await client.post("tools/list")).status_code == 200
        for broken in ("[[token]\n", '[[token]]\nname = "x"\n', text + "\n[other]\nx = 1\n"):
            tokens_file(file, broken)
            assert (await client.post("tools/list")).status_code == 200
            with pytest.raises(InvalidSetting) as refused:
                TokenFile(file)
            assert digest_of(token) not in str(refused.value)
        tokens_file(file, text.replace("alice", "alicia"))
        os.chmod(file, 0o640)
        assert (await client.post("tools/list")).status_code == 200
        with pytest.raises(InvalidSetting, match="others than its owner"):
            TokenFile(file)
        os.chmod(file, 0o600)
        assert revoke(file, "alicia")
        assert (await client.post("tools/list")).status_code == 401


def test_what_a_person_wrote_into_the_file_stays(file: Path) -> None:
    """Comments say why somebody has a token."""
    tokens_file(file, '# ours\n\n[tenant.acme]\nhume_api_key = "key-of-acme" # theirs\n')
    token = add(file, "alice", access=Access.COACH, tenant="acme", chats=["chat-1"])
    text = file.read_text()
    assert "# ours" in text and "# theirs" in text and token not in text and digest_of(token) in text
    with pytest.raises(InvalidSetting, match="several tokens have the name"):
        add(file, "alice", access=Access.MONITOR)
    with pytest.raises(InvalidSetting, match="is not in the file"):
        add(file, "bob", access=Access.MONITOR, tenant="other")
    assert file.read_text() == text and file.stat().st_mode & 0o777 == 0o600
    assert revoke(file, "alice") and not revoke(file, "alice")
