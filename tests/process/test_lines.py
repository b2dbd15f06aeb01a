"""Lines on stdin that no client means: the process lives on, answers the next request, and stdout stays JSON."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT
from tests.process.conftest import Process, evi_mcp

pytestmark = pytest.mark.anyio

ODD: list[Any] = [
    None,
    True,
    -1,
    1.5,
    1e999,
    float("nan"),
    2**70,
    "",
    "\0",
    "\ud800",
    [],
    {},
    [[]],
    {"a": [{}]},
    "x" * 9000,
]
METHODS = [
    *(
        "tools/call",
        "tools/list",
        "resources/read",
        "resources/subscribe",
        "prompts/get",
        "completion/complete",
        "ping",
    ),
    *(
        "notifications/cancelled",
        "notifications/progress",
        "notifications/initialized",
        "notifications/roots/list_changed",
    ),
    *(
        "initialize",
        "server/discover",
        "subscriptions/listen",
        "logging/setLevel",
        "no/such",
        "",
        "rpc.x",
        "tools/call\n",
    ),
]


def message(rng: random.Random) -> dict[str, Any]:
    """Something like a message of JSON-RPC, with one or two things wrong in it."""
    made: dict[str, Any] = {"jsonrpc": "2.0", "id": f"odd-{rng.random()}", "method": rng.choice(METHODS)}
    made["params"] = {
        rng.choice(["name", "uri", "requestId", "progressToken", "arguments", "_meta", "ref", "protocolVersion"]): odd
        for odd in rng.sample(ODD, rng.randint(0, 4))
    }
    if made["method"] == "tools/call" and rng.random() < 0.5:
        arguments = {"chat_id": rng.choice([CHAT, *ODD]), "limit": rng.choice([1, *ODD]), "until": rng.choice(ODD)}
        made["params"] = {"name": rng.choice(["read_events", "get_chat", "wait_for_events"]), "arguments": arguments}
        made["params"]["arguments"]["timeout_s"] = rng.choice([0, None, "0", float("nan")])
    for _ in range(rng.randint(0, 2)):
        key = rng.choice(["jsonrpc", "id", "method", "params", "result", "error", "x"])
        if rng.random() < 0.3:
            made.pop(key, None)
        else:
            made[key] = rng.choice(ODD)
    return made


def lines(rng: random.Random) -> Iterator[bytes]:
    """What a broken client writes; each ends with a line break, for what follows is meant to be read."""
    while True:
        text = json.dumps(message(rng), allow_nan=True).encode()
        match rng.randrange(9):
            case 0:
                yield rng.randbytes(rng.randint(0, 200)) + b"\n"
            case 1:
                yield text[: rng.randint(0, len(text))] + b"\n"
            case 2:
                yield json.dumps([message(rng) for _ in range(rng.randint(0, 3))]).encode() + b"\n"
            case 3:
                yield text.replace(b'"', b"\xff", 1) + b"\r\n"
            case 4:
                yield b'{"a":' * rng.randint(1, 3000) + b"\n"
            case 5:
                deep = '{"a":' * 500 + "1" + "}" * 500
                yield text.replace(b'"params": {', b'"params": {"deep": ' + deep.encode() + b", ", 1) + b"\n"
            case _:
                yield text + b"\n"


async def still_answers(server: Process) -> None:
    answer = await server.call("get_chat", chat_id=CHAT)
    assert answer["structuredContent"]["state"] == "live", answer


@pytest.mark.parametrize("seed", range(3))
async def test_no_line_stops_the_server_or_spoils_its_stdout(evi: FakeEvi, seed: int) -> None:
    """A client with a fault, or a person who types into the pipe, must not cost the calls that are followed."""
    evi.history[CHAT] = [frames.metadata(), frames.user("hello", 1)]
    made = lines(random.Random(seed))
    async with evi_mcp(evi=evi) as server:
        server._id = 1000  # apart from any id that a line may have
        await server.initialize()
        await server.call("attach_chat", chat_id=CHAT)
        for _ in range(15):
            for _ in range(20):
                server.write(next(made))
            await still_answers(server)
        server.write(b'{"jsonrpc": "2.0", "method": "tools/list", "id": ' + b"9" * (17 * 2**20) + b"}\n")
        await still_answers(server)
        server.write(b'{"jsonrpc": "2.0", "id": "half", "method": "tools/l')  # and stdin ends in the middle of a line
        server.end_input()
        status, log = await server.ended()
    assert status == 0 and "Traceback" not in log, log[-4000:]
    for line in server.lines:
        assert json.loads(line)["jsonrpc"] == "2.0"
        assert "Traceback" not in line and "pydantic" not in line, line[:2000]
