"""How a voice has sounded: over turns, and with prosody that comes late."""

import pytest

from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent

pytestmark = pytest.mark.anyio


async def test_each_score_is_a_series_over_turns_with_mean_and_change(evi: FakeEvi, agent: Agent) -> None:
    """What matters is where a voice is going; a turn counts with the mean of its utterances."""
    evi.history[CHAT] = [
        frames.metadata(),
        frames.user("Hello.", 100, scores={"Joy": 0.4, "Anger": 0.1}),
        frames.assistant("Hi.", "m-1"),
        frames.end(),
        frames.typed("typed, so without a voice"),
        frames.assistant("Well.", "m-2"),
        frames.end(),
        frames.user("No.", 5000, scores={"Joy": 0.0, "Anger": 0.5}),
        frames.user("No!", 7000, scores={"Joy": 0.2, "Anger": 0.9, "Awe": 0.08}),
        frames.prosody("m-2", Sympathy=0.5),
    ]
    await agent.call("attach_chat", chat_id=CHAT)
    assert await agent.call("get_expression", chat_id=CHAT, top=2) == {
        "speaker": "user",
        "turns": 2,
        "scores": {
            "Anger": {"series": [0.1, 0.7], "mean": 0.4, "change": 0.6},
            "Joy": {"series": [0.4, 0.1], "mean": 0.25, "change": -0.3},
        },
    }
    late = await agent.call("get_expression", chat_id=CHAT, speaker="assistant")
    assert late == {
        "speaker": "assistant",
        "turns": 1,
        "scores": {"Sympathy": {"series": [0.5], "mean": 0.5, "change": 0.0}},
    }
    last = await agent.call("get_expression", chat_id=CHAT, last_turns=1)
    assert last["scores"]["Anger"]["series"] == [0.7]
    text = await agent.text("get_expression", chat_id=CHAT, top=1)
    assert text == "the user's voice over 2 turns, oldest first\nAnger: 0.1 0.7 (mean 0.4, change +0.6)"


async def test_before_anybody_has_spoken_there_is_nothing_to_tell(evi: FakeEvi, agent: Agent) -> None:
    """Not an error: a wait comes next."""
    evi.history[CHAT] = [frames.metadata()]
    await agent.call("attach_chat", chat_id=CHAT)
    assert await agent.call("get_expression", chat_id=CHAT) == {"speaker": "user", "turns": 0, "scores": {}}
    assert "known yet" in await agent.text("get_expression", chat_id=CHAT)
