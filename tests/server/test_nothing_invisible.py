"""Nothing invisible leaves this server (our contract, section 7): whatever a service or an agent puts where.

Frames of every type have hostile words in every field that their model has, keys included. Whatever a client can ask
for is asked for, and every text of every answer is looked at.
"""

import json
from collections.abc import Iterator
from itertools import cycle
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import anyio
import mcp_types as types
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, SecretStr

from evi_mcp import uris
from evi_mcp.chat.events import HIDDEN_TYPES
from evi_mcp.protocol.messages import KNOWN_TYPES
from evi_mcp.quoting import is_invisible
from tests import frames
from tests.fake_evi import FakeEvi, fake_evi
from tests.harness import CHAT, Agent, agent_on, supervising

pytestmark = pytest.mark.anyio

HIDDEN = ["\u202e", "\u200b", "\u2066", "\ufeff", "\U000e0041", "\x1b[2K", "\x00", "\x85", "\u2028", "\ufe0f", "\u3164"]
hostile = st.lists(st.sampled_from([*HIDDEN, "a", '"', "\n", "\\", "{", "["]), min_size=1, max_size=3).map(
    lambda parts: "".join(parts) + "\u200d"
)
words = st.lists(hostile, min_size=1, max_size=8)

Words = Iterator[str]


def filled(kind: Any, words: Words) -> Any:
    """A value of a field's type, with a word wherever one can stand."""
    origin = get_origin(kind)
    if origin is Literal:
        return get_args(kind)[0]
    if origin is Annotated:
        return filled(get_args(kind)[0], words)
    if origin in (Union, UnionType):
        return filled(next(part for part in get_args(kind) if part is not NoneType), words)
    if origin is dict:
        return {next(words): filled(get_args(kind)[1], words)}
    if origin is list:
        return [filled(get_args(kind)[0], words)]
    if kind in (str, SecretStr):
        return next(words)
    if kind is Any:
        return {next(words): [next(words), {next(words): next(words)}]}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: filled(field.annotation, words) for name, field in kind.model_fields.items()}
    return kind(1)


def happened(words: Words) -> list[str]:
    """Each type of message that there is, one that nobody knows, and some that calls and pages look different for."""
    known = [
        json.dumps({**filled(model, words), "type": kind, next(words): next(words)})
        for kind, model in KNOWN_TYPES.items()
    ]
    return [
        frames.frame("chat_metadata", chat_id=CHAT, chat_group_id=next(words)),
        *known,
        frames.user(next(words), 7, scores={next(words): 0.9}),
        frames.assistant(next(words), "m-9"),
        frames.prosody("m-9", **{next(words): 0.7}),
        frames.tool_call("call_9", next(words), json.dumps({next(words): [next(words)]}, ensure_ascii=False)),
        frames.tool_call(next(words), next(words), next(words)),
        frames.frame(next(words), content={next(words): next(words)}, half="\ud83d"),
        "not JSON " + next(words),
    ]


def texts(value: Any) -> Iterator[str]:
    """Every text in what a client was given, keys included, and in JSON that it was given as text."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
        if value.get("mimeType") == "application/json" and "text" in value:
            yield from texts(json.loads(value["text"]))
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def nothing_invisible(where: str, value: Any) -> None:
    found = {text for text in texts(value) for char in text if is_invisible(char) and char not in "\n\t"}
    assert not found, (where, found)


class Reader:
    """Asks for everything, and looks at each answer."""

    def __init__(self, agent: Agent, evi: FakeEvi, words: Words) -> None:
        self._agent, self._evi, self._words = agent, evi, words
        self.refused = 0
        self.used: set[str] = set()

    async def _ask(self, where: str, request: Any) -> Any:
        try:
            answer = await request
        except MCPError as error:
            nothing_invisible(where, error.error.model_dump(mode="json"))
            self.refused += 1
            return None
        dumped = answer.model_dump(mode="json", by_alias=True)
        nothing_invisible(where, dumped)
        self.refused += bool(dumped.get("isError"))
        return dumped

    async def tool(self, tool: str, **arguments: Any) -> Any:
        self.used.add(tool)
        return await self._ask(tool, self._agent.client.call_tool(tool, arguments))

    async def resource(self, uri: str) -> Any:
        return await self._ask(uri, self._agent.client.read_resource(uri))

    async def everything(self) -> None:
        """All tools, resources, prompts and completions, as they are meant to be used."""
        client, word = self._agent.client, self._words
        seen = [event["type"] for event in (await self._agent.call("read_events", chat_id=CHAT, limit=200))["events"]]
        every = sorted({*seen, *HIDDEN_TYPES})
        page = await self.tool("read_events", chat_id=CHAT, types=every, limit=200, max_chars=50_000)
        assert {event["type"] for event in page["structuredContent"]["events"]} >= set(KNOWN_TYPES)
        await self.tool("read_events", chat_id=CHAT, max_chars=500)
        ends = {"after": "earliest", "timeout_s": 0}
        trigger = {"kind": "text", "contains": next(word)}
        await self.tool("wait_for_events", until=[trigger], **ends)
        await self.tool("list_chats")
        await self.tool("list_chats", scope="active")
        await self.tool("get_chat", chat_id=CHAT)
        await self.tool("get_transcript", chat_id=CHAT)
        await self.tool("review_chat", chat_id=CHAT)
        for speaker in ("user", "assistant"):
            await self.tool("get_expression", chat_id=CHAT, speaker=speaker, top=48)
        calls = (await self.tool("list_tool_calls", status="all"))["structuredContent"]["tool_calls"]
        assert len(calls) >= 3
        sent = {"chat_id": CHAT, "wait_for_effect_s": 0}
        await self.tool("answer_tool_call", tool_call_id="call_9", content=next(word), **sent)
        await self.tool("send_user_input", text="said " + next(word), **sent)
        await self.tool("send_assistant_input", text="spoken " + next(word), **sent)
        await self.tool(
            "update_session_settings",
            chat_id=CHAT,
            system_prompt=next(word),
            variables={next(word): next(word)},
            metadata={next(word): next(word)},
        )
        await self.tool("whisper", chat_id=CHAT, text={"remark": next(word)})
        await self.tool("barge_in", chat_id=CHAT, text="barged " + next(word), resume_after_s=1)
        await self.tool("attach_chat", chat_ids=[CHAT, next(word)])
        for view in ("", uris.EVENTS, uris.TRANSCRIPT, uris.TOOL_CALLS):
            await self.resource(uris.chat(CHAT, view))
        await self.resource(uris.CHATS)
        for message_id in {event.get("message_id") for event in page["structuredContent"]["events"]} - {None}:
            await self.resource(uris.audio(CHAT, message_id))
        await self._ask("resources", client.list_resources())
        await self._ask("templates", client.list_resource_templates())
        await self._ask("tools", client.list_tools())
        await self._ask("prompts", client.list_prompts())
        await self._ask("prompt", client.get_prompt("supervise_chat", {"chat_id": CHAT, "goal": next(word)}))
        await self._ask(
            "completion",
            client.complete(types.PromptReference(name="supervise_chat"), {"name": "chat_id", "value": "c"}),
        )

    async def refusals(self) -> None:
        """What repeats an argument in its refusal, or may."""
        client, word = self._agent.client, self._words
        before = self.refused
        asked = [
            self.tool(next(word)),
            self.tool("get_chat", chat_id=next(word)),
            self.tool("end_chat", chat_id=CHAT),  # which EVI has not
            self.tool("transfer_chat", chat_id=CHAT, target_uri=next(word)),
            self.tool("get_chat", **{next(word): 1}),
            self.tool("read_events", chat_id=CHAT, after=next(word)),
            self.tool("answer_tool_call", chat_id=CHAT, tool_call_id=next(word), content="x"),
            self.tool("update_session_settings", chat_id=CHAT, variables={next(word): []}),
            self.tool("update_session_settings", chat_id=CHAT, language_model_api_key_name=next(word)),
            self.tool("wait_for_events", until=[{"kind": next(word)}]),
            self.resource(next(word)),
            self.resource(uris.CHATS + "/" + next(word)),
            self.resource(uris.chat(CHAT, "audio/") + next(word)),
            self.resource(uris.audio(CHAT, next(word))),
            self._ask("prompt", client.get_prompt(next(word))),
            self._ask("prompt", client.get_prompt("supervise_chat", {next(word): next(word)})),
            self._ask("prompt", client.get_prompt("supervise_chat", {"chat_id": next(word)})),
        ]
        for request in asked:
            await request
        assert self.refused == before + len(asked)


async def walk(pool: list[str], era: str) -> None:
    told: list[Any] = []

    async def note(message: Any) -> None:
        told.append(message)

    source = (f"{word}{number}" for number, word in enumerate(cycle(pool)))

    async def back(chat_id: str, command: dict[str, Any]) -> None:
        """Shows settings back, so that nobody waits for them, and lets hostile things happen after all else."""
        await evi.push(chat_id, *([json.dumps(command)] if command["type"] == "session_settings" else happened(source)))

    client_info = types.Implementation(name="agent" + next(source), version=next(source))
    with anyio.fail_after(60):
        async with fake_evi() as evi:
            evi.history[CHAT] = list(happened(source))
            evi.chats = {
                CHAT: {"id": CHAT, "status": next(source), "chat_group_id": next(source), "start_timestamp": 1},
                "chat-2": {
                    "id": "chat-2",
                    "status": "ACTIVE",
                    "config": {"name": next(source)},
                    "metadata": next(source),
                },
            }
            evi.on_command = back
            async with (
                supervising(evi, claude_channel=True) as server,
                agent_on(server, era, client_info=client_info, message_handler=note) as agent,
            ):
                reader = Reader(agent, evi, source)
                await reader.tool("attach_chat", chat_id=CHAT)
                await evi.push(CHAT, *happened(source))
                await reader.everything()
                await reader.refusals()
                evi.refuse[CHAT] = 403
                await evi.close(CHAT, 1011, next(source)[:20])
                await agent.until_state("failed")
                await reader.tool("read_events", chat_id=CHAT, types=["chat_state"])
                await reader.tool("get_chat", chat_id=CHAT)
                for tool in ("pause", "resume", "detach_chat"):
                    await reader.tool(tool, chat_id=CHAT)
                assert reader.used >= {tool.name for tool in (await agent.client.list_tools()).tools}
    nothing_invisible("notifications", [message.model_dump(mode="json") for message in told if message is not None])


@pytest.mark.parametrize("era", ["auto", "legacy"])
@given(words)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_invisible_leaves_in_any_answer(era: str, pool: list[str]) -> None:
    """A model reads tags and zero-width characters that no person sees; others turn a line, or act on a terminal."""
    anyio.run(walk, pool, era)


async def test_ids_are_taken_as_they_are_shown(evi: FakeEvi, agent: Agent) -> None:
    """What is invisible in an id is escaped in every result, and that is all that an agent can copy."""
    odd, shown = "m\u200b-\u202e1", "m\\u{200b}-\\u{202e}1"
    evi.history[CHAT] = [frames.metadata(), frames.audio(odd, 0, frames.wav(b"ab")), frames.tool_call(odd)]
    await agent.call("attach_chat", chat_id=CHAT)
    assert (await agent.call("list_tool_calls", chat_id=CHAT))["tool_calls"][0]["tool_call_id"] == shown
    for message_id in (odd, shown):
        [content] = (await agent.client.read_resource(uris.audio(CHAT, message_id))).contents
        assert isinstance(content, types.BlobResourceContents)
    with pytest.raises(MCPError, match="no message of this id is known"):
        await agent.client.read_resource(uris.audio(CHAT, "m\\u{200b}-1"))
    await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id=shown, content="done", wait_for_effect_s=0)
    await evi.until(lambda: evi.received[CHAT])
    assert evi.received[CHAT][0]["tool_call_id"] == odd
