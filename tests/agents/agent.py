"""An agent that makes a mistake and reads what it is told: rules in place of a model, and text is all that it sees."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from tests.fake_evi import FakeEvi
from tests.process.conftest import Process

_EPOCH = re.compile(r"\b(?!3f0a9c1e|7be2d410)[0-9a-f]{8}-(?=\d)(?!\d{4}-)")
_TIME = re.compile(r"\d\d:\d\d:\d\d(?: UTC)?")
_TIME_OF_EVENT = re.compile(r"(?<=^\[)(\d+\*?) [\d:]+(?=\])", re.MULTILINE)
"""It stands where it is another second than that of the line before."""
_WAITED = re.compile(r"\b\d+(\.\d+)? s\b")

Script = Callable[["ScriptedAgent", FakeEvi], Awaitable[None]]


class ScriptedAgent:
    """One agent on one server process. It makes one mistake and has one further call to put it right."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._steps: list[str] = []
        self._mistakes = 0
        self._recoveries = 0

    async def prepare(self, tool: str, **arguments: Any) -> str:
        """A call before the mistake; the text of its result."""
        text, is_error = await self._call(tool, arguments)
        assert not is_error, text
        return text

    async def mistake(self, tool: str, **arguments: Any) -> str:
        """The mistake; what the agent is told."""
        self._mistakes += 1
        return await self._noted("mistake", tool, arguments)

    async def forgiven(self, tool: str, **arguments: Any) -> str:
        """A mistake that has one meaning only, and is taken for it: nothing is left to put right."""
        self._recoveries += 1
        text = await self.mistake(tool, **arguments)
        assert not self._is_error, text
        return text

    async def recover(self, tool: str, **arguments: Any) -> str:
        """The call that puts it right, made of what the agent was told; it must succeed."""
        self._recoveries += 1
        text = await self._noted("recovery", tool, arguments)
        assert not self._is_error, text
        return text

    def story(self) -> str:
        """The mistake, what was said, and the recovery, without what differs from run to run."""
        assert (self._mistakes, self._recoveries) == (1, 1), "one mistake, one step to put it right"
        return "\n".join(self._steps)

    async def _noted(self, what: str, tool: str, arguments: dict[str, Any]) -> str:
        text, self._is_error = await self._call(tool, arguments)
        asked = ", ".join(f"{name}={json.dumps(value)}" for name, value in arguments.items())
        self._steps.append(_steady(f"{what}: {tool}({asked})\n{'error: ' if self._is_error else ''}{text}\n"))
        return text

    async def _call(self, tool: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        result = await self._process.call(tool, **arguments)
        return "\n".join(block["text"] for block in result["content"]), result.get("isError", False)


def _steady(text: str) -> str:
    text = _TIME_OF_EVENT.sub(r"\1", _EPOCH.sub("EPOCH-", text))
    return _WAITED.sub("N s", _TIME.sub("TIME", text))
