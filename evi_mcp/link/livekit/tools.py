"""The tools that an agent's LLM may call and a supervisor answers."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from livekit.agents import RunContext, function_tool, llm

from evi_mcp.link.commands import Refused
from evi_mcp.link.supervised_tools import SupervisedTools

STILL_OPEN = "Nobody has answered yet; the answer will come. Go on with the conversation."
"""What the LLM gets of a call that goes on beside the talk."""

_log = logging.getLogger("evi_mcp.link")


class Tools:
    """Puts tools that wait for a supervisor in the place of an agent's own, and beside them.

    Args:
        supervised: Names, of tools that the agents have, or schemas (`name`, `description`, `parameters`) of new ones.
        answers: Where the calls wait.
        outlast: Whether a call goes on when the user speaks, beside the talk.
    """

    def __init__(
        self, supervised: Sequence[str | Mapping[str, Any]], answers: SupervisedTools, *, outlast: bool
    ) -> None:
        self.names = {tool if isinstance(tool, str) else str(tool["name"]) for tool in supervised}
        """The tools whose calls wait for a supervisor."""
        self._schemas = [dict(tool) for tool in supervised if not isinstance(tool, str)]
        self._answers = answers
        self._outlast = outlast
        self._added: list[Any] = []

    async def install(self, agent: Any) -> None:
        """Gives an agent that has become active its supervised tools."""
        own = list(agent.tools)
        missing = self.names - {tool.id for tool in own} - {schema["name"] for schema in self._schemas}
        if missing:
            _log.warning("the agent %s has no tool %s", agent.id, ", ".join(sorted(missing)))
        kept = [self._waiting(_schema_of(tool)) if tool.id in self.names else tool for tool in own]
        known = {tool.id for tool in kept}
        new = [self._waiting(schema) for schema in self._schemas if schema["name"] not in known]
        new += [tool for tool in self._added if tool.id not in known]
        if new or self.names & known:
            await agent.update_tools([*kept, *new])

    def checked(self, tools: Sequence[Mapping[str, Any]], agent: Any) -> list[Any]:
        """EVI's tools as tools that wait.

        Raises:
            Refused: One is malformed, or has the name of one of the agent's own.
        """
        added = [self._waiting(_read(tool)) for tool in tools]
        own = {tool.id for tool in agent.tools} - {tool.id for tool in self._added}
        if doubled := [tool.id for tool in added if tool.id in own]:
            raise Refused(f"the agent has its own tool {', '.join(doubled)}; give yours another name")
        return added

    async def replace_added(self, added: list[Any], agent: Any) -> None:
        """The agent's own tools stay; those that supervisors gave before are replaced by these."""
        before = {tool.id for tool in self._added}
        self._added = added
        self.names -= before
        self.names |= {tool.id for tool in added}
        await agent.update_tools([*(tool for tool in agent.tools if tool.id not in before), *added])

    def _waiting(self, schema: dict[str, Any]) -> Any:
        async def wait(raw_arguments: dict[str, object], context: RunContext) -> str:
            asking = asyncio.create_task(
                self._answers.ask(schema["name"], raw_arguments, context.function_call.call_id)
            )
            try:
                await context.speech_handle.wait_if_not_interrupted([asking])
                if not asking.done() and self._outlast:
                    await context.update(STILL_OPEN, silent=True)
                    await asyncio.wait([asking])
            finally:
                asking.cancel()  # nothing, if there is an answer; else the user has gone on
            if not asking.done():
                raise llm.ToolError("The user went on before there was an answer.")
            if asking.result().is_error:
                raise llm.ToolError(asking.result().content)
            return asking.result().content

        return function_tool(wait, raw_schema=schema)


def _schema_of(tool: Any) -> dict[str, Any]:
    if llm.tool_context.is_raw_function_tool(tool):
        return dict(tool.info.raw_schema)
    schema = llm.utils.build_legacy_openai_schema(tool, internally_tagged=True)
    return {name: schema[name] for name in ("name", "description", "parameters")}


def _read(tool: Mapping[str, Any]) -> dict[str, Any]:
    """EVI's tool, whose `parameters` are a JSON Schema as text."""
    name, parameters = tool.get("name"), tool.get("parameters")
    try:
        schema = json.loads(parameters) if isinstance(parameters, str) else parameters
    except ValueError:
        schema = None
    if not isinstance(name, str) or not name or not isinstance(schema, dict):
        raise Refused("a tool needs a `name`, and `parameters` that are a JSON Schema as text")
    return {"name": name, "description": str(tool.get("description") or ""), "parameters": schema}
