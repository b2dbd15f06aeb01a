"""What happened in one call: what the scores are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["done", "refused", "unknown_tool", "malformed"]


@dataclass(frozen=True)
class Action:
    """A tool that the agent called.

    `at_s` is seconds since the agent began. `refused`: the server's answer was an error; `malformed`: the arguments
    were no JSON object, and nothing was sent.
    """

    at_s: float
    tool: str
    arguments: Mapping[str, Any]
    outcome: Outcome


@dataclass
class Asked:
    """A function that EVI asked for. `answered_s`: seconds until an answer was sent; `None`: none was."""

    tool_call_id: str
    name: str
    answered_s: float | None = None


@dataclass
class Record:
    """One call with one agent. `angers` are the caller's, one for each turn that was measured."""

    call: str
    ended: str = ""
    call_ended: bool = False
    turns: int = 0
    seconds: float = 0.0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    actions: list[Action] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    angers: list[float] = field(default_factory=list)
    messages: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def tokens(self) -> int | None:
        """Of all requests; `None`: the endpoint never said."""
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)

    def use(self, prompt: int | None, completion: int | None) -> None:
        """Counts the tokens of one request."""
        if prompt is not None:
            self.prompt_tokens = (self.prompt_tokens or 0) + prompt
        if completion is not None:
            self.completion_tokens = (self.completion_tokens or 0) + completion
