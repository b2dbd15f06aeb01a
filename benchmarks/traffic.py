"""A realistic chat, as frames: what a service sends while a person and EVI talk.

The frames are distinct and always the same, so that a replay repeats what was sent and nothing is cheap for being
known already.
"""

import base64
import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

from evi_mcp.protocol.prosody import SCORE_NAMES

AUDIO_CHARS = 64 * 1024
"""Of one `audio_output`: 48 kHz, 16 bits, mono give some 128 Ki characters for a second of speech."""
TURNS_IN_A_PERIOD = 4
PERIOD = 86
"""Frames until the mix repeats itself: 48 of them are audio, 2 are a tool call and its answer."""
PERIOD_WITHOUT_AUDIO = PERIOD - 48
STAMP = "stamp "
"""What is followed, in a text, by the time at which it was sent (`time.monotonic_ns`, which all processes share)."""

_AUDIO = base64.b64encode(random.Random(1).randbytes(AUDIO_CHARS // 4 * 3)).decode()


def frames(*, audio: bool) -> Iterator[str]:
    """The frames of an endless chat, after its `chat_metadata`; `audio` says whether EVI's voice is among them."""
    numbers = random.Random(2)
    turn = 0
    while True:
        for _ in range(TURNS_IN_A_PERIOD):
            turn += 1
            yield from _turn(turn, numbers, audio)
        yield _frame("tool_call", tool_call_id=_id(turn, 8), name="parcel_status", tool_type="function",
                     parameters=json.dumps({"number": f"LY-{turn}"}), response_required=True)  # fmt: skip
        yield _frame("tool_response", tool_call_id=_id(turn, 8), tool_name="parcel_status", tool_type="function",
                     content=json.dumps({"place": "Lyon", "eta": "tomorrow", "turn": turn}))  # fmt: skip


def greeting(chat_id: str) -> str:
    """The frame that opens every connection."""
    return _frame("chat_metadata", chat_id=chat_id, chat_group_id="group-1", request_id="request-1")


def last_word(number: int) -> str:
    """A frame that no turn has, to tell that all before it has arrived."""
    return _frame("user_interruption", time=number)


def said(text: str, number: int) -> str:
    """A short utterance of the user, with scores; `number` makes it another one."""
    return _user(text, number * 1000, interim=False, scores=_scores(random.Random(number % 16)))


def _turn(turn: int, numbers: random.Random, audio: bool) -> Iterator[str]:
    begin = turn * 10_000
    words = f"I have been waiting for my parcel for {turn} days now and nobody can tell me where it is".split()
    for heard in (4, 8, 12, 16):
        yield _user(" ".join(words[:heard]), begin, interim=True, scores={})
    yield _user(" ".join(words) + ".", begin, interim=False, scores=_scores(numbers))
    for part, text in enumerate(
        (f"I am sorry to hear that, let me look at {turn}.", "One moment, please; it is here.")
    ):
        name, scores = _id(turn, part), _scores(numbers)
        # Older EVI scores its own messages, newer EVI sends the scores after them.
        models = {"prosody": {"scores": scores}} if part == 0 else {}
        yield _frame("assistant_message", id=name, message={"role": "assistant", "content": text}, models=models,
                     from_text=False, is_quick_response=False)  # fmt: skip
        for index in range(6 if audio else 0):
            yield _frame("audio_output", id=name, index=index, data=_AUDIO)
        if part:
            yield _frame("assistant_prosody", id=name, models={"prosody": {"scores": scores}})
    yield _frame("assistant_end")


def _user(text: str, begin: int, *, interim: bool, scores: dict[str, float]) -> str:
    return _frame("user_message", message={"role": "user", "content": text},
                  models={"prosody": {"scores": scores}} if scores else {},
                  time={"begin": begin, "end": begin + 100 * len(text)}, from_text=False, interim=interim)  # fmt: skip


def _scores(numbers: random.Random) -> dict[str, float]:
    return {name: numbers.random() ** 3 for name in SCORE_NAMES}


def _id(turn: int, part: int) -> str:
    return hashlib.blake2b(f"{turn}/{part}".encode(), digest_size=16).hexdigest()


def _frame(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})
