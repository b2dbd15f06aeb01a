"""A command that was given up, on a real socket: nobody hears it later."""

import json
from itertools import count

import anyio
import pytest
from pydantic import SecretStr

from evi_mcp.errors import MaybeSent
from evi_mcp.upstream import websocket
from evi_mcp.upstream.websocket import WebSocketConnector
from tests import frames
from tests.supervision.following import following, saying, until
from tests.upstream.raw_service import Peer, serving, text

pytestmark = pytest.mark.anyio


async def test_a_line_that_was_given_up_is_never_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent is told that it may be lost; half a minute later it was said over the caller."""
    monkeypatch.setattr(websocket, "PING_INTERVAL_S", 60.0)
    heard: list[str] = []
    reads, over = anyio.Event(), anyio.Event()

    async def play(peer: Peer) -> None:
        if not reads.is_set():
            peer.stop_reading()
        await peer.send(text(frames.metadata()))
        await reads.wait()
        peer.read_on()
        try:
            while True:
                heard.append(json.loads(await peer.next_text())["text"])
        finally:
            over.set()

    async with serving(play, receive_buffer=4096) as base_url:
        async with following(WebSocketConnector(base_url, SecretStr("test-key"))) as registry:
            chat = await registry.attach("chat-1")
            with pytest.raises(MaybeSent):
                for number in count():  # until the buffers of both systems are full
                    line = f"line {number} {'x' * 100_000}"
                    await chat.send(saying(line, write_timeout_s=0.2))
            await until(chat, "reconnecting")
            reads.set()
            await over.wait()
            assert line not in heard
            await until(chat, "live")
