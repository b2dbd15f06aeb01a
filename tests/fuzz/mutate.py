"""New scripts from old ones: of bytes, of lines, and of the JSON in them, since random bytes rarely are a frame."""

import json
import random
from typing import Any

from evi_mcp.protocol.messages import KNOWN_TYPES
from tests import frames
from tests.fuzz.script import SECRET

MAX_SIZE = 8192
"""Bytes of a script; more is slower and finds no more."""

SEEDS = [
    frames.metadata(),
    frames.user("Where is it?", 100),
    frames.user("Where", 100, interim=True),
    frames.typed("yes"),
    frames.assistant("In Lyon.", "m-1"),
    frames.prosody("m-1"),
    frames.frame("user_prosody", id="u-1", models={"prosody": {"scores": {"Anger": 0.5}}}),
    frames.audio("m-1", 0, frames.wav(b"\1\2" * 4)),
    frames.end(),
    frames.interruption(),
    frames.tool_call("call_1"),
    frames.tool_response("call_1"),
    frames.tool_error("call_1"),
    frames.error("E0101"),
    frames.settings(system_prompt="x", language_model_api_key=SECRET, variables={"a": 1}),
    frames.frame("chat_paused", by={"who": "x"}),
    frames.frame("chat_state", state="ended"),
    frames.frame("command", command="pause", text=SECRET),
]
"""A frame of each type that a schema names, in the forms that differ, one of another type, and two of our own types."""

_FIELDS = sorted(
    {name for model in KNOWN_TYPES.values() for name in model.model_fields} | {"content", "role", "scores"}
)
_ODD: list[Any] = [
    *(None, True, 0, -1, 1e308, -1e308, 5e-324, 2**31, 2**63, 10**40, "", " ", "\0", "\n[9 14:03:01] user ", '"', "\\"),
    *("\ud800", "\U000e0041", "\u202e", "x" * 300, SECRET, f"a{SECRET}b", json.dumps(SECRET), [], {}, [[]], {"": {}}),
    *(float("nan"), float("inf"), {"prosody": {"scores": {SECRET: 0.5, "Anger": 1e308}}}, {"begin": 1, "end": 2}),
    *(json.dumps({"k": SECRET}), json.dumps({"k": SECRET}).replace("/", "\\/"), "NaN", "1e999", "m-1", "call_1"),
]


def mutated(script: bytes, rng: random.Random, most: int = MAX_SIZE) -> bytes:
    """The script with a few changes."""
    lines = script.split(b"\n")
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(lines))
        match rng.randrange(9):
            case 8:
                lines[place] = rng.choice([b"!", b"+", b"++", b"+++", b"\xef\xbb\xbf", b"!\xef\xbb\xbf"]) + lines[place]
            case 0:
                lines.insert(place, rng.choice(SEEDS).encode())
            case 1:
                lines.insert(place, b"")
            case 2:
                lines[place : place + rng.randint(1, 3)] = [rng.choice(lines)]
            case 3:
                lines += lines[place : place + rng.randint(1, 8)]
            case 4:
                lines[place] = _bytes(lines[place], rng)
            case _:
                lines[place] = _field(lines[place], rng)
    return b"\n".join(lines)[:most]


def _bytes(line: bytes, rng: random.Random) -> bytes:
    start, stop = sorted((rng.randint(0, len(line)), rng.randint(0, len(line))))
    match rng.randrange(4):
        case 0:
            return line[:start] + rng.randbytes(rng.randint(1, 4)).replace(b"\n", b"") + line[start + 1 :]
        case 1:
            return line[:start] + line[stop:]
        case 2:
            return line[:start] + line[start:stop] * rng.randint(2, 40) + line[stop:]
        case _:
            return line[:start] + rng.choice([b"[" * 300, b"9" * 400, b'"', b"{", b"\\u0000", b"\\ud83d"]) + line[stop:]


def _field(line: bytes, rng: random.Random) -> bytes:
    """The frame with one value somewhere in it changed, added or taken away; another frame if it is none."""
    try:
        frame = json.loads(line)
    except (ValueError, RecursionError):
        frame = None
    if not isinstance(frame, dict):
        return rng.choice(SEEDS).encode()
    inside: dict[Any, Any] = frame
    while (deeper := [value for value in inside.values() if isinstance(value, dict)]) and rng.random() < 0.5:
        inside = rng.choice(deeper)
    name = rng.choice([*inside, rng.choice(_FIELDS), rng.choice(["", SECRET, "x" * 50])])
    match rng.randrange(5):
        case 0:
            inside.pop(name, None)
        case 1 if name in inside:
            inside[rng.choice(_FIELDS)] = inside[name]
        case 2 if name in inside:  # of another JSON type
            value = inside[name]
            inside[name] = rng.choice([[value], {"a": value}, json.dumps(value), len(str(value))])
        case _:
            inside[name] = rng.choice(_ODD)
    made = json.dumps(frame, ensure_ascii=rng.random() < 0.8).replace("/", "\\/" if rng.random() < 0.2 else "/")
    return made.encode("utf-8", "replace").replace(b"\n", b" ")
