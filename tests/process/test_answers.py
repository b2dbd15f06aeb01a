"""Every line that asks for something is answered: what no client means to send, and what some really do."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from evi_mcp.server.pipes import MAX_LINE
from tests import frames
from tests.fake_evi import KEY, FakeEvi
from tests.harness import CHAT
from tests.process.conftest import SCRIPT, Process, evi_mcp

pytestmark = pytest.mark.anyio

DEEP = b'{"a":' * 5000 + b"1" + b"}" * 5000
LONG = b"x" * MAX_LINE

ANSWERED: list[tuple[bytes, Any, int, str]] = [
    (b'{"jsonrpc":"2.0","id":"a","method":"ping","params":{"x":"\\ud83d"}}', "a", -32700, "half a surrogate pair"),
    (b'{"jsonrpc":"2.0","id":"b","method":"ping","params":' + DEEP + b"}", "b", -32700, "nested too deeply"),
    (b'{"method":"ping","params":' + DEEP + b',"jsonrpc":"2.0","id":"c"}', "c", -32700, "nested too deeply"),
    (b'{"jsonrpc":"2.0","id":"d","method":"ping","params":{"x":"' + LONG + b'"}}', "d", -32700, "longer than"),
    (b'{"method":"ping","params":{"x":"' + LONG + b'"},"jsonrpc":"2.0","id":"e"}', "e", -32700, "longer than"),
    (b'{"jsonrpc":"2.0","id":"f","method":"ping"', "f", -32700, "not JSON"),
    (b'{"jsonrpc":"2.0","id":"g","method":"ping"}}', "g", -32700, "not JSON"),
    (b'{"jsonrpc":"2.0","id":"h","method":"ping","params":{"x":"\xff"}}', "h", -32700, "not UTF-8"),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":01}}', 1, -32700, "not JSON"),
    (b'{"jsonrpc":"1.0","id":2,"method":"ping"}', 2, -32600, 'jsonrpc has to be "2.0"'),
    (b'{"id":3,"method":"ping"}', 3, -32600, 'jsonrpc has to be "2.0"'),
    (b'{"jsonrpc":2.0,"id":4,"method":"ping"}', 4, -32600, 'jsonrpc has to be "2.0"'),
    (b'{"jsonrpc":"2.0","id":5,"method":5}', 5, -32600, "method has to be a string"),
    (b'{"jsonrpc":"2.0","id":6,"method":null}', 6, -32600, "method has to be a string"),
    (b'{"jsonrpc":"2.0","id":7}', 7, -32600, "there is no method"),
    (b'{"jsonrpc":"2.0","id":8,"method":"ping","params":[]}', 8, -32600, "params has to be an object"),
    (b'{"jsonrpc":"2.0","id":9,"method":"ping","params":"x"}', 9, -32600, "params has to be an object"),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None, -32600, "id has to be a string or an integer"),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', 1.5, -32600, "id has to be a string or an integer"),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', None, -32600, "id has to be a string or an integer"),
    (b'{"jsonrpc":"2.0","id":{"id":1},"method":"ping"}', None, -32600, "id has to be a string or an integer"),
    (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}', None, -32600, "id has to be a string or an integer"),
    (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', None, -32600, "id has to be a string or an integer"),
    (b"Content-Length: 80\r", None, -32700, "no Content-Length framing"),
    (b'{"jsonrpc":"2.0","id":10,"method":"ping"}Content-Length: 41\r', 10, -32700, "one line of JSON"),
    (b"[]", None, -32600, "batches are not read"),
    (b"garbage", None, -32700, "not JSON"),
    (b"\xff\xfe{\0", None, -32700, "UTF-16"),
    (b"null", None, -32600, "a message is a JSON object"),
    (b'{"jsonrpc":"2.0","id":11,"method":"no/such"}', 11, -32601, "Method not found"),
    (b'{"jsonrpc":"2.0","id":12,"method":"tools/call","params":{}}', 12, -32602, ""),
    (b'{"jsonrpc":"2.0","id":13,"method":"tools/call","params":{"name":5}}', 13, -32602, ""),
    (b'{"jsonrpc":"2.0","id":14,"method":"resources/read","params":{"uri":"evi://nowhere"}}', 14, -32602, ""),
]
"""A line, the id that its answer has, the code, and what it says among other things."""

UNANSWERED = [
    b"",
    b" \t\r",
    b'{"jsonrpc":"2.0","method":"notifications/whatever"}',
    b'{"jsonrpc":"2.0","id":null,"method":"notifications/initialized"}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"never asked"}}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}',
    b'{"jsonrpc":"2.0","id":1,"result":{}}',
    b'{"jsonrpc":"2.0","id":1,"result":5}',
    b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}',
    b'{"jsonrpc":"2.0","id":null,"error":{}}',
]
"""Notifications, answers, and nothing: nobody waits for an answer to these."""

RUN = {
    b'{"jsonrpc":"2.0","id":%s,"method":"ping"}' % (b"9" * 4000): int("9" * 4000),
    b'{"jsonrpc":"2.0","id":-1,"method":"ping"}': -1,
    b'{"jsonrpc":"2.0","id":"","method":"ping"}': "",
    b'{"jsonrpc":"2.0","id":"7","method":"ping","id":"8"}': "8",
    b'\xef\xbb\xbf{"jsonrpc":"2.0","id":"bom","method":"ping"}\r': "bom",
    b'{"jsonrpc":"2.0","id":"extra","method":"ping","result":{},"x":[]}': "extra",
}


async def answer_to(server: Process, line: bytes) -> Any:
    """The next thing that is an answer."""
    server.write(line + b"\n")
    while "method" in (answer := await server.read()):
        continue
    return answer


async def test_each_line_has_its_answer_or_a_reason_for_none() -> None:
    """Issue: the client hangs. One server takes them all, and what follows each is read as ever."""
    async with evi_mcp() as server:
        await server.initialize()
        for line, id, code, said in ANSWERED:
            shown = line[:80]
            answer = await answer_to(server, line)
            assert answer["id"] == id, (shown, answer)
            assert answer["error"]["code"] == code and said in answer["error"]["message"], (shown, answer)
        for line, id in RUN.items():
            assert await answer_to(server, line) == {"jsonrpc": "2.0", "id": id, "result": {}}, line[:80]
        for line in UNANSWERED:
            server.write(line + b"\n")
            for _ in range(2):  # requests are answered at the same time, the second one certainly after the line
                server._id += 1
                ping = {"jsonrpc": "2.0", "id": f"after-{server._id}", "method": "ping"}
                answer = await answer_to(server, json.dumps(ping).encode())
                assert answer["id"] == ping["id"], line
        assert server.process.stdin is not None
        server.process.stdin.close()
        status, log = await server.ended()
    assert status == 0 and "Traceback" not in log


async def test_two_requests_of_one_id_have_two_answers(evi: FakeEvi) -> None:
    """A client that reuses an id while it is in use breaks the protocol; neither request may hang for it."""
    evi.history[CHAT] = [frames.metadata()]
    async with evi_mcp(evi=evi) as server:
        await server.initialize()
        await server.call("attach_chat", chat_id=CHAT)
        for _ in range(2):
            server.ask("same", "wait_for_events", types=["user_message"], timeout_s=30)
        await server.request("ping")
        await evi.push(CHAT, frames.user("hello", 1))
        answers = [await server.read(), await server.read()]
        assert [answer["id"] for answer in answers] == ["same", "same"]
        assert all(answer["result"]["structuredContent"]["woken_by"] == "event" for answer in answers)


async def test_a_batch_is_told_by_each_of_its_ids_that_it_was_not_read() -> None:
    """MCP 2025-03-26 had batches. Its clients wait for each id, and for the one of `initialize` first of all."""
    async with evi_mcp() as server:
        batch = [{"jsonrpc": "2.0", "id": id, "method": "ping"} for id in (1, "two")]
        server.write(json.dumps([*batch, {"jsonrpc": "2.0", "method": "notifications/initialized"}]))
        for id in (1, "two"):
            answer = await server.read()
            assert answer["id"] == id and "send each message as a line of its own" in answer["error"]["message"]


async def test_the_first_message_may_have_a_byte_order_mark() -> None:
    """It decides on the protocol of all that follow, and was lost."""
    async with evi_mcp() as server:
        server.write(b"\xef\xbb\xbf")
        answer = await server.initialize()
        assert answer["result"]["serverInfo"]["name"] == "evi-mcp"


async def test_what_was_said_in_a_chat_breaks_no_line_of_stdout(evi: FakeEvi) -> None:
    """Issue: U+2028 and U+2029. A client may split at all that Python's `splitlines` does."""
    said = "one\u2028two\u2029three\x85four\x0bfive\x0csix\x1cseven"
    call = frames.tool_call("call_1", parameters=json.dumps({"text": said}, ensure_ascii=False))
    evi.history[CHAT] = [frames.metadata(), frames.user(said, 1), call]
    async with evi_mcp(evi=evi) as server:
        await server.initialize()
        await server.call("attach_chat", chat_id=CHAT)
        await server.call("read_events", chat_id=CHAT)
        await server.call("list_tool_calls")
        await server.request("resources/read", uri=f"evi://chats/{CHAT}/events")
        await server.request("tools/call", name=said, arguments={said: said})
    assert all(len(line.splitlines()) == 1 and json.loads(line) for line in server.lines)


async def test_a_client_that_reads_late_gets_an_answer_to_everything(evi: FakeEvi) -> None:
    """It has asked far more than is answered before it reads: nothing of that is lost, and the chat is followed."""
    evi.history[CHAT] = [frames.metadata(), *(frames.user("word " * 100, n) for n in range(200))]
    count = 1000
    async with evi_mcp(evi=evi) as server:
        await server.initialize()
        await server.call("attach_chat", chat_id=CHAT)
        server.stop_reading()
        for number in range(count):
            server.ask(number + 100, "read_events", chat_id=CHAT, limit=200, max_chars=50_000)
        await evi.push(CHAT, frames.user("go on", 10**6))
        [pong] = [await socket.ping() for socket in evi.sockets[CHAT]]
        await pong
        server.go_on_reading()
        missing = set(range(100, count + 100))
        while missing:
            missing.discard((await server.read()).get("id", 0))


REQUEST = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"x","version":"1"}}}\n{"jsonrpc":"2.0","id":2,"method":"ping"}'
)


async def test_requests_in_a_file_are_answered(tmp_path: Path) -> None:
    """`evi-mcp < requests`: no event loop can wait for a file. Its last line may have no end."""
    path = tmp_path / "requests"
    path.write_bytes(REQUEST)
    with path.open("rb") as stdin:
        process = await asyncio.create_subprocess_exec(
            SCRIPT, stdin=stdin, stdout=asyncio.subprocess.PIPE, env={**os.environ, "HUME_API_KEY": KEY}
        )
        said, _ = await process.communicate()
    assert process.returncode == 0
    assert [json.loads(line)["id"] for line in said.splitlines()] == [1, 2]


@pytest.mark.skipif(sys.platform == "win32", reason="has no such terminals")
async def test_a_person_at_a_terminal_is_answered_and_can_leave() -> None:
    """Somebody tries it by hand: a hint, answers, and Ctrl-C, Ctrl-\\ or Ctrl-D as everywhere."""
    import pty

    for end in (signal.SIGINT, signal.SIGQUIT, b"\x04"):
        master, terminal = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(SCRIPT,),
            stdin=terminal,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HUME_API_KEY": KEY},
        )
        os.close(terminal)
        assert process.stdout is not None and process.stderr is not None
        assert b"speaks MCP on stdin" in await process.stderr.readline()
        os.write(master, b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        assert json.loads(await process.stdout.readline())["id"] == 1
        if isinstance(end, bytes):
            os.write(master, end)
        else:
            process.send_signal(end)
        said = (await process.stderr.read()).decode()
        assert await process.wait() == (0 if isinstance(end, bytes) else 128 + end) and "Traceback" not in said
        os.close(master)
