"""A proxy between the server under test and a service that breaks things on purpose, on real sockets.

Bytes from the client pass as they are; those from the service are taken apart into frames, so that each fault strikes
at a known frame. The order is never changed. What it kept from the server it notes, since that may come late.
"""

import asyncio
import json
import socket
import struct
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

from tests.chaos import wire
from tests.chaos.faults import FINAL, Fault, Kind, Schedule
from tests.chaos.truth import HISTORY

HUGE_BYTES = 20 * 2**20
LAST_WORDS_S = 1.0
POLICY_AFTER_S = 3.0
"""A policy close that comes sooner after the accept is an answer, and the end of the chat."""
MIN_KNOWN = 30
"""Frames that a client has to have had before a replay keeps the newest part only: some of them have to be in it."""
HEAD_END = b"\r\n\r\n"
OWN_STALL_S = 0.2
"""A quiet period of 0.25 s may be the end of a replay (`docs/replay.md`). One of this length that no schedule asks for
would look like it, when this process was held up: the connection is cut instead."""

_Trouble = (OSError, asyncio.IncompleteReadError)


class Withheld(NamedTuple):
    """The frame of this number never came through on a connection; `link.passed` says how many came by on it."""

    number: int
    link: "Link"


class FaultProxy:
    """Stands before the service on `port`. `done` counts the faults that took place."""

    def __init__(self, port: int, schedule: Schedule) -> None:
        self.base_url = ""
        self.done: Counter[str] = Counter()
        self.withheld: defaultdict[str, list[Withheld]] = defaultdict(list)
        self.connections: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        """By chat, how many frames of it have come by on some connection."""
        self.schedule = schedule
        self.service_port = port
        self._links: dict[Link, asyncio.Task[None]] = {}

    def cut(self, *chat_ids: str) -> None:
        """Breaks the connections of these chats, or all of them, with RST."""
        for link in list(self._links):
            if not chat_ids or link.chat_id in chat_ids:
                link.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._links[link] = task
        try:
            await link.run()
        finally:
            del self._links[link]

    async def close(self) -> None:
        """Ends every connection."""
        tasks = list(self._links.values())
        self.cut()
        await asyncio.gather(*tasks)


class Link:
    """One connection, and the faults it meets. `passed` counts the text frames that the service sent on it."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.chat_id = ""
        self.passed = 0
        self._proxy = proxy
        self._from_server, self._to_server = reader, writer
        self._faults: list[Fault] = []
        self._history = 0
        self._wrote_at = 0.0
        self._left_out: frozenset[str] = frozenset()
        self._opened_at = 0.0
        self._kept_from = 0  # the number of the frame with which a history begins that keeps the newest part only
        self._broken = False  # nothing is passed on any more
        self._hang_up = False  # and the next word of the server is its last
        self._split = 0
        self._join = 0
        self._held = bytearray()
        self._reading = asyncio.Event()
        self._reading.set()

    def reset(self) -> None:
        """Cuts the server off at once: RST, whatever is still on its way."""
        self._broken = True
        sock = self._to_server.get_extra_info("socket")
        if sock is not None and not self._to_server.is_closing():
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._to_server.transport.abort()

    async def run(self) -> None:
        """Passes on what comes, until either side is gone."""
        to_service = None
        try:
            head = await self._from_server.readuntil(HEAD_END)
            is_chat = self._read_path(head)
            if is_chat and await self._refuse():
                return
            from_service, to_service = await asyncio.open_connection("127.0.0.1", self._proxy.service_port)
            to_service.write(head)
            await self._answer(from_service, is_chat)
            up = asyncio.create_task(self._up(to_service))
            down = asyncio.create_task(self._down(from_service))
            try:
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (up, down):
                    task.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        except _Trouble:
            pass
        finally:
            self._flush()
            self._to_server.close()
            if to_service is not None:
                to_service.transport.abort()  # what it was still to be told, nobody waits for
            try:
                async with asyncio.timeout(LAST_WORDS_S):
                    await self._to_server.wait_closed()
            except TimeoutError:
                self._to_server.transport.abort()  # the server under test does not read any more
            except OSError:
                pass

    def _read_path(self, head: bytes) -> bool:
        """Whether this is the handshake of a chat."""
        parts = head.split(b" ", 2)[1].decode().split("/")
        is_chat = parts[-1] == "connect"
        if is_chat:
            self.chat_id = unquote(parts[-2])
            self._proxy.connections[self.chat_id] += 1
        return is_chat

    async def _refuse(self) -> bool:
        status = self._proxy.schedule.refusal(self.chat_id, self._proxy.connections[self.chat_id])
        if status is None:
            return False
        self._proxy.done[f"{Kind.REFUSE} with {status}" if status else "hang up on a handshake"] += 1
        if status:
            reason = HTTPStatus(status).phrase
            self._to_server.write(
                f"HTTP/1.1 {status} {reason}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode()
            )
            await self._to_server.drain()
        return True

    async def _answer(self, from_service: asyncio.StreamReader, is_chat: bool) -> None:
        """Passes on the answer to the handshake, and learns from it what the connection meets."""
        answer = await from_service.readuntil(HEAD_END)
        self._to_server.write(answer)
        if not is_chat or not answer.startswith(b"HTTP/1.1 101"):
            self._to_server.write(await from_service.read())
            raise ConnectionError("no WebSocket")
        for line in answer.decode().split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == HISTORY.lower():
                self._history = int(value)
        self._faults = self._proxy.schedule.faults(self.chat_id, self._proxy.connections[self.chat_id], self._history)
        self._wrote_at = self._opened_at = time.monotonic()
        if sock := self._to_server.get_extra_info("socket"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def _up(self, to_service: asyncio.StreamWriter) -> None:
        """From the server to the service. Behind a fault that ends the connection everything is lost."""
        while True:
            await self._reading.wait()
            data = await self._from_server.read(65536)
            if not data:
                return
            await self._reading.wait()
            if self._hang_up:
                return  # the server has answered what was no frame, or a close frame, with one of its own
            if not self._broken:
                to_service.write(data)
                await to_service.drain()

    async def _down(self, from_service: asyncio.StreamReader) -> None:
        """From the service to the server, frame by frame."""
        while not self._broken:
            frame = await wire.read_frame(from_service)
            if frame.opcode != wire.TEXT:
                self._flush()
                self._to_server.write(frame.raw)
                continue
            raw = await self._meet_faults(frame)
            if self.passed < self._history and time.monotonic() - self._wrote_at > OWN_STALL_S:
                self._proxy.done["cut after a stall of our own"] += 1
                self.reset()
            if self._broken:
                break
            self.passed += 1
            if raw is not None:
                await self._pass_on(raw)
                self._proxy.passed[self.chat_id] = max(self._proxy.passed[self.chat_id], self.passed)
        await asyncio.Future()  # until the server has found out, or somebody cuts it off

    async def _meet_faults(self, frame: wire.Frame) -> bytes | None:
        """What becomes of the next text frame; `None` if it is kept back."""
        raw: bytes = frame.raw
        while self._faults and self._faults[0].at <= self.passed:
            fault = self._faults.pop(0)
            self._proxy.done[f"{fault.kind}: {fault.value}" if fault.kind is Kind.CORRUPT else fault.kind] += 1
            if fault.kind in FINAL:
                self._broken = True
                self._flush()
                await self._end(fault)
                return None
            if (changed := _changed(fault, frame.payload)) is not None:
                raw = changed
                self._withhold()
            else:
                await self._disturb(fault)
        if 0 < self.passed < self._kept_from:
            return None  # the client has had it
        if self.passed < self._history and self._left_out and json.loads(frame.payload)["type"] in self._left_out:
            self._withhold()
            return None
        return raw

    def _withhold(self) -> None:
        self._proxy.withheld[self.chat_id].append(Withheld(self.passed, self))

    async def _disturb(self, fault: Fault) -> None:
        """A fault that the connection outlives."""
        match fault.kind:
            case Kind.DELAY:
                self._flush()
                await asyncio.sleep(fault.value)
            case Kind.SPLIT:
                self._split = fault.value
            case Kind.JOIN:
                self._join = fault.value
            case Kind.BINARY:
                self._held += wire.build(wire.BINARY, f"{self.chat_id} {self.passed}".encode())
                self._flush()
            case Kind.HUGE:
                self._held += wire.build(wire.TEXT, b" " * HUGE_BYTES)
                self._flush()
            case Kind.SLOW:
                self._flush()
                await asyncio.sleep(fault.value)
                self._wrote_at = time.monotonic()
            case Kind.KEEP_TAIL:
                known = min(self._proxy.passed[self.chat_id], self._history)
                self._kept_from = int(fault.value * known) if known >= MIN_KNOWN else 0
            case Kind.STALL:
                self._reading.clear()
                asyncio.get_running_loop().call_later(fault.value, self._reading.set)
            case Kind.LEAVE_OUT:
                self._left_out = fault.value

    async def _end(self, fault: Fault) -> None:
        """A fault that is the end of the connection: the server has to find out, and hang up."""
        self._hang_up = fault.kind not in (Kind.SILENCE, Kind.LINGER)
        match fault.kind:
            case Kind.RST:
                self.reset()
            case Kind.FIN:
                self._to_server.close()
            case Kind.CLOSE | Kind.LINGER:
                self._to_server.write(wire.close(fault.value, "chaos"))
            case Kind.POLICY:
                await asyncio.sleep(self._opened_at + POLICY_AFTER_S - time.monotonic())
                self._to_server.write(wire.close(fault.value, "chaos"))
            case Kind.NO_FRAME:
                self._to_server.write(wire.build(wire.RESERVED, b"?"))
        # SILENCE does nothing at all.

    async def _pass_on(self, raw: bytes) -> None:
        if self._split:
            self._split -= 1
            self._flush()
            for start in range(0, len(raw), 97):
                self._to_server.write(raw[start : start + 97])
                await asyncio.sleep(0)
        elif self._join:
            self._join -= 1
            self._held += raw
            # A frame may wait for the next one, but not long: a gap would be the end of a replay.
            asyncio.get_running_loop().call_later(0.05, self._flush)
            if not self._join:
                self._flush()
        else:
            self._flush()
            self._to_server.write(raw)
        self._wrote_at = time.monotonic()
        await self._to_server.drain()

    def _flush(self) -> None:
        held, self._held = bytes(self._held), bytearray()
        if held and not self._to_server.is_closing():
            self._to_server.write(held)


def _changed(fault: Fault, payload: bytes) -> bytes | None:
    """The frame that comes in place of one with this payload; `None` if the fault is none of a frame."""
    match fault.kind:
        case Kind.CORRUPT:
            return wire.build(wire.TEXT, wire.damaged(payload, fault.value))
        case Kind.BAD_BYTES:
            return wire.build(wire.TEXT, wire.bad_bytes(payload))
        case Kind.AS_BINARY:
            return wire.build(wire.BINARY, payload)
        case Kind.BYTE_ORDER_MARK:
            return wire.build(wire.TEXT, wire.BYTE_ORDER_MARK + payload)
    return None


@asynccontextmanager
async def breaking(port: int, schedule: Schedule) -> AsyncIterator[FaultProxy]:
    """Runs a proxy before the service on `port`."""
    proxy = FaultProxy(port, schedule)
    server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
    proxy.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
        await asyncio.sleep(0)  # what was aborted is closed with the next turn of the loop
