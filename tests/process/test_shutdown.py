"""However it ends, it ends within the 2 s that clients wait: sockets closed with 1000, no traceback, nobody left over.

`test_stdio` has the ends of a client that behaves, or does not read; here are the others, and what they have in common.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from tests import frames
from tests.fake_evi import KEY, FakeEvi
from tests.harness import CHAT
from tests.process.conftest import SCRIPT, Process, evi_mcp
from tests.process.test_stdio import exited

pytestmark = [pytest.mark.anyio, pytest.mark.alone]

LIMIT_S = 2.0
"""Clients wait so long after they have closed stdin, or sent SIGTERM, and then kill (the MCP Python SDK)."""
CHATS = [f"chat-{number}" for number in range(20)]

FAULTY = """
from evi_mcp.supervision import live_chat
receive = live_chat.LiveChat.receive

def faulty(chat, frame):
    if "crash now" in str(frame):
        raise RuntimeError("a bug of ours")
    receive(chat, frame)

live_chat.LiveChat.receive = faulty
"""
"""A `sitecustomize`: a fault in whatever chat says these words."""


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, and theirs (Linux)."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from descendants(int(child))


def is_alive(pid: int) -> bool:
    """Whether the process still runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def gone(pid: int) -> None:
    while is_alive(pid):  # noqa: ASYNC110 - nothing tells of the end of a process that is not ours
        await anyio.sleep(0.01)


def within_limit(began: float, what: str) -> None:
    took = time.monotonic() - began
    print(f"{what}: ended after {took:.2f} s")
    assert took < LIMIT_S


async def busy(server: Process, evi: FakeEvi, chats: list[str]) -> None:
    """Attached to all of them, one paused, with a wait, a command that waits and an attach in flight."""
    for chat_id in chats:
        evi.history[chat_id] = [frames.metadata(chat_id), frames.user("hello", 1)]
    evi.refuse["not-yet"] = 503
    await server.initialize()
    for chat_id in chats:
        server.ask(f"attach {chat_id}", "attach_chat", chat_id=chat_id)
    answered = set[str]()
    while len(answered) < len(chats):
        answered |= {(await server.read()).get("id", "")} - {""}
    await server.call("pause", chat_id=chats[0])
    server.ask("wait", "wait_for_events", timeout_s=50)
    server.ask("say", "send_user_input", chat_id=chats[-1], text="Hello?", wait_for_effect_s=30)
    server.ask("attach", "attach_chat", chat_id="not-yet")
    await evi.until(lambda: evi.received[chats[-1]])
    await server.request("tools/list")


@pytest.mark.parametrize("end", ["eof", signal.SIGTERM, signal.SIGINT, "twice"], ids=str)
async def test_a_busy_server_of_many_chats_ends_in_time(evi: FakeEvi, end: str | int) -> None:
    """Twenty chats, a pause, a wait, a command and an attach in flight: whoever ends it has the same two seconds."""
    async with evi_mcp(evi=evi) as server:
        await busy(server, evi, CHATS)
        children = list(descendants(server.process.pid))
        began = time.monotonic()
        if end == "eof":
            server.end_input()
        else:
            server.process.send_signal(signal.SIGINT if end == "twice" else int(end))
            if end == "twice":  # as clients and impatient people do
                server.process.send_signal(signal.SIGINT)
        status, log = await server.ended()
        within_limit(began, str(end))
        assert status == (0 if end == "eof" else 128 + (signal.SIGINT if end == "twice" else int(end)))
    await evi.until(lambda: sum(map(len, evi.closes.values())) == len(CHATS))
    assert {code for codes in evi.closes.values() for code in codes} == {1000}
    assert evi.received[CHATS[0]][-1]["type"] == "resume_assistant_message", "no caller is left with a mute assistant"
    assert "Traceback" not in log and "Error" not in log, log
    assert not [child for child in children if is_alive(child)]


PARENT = """
import os, subprocess, sys
server = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(server.pid, flush=True)
for line in sys.stdin.buffer:
    server.stdin.write(line)
    server.stdin.flush()
    print(server.stdout.readline().decode(), end="", flush=True)
"""
"""A client that starts the server, passes lines on, and holds the only ends of its pipes."""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_a_client_that_is_killed_leaves_no_server_behind(evi: FakeEvi, tmp_path: Path) -> None:
    """A client that crashes tells nobody; its pipes close, and a server that lived on would hold sockets for ever."""
    evi.history[CHAT] = [frames.metadata()]
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        parent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PARENT, SCRIPT),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "EVI_MCP_BASE_URL": evi.base_url, "HUME_API_KEY": KEY},
        )
    assert parent.stdout is not None
    client = Process(parent)
    pid = int(await parent.stdout.readline())
    try:
        async with asyncio.timeout(20):
            # One line for each answer: the initialised notification has none, and is left away.
            params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
            await client.request("initialize", **params)
            await client.call("attach_chat", chat_id=CHAT)
            await client.call("pause", chat_id=CHAT)
            assert is_alive(pid)
            began = time.monotonic()
            parent.kill()
            await gone(pid)
            within_limit(began, "killed client")
            await evi.until(lambda: evi.closes[CHAT])
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
        parent._transport.close()  # type: ignore[attr-defined]  # else its pipes outlive the loop
        await parent.wait()
    assert evi.closes[CHAT] == [1000]
    assert evi.received[CHAT][-1]["type"] == "resume_assistant_message"
    assert "Traceback" not in log.read_text()


async def test_a_crash_of_one_chats_task_ends_neither_another_chat_nor_a_later_end(
    evi: FakeEvi, tmp_path: Path
) -> None:
    """A fault of ours costs one chat: the others go on, its socket is closed, and the process ends as ever."""
    (tmp_path / "sitecustomize.py").write_text(FAULTY)
    chats = CHATS[:3]
    async with evi_mcp(evi=evi, PYTHONPATH=str(tmp_path)) as server:
        await busy(server, evi, chats)
        began = time.monotonic()
        await evi.push(chats[1], frames.user("crash now", 5000))
        await evi.until(lambda: evi.closes[chats[1]])
        within_limit(began, "a crash, until its socket was closed")
        assert evi.closes[chats[1]] == [1000]
        await evi.push(chats[2], frames.user("and here?", 5000))
        page = {"events": list[object]()}
        while "and here?" not in str(page):
            page = (await server.call("read_events", chat_id=chats[2]))["structuredContent"]
        states = (await server.call("list_chats"))["structuredContent"]["chats"]
        assert {chat["chat_id"]: chat["state"] for chat in states if chat["chat_id"] in chats} == {
            chats[0]: "live",
            chats[1]: "failed",
            chats[2]: "live",
        }
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        await exited(server)
        within_limit(began, "SIGTERM after a crash")
        _, log = await server.ended()
    await evi.until(lambda: evi.closes[chats[0]] and evi.closes[chats[2]])
    assert {code for codes in evi.closes.values() for code in codes} == {1000}
    assert log.count("Traceback") == 1 and "a bug of ours" in log, "the crash itself is for the log, once"
