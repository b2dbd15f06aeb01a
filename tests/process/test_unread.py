"""Nobody reads what the server writes, and it goes on: chats followed, callers resumed, and gone in time when told to.

Many clients never read stderr, and one that hangs reads stdout no more. Nothing that is written for others may hold
the event loop, a resume or the end.
"""

import asyncio
import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests import frames
from tests.audit.disks import records
from tests.fake_evi import KEY, FakeEvi
from tests.harness import CHAT
from tests.process.conftest import SCRIPT, evi_mcp
from tests.process.test_shutdown import gone, is_alive, within_limit

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

FULL = 70 * 1024
"""More than a pipe holds."""


@contextmanager
def unread() -> Iterator[tuple[int, int]]:
    """A pipe whose reading end nobody touches unless the test does."""
    read_end, write_end = os.pipe()
    try:
        yield read_end, write_end
    finally:
        for end in (read_end, write_end):
            try:
                os.close(end)
            except OSError:
                continue


class Unread:
    """A server whose stdout and stderr are pipes that nobody reads."""

    def __init__(self, process: asyncio.subprocess.Process, stdout: int, stderr: int, ends: list[int]) -> None:
        self.process, self.stdout, self.stderr = process, stdout, stderr
        self._ends = ends
        assert process.stdin is not None
        self.stdin = process.stdin
        self._id = 0

    def ask(self, method: str, **params: Any) -> None:
        """Sends a request; nobody will read its answer."""
        self._id += 1
        self.stdin.write(json.dumps({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}).encode())
        self.stdin.write(b"\n")

    def call(self, tool: str, **arguments: Any) -> None:
        self.ask("tools/call", name=tool, arguments=arguments)

    def initialize(self) -> None:
        info = {"name": "by-hand", "version": "1"}
        self.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=info)
        self.stdin.write(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')

    async def until_full(self) -> None:
        """Returns when neither pipe takes any more."""
        for end in self._ends:
            while select.select([], [end], [], 0)[1]:  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.01)
        self.let_go()

    def let_go(self) -> None:
        """The process alone holds the writing ends."""
        while self._ends:
            os.close(self._ends.pop())


@asynccontextmanager
async def unread_server(evi: FakeEvi | None, *arguments: str, **environment: str) -> AsyncIterator[Unread]:
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    keep["EVI_MCP_RESULTS"] = "both"
    if evi is not None:
        keep |= {"EVI_MCP_BASE_URL": evi.base_url, "HUME_API_KEY": KEY}
    with unread() as (out, out_end), unread() as (err, err_end):
        process = await asyncio.create_subprocess_exec(
            SCRIPT,
            *(arguments or ("serve",)),
            stdin=asyncio.subprocess.PIPE,
            stdout=out_end,
            stderr=err_end,
            env={**keep, **environment},
        )
        try:
            async with asyncio.timeout(60):
                yield Unread(process, out, err, [out_end, err_end])
        finally:
            if process.returncode is None:
                process.kill()
            process._transport.close()  # type: ignore[attr-defined]  # first: `wait` waits for its pipes
            await process.wait()


async def noisy_and_paused(server: Unread, evi: FakeEvi, chats: list[str]) -> None:
    """Both pipes are full, every chat is attached and paused, and a wait and a command are in flight."""
    for chat_id in chats:
        evi.history[chat_id] = [frames.metadata(chat_id), *(frames.user("word " * 50, n) for n in range(100))]
    server.initialize()
    for chat_id in chats:
        server.call("attach_chat", chat_id=chat_id)
    await evi.until(lambda: all(evi.sockets[chat_id] for chat_id in chats))
    for chat_id in chats:
        server.call("pause", chat_id=chat_id, resume_after_s=600)
    await evi.until(lambda: all(evi.received[chat_id] for chat_id in chats))
    for number in range(60):
        server.call("read_events", chat_id=chats[0], limit=200, max_chars=50_000)
        await evi.push(chats[0], *(frames.user(f"{number} {n}", 10**6 + 100 * number + n) for n in range(30)))
    server.call("wait_for_events", timeout_s=50)
    await server.until_full()


ENDS = ["eof", "broken stdout", "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGABRT", "SIGALRM", "SIGRTMIN"]


@pytest.mark.parametrize("end", ENDS)
async def test_a_server_that_nobody_reads_ends_in_time_with_every_paused_chat_resumed(evi: FakeEvi, end: str) -> None:
    """Issue: it was alive after EOF and after SIGTERM, and after SIGHUP the callers sat with a mute assistant."""
    chats = [f"chat-{number}" for number in range(5)]
    async with unread_server(evi, EVI_MCP_LOG_LEVEL="DEBUG") as server:
        await noisy_and_paused(server, evi, chats)
        began = time.monotonic()
        if end == "eof":
            server.stdin.close()
        elif end == "broken stdout":
            os.close(server.stdout)
        else:
            server.process.send_signal(getattr(signal, end))
        await gone(server.process.pid)
        within_limit(began, end)
        status = await server.process.wait()
    await evi.until(lambda: all(evi.closes[chat_id] for chat_id in chats))
    for chat_id in chats:
        assert [command["type"] for command in evi.received[chat_id]] == [
            "pause_assistant_message",
            "resume_assistant_message",
        ]
        assert evi.closes[chat_id] == [1000]
    assert status == (128 + getattr(signal, end) if end.startswith("SIG") else 0)


async def test_a_pause_ends_by_itself_though_nobody_reads(evi: FakeEvi) -> None:
    """Issue: pause for 5 s, 700 blank lines on stdin, and the resume never came."""
    async with unread_server(evi, EVI_MCP_LOG_LEVEL="DEBUG") as server:
        await noisy_and_paused(server, evi, [CHAT])
        server.call("pause", chat_id=CHAT, resume_after_s=0.5)
        server.stdin.write(b"\n" * 700 + b"noise\n" * 700)
        await evi.until(lambda: len(evi.received[CHAT]) == 3)
        assert evi.received[CHAT][-1]["type"] == "resume_assistant_message"
        await evi.push(CHAT, frames.user("still there?", 10**8))
        [pong] = [await socket.ping() for socket in evi.sockets[CHAT]]
        await pong


@pytest.mark.alone
async def test_what_stderr_did_not_take_is_counted_in_the_log(evi: FakeEvi) -> None:
    """Every event is a line at DEBUG: those that are there and those that were dropped are all of them."""
    evi.history[CHAT] = [frames.metadata()]
    count = 12_000
    async with unread_server(evi, EVI_MCP_LOG_LEVEL="DEBUG") as server:
        server.initialize()
        server.call("attach_chat", chat_id=CHAT)
        await evi.until(lambda: evi.sockets[CHAT])
        for number in range(count):
            await evi.push(CHAT, frames.user("x", number))
        said = b""
        while b'"event_count":%d,' % (count + 2) not in said:  # the metadata and the state are events too
            server.call("get_chat", chat_id=CHAT)
            said = await read(server.stdout)
        log = b""
        while b"lines were dropped" not in log:
            log += await read(server.stderr)
            await evi.push(CHAT, frames.user("x", count))
            count += 1
        server.stdin.close()
        server.let_go()
        while more := await read(server.stderr):
            log += more
    dropped = sum(map(int, re.findall(rb'msg="stderr was not read, lines were dropped" lines=(\d+)', log)))
    seqs = [int(seq) for seq in re.findall(rb"msg=event .*?seq=(\d+) type=user_message", log)]
    assert dropped > 0 and seqs == sorted(set(seqs))
    states = 2  # the lines on the chat being live may be among those that were dropped
    assert count <= len(seqs) + dropped <= count + states
    assert len(log) < 2 * 2**20, "what waits is bounded"


async def read(pipe: int) -> bytes:
    """What there is in it; waits for something, or for its end."""
    await anyio.wait_readable(pipe)
    return os.read(pipe, 65536)


async def test_noise_of_a_client_is_one_line_of_log_and_a_count() -> None:
    """Issue: a line each time let one client fill the log of all."""
    async with evi_mcp() as server:
        await server.initialize()
        for _ in range(500):
            server.write(b"noise\n")
            server.write(b'{"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": "x"}}\n')
        await server.request("ping")
        assert server.process.stdin is not None
        server.process.stdin.close()
        _, log = await server.ended()
    lines = [line for line in log.splitlines() if "is no message" in line]
    assert len(lines) == 2 and "repeated=499" in lines[1]
    assert log.count("\n") < 12, log


PRINTS = """
import os, sys
from evi_mcp.supervision import live_chat
receive = live_chat.LiveChat.receive

def chatty(chat, frame):
    print("printed by a library", "x" * 5000)
    os.write(1, b"written by a library test-key " + b"y" * 5000 + b"\\n")
    sys.stderr.write("said by a library\\n" + "z" * 5000)
    sys.stderr.flush()
    receive(chat, frame)

live_chat.LiveChat.receive = chatty
"""
"""A `sitecustomize`: a library that prints whenever something comes from a chat."""


async def test_what_others_print_neither_blocks_nor_gets_between_the_messages(evi: FakeEvi, tmp_path: Path) -> None:
    """stdout is for MCP alone, and stderr for whoever reads it: strays go the way of the log, without secrets."""
    (tmp_path / "sitecustomize.py").write_text(PRINTS)
    async with unread_server(evi, PYTHONPATH=str(tmp_path)) as server:
        await noisy_and_paused(server, evi, [CHAT])
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        await gone(server.process.pid)
        within_limit(began, "a library that prints")
        log = os.read(server.stderr, FULL).decode()
        answers = os.read(server.stdout, FULL).decode()
    assert evi.received[CHAT][-1]["type"] == "resume_assistant_message"
    assert "printed by a library" in log and "said by a library" in log
    assert "written by a library [redacted]" in log and KEY not in log
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in answers.splitlines()[:-1])


HANGS = """
import time
from evi_mcp.supervision import live_chat
receive = live_chat.LiveChat.receive

def hanging(chat, frame):
    if "hang now" in str(frame):
        time.sleep(60)
    receive(chat, frame)

live_chat.LiveChat.receive = hanging
"""
"""A `sitecustomize`: the event loop is stuck once a chat says these words."""


async def test_a_stuck_event_loop_does_not_hold_the_process(evi: FakeEvi, tmp_path: Path) -> None:
    """Nothing can resume a caller then; but a process that no signal ends has to be looked for and killed."""
    (tmp_path / "sitecustomize.py").write_text(HANGS)
    evi.history[CHAT] = [frames.metadata()]
    async with unread_server(evi, PYTHONPATH=str(tmp_path)) as server:
        server.initialize()
        server.call("attach_chat", chat_id=CHAT)
        await evi.until(lambda: evi.sockets[CHAT])
        await evi.push(CHAT, frames.user("hang now", 1))
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        await gone(server.process.pid)
        within_limit(began, "a stuck loop")


@pytest.mark.parametrize("end", ["eof", "SIGHUP", "SIGQUIT", "SIGTERM"])
async def test_a_simulated_service_inside_changes_nothing(tmp_path: Path, end: str) -> None:
    """`serve --simulate`: the service ends with the process, and after the resume."""
    path = tmp_path / "audit.jsonl"
    async with evi_mcp("serve", "--simulate", EVI_MCP_AUDIT_LOG=str(path)) as server:
        await server.initialize()
        [chat, *_] = (await server.call("list_chats", scope="active"))["structuredContent"]["chats"]
        await server.call("attach_chat", chat_id=chat["chat_id"])
        await server.call("pause", chat_id=chat["chat_id"])
        began = time.monotonic()
        if end == "eof":
            assert server.process.stdin is not None
            server.process.stdin.close()
        else:
            server.process.send_signal(getattr(signal, end))
        status, log = await server.ended()
        within_limit(began, end)
    assert status == (0 if end == "eof" else 128 + getattr(signal, end)) and "Traceback" not in log
    found = [(record["type"], record.get("command") or record.get("outcome")) for record in records(path)]
    assert found[-3:] == [("command", "resume_assistant_message"), ("outcome", "sent"), ("closed", None)]


async def test_a_hangup_that_was_ignored_stays_ignored(evi: FakeEvi) -> None:
    """`nohup evi-mcp`: whoever says so wants it to live on without its terminal."""
    evi.history[CHAT] = [frames.metadata()]
    command = ["sh", "-c", f"trap '' HUP; exec {SCRIPT} serve"]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "EVI_MCP_BASE_URL": evi.base_url, "HUME_API_KEY": KEY},
    )
    from tests.process.conftest import Process

    server = Process(process)
    try:
        async with asyncio.timeout(30):
            await server.initialize()
            process.send_signal(signal.SIGHUP)
            await server.call("attach_chat", chat_id=CHAT)
            assert is_alive(process.pid)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 128 + signal.SIGTERM
    finally:
        if process.returncode is None:
            process.kill()
        process._transport.close()  # type: ignore[attr-defined]  # else its pipes outlive the loop
        await process.wait()
