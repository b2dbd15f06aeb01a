"""A model behind an endpoint that speaks OpenAI's chat completions.

Facts: https://platform.openai.com/docs/api-reference/chat. Other services and local servers speak the same, some of
them loosely; what can be understood is taken.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx

from evi_mcp.clock import Clock, sleep

DELAYS_S = (1.0, 2.0, 4.0, 8.0)
"""Between attempts; there is one more of those."""
LONGEST_DELAY_S = 30.0
MAX_ANSWER_BYTES = 4 * 2**20
_RETRIED = frozenset({408, 409, 425, 429})  # and all of 5xx: each may heal by itself
_MOST_SHOWN = 300


class EndpointFailed(Exception):
    """The endpoint gave no answer that can be used; the text says why, without the key."""


@dataclass(frozen=True)
class FunctionCall:
    """A function that the model calls. `arguments` is the text it wrote, which may be no JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Usage:
    """Tokens of one request; `None`: the endpoint did not say."""

    prompt: int | None = None
    completion: int | None = None


@dataclass(frozen=True)
class Reply:
    """What the model said. `refused`: it, or the service, declined to answer."""

    content: str = ""
    calls: Sequence[FunctionCall] = ()
    refused: bool = False
    usage: Usage = field(default_factory=Usage)


class _Unusable(Exception):
    """An attempt failed; another one may not."""

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class Endpoint:
    """Asks a model.

    Args:
        client: For the requests; its time-outs are not used.
        base_url: Such as `https://api.openai.com/v1`; `/chat/completions` is added.
        key: Sent as a bearer token; empty for an endpoint that wants none.
        model: The name of the model there.
        clock: For the time-out and the delays.
        timeout_s: How long one attempt may take, in seconds.
        delays_s: Before each further attempt, in seconds, unless the endpoint says how long to wait.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        base_url: str,
        key: str,
        model: str,
        clock: Clock,
        timeout_s: float = 60.0,
        delays_s: Sequence[float] = DELAYS_S,
    ) -> None:
        self._client = client
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._key = key
        self._model = model
        self._clock = clock
        self._timeout_s = timeout_s
        self._delays_s = delays_s

    async def complete(self, messages: Sequence[Mapping[str, Any]], functions: Sequence[Mapping[str, Any]]) -> Reply:
        """The model's next message.

        Raises:
            EndpointFailed: It refuses for good, or every attempt has failed.
        """
        body = {"model": self._model, "messages": list(messages), "tools": list(functions)}
        for delay_s in self._delays_s:
            try:
                return read_reply(await self._ask(body))
            except _Unusable as unusable:
                wait_s = delay_s if unusable.retry_after_s is None else unusable.retry_after_s
                await sleep(self._clock, min(wait_s, LONGEST_DELAY_S))
        try:
            return read_reply(await self._ask(body))
        except _Unusable as unusable:
            raise EndpointFailed(f"{unusable}, at the last of {len(self._delays_s) + 1} attempts") from None

    async def _ask(self, body: Mapping[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        with self._clock.timeout_at(self._clock.elapsed() + self._timeout_s) as limit:
            try:
                async with self._client.stream("POST", self._url, json=body, headers=headers, timeout=None) as answer:
                    text = await _read(answer)
            except httpx.TransportError as error:
                raise _Unusable(f"it cannot be reached ({type(error).__name__})") from None
            except httpx.InvalidURL as error:
                raise EndpointFailed(f"{self._url} is no address: {error}") from None
        if limit.cancelled_caught:
            raise _Unusable(f"it did not answer within {self._timeout_s:g} s")
        if answer.status_code >= 500 or answer.status_code in _RETRIED:
            raise _Unusable(f"it answered {answer.status_code}", _retry_after(answer))
        if answer.status_code != 200:
            raise EndpointFailed(f"it answered {answer.status_code}: {self._shown(text)}")
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise _Unusable("its answer is no JSON") from None

    def _shown(self, text: str) -> str:
        words = " ".join(text.split())
        words = words.replace(self._key, "***") if self._key else words
        return words[:_MOST_SHOWN]


async def _read(answer: httpx.Response) -> str:
    parts = bytearray()
    async for part in answer.aiter_bytes():
        parts += part
        if len(parts) > MAX_ANSWER_BYTES:
            raise _Unusable("its answer is too long")
        await anyio.lowlevel.checkpoint()
    return parts.decode("utf-8", "replace")


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds; the form with a date is not read."""
    try:
        seconds = float(answer.headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def read_reply(body: Any) -> Reply:
    """The first choice of an answer.

    Raises:
        _Unusable: There is none.
    """
    choices = _get(body, "choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = _get(choice, "message")
    if not isinstance(message, dict):
        raise _Unusable("its answer has no message")
    content = message.get("content")
    calls = message.get("tool_calls")
    return Reply(
        content=content if isinstance(content, str) else "",
        calls=[_call(call, number) for number, call in enumerate(calls if isinstance(calls, list) else [])],
        refused=bool(message.get("refusal")) or _get(choice, "finish_reason") == "content_filter",
        usage=Usage(_count(body, "prompt_tokens"), _count(body, "completion_tokens")),
    )


def _call(call: Any, number: int) -> FunctionCall:
    function = _get(call, "function")
    name, arguments, call_id = _get(function, "name"), _get(function, "arguments"), _get(call, "id")
    return FunctionCall(
        id=call_id if isinstance(call_id, str) and call_id else f"call_{number}",
        name=name if isinstance(name, str) else "",
        # Some local servers give an object where the reference has its text.
        arguments=arguments if isinstance(arguments, str) else json.dumps({} if arguments is None else arguments),
    )


def _count(body: Any, name: str) -> int | None:
    count = _get(_get(body, "usage"), name)
    return count if isinstance(count, int) and count >= 0 else None


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
