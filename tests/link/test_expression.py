"""Scores that a bot gives: nobody but EVI has them by itself."""

import anyio
import pytest

from evi_mcp.hub import Hub
from evi_mcp.link import ChatLink
from tests.harness import agent_on, supervising

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("score", ["Anger", "weariness"])
async def test_scores_that_come_after_the_callers_words_join_them_and_wake_who_waits_for_them(score: str) -> None:
    """What scores a voice is slower than what transcribes it; a supervisor looks at the words with their expression."""
    async with Hub() as hub, ChatLink(hub.base_url or "", chat_id="call-1") as link:
        first = link.user_message("Where is my parcel?")
        link.assistant_message("In Lyon.")
        link.user_message("Still in Lyon?")
        async with supervising(connector=hub.connector) as server, agent_on(server) as agent:
            with anyio.fail_after(20):
                while link.unsent or link.state != "live":  # noqa: ASYNC110  # until the hub has all of it
                    await anyio.sleep(0.01)
            await agent.call("attach_chat", chat_id="call-1")
            assert not (await agent.call("get_expression", chat_id="call-1")).get("scores")
            link.expression(first, {score: 0.8, "Calmness": 0.1})  # one of EVI's 48, or a name of its own
            angry = {"kind": "expression", "score": score, "at_least": 0.5}
            waiting = {"after": "earliest", "chat_ids": ["call-1"], "timeout_s": 20}
            page = {"woken_by": "no_scores"}
            with anyio.fail_after(20):
                while page["woken_by"] == "no_scores":  # it was asked for before the hub had it
                    page = await agent.call("wait_for_events", **waiting, until=[angry])
            assert page["woken_by"] == "trigger"
            said = await agent.call("get_transcript", chat_id="call-1")
            turns = {turn["text"]: turn.get("expression") for turn in said["turns"]}
            assert score in str(turns["Where is my parcel?"]) and not turns["Still in Lyon?"]
            found = await agent.call("get_expression", chat_id="call-1", last_turns=2)
            assert score in str(found)
