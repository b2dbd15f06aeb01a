"""evi-mcp: an MCP server that lets an agent supervise live EVI voice chats."""

__version__: str

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """Looks the version up only when it is asked for: the look-up is slow, and start-up has to be fast."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    globals()[name] = found = version("evi-mcp")
    return found
