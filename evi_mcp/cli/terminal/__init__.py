"""How a chat looks to a person in a terminal: events to lines, lines to the screen.

`watch` and `demo` share it. Whatever came from the chat has passed `evi_mcp.quoting` before it becomes a line.
"""

from evi_mcp.cli.terminal.lines import Line, Lines, note
from evi_mcp.cli.terminal.posted import Posted
from evi_mcp.cli.terminal.screen import Screen

__all__ = ["Line", "Lines", "Posted", "Screen", "note"]
