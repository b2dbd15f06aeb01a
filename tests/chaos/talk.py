"""What happens in a chat: numbered events of all types, from a seed, and what EVI makes of commands.

Most events can be told apart by their number. Some are alike on purpose (`assistant_end`, what somebody types,
settings, warnings, a type that nobody knows, words without a time, ids that are used again): these are the ones that a
replay makes hard to count. Pure: no clock, no sockets.
"""

import json
import random
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from tests import frames


class Nature(StrEnum):
    """What a chat is tried with, besides what all are. Of two of these at once nobody could always say which of two
    events is which (`docs/replay.md`)."""

    IDS_USED_AGAIN = "ids used again"  # some providers count tool calls from 0
    FRAMES_MISSING = "frames missing"  # damaged ones, and types that a replay leaves out
    NEWEST_PART = "newest part"  # all that some replays keep


def nature_of(seed: object, chat_id: str) -> Nature:
    """Which of them it is."""
    return random.Random(f"{seed}/{chat_id}/nature").choice(list(Nature))


class Talk:
    """One chat. `history` is the truth: all that happened, in order; `commands` are all that were received."""

    def __init__(self, chat_id: str, seed: object) -> None:
        self.chat_id = chat_id
        self.history: list[str] = [frames.metadata(chat_id), frames.assistant("Hello, this is EVI.", "m-0")]
        self.commands: list[dict[str, Any]] = []
        self._random = random.Random(f"{seed}/{chat_id}/talk")
        self._number = 0
        self._uses_ids_again = nature_of(seed, chat_id) is Nature.IDS_USED_AGAIN
        self._waiting_for: str | None = None
        self._paused = False

    def go_on(self) -> None:
        """Something happens by itself."""
        kinds, weights = zip(*_KINDS, strict=True)
        [kind] = self._random.choices(kinds, weights)
        kind(self)

    def speak_up(self) -> str:
        """EVI speaks, whatever it was told or waits for; the id of what it says."""
        self._waiting_for, self._paused = None, False
        self._assistant()
        return f"m-{self._number}"

    def take(self, command: dict[str, Any]) -> None:
        """A client has sent a command; EVI reacts as Hume documents it."""
        self.commands.append(command)
        match command["type"]:
            case "user_input":
                self._add(frames.typed(command["text"], self._next()))
                self._assistant()
            case "assistant_input":
                self._add(frames.assistant(command["text"], f"m-{self._next()}", from_text=True), frames.end())
            case "tool_response" | "tool_error" if command["tool_call_id"] == self._waiting_for:
                self._waiting_for = None
                self._assistant()
            case "pause_assistant_message":
                self._paused = True
            case "resume_assistant_message":
                self._paused = False

    def _add(self, *made: str) -> None:
        self.history.extend(made)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _user(self) -> None:
        number = self._next()
        text = f"{self.chat_id} user {number}"
        self._add(frames.user(text[:-1], number * 1000, interim=True), frames.user(text, number * 1000))
        self._waiting_for = None  # EVI drops a call when the user moves on (Hume's page on tool use)

    def _assistant(self) -> None:
        if self._paused or self._waiting_for:
            return  # silenced, or waiting for the answer to a tool call
        id = f"m-{self._next()}"
        quick = self._random.random() < 0.2
        self._add(frames.assistant(f"{self.chat_id} assistant {id}", id, quick=quick), frames.prosody(id))
        self._add(*(frames.audio(id, index) for index in range(self._random.randrange(3))))
        if self._random.random() < 0.8:
            self._add(frames.end())

    def _tool_call(self) -> None:
        if self._paused or self._waiting_for:
            return
        self._waiting_for = f"call-{self.chat_id}-{self._next()}"
        self._add(frames.tool_call(self._waiting_for, parameters=json.dumps({"number": self._number})))

    def _builtin(self) -> None:
        id = f"builtin-{self.chat_id}-{self._next()}"
        self._add(frames.tool_call(id, "web_search", response_required=False, tool_type="builtin"))
        answer = frames.tool_error if self._random.random() < 0.3 else frames.tool_response
        self._add(answer(id, f"found {self._number}"))

    def _builtin_of_a_provider_that_counts_from_0(self) -> None:
        id = f"call_{self._random.randrange(2) if self._uses_ids_again else self._next()}"
        self._add(frames.tool_call(id, "web_search", "{}", response_required=False, tool_type="builtin"))
        self._add(frames.tool_response(id, "found nothing"))

    def _filler(self) -> None:
        if not self._paused and not self._waiting_for:
            number = self._random.randrange(2) if self._uses_ids_again else self._next()
            self._add(frames.assistant("Hm.", f"filler-{number}", quick=True))

    def _someone_answers(self) -> None:
        if self._waiting_for:
            self._add(frames.tool_response(self._waiting_for, "somebody else's answer"))
            self._waiting_for = None
            self._assistant()

    def _one_of(self, *alike: str) -> None:
        self._add(self._random.choice(alike))


_KINDS: list[tuple[Callable[[Talk], None], int]] = [
    (Talk._user, 5),
    (Talk._assistant, 6),
    (Talk._tool_call, 2),
    (Talk._builtin, 1),
    (Talk._builtin_of_a_provider_that_counts_from_0, 1),
    (Talk._filler, 1),
    (lambda talk: talk._add(frames.user("Yes.", 0, end=0)), 1),
    (Talk._someone_answers, 1),
    (lambda talk: talk._one_of(frames.typed("yes"), frames.typed("no")), 1),
    (lambda talk: talk._one_of(frames.settings(voice_id="a"), frames.settings(voice_id="b")), 1),
    (lambda talk: talk._one_of(frames.error("W0001", "slow", "slow"), frames.error("E0705", "llm", "gone")), 1),
    (lambda talk: talk._one_of(frames.frame("something_new", value=1), frames.frame("something_new", value=2)), 1),
    (lambda talk: talk._add(frames.interruption(1762430123 + talk._next())), 1),
]
