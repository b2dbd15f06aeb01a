"""What an operator sets: `settings.py` has the fields and their checks, `table.py` the flags and variables of them."""

from evi_mcp.config.settings import SECRETS, Settings
from evi_mcp.config.table import load, rows

__all__ = ["SECRETS", "Settings", "load", "rows"]
