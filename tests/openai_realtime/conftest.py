"""What calls are tried with."""

from tests.server.conftest import evi

__all__ = ["evi"]
