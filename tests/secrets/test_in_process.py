"""In one process, every logger at DEBUG: no result, resource, log record, exception or repr has a secret."""

import logging
import traceback
from typing import Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import Implementation
from pydantic import SecretStr

from evi_mcp.server.tools import ALL_TOOLS
from evi_mcp.supervision import live_chat, registry
from tests import fake_evi, frames
from tests.harness import CHAT, Agent, agent_on, every_tool, service_behind, supervising
from tests.secrets.leaky import CLOSES, KEY, NAMED, STATUSES, Leaky, found_in, leaking
from tests.server.test_tool_table import arguments_of
from tests.supervision.following import ME

pytestmark = pytest.mark.anyio

CHATS = [*(f"status-{status}" for status in STATUSES), *(f"close-{code}" for code in CLOSES), "huge", "cut", "talks"]


class Seen:
    """All that anybody can see, in one text."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def note(self, *values: Any) -> None:
        self.parts += [f"{value} {value!r}" for value in values]

    async def of(self, agent: Agent, tool: str, **arguments: Any) -> None:
        self.note(await agent.client.call_tool(tool, arguments))

    def check(self, *more: str) -> None:
        for part in (*self.parts, *more):
            assert not found_in(part), (found_in(part), part[:3000])


async def look_everywhere(agent: Agent, seen: Seen) -> None:
    """Every view of every attached chat, through tools and through resources."""
    every: dict[str, Any] = {"types": None, "limit": 200, "max_chars": 50_000}
    for item in (await agent.call("list_chats"))["chats"]:
        chat_id = item["chat_id"]
        page = await agent.call("read_events", chat_id=chat_id, **every)
        seen.note(page)
        types = [*page["omitted"], "protocol_fault"] if "omitted" in page else ["protocol_fault"]
        await seen.of(agent, "read_events", chat_id=chat_id, **{**every, "types": types})
        for tool in ("get_chat", "get_transcript", "get_expression"):
            await seen.of(agent, tool, chat_id=chat_id)
        await seen.of(agent, "list_tool_calls", chat_id=chat_id, status="all")
    for resource in (await agent.client.list_resources()).resources:
        seen.note(await agent.client.read_resource(str(resource.uri)))


async def test_a_service_that_repeats_the_key_everywhere_cannot_get_it_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Our contract (section 7): no log line, error, event or repr, whatever goes wrong."""
    monkeypatch.setattr(registry, "ATTACH_PATIENCE_S", 1.0)
    for name in ("", "httpx", "httpcore", "websockets", "websockets.client", "mcp", "evi_mcp"):
        caplog.set_level(logging.DEBUG, name)
    seen = Seen()
    with anyio.fail_after(60):
        async with leaking() as leaky, _supervising(leaky) as server, agent_on(server) as agent:
            async with anyio.create_task_group() as group:
                for chat_id in CHATS:
                    group.start_soon(lambda chat_id: seen.of(agent, "attach_chat", chat_id=chat_id), chat_id)
            for rest in (200, 301, 401, 404, 429, 500, KEY, f'["{KEY}"]', f'{{"chats_page": "{KEY}"}}', "{" + KEY):
                leaky.rest = rest
                await seen.of(agent, "list_chats", scope="active")
                await seen.of(agent, "attach_chat", chat_id="status-403")
            await look_everywhere(agent, seen)
            await seen.of(agent, "send_user_input", chat_id="talks", text=f"{KEY} {NAMED}")
            await seen.of(
                agent,
                "update_session_settings",
                chat_id="talks",
                language_model_api_key_name="LLM",
                metadata={KEY: KEY},
            )
            while not any(command.get("language_model_api_key") == NAMED for command in leaky.received):  # noqa: ASYNC110
                await anyio.sleep(0.01)  # it does go where it belongs
            await look_everywhere(agent, seen)
            app = service_behind(server)
            seen.note(
                server,
                app,
                app.settings,
                app.registry,
                app._directory,
                app.registry.house.connector,
                *app.registry.chats(),
            )
            seen.note(vars(app), vars(app._directory), vars(app.settings), app.settings.model_dump())
            chat = app.registry.get("talks")
            seen.note(*chat.record.log, chat.record.reason, vars(chat.record.tool_calls))
    seen.check(*(record.getMessage() for record in caplog.records), caplog.text)
    assert len(caplog.records) > 20 and len(seen.parts) > 60, "there was something to look at"
    assert not [path for path in leaky.asked if found_in(path)], "the key is in no address"


def _supervising(leaky: Leaky) -> Any:
    return supervising(
        None, base_url=leaky.base_url, hume_api_key=SecretStr(KEY), secrets={"LLM": SecretStr(NAMED)}, reconnect_for=2
    )


@pytest.mark.parametrize("spec", ALL_TOOLS, ids=lambda spec: spec.name)
async def test_an_argument_that_holds_a_secret_is_not_repeated(
    spec: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An agent that has read the configuration of its client may pass a key on, be it by mistake."""
    monkeypatch.setattr("evi_mcp.supervision.actions.settings.WAIT_FOR_EFFECT_S", 0.0)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "mcp")  # as in the process: below, the SDK logs what its own client has written
    seen = Seen()
    async with leaking() as leaky, _supervising(leaky) as server, agent_on(server) as agent:
        await agent.call("attach_chat", chat_id="talks")
        schema = (await every_tool())[spec.name].input_schema
        fitting = arguments_of(schema, "talks")
        for parameter in [*schema["properties"], KEY]:
            for value in (KEY, f"x{NAMED}", [KEY], {KEY: NAMED}, [{"kind": "text", "contains": KEY}]):
                if spec.name == "wait_for_events" or parameter != "timeout_s":
                    await seen.of(agent, spec.name, **{**fitting, parameter: value})
        await seen.of(agent, KEY)
        for prompt in ({"chat_id": KEY}, {"chat_id": "talks", KEY: KEY}):
            with pytest.raises(MCPError) as refused:
                await agent.client.get_prompt("look_back_on_chat", prompt)
            seen.note(refused.value.error)
        for uri in (f"evi://chats/{NAMED}", f"evi://chats/talks/events?after={NAMED}", f"evi://{NAMED}"):
            with pytest.raises(MCPError) as refused:
                await agent.client.read_resource(uri)
            seen.note(refused.value.error)
    seen.check(caplog.text)
    assert not [path for path in leaky.asked if found_in(path)], "the key is in no address"


async def test_a_client_that_calls_itself_by_a_secret_is_not_called_so() -> None:
    """The name of a client goes into events, answers, results and the audit log."""
    seen = Seen()
    me = Implementation(name=f"agent {fake_evi.KEY}", version=fake_evi.KEY)
    async with fake_evi.fake_evi() as evi, supervising(evi) as server, agent_on(server, client_info=me) as agent:
        evi.history[CHAT] = [frames.metadata(), frames.tool_call("call_1")]
        await seen.of(agent, "attach_chat", chat_id=CHAT)
        for _ in range(2):  # the second is refused, with who has answered
            answer = {"tool_call_id": "call_1", "content": "x", "wait_for_effect_s": 0}
            await seen.of(agent, "answer_tool_call", chat_id=CHAT, **answer)
        await look_everywhere(agent, seen)
    assert sum("agent [redacted]" in part for part in seen.parts) >= 3
    assert not any(fake_evi.KEY in part for part in seen.parts)


async def test_a_crash_says_nothing_of_what_it_was_about(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception may repeat a frame; agents get a sentence, and the process masks its log (`test_process`)."""
    monkeypatch.setattr(live_chat.LiveChat, "receive", lambda *_: 1 / 0)
    seen = Seen()
    async with leaking() as leaky, _supervising(leaky) as server, agent_on(server) as agent:
        await seen.of(agent, "attach_chat", chat_id="talks")
    seen.check(caplog.text)
    assert "ZeroDivisionError" in caplog.text


async def test_no_exception_of_the_connector_or_of_rest_holds_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever embeds them logs what they raise, with all that it was raised from."""
    seen = Seen()
    async with leaking() as leaky, _supervising(leaky) as server:
        app = service_behind(server)
        for chat_id in CHATS:
            try:
                await app.registry.house.connector.connect(chat_id)
            except Exception as error:
                seen.note("".join(traceback.format_exception(error)), error, vars(error))
            seen.note(await app.registry.house.connector.explain_refusal(chat_id, 403))
        for rest in (301, 401, 404, 500, KEY):
            leaky.rest = rest
            try:
                await app.desk(ME).active_chats()
            except Exception as error:
                seen.note("".join(traceback.format_exception(error)), error, vars(error))
    seen.check()
    assert len(seen.parts) > 3 * len(STATUSES)
