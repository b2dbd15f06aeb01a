"""The least that one can serve with the MCP SDK: one tool that does nothing."""

import socket
import sys

from mcp.server import MCPServer

server: MCPServer[None] = MCPServer("empty", log_level="WARNING")


@server.tool()
async def nothing() -> str:
    """Do nothing."""
    return "nothing"


if __name__ == "__main__":
    if sys.argv[1:] == ["http"]:
        import uvicorn

        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as where uvicorn makes the socket
            print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
            config = uvicorn.Config(server.streamable_http_app(), http="h11", log_level="error")
            uvicorn.Server(config).run([listener])
    else:
        server.run("stdio")
