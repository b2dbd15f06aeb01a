"""What the other side does wrong, over real loopback sockets: it costs that connection and nobody else."""

from contextlib import suppress

import anyio
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.clocks import HandClock
from tests.hub.rig import line
from tests.hub.wire import GONE, KEY, bot, consumer, eventually, hub, lines, resume, socket, the_rest, until

pytestmark = pytest.mark.anyio


async def test_garbage_on_a_link_ends_that_link_alone() -> None:
    """Ten frames that cannot be read, with a goodbye that says what is wrong; the bot may come back."""
    async with hub() as served, bot(served.base_url, "other") as other, consumer(served, "other") as watching:
        async with bot(served.base_url, "call-1") as broken:
            unreadable: list[str | bytes] = [
                "{",
                "[]",
                "\x00",
                "{}",
                b"\x00\xff",
                "null",
                "[" * 10_000,
                '{"n": -1}',
                '"',
            ]
            for garbage in [*unreadable, "x" * 10_000]:
                await broken.connection.send(garbage)
            frames, code, _ = await the_rest(broken.connection)
        assert code == 1008 and "10 frames could not be read" in frames[-1]["reason"]
        async with bot(served.base_url, resume=resume(broken)) as again:
            assert again.welcome["chat_id"] == "call-1"
        await other.say(line("unharmed"))
        assert await lines(watching, 1) == ["unharmed"]


async def test_a_frame_of_twenty_mebibytes_closes_its_link_with_1009() -> None:
    """Contract, section 9: at most 16 MiB. The close frame arrives although the frame is still being sent."""
    async with hub() as served, bot(served.base_url, "other") as other, consumer(served, "other") as watching:
        async with bot(served.base_url, "call-1") as large:
            async with anyio.create_task_group() as group:
                group.start_soon(_send_in_vain, large.connection, "x" * 20 * 2**20)
                frames, code, reason = await the_rest(large.connection)
            assert (frames, code) == ([], 1009) and "exceeds limit" in reason
        await other.say(line("unharmed"))
        assert await lines(watching, 1) == ["unharmed"]
        async with bot(served.base_url, resume=resume(large)) as again:
            await again.say({"type": "audio_output", "data": "A" * 15 * 2**20})
            await again.acknowledged()


async def _send_in_vain(connection: ClientConnection, frame: str) -> None:
    with suppress(*GONE):
        await connection.send(frame)


async def test_a_bot_that_floods_does_not_starve_another() -> None:
    """Fair turns: while one bot sends as fast as it can, the words of another come through one by one."""
    async with hub() as served, bot(served.base_url, "flood") as flood, bot(served.base_url, "quiet") as quiet:
        async with consumer(served, "quiet") as watching, anyio.create_task_group() as group:

            async def pour() -> None:
                while True:
                    await flood.say(*[line("x" * 500)] * 100)

            group.start_soon(pour)
            poured = served.chats.get("flood")
            assert poured is not None
            history = poured.history
            await eventually(lambda: history.event_count > 1000)
            for number in range(20):
                await quiet.say(line(str(number)))
                assert await lines(watching, 1) == [str(number)]
            group.cancel_scope.cancel()


async def test_a_consumer_that_does_not_read_is_closed_and_the_bot_does_not_notice() -> None:
    """Contract, section 8: 1013, and it gets the history when it connects again."""
    async with hub() as served, bot(served.base_url, "call-1") as caller:
        async with consumer(served, "call-1") as slow, consumer(served, "call-1") as quick:
            await until(slow, "chat_metadata")
            slow.transport.pause_reading()
            for number in range(60):
                await caller.say(line(str(number) + "x" * 2**20))
                assert (await lines(quick, 1))[0].startswith(f"{number}x")
            slow.transport.resume_reading()
            _, code, reason = await the_rest(slow)
            assert (code, "not read" in reason) == (1013, True)


async def test_a_consumer_that_reads_nothing_at_all_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have little to read, so that nothing overflows; its socket is freed all the same."""
    monkeypatch.setattr("evi_mcp.hub.server.CLOSE_TIMEOUT_S", 0.1)
    clock = HandClock()
    async with hub(clock=clock) as served, bot(served.base_url, "call-1") as caller:
        async with consumer(served, "call-1") as slow:
            await until(slow, "chat_metadata")
            slow.transport.pause_reading()
            await caller.say(*[line("x" * 2**20)] * 10)
            chat = served.chats.get("call-1")
            assert chat is not None and len(chat.consumers) == 1
            await eventually(lambda: chat.history.event_count == 10)
            while chat.consumers:
                await clock.advance(5)
                await anyio.sleep(0.01)
            with pytest.raises(ConnectionClosed):
                while True:  # the system says so when one writes to what nobody holds any more
                    await slow.ping()
                    await anyio.sleep(0.01)


async def test_a_link_without_a_hello_is_closed() -> None:
    """A connection that says nothing is no bot."""
    clock = HandClock()
    async with hub(clock=clock) as served, socket(served.base_url, "/link") as silent:
        await silent.ping()
        await anyio.sleep(0.05)
        await clock.advance(11)
        frames, code, _ = await the_rest(silent)
        assert (code, "no hello" in frames[0]["reason"]) == (1008, True)


HALF_A_BODY = (
    f"POST /v0/evi/chat/call-1/send HTTP/1.1\r\nHost: x\r\nX-Hume-Api-Key: {KEY}\r\nContent-Length: 9\r\n\r\n{{"
).encode()


async def test_half_a_request_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens connections and says nothing, or half of it, must not use up the hub's."""
    monkeypatch.setattr("evi_mcp.hub.server.REQUEST_TIMEOUT_S", 0.1)
    async with hub() as served:
        served.open_chat(chat_id="call-1")
        port = int((served.base_url or "").rpartition(":")[2])
        for half in (
            b"",
            b"GET /v0/evi/ch",
            HALF_A_BODY,
        ):
            async with await anyio.connect_tcp("127.0.0.1", port) as raw:
                if half:
                    await raw.send(half)
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    while True:
                        await raw.receive()


async def test_a_hub_that_is_full_says_so_before_it_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statuses that are tried again later, by bots and by supervisors."""
    monkeypatch.setattr("evi_mcp.hub.chat.MAX_CONSUMERS", 1)
    monkeypatch.setattr("evi_mcp.hub.links.MAX_LINKS", 1)
    async with hub() as served, bot(served.base_url, "call-1"), consumer(served, "call-1"):
        for path, status in (("/chat/call-1/connect", 429), ("/link", 503)):
            with pytest.raises(InvalidStatus) as refused:
                async with socket(served.base_url, path):
                    raise AssertionError("it was accepted")
            assert refused.value.response.status_code == status
        served.open_chat(chat_id="closed", allow_connection=False)
        with pytest.raises(InvalidStatus) as refused:
            async with consumer(served, "closed"):
                raise AssertionError("it was accepted")
        assert refused.value.response.status_code == 403


async def test_a_failure_on_one_connection_ends_that_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """1011, a line in the log, and everybody else goes on."""
    async with hub() as served, bot(served.base_url, "call-1") as caller, consumer(served, "call-1") as watching:
        async with consumer(served, "call-1") as unlucky:
            await until(unlucky, "chat_metadata")
            chat = served.chats.get("call-1")
            assert chat is not None
            monkeypatch.setattr(chat, "receive", lambda *_: 1 / 0)
            await unlucky.send("{}")
            assert (await the_rest(unlucky))[1] == 1011
        await caller.say(line("unharmed"))
        assert await lines(watching, 1) == ["unharmed"]
        assert len(chat.consumers) == 1


async def test_a_peer_that_answers_no_ping_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that fails silently leaves a bot that looks alive."""
    monkeypatch.setattr("evi_mcp.hub.server.PING_INTERVAL_S", 0.05)
    monkeypatch.setattr("evi_mcp.hub.server.PING_TIMEOUT_S", 0.05)
    monkeypatch.setattr("evi_mcp.hub.server.CLOSE_TIMEOUT_S", 0.05)
    async with hub() as served, bot(served.base_url, "call-1") as caller:
        chat = served.chats.get("call-1")
        assert chat is not None
        caller.connection.transport.pause_reading()
        await eventually(lambda: chat.away)
