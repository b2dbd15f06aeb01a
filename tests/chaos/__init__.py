"""Faults on purpose, on real sockets, and a count of what came of them.

`truth` is a service that knows what happened in each chat; `proxy` stands between it and the server under test and
breaks things by the seeded schedule of `faults`; `agents` are MCP clients that follow and act all the while; `count`
compares what they read and what they were told with the truth. None of them shares code with `evi_mcp`.
"""
