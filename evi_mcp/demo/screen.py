"""What the demo prints: the call as a person would want to see it."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evi_mcp.demo.supervise import Steps
from evi_mcp.quoting import quote

_COLOURS = {"user": "cyan", "assistant": "green"}


class Screen:
    """The terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    def step(self, text: str) -> None:
        """Something that the agent does."""
        self._console.print(Text(f"  >> {text}", style="bold yellow"), soft_wrap=True)

    def event(self, event: Mapping[str, Any]) -> None:
        """Something that happened in the chat."""
        line = Text(f"{event['at'][11:19]} ", style="dim")
        if "speaker" in event:
            line.append(f"{event['speaker']:>9} ", style=_COLOURS[event["speaker"]])
            line.append(quote(event["text"]) + (" (from text)" if event.get("from_text") else ""), style="default")
            if voice := event.get("expression"):
                line.append("  " + ", ".join(f"{name} {score:g}" for name, score in voice.items()), style="magenta dim")
        else:
            line.append(f"{event['type']:>9} ", style="blue")
            words = (event.get(key) for key in ("name", "command", "state", "parameters", "reason"))
            line.append(" ".join(str(word) for word in words if word), style="default")
        self._console.print(line, soft_wrap=True)

    def failed(self, why: str) -> None:
        """The demo could not go on."""
        self._console.print(Text(f"demo failed: {why}", style="bold red"))

    def summary(self, steps: Steps) -> None:
        """What happened, with counts."""
        table = Table(title="What really happened", title_justify="left", show_header=False)
        for step, happened in steps.happened().items():
            table.add_row("[green]yes[/]" if happened else "[red]NO[/]", step)
        self._console.print(table)
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(steps.events.items()))
        self._console.print(f"{sum(steps.events.values())} events: {counts}", soft_wrap=True)
