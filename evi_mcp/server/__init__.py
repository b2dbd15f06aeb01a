"""The MCP edge: the server object, its resources, its notifications and its stdio transport.

What is not public in the SDK is touched in `sdk` only.
"""
