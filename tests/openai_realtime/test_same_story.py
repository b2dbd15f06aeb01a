"""The scripted calls on both wires: an agent reads the same story, whichever service carries the call."""

from typing import Any

import pytest

from tests.openai_realtime.play import Play as RealtimePlay
from tests.openai_realtime.play import turns
from tests.simulator.play import Play as EviPlay

FOUND = '{"status": "in transit", "eta": "Friday", "code": "M-77"}'
Story = list[tuple[str, str]]


def on_evi(script: str) -> list[dict[str, Any]]:
    play = EviPlay(script)
    answered: set[str] = set()
    while play.call.ending is None:
        play.wait(1.0)
        for message in play.of("tool_call"):
            if message["response_required"] and message["tool_call_id"] not in answered:
                answered.add(message["tool_call_id"])
                play.send("tool_response", tool_call_id=message["tool_call_id"], content=FOUND)
                play.events.append({"type": "tool_response", "content": FOUND})  # its sender is not shown it
    return play.events


def on_realtime(script: str) -> list[dict[str, Any]]:
    play = RealtimePlay(script)
    while play.call.ending is None:
        for message in play.wait(1.0):
            if message["type"] == "tool_call" and message["response_required"]:
                play.command("tool_response", tool_call_id=message["tool_call_id"], content=FOUND)
    return play.messages


def compared(story: Story) -> Story:
    """A built-in tool of one service is a tool of the other's server: what it is given is the same."""
    return [turn for turn in story if turn[0] != "tool_call" or not turn[1].startswith("hang_up")]


@pytest.mark.parametrize("script", ["support", "booking", "quiet"])
def test_an_agent_reads_the_same_turns_tools_and_interruptions(script: str) -> None:
    """But for one thing: a line that was cut stands whole where the service makes it faster than it is heard, and EVI
    has only the sentences that were begun."""
    evi, realtime = compared(turns(on_evi(script))), compared(turns(on_realtime(script)))
    assert len(evi) == len(realtime)
    for place, (one, other) in enumerate(zip(evi, realtime, strict=True)):
        cut = place + 1 < len(evi) and evi[place + 1][0] == "user_interruption"
        if cut:
            assert one[0] == other[0] == "assistant" and other[1].startswith(one[1])
        else:
            assert one == other
    assert sum(who == "user_interruption" for who, _ in realtime) == (1 if script == "support" else 0)
