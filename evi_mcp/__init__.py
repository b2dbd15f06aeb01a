"""evi-mcp: an MCP server that lets an agent supervise live EVI voice chats."""

from importlib.metadata import version

__version__ = version("evi-mcp")

__all__ = ["__version__"]
