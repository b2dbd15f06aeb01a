"""However many wait, SIGTERM ends the process in time: each is answered, no caller is left with a mute assistant."""

import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest

from evi_mcp.server.http.app import PATH
from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT
from tests.http.rig import Raw, Session, answer_of
from tests.process.conftest import Process, evi_mcp

pytestmark = [pytest.mark.anyio, pytest.mark.alone]

LIMIT_S = 2.0


@asynccontextmanager
async def over_http(evi: FakeEvi, **environment: str) -> AsyncIterator[tuple[Process, str]]:
    """The process, and its address."""
    async with evi_mcp("serve", "--http", "127.0.0.1:0", evi=evi, environment=environment) as process:
        assert process.process.stdout is not None
        url = (await process.process.stdout.readline()).decode().strip()
        assert url.startswith("http://127.0.0.1:") and url.endswith(PATH)
        yield process, url.removesuffix(PATH)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=str)
async def test_every_wait_is_answered_and_every_pause_ended(evi: FakeEvi, signum: signal.Signals) -> None:
    """A listen stream, a parked wait of each era, a GET stream and a paused chat: uvicorn by itself waits for them for
    ever, or cuts them with status 500 and leaves the caller with a mute assistant."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    async with over_http(evi) as (process, address):
        async with httpx2.AsyncClient(base_url=address, timeout=20) as http, anyio.create_task_group() as group:
            client, answers, streams = Raw(http), dict[str, httpx2.Response](), dict[str, str]()
            attached = answer_of(await client.call("attach_chat", chat_id=CHAT))
            cursor = attached["result"]["structuredContent"]["cursor"]
            session = await client.initialize()
            await client.call("pause", chat_id=CHAT)
            listening = anyio.Event(), anyio.Event()
            quiet = {"timeout_s": 50, "types": ["assistant_end"], "after": cursor}

            async def wait(name: str, caller: Raw | Session) -> None:
                answers[name] = await caller.call("wait_for_events", **quiet)

            async def stream(name: str, begun: anyio.Event, request: httpx2.Request) -> None:
                answer = await http.send(request, stream=True)
                assert answer.status_code == 200
                begun.set()
                streams[name] = (await answer.aread()).decode()

            get = http.build_request("GET", PATH, headers=session.headers)
            listen = client.modern("subscriptions/listen", {"notifications": {"resourcesListChanged": True}})
            group.start_soon(wait, "modern", client)
            group.start_soon(wait, "handshake", session)
            group.start_soon(stream, "get", listening[0], get)
            group.start_soon(stream, "listen", listening[1], http.build_request("POST", PATH, **listen))
            for begun in listening:
                await begun.wait()
            while 'evi_mcp_waits{tenant=""} 2' not in (await http.get("/metrics")).text:  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.01)
            began = time.monotonic()
            process.process.send_signal(signum)
            status, log = await process.ended()
            took = time.monotonic() - began
        assert status == 128 + signum and took < LIMIT_S, (status, took, log)
    for era, answer in answers.items():
        page = answer_of(answer)["result"]["structuredContent"]
        assert page["woken_by"] == "timeout" and page["cursor"].split("-")[0] == cursor.split("-")[0], era
    assert answers.keys() == {"modern", "handshake"} and streams.keys() == {"get", "listen"}
    assert '"resultType":"complete"' in streams["listen"], "a listen stream ends with its result"
    assert evi.received[CHAT][-1]["type"] == "resume_assistant_message"
    await evi.until(lambda: evi.closes[CHAT])
    assert evi.closes[CHAT] == [1000]
    assert "Traceback" not in log and "ERROR" not in log, log


async def test_a_load_balancer_is_given_notice(evi: FakeEvi) -> None:
    """Until it has noticed it goes on sending requests; a second signal is from somebody who will not wait for it."""
    async with over_http(evi, EVI_MCP_DRAIN_S="60") as (process, address):
        async with httpx2.AsyncClient(base_url=address, timeout=20) as http:
            assert (await http.get("/readyz")).status_code == 200
            process.process.send_signal(signal.SIGTERM)
            while (await http.get("/readyz")).status_code != 503:  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.01)
            assert (await http.get("/healthz")).status_code == 200
            assert (await Raw(http).call("list_chats")).status_code == 200, "what is sent there still is served"
        began = time.monotonic()
        process.process.send_signal(signal.SIGTERM)
        status, _ = await process.ended()
        assert status == 143 and time.monotonic() - began < LIMIT_S


async def test_what_cannot_be_served_safely_or_at_all_is_one_line(evi: FakeEvi) -> None:
    """An operator reads it in the log of a service that does not come up."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = {
            "0.0.0.0:0": (2, "is open to other machines"),
            "nonsense": (2, "must look like 127.0.0.1:8000"),
            f"127.0.0.1:{taken.getsockname()[1]}": (1, "cannot listen on 127.0.0.1"),
        }
        for address, (expected, said) in refused.items():
            async with evi_mcp("serve", "--http", address, evi=evi) as process:
                status, log = await process.ended()
                assert (status, log.count("\n")) == (expected, 1) and said in log, log
    async with evi_mcp("serve", "--http", "127.0.0.1:0", evi=evi, EVI_MCP_CLAUDE_CHANNEL="on") as process:
        assert await process.ended() == (
            2,
            "evi-mcp: EVI_MCP_CLAUDE_CHANNEL is for stdio: over HTTP no session is the one to be cued.\n",
        )
