"""Shows a chat to a person in a terminal: turns events into lines, and prints the lines.

`watch` and `demo` share it. All text from the chat passes `evi_mcp.quoting` before it becomes a line.
"""

from evi_mcp.cli.terminal.lines import Line, Lines, note
from evi_mcp.cli.terminal.posted import Posted
from evi_mcp.cli.terminal.screen import Screen

__all__ = ["Line", "Lines", "Posted", "Screen", "note"]
