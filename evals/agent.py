"""The loop of an agent: the model says which tools to call, and reads what they answer, within limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import mcp_types as types

from evals.call import GONE, Call, tools_of
from evals.endpoint import Endpoint, EndpointFailed, FunctionCall, Reply
from evals.functions import arguments_of, assistant_message, functions_of, text_of, tool_message
from evals.prompt import GO_ON, SYSTEM, task
from evals.record import Action, Outcome, Record
from evi_mcp.clock import Clock

MOST_NUDGES = 3
"""How often in a row an agent that calls no tool is told to go on."""


@dataclass(frozen=True)
class Limits:
    """When an agent is stopped: requests to its model, tokens of all of them, seconds from its beginning."""

    turns: int = 80
    tokens: int = 500_000
    seconds: float = 300.0


class Agent:
    """A model at work on a call. What it does is noted in the record.

    Args:
        endpoint: Its model.
        call: The call that it supervises.
        record: Of this call.
        limits: When it is stopped.
        clock: For the limits and the times of actions.
    """

    def __init__(self, endpoint: Endpoint, call: Call, record: Record, limits: Limits, clock: Clock) -> None:
        self._endpoint = endpoint
        self._call = call
        self._record = record
        self._limits = limits
        self._clock = clock
        self._started = clock.elapsed()

    async def supervise(self) -> None:
        """Goes on until the call has ended or the agent has; `record.ended` says which and why.

        The caller's call goes on without an agent that has ended: it is watched to its end, within the time.
        """
        record = self._record
        with self._clock.timeout_at(self._started + self._limits.seconds) as limit:
            async with anyio.create_task_group() as group:
                group.start_soon(self._call.watch, record)
                record.ended = await self._work()
        if limit.cancelled_caught and not record.ended:
            record.ended = "time limit"
        record.seconds = self._clock.elapsed() - self._started

    async def _work(self) -> str:
        tools = await tools_of(self._call.client)
        names = {tool.name for tool in tools}
        functions = functions_of(tools)
        messages: list[Mapping[str, Any]] = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": task(self._call.chat_id)},
        ]
        self._record.messages = messages
        nudges = 0
        while not self._record.call_ended:
            if why := self._limit_reached():
                return why
            try:
                reply = await self._ask(messages, functions)
            except EndpointFailed as error:
                return f"endpoint failed: {error}"
            messages.append(assistant_message(reply))
            if reply.refused:
                return "refused"
            messages += [tool_message(call, await self._run(call, names)) for call in reply.calls]
            if reply.calls:
                nudges = 0
                continue
            await self._call.look(self._record)  # these may be its last words, at the end of the call
            if nudges == MOST_NUDGES and not self._record.call_ended:
                return "gave up"
            nudges += 1
            messages.append({"role": "user", "content": GO_ON})
        return "call ended"

    def _limit_reached(self) -> str | None:
        if self._record.turns >= self._limits.turns:
            return "turn limit"
        if (self._record.tokens or 0) >= self._limits.tokens:
            return "token limit"
        return None

    async def _ask(self, messages: Sequence[Mapping[str, Any]], functions: Sequence[Mapping[str, Any]]) -> Reply:
        self._record.turns += 1
        reply = await self._endpoint.complete(messages, functions)
        self._record.use(reply.usage.prompt, reply.usage.completion)
        return reply

    async def _run(self, call: FunctionCall, names: set[str]) -> str:
        """Runs a tool; the text that the model reads of it."""
        at_s = self._clock.elapsed() - self._started
        arguments: dict[str, Any] = {}
        outcome: Outcome = "malformed"
        try:
            arguments = arguments_of(call)
            result = await self._call.client.call_tool(call.name, arguments)
            text, outcome = text_of(result), _outcome(result, call.name in names)
        except ValueError as error:
            text = str(error)
        except GONE as error:
            text, outcome = str(error), "refused" if call.name in names else "unknown_tool"
        self._record.actions.append(Action(at_s, call.name, arguments, outcome))
        return text


def _outcome(result: types.CallToolResult, is_known: bool) -> Outcome:
    if not is_known:
        return "unknown_tool"
    return "refused" if result.is_error else "done"
