"""States, reconnecting, refusals and ends, on real sockets."""

import anyio
import pytest

from evi_mcp.supervision import live_chat, registry
from evi_mcp.upstream import websocket
from tests import frames
from tests.chaos.faults import Fault, Kind, Schedule
from tests.chaos.proxy import breaking
from tests.chaos.truth import Truth, telling
from tests.fake_evi import KEY, FakeEvi
from tests.harness import CHAT, Agent, agent_on, service_behind, supervising

pytestmark = pytest.mark.anyio


async def test_after_a_cut_the_cursor_goes_on_without_loss_or_repeat(evi: FakeEvi, agent: Agent) -> None:
    """Our contract (section 4): EVI replays all on each connect; the log takes only what it had not."""
    evi.history[CHAT] = [frames.metadata(), frames.user("one", 1), frames.assistant("two", "m-1"), frames.end()]
    cursor = (await agent.call("attach_chat", chat_id=CHAT))["cursor"]
    evi.cut(CHAT)
    evi.history[CHAT] += [frames.user("missed", 2000), frames.assistant("also", "m-2"), frames.end()]
    page = await agent.call("wait_for_events", after=cursor, types=["assistant_end"])
    await agent.until_state("live")
    await evi.push(CHAT, frames.user("three", 3000), frames.end())
    after = page["cursor"]
    await agent.call("wait_for_events", after=after, types=["assistant_end"])
    types = ["chat_state", "user_message", "assistant_message", "assistant_end"]
    events = (await agent.call("read_events", chat_id=CHAT, after=cursor, types=types))["events"]
    assert [event.get("text") or event.get("state") or event["type"] for event in events] == [
        "reconnecting",
        "missed",
        "also",
        "assistant_end",
        "live",
        "three",
        "assistant_end",
    ]
    assert (await agent.call("get_chat", chat_id=CHAT))["reconnects"] == 1


async def test_a_replay_that_leaves_types_out_swallows_no_live_event(evi: FakeEvi, agent: Agent) -> None:
    """Our contract (section 4): what a service replays is not documented, type by type."""
    evi.history[CHAT] = [frames.metadata(), frames.assistant("a", "m-1"), frames.end(), frames.typed("yes")]
    cursor = (await agent.call("attach_chat", chat_id=CHAT))["cursor"]
    evi.left_out = {"assistant_end", "user_message"}
    evi.cut(CHAT)
    await agent.call("wait_for_events", after=cursor, types=["chat_state"])
    await agent.until_state("live")
    await evi.push(CHAT, frames.end(), frames.typed("yes"))
    await agent.call("wait_for_events", after=cursor, types=["user_message"])
    types = ["assistant_end", "user_message"]
    events = (await agent.call("read_events", chat_id=CHAT, after=cursor, types=types))["events"]
    assert [event["type"] for event in events] == types


async def test_a_close_with_1000_ends_the_chat_and_nothing_reconnects(evi: FakeEvi, agent: Agent) -> None:
    """Hume: 1000 is a normal end (user left, timeouts, hang_up)."""
    evi.history[CHAT] = [frames.metadata(), frames.user("bye", 1)]
    await agent.call("attach_chat", chat_id=CHAT)
    await evi.close(CHAT, 1000, "hung up")
    chat = await agent.until_state("ended")
    assert chat["reason"] == 'EVI closed the chat: "hung up"'
    assert len(evi.handshakes) == 1


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013])
async def test_any_other_close_reconnects(evi: FakeEvi, agent: Agent, code: int) -> None:
    """Our contract (section 3): anything but 1000 and a refusal that cannot heal is passing trouble. A close
    with 1008, or 4000 and more, right after the accept is such a refusal (`test_lifecycle.py`)."""
    evi.history[CHAT] = [frames.metadata()]
    cursor = (await agent.call("attach_chat", chat_id=CHAT))["cursor"]
    await evi.close(CHAT, code)
    page = await agent.call("wait_for_events", after=cursor, types=["chat_state"])
    assert page["events"][0]["state"] == "reconnecting"
    assert str(code) in page["events"][0]["reason"]
    await agent.until_state("live")


async def test_a_404_after_a_chat_was_live_means_that_it_is_over(evi: FakeEvi, agent: Agent) -> None:
    """Our contract (section 3)."""
    evi.history[CHAT] = [frames.metadata()]
    await agent.call("attach_chat", chat_id=CHAT)
    evi.refuse[CHAT] = 404
    evi.cut(CHAT)
    assert "404" in (await agent.until_state("ended"))["reason"]


async def test_a_refusal_on_reconnecting_that_cannot_heal_fails_the_chat(evi: FakeEvi, agent: Agent) -> None:
    """Our contract (section 3): `failed`, at once, with the status; the log stays readable."""
    evi.history[CHAT] = [frames.metadata(), frames.user("hello", 1)]
    await agent.call("attach_chat", chat_id=CHAT)
    evi.refuse[CHAT] = 403
    evi.cut(CHAT)
    assert "HTTP 403" in (await agent.until_state("failed"))["reason"]
    assert (await agent.call("read_events", chat_id=CHAT))["events"][0]["text"] == "hello"


@pytest.mark.parametrize(
    ("status", "rest", "said"),
    [
        (401, None, "check HUME_API_KEY"),
        (403, {"id": CHAT, "status": "ACTIVE"}, "allow_connection=true"),
        (403, None, "allow_connection=true"),
        (404, {"id": CHAT, "status": "USER_ENDED"}, "the chat is over (USER_ENDED)"),
        (404, None, "allow_connection=true"),
        (400, None, "HTTP 400"),
    ],
)
async def test_an_attach_that_can_never_succeed_says_why_and_leaves_nothing(
    evi: FakeEvi, agent: Agent, status: int, rest: dict[str, str] | None, said: str
) -> None:
    """Our contract (section 3): a tool error with the status and the likely cause."""
    evi.refuse[CHAT] = status
    if rest:
        evi.chats[CHAT] = rest
    text = await agent.error("attach_chat", chat_id=CHAT)
    assert said in text and f"HTTP {status}" in text
    assert (await agent.call("list_chats"))["chats"] == []


async def test_a_wrong_key_is_refused_without_being_shown(evi: FakeEvi) -> None:
    """Our contract (section 7): a key appears in no error."""
    async with supervising(evi, hume_api_key="wrong-key-1234") as server, agent_on(server) as agent:
        text = await agent.error("attach_chat", chat_id=CHAT)
    assert "check HUME_API_KEY" in text and "1234" not in text


async def test_the_key_goes_into_a_header_and_into_no_address(evi: FakeEvi, agent: Agent) -> None:
    """Our contract (section 2): addresses end up in logs of proxies and services."""
    evi.history[CHAT] = [frames.metadata()]
    await agent.call("attach_chat", chat_id=CHAT)
    await agent.call("list_chats", scope="active")
    for path, headers in evi.handshakes:
        assert KEY not in path
        assert {key.lower(): value for key, value in headers.items()}["x-hume-api-key"] == KEY


async def test_without_a_key_the_server_runs_and_says_what_is_missing(evi: FakeEvi) -> None:
    """Our contract (section 2)."""
    async with supervising(evi, hume_api_key=None) as server, agent_on(server) as agent:
        assert "HUME_API_KEY is not set" in await agent.error("attach_chat", chat_id=CHAT)
        assert "HUME_API_KEY is not set" in await agent.error("list_chats", scope="active")
        assert (await agent.call("list_chats"))["chats"] == []


async def test_while_the_service_refuses_for_now_an_attach_waits_and_then_gives_the_reason(
    evi: FakeEvi, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our contract (section 3): the chat comes back as `connecting`, and goes live when the service lets it."""
    monkeypatch.setattr(registry, "ATTACH_PATIENCE_S", 0.5)
    evi.refuse[CHAT] = 503
    evi.history[CHAT] = [frames.metadata()]
    chat = await agent.call("attach_chat", chat_id=CHAT)
    assert (chat["state"], "HTTP 503" in chat["reason"]) == ("connecting", True)
    del evi.refuse[CHAT]
    await agent.until_state("live")


async def test_a_dead_service_is_told_from_a_refusing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens there: that may pass, so it is no error, but the reason is said."""
    monkeypatch.setattr(registry, "ATTACH_PATIENCE_S", 0.3)
    async with supervising(None) as server, agent_on(server) as agent:
        chat = await agent.call("attach_chat", chat_id=CHAT)
        assert (chat["state"], "cannot be reached" in chat["reason"]) == ("connecting", True)


async def test_failed_reconnecting_ends_after_the_time_that_is_set(evi: FakeEvi) -> None:
    """Our contract (section 2, EVI_MCP_RECONNECT_FOR)."""
    evi.history[CHAT] = [frames.metadata()]
    with anyio.fail_after(20):
        async with supervising(evi, reconnect_for=0.5) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id=CHAT)
            evi.refuse[CHAT] = 503
            evi.cut(CHAT)
            assert "gave up after 0.5 s" in (await agent.until_state("failed"))["reason"]


async def test_a_chat_that_says_nothing_is_live_after_a_while(evi: FakeEvi, agent: Agent) -> None:
    """Our contract (section 3): a first frame is awaited for 2 s."""
    assert (await agent.call("attach_chat", chat_id=CHAT))["state"] == "live"


async def test_a_frame_of_twelve_megabytes_is_taken_in(evi: FakeEvi, agent: Agent) -> None:
    """Hume's FAQ: messages have up to 16 MB; the library's own limit of 1 MiB would close the chat."""
    evi.history[CHAT] = [frames.metadata(), frames.audio("m-1", 0, "A" * (12 * 2**20)), frames.user("after", 5)]
    chat = await agent.call("attach_chat", chat_id=CHAT)
    assert (chat["state"], chat["reconnects"]) == ("live", 0)
    assert chat["last_turns"][0]["text"] == "after"


async def test_the_limit_of_chats_is_told_with_the_count(evi: FakeEvi) -> None:
    """Our contract (section 2, EVI_MCP_MAX_CHATS)."""
    evi.history["a"] = evi.history["b"] = [frames.metadata()]
    async with supervising(evi, max_chats=1) as server, agent_on(server) as agent:
        await agent.call("attach_chat", chat_id="a")
        assert "1 chats are attached, which is the limit" in await agent.error("attach_chat", chat_id="b")
        await agent.call("detach_chat", chat_id="a")
        await agent.call("attach_chat", chat_id="b")


async def test_attaching_twice_or_by_two_agents_is_one_connection(evi: FakeEvi) -> None:
    """Our contract (section 3)."""
    evi.history[CHAT] = [frames.metadata()]
    async with supervising(evi) as server, agent_on(server) as one, agent_on(server, "legacy") as other:
        async with anyio.create_task_group() as group:
            for agent in (one, other, one):
                group.start_soon(lambda agent: agent.call("attach_chat", chat_id=CHAT), agent)
        assert len(evi.sockets[CHAT]) == len(evi.handshakes) == 1


async def test_detaching_closes_with_1000_and_wakes_every_wait(evi: FakeEvi, agent: Agent) -> None:
    """Our contract (section 3): reason `detached`; the log is dropped, the chat itself is not harmed."""
    evi.history[CHAT] = [frames.metadata()]
    cursor = (await agent.call("attach_chat", chat_id=CHAT))["cursor"]
    async with agent.waiting(after=cursor, types=["tool_call"]) as pages:
        await agent.call("wait_for_events", after=cursor, timeout_s=0.1)
        await agent.call("detach_chat", chat_id=CHAT)
    assert (pages[0]["woken_by"], pages[0]["reason"]) == ("chat_ended", "detached")
    await evi.until(lambda: evi.closes[CHAT])
    assert evi.closes[CHAT] == [1000]
    assert "no chat is attached" in await agent.error("wait_for_events")


async def test_a_fault_in_one_chats_task_ends_no_other_chat(
    evi: FakeEvi, agent: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of ours must cost one chat at most; it fails, says so, and its socket is closed."""
    evi.history["good"], evi.history["bad"] = [frames.metadata("good")], [frames.metadata("bad")]
    receive = live_chat.LiveChat.receive

    def faulty(chat: live_chat.LiveChat, frame: str | bytes) -> None:
        if "the frame that shows the bug" in str(frame):
            raise RuntimeError("a bug")
        receive(chat, frame)

    monkeypatch.setattr(live_chat.LiveChat, "receive", faulty)
    await agent.call("attach_chat", chat_id="good")
    await agent.call("attach_chat", chat_id="bad")
    await evi.push("bad", frames.user("the frame that shows the bug", 1))
    chat = await agent.until_state("failed", "bad")
    assert "this server failed" in chat["reason"]
    assert "a bug" in caplog.text
    await evi.push("good", frames.user("y", 1))
    await agent.call("wait_for_events", chat_ids=["good"], after="earliest", types=["user_message"])
    await evi.until(lambda: evi.closes["bad"])


async def test_closing_the_server_closes_every_socket_with_1000(evi: FakeEvi) -> None:
    """Our contract (section 3), whatever the number of chats."""
    chats = [f"chat-{n}" for n in range(20)]
    async with supervising(evi) as server, agent_on(server) as agent, anyio.create_task_group() as group:
        for chat_id in chats:
            group.start_soon(lambda chat_id: agent.call("attach_chat", chat_id=chat_id), chat_id)
            evi.history[chat_id] = [frames.metadata(chat_id)]
    assert service_behind(server).registry.chats() == []
    await evi.until(lambda: sum(map(len, evi.closes.values())) == 20)
    assert {code for codes in evi.closes.values() for code in codes} == {1000}


async def test_a_service_that_says_goodbye_and_does_not_hang_up_is_left_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event and no command can come or go on such a socket; pings would keep it for 20 s and more."""
    monkeypatch.setattr(websocket, "PING_INTERVAL_S", 600.0)
    async with telling(Truth("goodbye", [CHAT])) as truth, breaking(truth.port, _Lingering()) as proxy:
        async with supervising(base_url=proxy.base_url) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id=CHAT)
            said = truth.speak_up(CHAT)
            with anyio.fail_after(60):
                await agent.until_state("reconnecting")
                await agent.until_state("live")
            assert proxy.done == {"linger": 1}
            page = await agent.call("read_events", chat_id=CHAT)
            assert [event.get("message_id") for event in page["events"]].count(said) == 1


class _Lingering(Schedule):
    """Says goodbye on the first connection, where live events begin."""

    def __init__(self) -> None:
        super().__init__("lingering")

    def refusal(self, chat_id: str, connection: int) -> int | None:
        return None

    def faults(self, chat_id: str, connection: int, history: int) -> list[Fault]:
        return [Fault(Kind.LINGER, history, 1011)] if connection == 1 else []
