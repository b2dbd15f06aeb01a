"""The hub over real sockets: what the contract (sections 8 and 9) promises, and what the other side may do wrong."""

import json
import logging
import time
from contextlib import nullcontext

import anyio
import anyio.lowlevel
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from websockets.exceptions import InvalidStatus

from evi_mcp.hub import Hub
from evi_mcp.serving import listen
from tests.clocks import HandClock
from tests.hub.rig import line
from tests.hub.wire import KEY, bot, consumer, eventually, hub, lines, resume, socket, the_rest, until

pytestmark = pytest.mark.anyio


async def test_a_bot_dials_in_and_a_late_consumer_sees_the_past_and_the_present() -> None:
    """Contract, sections 8 and 9, from hello to end."""
    async with hub() as served, bot(served.base_url, "call-1", supports=["user_input"]) as caller:
        await caller.say(line("before"))
        await caller.acknowledged()
        async with consumer(served, "call-1") as early, consumer(served, "call-1") as late:
            assert (await until(early, "chat_metadata"))["supports"] == ["user_input"]
            await caller.say(line("after"))
            assert await lines(early, 2) == await lines(late, 2) == ["before", "after"]
            await late.send(json.dumps({"type": "user_input", "text": "Hello"}))
            command = await caller.command()
            assert command["command"] == {"type": "user_input", "text": "Hello"}
            await caller.done(command)
            await caller.connection.send(json.dumps({"type": "end", "reason": "the caller hung up"}))
            assert (await the_rest(early))[1:] == (1000, "the caller hung up")
            goodbye, code, _ = await the_rest(caller.connection)
            assert (goodbye[-1]["type"], code) == ("goodbye", 1000)


@pytest.mark.parametrize("path", ["/link", "/chat/call-1/connect", "/nothing"])
@pytest.mark.parametrize("headers", [{}, {"X-Hume-Api-Key": "wrong"}, {"X-Hume-Api-Key": KEY + " x"}])
async def test_a_wrong_key_opens_nothing(path: str, headers: dict[str, str]) -> None:
    """401 before anything else is looked at: who has no key does not learn which chats there are."""
    async with hub() as served, bot(served.base_url, "call-1"):
        with pytest.raises(InvalidStatus) as refused:
            async with socket(served.base_url, path, headers):
                raise AssertionError("it was accepted")
    assert refused.value.response.status_code == 401


async def test_a_handshake_that_cannot_succeed_says_why() -> None:
    """404 for a chat that is unknown or over, and for an address that is none."""
    async with hub() as served:
        for path in ("/chat/nobody/connect", "/nothing"):
            with pytest.raises(InvalidStatus) as refused:
                async with socket(served.base_url, path):
                    raise AssertionError("it was accepted")
            assert refused.value.response.status_code == 404
            assert json.loads(refused.value.response.body)["code"] == "404"


async def test_a_second_link_with_a_live_chat_id_is_refused_and_the_first_goes_on() -> None:
    """Contract, section 9."""
    async with hub() as served, bot(served.base_url, "call-1") as first:
        async with socket(served.base_url, "/link") as second:
            await second.send(json.dumps({"type": "hello", "protocol": 1, "chat_id": "call-1", "source": "x"}))
            frames, code, reason = await the_rest(second)
        assert frames == [{"type": "goodbye", "reason": "a live chat has the id call-1 already; take another"}]
        assert (code, reason) == (1008, frames[0]["reason"])
        await first.say(line("mine"))
        await first.acknowledged()


async def test_a_link_that_is_cut_and_comes_back_loses_and_doubles_nothing() -> None:
    """Contract, section 9: what is not acknowledged is sent again, and the hub takes each `n` once."""
    everything = [line(str(number)) for number in range(500)]
    async with hub() as served, bot(served.base_url, "call-1") as first, consumer(served, "call-1") as watching:
        await first.say(*everything[:200])
        first.cut()
        former, received = first, -1
        for until_number in (300, 400, 500):
            async with bot(served.base_url, resume=resume(former)) as again:
                received = again.welcome["received"]
                again.sent = received
                await again.say(*everything[received:until_number])
                if until_number == 500:
                    await again.acknowledged()
                again.cut()
                former = again
        assert 0 <= received <= 400
        assert await lines(watching, 500) == [str(number) for number in range(500)]
        async with consumer(served, "call-1") as late:
            assert await lines(late, 500) == [str(number) for number in range(500)]


async def test_commands_survive_a_cut_and_are_told_from_new_ones_by_their_id() -> None:
    """Contract, section 9: at most once executed by id, also over a reconnect."""
    async with hub() as served, bot(served.base_url, "call-1") as first, consumer(served, "call-1") as watching:
        await watching.send(json.dumps({"type": "pause_assistant_message"}))
        command = await first.command()
        first.cut()
        async with bot(served.base_url, resume=resume(first)) as again:
            assert await again.command() == command
            await again.done(command)
            await watching.send(json.dumps({"type": "resume_assistant_message"}))
            assert (await again.command())["id"] != command["id"]


async def test_a_hub_that_is_started_anew_takes_its_bots_back() -> None:
    """It knows nothing of before: a new token and `received` 0 say so, and the bot sends what it still has."""
    async with hub() as former:
        port = int((former.base_url or "").rpartition(":")[2])
        async with bot(former.base_url, "call-1") as first:
            await first.say(line("one"), line("two"))
            await first.acknowledged()
            await former.__aexit__(None, None, None)
            assert (await the_rest(first.connection))[1] == 1001
    async with hub(port=port) as second, bot(second.base_url, resume=resume(first)) as again:
        assert (again.welcome["chat_id"], again.welcome["received"]) == ("call-1", 0)
        assert again.welcome["token"] != first.welcome["token"]
        await again.say(line("two"), line("three"))
        async with consumer(second, "call-1") as watching:
            assert await lines(watching, 2) == ["two", "three"]


async def test_a_hub_that_has_just_started_does_not_say_that_a_chat_is_over() -> None:
    """A 404 ends a chat for its supervisors, and the bot may need a second longer than they do to come back."""
    clock = HandClock()
    async with hub(returning_s=60.0, clock=clock) as served:
        for status in (503, 404):
            with pytest.raises(InvalidStatus) as refused:
                async with consumer(served, "call-1"):
                    raise AssertionError("it was accepted")
            assert refused.value.response.status_code == status
            assert refused.value.response.headers.get("Retry-After") == ("1" if status == 503 else None)
            await clock.advance(60.0)


async def test_two_hundred_bots_at_once() -> None:
    """Each has its chat, its words and its commands, and all are listed."""
    async with hub() as served:
        done: list[str] = []

        async def call(chat_id: str) -> None:
            async with bot(served.base_url, chat_id) as caller, consumer(served, chat_id) as watching:
                await caller.say(line(f"{chat_id} says one"), line(f"{chat_id} says two"))
                assert await lines(watching, 2) == [f"{chat_id} says one", f"{chat_id} says two"]
                await watching.send(json.dumps({"type": "user_input", "text": chat_id}))
                command = await caller.command()
                assert command["command"]["text"] == chat_id
                await caller.done(command)
                done.append(chat_id)
                await all_here.wait()

        all_here = anyio.Event()
        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(call, f"call-{number}")
            await eventually(lambda: len(done) == 200)
            chats, more = await served.directory.active_chats()
            assert (len(chats), more) == (200, False)
            all_here.set()


async def test_a_bot_that_is_gone_is_waited_for_and_then_given_up() -> None:
    """Contract, section 8: 60 s, with an injected clock."""
    clock = HandClock()
    async with hub(clock=clock) as served, bot(served.base_url, "call-1") as caller:
        async with consumer(served, "call-1") as watching:
            caller.cut()
            chat = served.chats.get("call-1")
            assert chat is not None
            await eventually(lambda: chat.away)
            await clock.advance(59)
            assert await served.directory.chat_status("call-1") == "ACTIVE"
            await clock.advance(2)
            _, code, reason = await the_rest(watching)
            assert (code, "gone for 60 s" in reason) == (1000, True)
            assert await served.directory.chat_status("call-1") == "ERROR"


async def test_leaving_tells_everybody_and_takes_a_second_at_most() -> None:
    """1001: bots and consumers come back to the next hub; no chat is taken for ended."""
    async with hub() as served, bot(served.base_url, "call-1") as caller, consumer(served, "call-1") as watching:
        await until(watching, "chat_metadata")
        started = time.monotonic()
        await served.__aexit__(None, None, None)
        assert time.monotonic() - started < 3  # of which the drain is at most one
        frames, code, _ = await the_rest(caller.connection)
        assert (frames[-1]["type"], code) == ("goodbye", 1001)
        assert (await the_rest(watching))[1] == 1001
        with pytest.raises(OSError):
            await anyio.connect_tcp("127.0.0.1", int((served.base_url or "").rpartition(":")[2]))


async def test_keys_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Contract, section 7: at any level, also those in an address, where they do not belong."""
    caplog.set_level(logging.DEBUG)
    async with hub() as served, bot(served.base_url, "call-1"):
        async with httpx.AsyncClient(base_url=served.base_url or "", trust_env=False) as client:
            await client.get(f"/v0/evi/chats?api_key={KEY}")
        with pytest.raises(InvalidStatus):
            async with socket(served.base_url, f"/link?api_key={KEY}", {"X-Hume-Api-Key": "wrong-one"}):
                pass
    said = [record for record in caplog.records if record.name.split(".")[0] in ("evi_mcp", "uvicorn", "starlette")]
    assert not [record for record in said if KEY in record.getMessage() or "wrong-one" in record.getMessage()]


async def test_an_error_in_the_block_gets_out_as_it_is() -> None:
    """Nobody should have to unpack a group to see what went wrong."""
    with pytest.raises(ZeroDivisionError):
        async with Hub(keys=[KEY]):
            await anyio.lowlevel.checkpoint()
            raise ZeroDivisionError


class _StockServer(uvicorn.Server):
    capture_signals = staticmethod(nullcontext)  # type: ignore[assignment]  # they are pytest's


async def test_its_addresses_work_in_another_app_on_a_stock_server() -> None:
    """`mount` is for a server that serves others too; close codes and refusals are the same there."""
    async with Hub(None, keys=[KEY]) as served:
        listener = listen("127.0.0.1", 0)
        app = Starlette(routes=[Route("/healthz", lambda request: PlainTextResponse("ok")), served.mount])
        config = uvicorn.Config(app, log_config=None, log_level="critical", ws="websockets-sansio", lifespan="off")
        server = _StockServer(config)
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: server.serve(sockets=[listener]))
                await eventually(lambda: server.started)
                async with bot(base_url, "call-1") as caller, socket(base_url, "/chat/call-1/connect") as watching:
                    await caller.say(line("Hello"))
                    assert await lines(watching, 1) == ["Hello"]
                    await caller.connection.send(json.dumps({"type": "end", "reason": "done"}))
                    assert (await the_rest(watching))[1:] == (1000, "done")
                with pytest.raises(InvalidStatus) as refused:
                    async with socket(base_url, "/link", {}):
                        raise AssertionError("it was accepted")
                assert refused.value.response.status_code == 401
                async with httpx.AsyncClient(base_url=base_url, trust_env=False) as client:
                    assert (await client.get("/healthz")).text == "ok"
                server.should_exit = True
