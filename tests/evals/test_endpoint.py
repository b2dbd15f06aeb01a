"""A model is reached through whatever its endpoint does, and a failure is said and not shown as a bad supervisor."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response

from evals.endpoint import Endpoint, EndpointFailed, FunctionCall, Reply, Usage, _Unusable, read_reply
from evals.functions import arguments_of, assistant_message
from evi_mcp.clock import SystemClock
from tests.evals.scripted import KEY, ScriptedEndpoint, completion, scripted

pytestmark = pytest.mark.anyio
MESSAGES = [{"role": "user", "content": "Hello"}]


@asynccontextmanager
async def asked(timeout_s: float = 30) -> AsyncIterator[tuple[ScriptedEndpoint, Endpoint]]:
    """An endpoint that says yes, and a client of it that waits for nothing between attempts."""
    async with scripted(lambda messages, tools: "Yes.") as served, httpx.AsyncClient(trust_env=False) as client:
        yield (
            served,
            Endpoint(client, served.base_url, KEY, "scripted", SystemClock(), timeout_s=timeout_s, delays_s=(0, 0)),
        )


async def test_a_request_has_the_model_the_messages_and_the_functions() -> None:
    """OpenAI's reference; the key is a bearer token."""
    function = {"type": "function", "function": {"name": "pause", "parameters": {"type": "object"}}}
    async with asked() as (served, endpoint):
        reply = await endpoint.complete(MESSAGES, [function])
    assert served.requests == [{"model": "scripted", "messages": MESSAGES, "tools": [function]}]
    assert served.keys == [f"Bearer {KEY}"]
    assert reply == Reply("Yes.", [], usage=Usage(100, 10))


@pytest.mark.parametrize(
    "trouble",
    [
        lambda: JSONResponse({}, 429, {"Retry-After": "0"}),
        lambda: JSONResponse({}, 429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        lambda: JSONResponse({}, 503),
        lambda: Response("<html>", 200),
        lambda: JSONResponse({"choices": []}),
        lambda: JSONResponse([1]),
        lambda: Response("[" * 100_000),
        lambda: Response(b" " * (5 * 2**20)),
    ],
    ids=["busy", "busy-with-a-date", "down", "html", "no-choice", "a-list", "deep", "endless"],
)
async def test_what_may_heal_is_tried_again(trouble: Any) -> None:
    """A busy endpoint says nothing about a model."""
    async with asked() as (served, endpoint):
        served.first = [trouble, trouble]
        assert (await endpoint.complete(MESSAGES, [])).content == "Yes."
        assert len(served.requests) == 3


async def test_an_endpoint_that_stays_down_is_given_up_with_the_reason() -> None:
    """The number of attempts is bounded."""
    async with asked() as (served, endpoint):
        served.first = [lambda: JSONResponse({}, 500)] * 9
        with pytest.raises(EndpointFailed, match="answered 500, at the last of 3 attempts"):
            await endpoint.complete(MESSAGES, [])
        assert len(served.requests) == 3


async def test_an_endpoint_that_is_not_there_is_said_to_be_so() -> None:
    """A wrong address is the likeliest mistake."""
    async with httpx.AsyncClient(trust_env=False) as client:
        endpoint = Endpoint(client, "http://127.0.0.1:9/v1", "", "m", SystemClock(), delays_s=())
        with pytest.raises(EndpointFailed, match="cannot be reached"):
            await endpoint.complete(MESSAGES, [])


async def test_a_request_that_is_wrong_is_not_repeated_and_the_key_is_not_shown() -> None:
    """A key that an endpoint repeats would stand in a table and in a file."""
    async with asked() as (served, endpoint):
        served.first = [lambda: JSONResponse({"error": {"message": f"Incorrect API key: {KEY}"}}, 401)]
        with pytest.raises(EndpointFailed, match="401") as failed:
            await endpoint.complete(MESSAGES, [])
    assert KEY not in str(failed.value) and "Incorrect API key" in str(failed.value)
    assert len(served.requests) == 1


async def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    """A call goes on meanwhile."""
    async with asked(timeout_s=0.2) as (served, endpoint):
        served.first = [anyio.sleep_forever]
        assert (await endpoint.complete(MESSAGES, [])).content == "Yes."


@pytest.mark.parametrize(
    "body",
    [
        completion("I will not do that.", refusal="No."),
        {"choices": [{"finish_reason": "content_filter", "message": {"content": None}}]},
    ],
)
def test_a_refusal_is_told_from_an_answer(body: Any) -> None:
    """Of the model (`refusal`) or of the service (`content_filter`); OpenAI's reference."""
    assert read_reply(body).refused


def test_calls_are_read_however_loosely_they_are_written() -> None:
    """Local servers leave out ids and give arguments as an object."""
    call = {"function": {"name": "pause", "arguments": {"chat_id": "a"}}}
    reply = read_reply({"choices": [{"message": {"tool_calls": [call, "?", {"function": {"name": "resume"}}]}}]})
    assert [(call.id, call.name) for call in reply.calls] == [("call_0", "pause"), ("call_1", ""), ("call_2", "resume")]
    assert arguments_of(reply.calls[0]) == {"chat_id": "a"} and arguments_of(reply.calls[2]) == {}
    assert reply.usage == Usage(None, None)


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "tool_calls", "function", "name", "arguments", "id", "usage", "content"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(body=values)
def test_no_answer_makes_the_reading_fail(body: Any) -> None:
    """It is either understood or unusable."""
    try:
        reply = read_reply(body)
    except _Unusable:
        return
    json.dumps(assistant_message(reply))


@pytest.mark.parametrize("arguments", ['{"a": ', "[]", "3", "null", "{]"])
def test_arguments_that_are_no_object_are_refused_in_words_and_leave_the_conversation_sound(arguments: str) -> None:
    """The model reads what was wrong; endpoints refuse a conversation with broken arguments."""
    call = FunctionCall("1", "pause", arguments)
    with pytest.raises(ValueError, match="pause was not run: its arguments are no JSON"):
        arguments_of(call)
    message = assistant_message(Reply(calls=[call]))
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"
