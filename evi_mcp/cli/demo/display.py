"""What the demo prints: the call as a person would want to see it, and what the agent does about it."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from evi_mcp.cli import terminal
from evi_mcp.cli.demo.supervise import Counted


class DemoDisplay:
    """The terminal. The demo's client runs in the loop that shows, so nothing here waits for whoever reads stdout."""

    def __init__(self) -> None:
        self._stdout = terminal.Posted()
        self._screen = terminal.Screen(self._stdout.text)
        self._console = self._screen.console
        self._lines = terminal.Lines()

    def step(self, text: str) -> None:
        """Something that the agent does."""
        self._console.print(Text(f"  >> {text}", style="bold yellow"), soft_wrap=True)

    def event(self, event: Mapping[str, Any]) -> None:
        """Something that happened in the chat."""
        self._screen.show(self._lines.of(event))

    def failed(self, why: str) -> None:
        """The demo could not go on."""
        self._console.print(Text(f"demo failed: {why}", style="bold red"))

    def summary(self, steps: Counted) -> None:
        """What happened, with counts."""
        table = Table(title="What really happened", title_justify="left", show_header=False)
        for step, happened in steps.happened().items():
            table.add_row("[green]yes[/]" if happened else "[red]NO[/]", step)
        self._console.print(table)
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(steps.events.items()))
        self._console.print(f"{sum(steps.events.values())} events: {counts}", soft_wrap=True)

    def close(self) -> None:
        """Gives the last lines a moment."""
        self._stdout.farewell()
