"""You, on the phone with one of the example bots: type what you say, read what you hear.

    python examples/typed_caller.py                          # with pipecat_bot.py, which runs already
    python examples/typed_caller.py examples/livekit_bot.py  # with a LiveKit agent, which this starts

A line that ends in `...` is said while you go on talking; an empty line, or the end of the input, hangs up.
"""

import asyncio
import json
import os
import struct
import sys
from collections import deque
from contextlib import suppress
from typing import Any, Protocol

from letters import Reader, sound_of
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

LIVEKIT_RATE = 48_000
FRAME_S = 0.02


class Line(Protocol):
    """A telephone line."""

    async def say(self, text: str, *, finished: bool) -> None: ...
    async def listen(self) -> None: ...


def hear(letters: str) -> None:
    sys.stdout.write(letters)
    sys.stdout.flush()


class PipecatLine:
    """The bot understands typed words, and its serializer reads the letters out of its voice."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def say(self, text: str, *, finished: bool) -> None:
        await self._socket.send(json.dumps({"said" if finished else "saying": text}))

    async def listen(self) -> None:
        with suppress(ConnectionClosed):
            async for message in self._socket:
                hear(json.loads(message).get("heard", ""))


class LiveKitLine:
    """The agent's console protocol over TCP: audio in real time, both ways."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from livekit.protocol.agent_pb import agent_session

        self._message = agent_session.AgentSessionMessage
        self._reader = reader
        self._writer = writer
        self._speech = bytearray()
        self._playing: deque[Any] = deque()

    async def say(self, text: str, *, finished: bool) -> None:
        self._speech += sound_of(f"{text} ", LIVEKIT_RATE)

    async def listen(self) -> None:
        tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._be_on_the_phone())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _receive(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (size,) = struct.unpack(">I", await self._reader.readexactly(4))
                message = self._message()
                message.ParseFromString(await self._reader.readexactly(size))
                match message.WhichOneof("message"):
                    case "audio_output":
                        self._playing.append(bytes(message.audio_output.data))
                    case "audio_playback_flush":
                        self._playing.append(None)
                    case "audio_playback_clear":
                        self._playing.clear()

    async def _be_on_the_phone(self) -> None:
        """Plays what comes as fast as it is spoken, and sends as much of one's own voice or of silence."""
        ear, loop = Reader(LIVEKIT_RATE), asyncio.get_running_loop()
        size = round(LIVEKIT_RATE * FRAME_S) * 2
        at, left = loop.time(), b""
        while True:
            frame, self._speech = bytes(self._speech[:size]).ljust(size, b"\0"), self._speech[size:]
            audio = self._message.ConsoleIO.AudioFrame(
                data=frame, sample_rate=LIVEKIT_RATE, num_channels=1, samples_per_channel=size // 2
            )
            self._send(self._message(audio_input=audio))
            while len(left) < size and self._playing:
                if (piece := self._playing.popleft()) is None:
                    hear(ear.read(left))
                    left = b""
                    finished = self._message.ConsoleIO.AudioPlaybackFinished()
                    self._send(self._message(audio_playback_finished=finished))
                else:
                    left += piece
            hear(ear.read(left[:size]))
            left = left[size:]
            at += FRAME_S
            await asyncio.sleep(max(0.0, at - loop.time()))

    def _send(self, message: Any) -> None:
        data = message.SerializeToString()
        self._writer.write(struct.pack(">I", len(data)) + data)


async def call_livekit(agent: str) -> None:
    """Waits for the agent to dial in; any values will do for its credentials."""
    lines: asyncio.Queue[LiveKitLine] = asyncio.Queue()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.put_nowait(LiveKitLine(reader, writer))

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        address = "{}:{}".format(*server.sockets[0].getsockname())
        command = [sys.executable, "-m", "livekit.agents", "console", agent, "--connect-addr", address]
        unused = {"LIVEKIT_URL": "ws://127.0.0.1:1", "LIVEKIT_API_KEY": "unused", "LIVEKIT_API_SECRET": "unused" * 6}
        process = await asyncio.create_subprocess_exec(*command, env=os.environ | unused, stdout=sys.stderr)
        try:
            await talk(await lines.get())
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def call_pipecat(address: str) -> None:
    async with connect(address) as socket:
        await talk(PipecatLine(socket))


async def talk(line: Line) -> None:
    print("You are connected.", flush=True)
    listening = asyncio.create_task(line.listen())
    typing = asyncio.create_task(type_(line))
    await asyncio.wait([listening, typing], return_when=asyncio.FIRST_COMPLETED)
    for task in (listening, typing):
        task.cancel()


async def type_(line: Line) -> None:
    typed = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(typed), sys.stdin)
    while text := (await typed.readline()).decode().strip():
        await line.say(text.removesuffix("..."), finished=not text.endswith("..."))


if __name__ == "__main__":
    target = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"
    asyncio.run(call_pipecat(target) if target.startswith("ws") else call_livekit(target))
