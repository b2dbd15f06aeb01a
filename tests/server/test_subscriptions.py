"""What is kept of subscriptions, and of what is yet to be told, is bounded in number and in size."""

import anyio
import pytest
from mcp.server.subscriptions import ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError

from evi_mcp import uris
from evi_mcp.chat.events import Event
from evi_mcp.server import updates
from evi_mcp.server.updates import Subscriptions, Updates
from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, agent_on, supervising

pytestmark = pytest.mark.anyio


def audio(number: int) -> str:
    return uris.audio("c", f"{'я' * 240}{number:05}")


def voice(message_id: str, seq: int = 1) -> Event:
    return Event(seq=seq, chat_id="c", at=1.0, type="audio_output", message_id=message_id)


def test_the_subscriptions_of_one_client_are_bounded_in_size() -> None:
    """Ten thousand addresses of 4 KiB are 40 MiB; those of all views of a thousand chats are far below the bound."""
    subscriptions = Subscriptions()
    many = [audio(number) for number in range(updates.MAX_CHARS // len(audio(0)))]
    subscriptions.add(many[:-1])
    with pytest.raises(MCPError, match="leave some first"):
        subscriptions.add(many[:2], beside=many[:-1])
    with pytest.raises(MCPError, match="leave some first"):
        Subscriptions().add([audio(number) for number in range(2 * len(many))])
    assert not Subscriptions()
    views = [
        uris.chat(f"{number:036}", view)
        for number in range(1000)
        for view in ("", "events", "transcript", "tool-calls")
    ]
    assert sum(map(len, views)) < updates.MAX_CHARS / 2
    Subscriptions().add(views)


def test_the_subscriptions_of_all_clients_are_bounded_in_size() -> None:
    """And what one has left, another can have."""
    subscriptions = Subscriptions()
    share = [audio(number) for number in range(updates.MAX_CHARS // len(audio(0)))]
    while True:
        try:
            subscriptions.add(share)
        except MCPError as error:
            assert "try later" in error.error.message
            break
    subscriptions.discard(share)
    subscriptions.add(share)


def test_a_refused_subscription_leaves_nothing_behind() -> None:
    """Half of a list would be told of, and nobody had asked for half."""
    subscriptions = Subscriptions()
    with pytest.raises(MCPError):
        subscriptions.add([uris.CHATS, "evi://nothing"])
    assert not subscriptions and uris.CHATS not in subscriptions
    subscriptions.add([uris.CHATS, uris.CHATS])
    subscriptions.add([uris.CHATS])
    subscriptions.discard([uris.CHATS, uris.CHATS])
    assert uris.CHATS in subscriptions
    subscriptions.discard([uris.CHATS])
    assert not subscriptions


async def test_nothing_is_kept_of_changes_that_nobody_asked_for(evi: FakeEvi) -> None:
    """A flood of messages changes a resource for each of them, and a subscriber wants one."""
    told: list[ServerEvent] = []
    evi.history[CHAT] = [frames.metadata()]
    with anyio.fail_after(20):
        async with supervising(evi) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id=CHAT)
            leave = server._updates.bus.subscribe(told.append)
            wanted = uris.audio(CHAT, "m-500")
            async with agent.client.listen(resource_subscriptions=[wanted]) as stream:
                await evi.push(CHAT, *(frames.audio(f"m-{number}") for number in range(1000)))
                async for event in stream:
                    if getattr(event, "uri", None) == wanted:
                        break
            leave()
    assert {event.uri for event in told if isinstance(event, ResourceUpdated)} <= {wanted, uris.CHATS}


async def test_who_hears_of_nothing_costs_nothing() -> None:
    """Most events of most chats change what nobody has subscribed to."""
    made = Updates(lambda *_: None)
    for number in range(100):
        made.see(voice(f"m-{number}", number + 1))
    told: list[ServerEvent] = []
    made.bus.subscribe(told.append)
    async with anyio.create_task_group() as group:
        group.start_soon(made.run)
        await anyio.wait_all_tasks_blocked()
        assert not told
        group.cancel_scope.cancel()
