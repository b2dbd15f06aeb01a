"""evi-mcp: an MCP server that lets an agent supervise live EVI voice chats."""

__version__: str

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """The version, looked up when it is asked for: that takes a while, and the start is short of time."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    globals()[name] = found = version("evi-mcp")
    return found
