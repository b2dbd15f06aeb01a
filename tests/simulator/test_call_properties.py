"""No client can make a simulated chat fail, whatever it sends and whenever."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.protocol.codec import decode
from evi_mcp.protocol.messages import ProtocolFault
from evi_mcp.simulator.scenario import scenarios
from tests.simulator.play import Play

TYPES = (
    "user_input",
    "assistant_input",
    "tool_response",
    "tool_error",
    "session_settings",
    "pause_assistant_message",
    "resume_assistant_message",
    "audio_input",
)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    ["text", "content", "error", "tool_call_id", "context", "tools", "variables", "metadata", "data"]
)
objects = st.builds(
    lambda kind, fields: {**fields, "type": kind}, st.sampled_from(TYPES), st.dictionaries(names, values)
)
proper = st.one_of(
    st.builds(lambda text: {"type": "user_input", "text": text}, st.text(min_size=1, max_size=30)),
    st.builds(lambda text: {"type": "assistant_input", "text": text}, st.text(min_size=1, max_size=30)),
    st.builds(
        lambda content: {"type": "tool_response", "tool_call_id": "LAST", "content": content},
        st.text(max_size=30) | values.map(lambda value: json.dumps(value)),
    ),
    st.just({"type": "tool_error", "tool_call_id": "LAST", "error": "no"}),
    st.builds(
        lambda text: {"type": "session_settings", "context": {"text": text}, "metadata": {"m": text}},
        st.text(max_size=30),
    ),
    st.sampled_from([{"type": "pause_assistant_message"}, {"type": "resume_assistant_message"}]),
)
frames = st.text(max_size=30) | st.binary(max_size=30) | (objects | proper).map(json.dumps)


@given(
    script=st.sampled_from([None, *scenarios()]),
    verbose=st.booleans(),
    moves=st.lists(st.tuples(st.floats(0, 20), frames), max_size=25),
)
def test_no_sequence_of_frames_makes_the_call_fail(
    script: str | None, verbose: bool, moves: list[tuple[float, str | bytes]]
) -> None:
    """Garbage is answered, never raised; whatever comes back is EVI's protocol, and the chat comes to its end."""
    play = Play(script, verbose=verbose, tool_timeout_s=5, inactivity_timeout_s=30, speed=4)
    for seconds, frame in moves:
        play.wait(seconds)
        calls = play.of("tool_call")
        if isinstance(frame, str) and calls:
            frame = frame.replace("LAST", calls[-1]["tool_call_id"])
        play.raw(frame)
    play.send("resume_assistant_message")
    play.to_the_end()
    assert play.call.ending is not None
    for entry in play.chat.history:
        assert not isinstance(decode(entry.frame.decode()), ProtocolFault)


@given(moves=st.lists(st.tuples(st.floats(0, 20), proper), max_size=20))
def test_while_paused_evi_makes_no_message_and_calls_no_tool(moves: list[tuple[float, dict[str, Any]]]) -> None:
    """Hume's pause guide, at any moment of a call, with whatever else clients do."""
    play = Play("booking", tool_timeout_s=5, speed=4)
    paused = False
    for seconds, message in moves:
        came = play.wait(seconds)
        if paused:
            assert not [
                event
                for event in came
                if event["type"].startswith("tool_")
                or (event["type"] == "assistant_message" and not event["from_text"])
            ]
        play.raw(json.dumps(message))
        paused = {"pause_assistant_message": True, "resume_assistant_message": False}.get(message["type"], paused)
