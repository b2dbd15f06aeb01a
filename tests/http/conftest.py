"""Fixtures of the tests over HTTP: those of `tests/server`, reached another way where a module asks for it."""

from tests.server.conftest import agent, era, evi, live

__all__ = ["agent", "era", "evi", "live"]
