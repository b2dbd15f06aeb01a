"""MCP over streamable HTTP: one process for many people and agents."""
