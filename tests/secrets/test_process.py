"""A real process at DEBUG, every fault: neither stdout nor stderr has a secret in it."""

import re
from pathlib import Path

import pytest

from tests.fuzz.arguments import INTERNAL
from tests.process.conftest import Process, evi_mcp
from tests.secrets.certificates import self_signed
from tests.secrets.leaky import CLOSES, KEY, NAMED, STATUSES, found_in, leaking
from tests.secrets.places import somewhere

pytestmark = pytest.mark.anyio

ENVIRONMENT = {"HUME_API_KEY": KEY, "EVI_MCP_SECRET_LLM": NAMED, "EVI_MCP_LOG_LEVEL": "DEBUG"}
CRASH = """
from evi_mcp.supervision import live_chat
receive = live_chat.LiveChat.receive

def faulty(chat, frame):
    if chat.chat_id == "crash":
        raise RuntimeError(f"a fault with {frame!r}, repeated in what it raises")
    receive(chat, frame)

live_chat.LiveChat.receive = faulty
"""
"""A `sitecustomize` that puts a fault into the task of one chat."""


async def clean_end(server: Process) -> str:
    """Ends the process; its log, when nothing that it has written anywhere has a secret in it."""
    server.end_input()
    status, log = await server.ended()
    assert status == 0, log[-3000:]
    for place in (log, *server.lines):
        assert not found_in(place), (found_in(place), place[:3000])
    return log


async def test_no_fault_of_a_service_brings_a_secret_out_of_the_process(tmp_path: Path) -> None:
    """Our contract (section 7), over all that the process can say: results, notifications, log lines, tracebacks."""
    (tmp_path / "sitecustomize.py").write_text(CRASH)
    chats = ["talks", "maybe", "crash", "cut", "huge", *(f"close-{code}" for code in CLOSES)]
    async with leaking() as leaky:
        environment = {**ENVIRONMENT, "EVI_MCP_BASE_URL": leaky.base_url, "PYTHONPATH": str(tmp_path)}
        async with evi_mcp(environment=environment, EVI_MCP_RECONNECT_FOR="1", EVI_MCP_CLAUDE_CHANNEL="on") as server:
            await server.initialize()
            for chat_id in [*chats, *(f"status-{status}" for status in STATUSES)]:
                server.ask(chat_id, "attach_chat", chat_id=chat_id)
            answered = set[str]()
            while len(answered) < len(chats) + len(STATUSES):
                answered.add((await server.read()).get("id"))
                answered.discard(None)
            for rest in (200, 302, 401, 404, 500, f"[{KEY}"):
                leaky.rest = rest
                await server.call("list_chats", scope="active")
            await server.call("update_session_settings", chat_id="talks", language_model_api_key_name="LLM")
            await server.call("send_user_input", chat_id="maybe", text=KEY, wait_for_effect_s=0.1)
            for arguments in ({"chat_id": KEY}, {"chat_id": NAMED}, {KEY: KEY}, {"chat_id": [KEY]}):
                assert (await server.call("get_chat", **arguments))["isError"]
                assert (await server.call("attach_chat", **arguments))["isError"]
            listed = (await server.call("list_chats"))["structuredContent"]["chats"]
            for chat in listed:
                await server.call("get_chat", chat_id=chat["chat_id"])
                await server.call("read_events", chat_id=chat["chat_id"], limit=200, max_chars=50_000)
                await server.request("resources/read", uri=f"evi://chats/{chat['chat_id']}/events")
            log = await clean_end(server)
    assert "a fault with" in log and "[redacted]" in log, "the crash was logged, without the key"
    assert any(command.get("language_model_api_key") == NAMED for command in leaky.received)


@pytest.mark.parametrize(
    "answer",
    [
        f"{KEY}\r\n\r\n".encode(),
        f"HTTP/1.1 200 {KEY}\r\nX: {KEY}\r\n\r\n{KEY}".encode(),
        f"HTTP/1.1 101 {KEY}\r\nUpgrade: {KEY}\r\nConnection: {KEY}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\n{KEY}\r\nContent-Length: {KEY}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}".encode(),
        b"",
    ],
    ids=["no http", "200", "odd 101", "odd header", "odd body", "nothing"],
)
async def test_an_answer_that_is_no_answer_shows_no_secret(answer: bytes) -> None:
    """What a library says of an answer that it cannot read often repeats it."""
    async with somewhere(answer=answer) as place:
        base_url = f"http://{place.address}"
        async with evi_mcp(environment=ENVIRONMENT, EVI_MCP_BASE_URL=base_url, EVI_MCP_RECONNECT_FOR="0") as server:
            await server.initialize()
            for tool, arguments in (("attach_chat", {"chat_id": "c-1"}), ("list_chats", {"scope": "active"})):
                answered = await server.call(tool, **arguments)
                assert answered["isError"] and not INTERNAL.search(text := answered["content"][0]["text"]), answered
                assert not re.search(r"\([A-Z]\w+\)", text), "the name of a class is no reason"
            await clean_end(server)


async def test_a_service_with_a_certificate_of_its_own_making_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """The key would go to whoever sits on the line; the sentence says what is wrong, on sockets and on REST."""
    _, context = self_signed(tmp_path)
    async with somewhere(context, b"HTTP/1.1 200 OK\r\n\r\n") as place:
        base_url = f"https://{place.address}"
        async with evi_mcp(environment=ENVIRONMENT, EVI_MCP_BASE_URL=base_url, EVI_MCP_RECONNECT_FOR="0") as server:
            await server.initialize()
            for tool, arguments in (("attach_chat", {"chat_id": "c-1"}), ("list_chats", {"scope": "active"})):
                answer = await server.call(tool, **arguments)
                text = answer["content"][0]["text"]
                assert answer["isError"] and "certificate" in text and "self-signed" in text, text
            await clean_end(server)
