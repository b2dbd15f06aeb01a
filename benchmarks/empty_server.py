"""The least that one can serve with the MCP SDK: one tool that does nothing."""

from mcp.server import MCPServer

server: MCPServer[None] = MCPServer("empty", log_level="WARNING")


@server.tool()
async def nothing() -> str:
    """Do nothing."""
    return "nothing"


if __name__ == "__main__":
    server.run("stdio")
