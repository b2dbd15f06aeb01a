"""Run by the Python of the group `llama`: the tools on stdin, as LlamaIndex gives them to its model, on stdout."""

import asyncio
import json
import sys
from typing import Any

from llama_index.tools.mcp import McpToolSpec
from mcp.types import ListToolsResult, Tool


class Client:
    """Has the tools of stdin."""

    def __init__(self, tools: list[Tool]) -> None:
        self.tools = tools

    async def list_tools(self) -> ListToolsResult:
        """As a session does."""
        return ListToolsResult(tools=self.tools)


async def converted(tools: list[Any]) -> Any:
    """The parameters of each tool, as an OpenAI-compatible service is sent them."""
    client: Any = Client([Tool.model_validate(tool) for tool in tools])
    made = await McpToolSpec(client).to_tool_list_async()
    return {tool.metadata.name: tool.metadata.get_parameters_dict() for tool in made}


if __name__ == "__main__":
    print(json.dumps({"llama-index": asyncio.run(converted(json.load(sys.stdin)))}))
