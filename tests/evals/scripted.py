"""An endpoint of chat completions that answers by rules, as a model would: it sees the conversation only."""

import itertools
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evi_mcp.hub.server import serving
from evi_mcp.serving import listen

KEY = "sk-of-the-scripted-endpoint"
Message = Mapping[str, Any]
Say = Callable[[Sequence[Message], set[str]], Any]
"""The messages and the names of the tools; what the model does: a list of (tool, arguments), or its words."""

_CURSOR = re.compile(r"\b[0-9a-f]{8}-\d+(?:@[0-9a-f]{8})?(?![\w@-])")
_ASKED = re.compile(r"(?:tool.call(?! (?:web_search|hang_up)\b)|pending:).*?\b(call_\w{6,})", re.IGNORECASE)
"""A function that EVI asks for, and no tool of its own."""
_ids = itertools.count(1)


class ScriptedEndpoint:
    """What it is asked, and what it answers before it listens to its script."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.base_url = ""
        self.first: list[Callable[[], Any]] = []
        """Answers to the first requests, each a response or something to await."""
        self.requests: list[Any] = []
        self.keys: list[str | None] = []

    async def answer(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.requests.append(body)
        self.keys.append(request.headers.get("authorization"))
        if self.first:
            found = self.first.pop(0)()
            return found if isinstance(found, Response) else await found
        said = self.say(body["messages"], {tool["function"]["name"] for tool in body["tools"]})
        return JSONResponse(completion(said))


def completion(said: Any, **message: Any) -> dict[str, Any]:
    """The body of an answer: words, or calls as (tool, arguments); arguments may be the text of them."""
    if not isinstance(said, str):
        message["tool_calls"] = [
            {
                "id": f"call-{next(_ids)}",
                "type": "function",
                "function": {"name": tool, "arguments": given if isinstance(given, str) else json.dumps(given)},
            }
            for tool, given in said
        ]
        said = None
    return {
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said, **message}}
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


@asynccontextmanager
async def scripted(say: Say) -> AsyncIterator[ScriptedEndpoint]:
    endpoint = ScriptedEndpoint(say)
    listener = listen("127.0.0.1", 0)
    app = Starlette(routes=[Route("/v1/chat/completions", endpoint.answer, methods=["POST"])])
    async with serving(app, listener, before_stop=anyio.lowlevel.checkpoint):
        endpoint.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        yield endpoint


class Reading:
    """What a model can know from the conversation."""

    def __init__(self, messages: Sequence[Message]) -> None:
        task = str(messages[1]["content"])
        found = re.search(r"the chat (\S+)", task)
        assert found, task
        self.chat_id = found[1]
        results = [str(message["content"]) for message in messages if message["role"] == "tool"]
        self.text = "\n".join(results)
        cursors = _CURSOR.findall(self.text)
        self.cursor = cursors[-1] if cursors else "earliest"
        self.asked = list(dict.fromkeys(_ASKED.findall(self.text)))
        self.did = [
            (call["function"]["name"], json.loads(call["function"]["arguments"]))
            for message in messages
            for call in message.get("tool_calls", ())
        ]

    def has(self, tool: str) -> bool:
        return any(name == tool for name, _ in self.did)

    @property
    def anger(self) -> float:
        """The highest that was read."""
        return max((float(found) for found in re.findall(r"Anger (\d?\.\d+)", self.text)), default=0.0)

    def wait(self) -> tuple[str, dict[str, Any]]:
        until = [
            {"kind": "tool_call_waiting", "seconds": 0.1},
            {"kind": "expression", "score": "Anger", "at_least": 0.5},
            {"kind": "text", "contains": "approve", "speaker": "assistant"},
        ]
        return "wait_for_events", {
            "chat_ids": [self.chat_id], "after": self.cursor, "until": until, "timeout_s": 5,
        }  # fmt: skip


def good(messages: Sequence[Message], tools: set[str]) -> Any:
    """A careful supervisor: answers once, whispers what EVI lacks, and takes the floor before it speaks."""
    seen = Reading(messages)
    answered = {given["tool_call_id"] for name, given in seen.did if name == "answer_tool_call"}
    if waiting := [call_id for call_id in seen.asked if call_id not in answered]:
        content = json.dumps({"status": "in Lyon", "eta": "tomorrow", "charges": "two charges", "refund": "R-1"})
        return [
            ("answer_tool_call", {"chat_id": seen.chat_id, "tool_call_id": call_id, "content": content})
            for call_id in waiting
        ]
    whisper = "The refund is approved. Tell the caller."
    if re.search(r"approv", seen.text) and not (seen.has("whisper") or seen.has("update_session_settings")):
        if "whisper" in tools:
            return [("whisper", {"chat_id": seen.chat_id, "text": whisper})]
        return [("update_session_settings", {"chat_id": seen.chat_id, "context": whisper})]
    if seen.anger >= 0.5 and not (seen.has("barge_in") or seen.has("pause")):
        line = {"chat_id": seen.chat_id, "text": "This is the shift lead. I am taking care of it."}
        if "barge_in" in tools:
            return [("barge_in", line)]
        chat = {"chat_id": seen.chat_id}
        return [("pause", chat), ("send_assistant_input", line), ("resume", chat)]
    return [seen.wait()]


def bad(messages: Sequence[Message], tools: set[str]) -> Any:
    """What a confused model does: answers twice or not at all, repeats itself, makes things up, stays paused."""
    seen = Reading(messages)
    turn = sum(message["role"] == "assistant" for message in messages)
    chat = {"chat_id": seen.chat_id}
    steps: list[Any] = [
        [("listen_to_call", chat)],
        [("wait_for_events", '{"after": ')],
        [("send_assistant_input", {**chat, "text": "Please stay calm."})],
        [("send_assistant_input", {**chat, "text": "Please  stay calm."})],
    ]
    if turn < len(steps):
        return steps[turn]
    if len(seen.asked) == 1 and not seen.has("answer_tool_call"):
        answer = ("answer_tool_call", {**chat, "tool_call_id": seen.asked[0], "content": "one charge"})
        return [answer, answer]
    if seen.has("answer_tool_call") and not seen.has("pause"):
        return [("pause", chat), ("pause", chat)]
    return [seen.wait()]
