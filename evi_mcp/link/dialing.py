"""One WebSocket from the bot to its hub: dialled, and dialled again for as long as the bot lives.

Nothing here waits for the bot, and the bot waits for nothing here. What a hub does wrong costs the connection, never
the call: frames that are no JSON are counted and passed over, a hub that stops reading or never acknowledges is left.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from evi_mcp.link.connecting import LAST_DELAY_S, OPEN_TIMEOUT_S, backoff, hang_up, open_connection, why_lost
from evi_mcp.link.inbox import Inbox, Outcome
from evi_mcp.link.outbox import Outbox

PROTOCOL = 1
SEND_TIMEOUT_S = 20.0
STALL_S = 30.0
"""A hub that acknowledges nothing for so long, although there is something to acknowledge, is left."""
MAX_OUTCOMES = 1000

State = Literal["new", "connecting", "live", "reconnecting", "refused", "ended"]
OVER: tuple[State, ...] = ("refused", "ended")

_log = logging.getLogger("evi_mcp.link")


class _Goodbye(Exception):
    """The hub wants no more of this connection."""

    def __init__(self, message: dict[str, Any], *, greeting: bool) -> None:
        self.reason = repr(str(message.get("reason"))[:200])
        self.greeting = greeting
        """It came in answer to our `hello`."""


class Dialer:
    """Keeps a link to one hub. `state` says how it stands.

    Args:
        uri: From `link_uri`.
        key: For the header `X-Hume-Api-Key`; `None` sends none.
        hello: The first frame, without `resume`.
        outbox, inbox: What goes out and what came in; shared with the owner.
        on_command: Called with the id and the message of each command.
        delays: Makes the seconds between attempts; begun anew after progress.
    """

    def __init__(
        self,
        uri: str,
        key: str | None,
        hello: Callable[[], dict[str, Any]],
        outbox: Outbox,
        inbox: Inbox,
        on_command: Callable[[str, Any], None],
        delays: Callable[[], Iterator[float]] = backoff,
    ) -> None:
        self.state: State = "new"
        self.faults = 0
        """Frames from the hub that could not be used."""
        self._uri = uri
        self._key = key
        self._hello = hello
        self._outbox = outbox
        self._inbox = inbox
        self._on_command = on_command
        self._delays = delays
        self._woken = asyncio.Event()
        self._outcomes: deque[Outcome] = deque(maxlen=MAX_OUTCOMES)
        self._token: str | None = None
        self._was_live = False
        self._telling_again = False
        self._progress = False
        self._acknowledged_at = 0.0
        self._ending: str | None = None
        self._end_written = False

    def wake(self) -> None:
        """There is something to write."""
        self._woken.set()

    def tell(self, outcome: Outcome) -> None:
        """Writes what became of a command, now or to the next connection."""
        self._outcomes.append(outcome)
        self._woken.set()

    def end(self, reason: str) -> None:
        """Ends the chat once everything else is written. The first reason counts."""
        if self._ending is None:
            self._ending = reason
        self._woken.set()

    async def run(self) -> None:
        """Dials until the chat is over, or the hub refuses the key."""
        self.state = "connecting"
        delays = self._delays()
        while self.state not in OVER:
            self._progress = forgotten = False
            try:
                await self._dial()
            except _Goodbye as goodbye:
                forgotten = self._take_leave(goodbye)
            except Exception as error:  # of any kind: the call goes on, and so does the dialling
                self._fail(error)
            if self._progress:
                delays = self._delays()
            if self.state not in OVER and not forgotten:
                await asyncio.sleep(next(delays))

    async def _dial(self) -> None:
        connection = await open_connection(self._uri, self._key)
        try:
            await self._greet(connection)
            since = _now()
            writer = asyncio.create_task(self._write(connection))
            try:
                await self._read(connection)
            finally:
                self._progress = self._progress or _now() - since > LAST_DELAY_S
                writer.cancel()
                await asyncio.wait([writer])
        finally:
            await hang_up(connection)

    async def _greet(self, connection: ClientConnection) -> None:
        hello = self._hello()
        if self._token is not None:
            resume = {"chat_id": hello["chat_id"], "token": self._token, "sent": self._outbox.sent}
            hello["resume"] = {**resume, "tells_past": True}
        await self._send(connection, json.dumps(hello).encode())
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            while (answer := self._parsed(await connection.recv())) is None:
                pass
        if answer.get("type") == "goodbye":
            raise _Goodbye(answer, greeting=True)
        token, received = answer.get("token"), answer.get("received", 0)
        if answer.get("type") != "welcome" or not isinstance(token, str) or not _is_count(received):
            raise ValueError("the hub's first answer was no welcome")
        known = token == self._token
        if not known:
            self._inbox.forget()
        self._outcomes = deque(self._inbox.recent(), maxlen=MAX_OUTCOMES)
        self._outbox.connected(received, same_chat=known)
        self._telling_again = self._telling_again or ("resume" in hello and not known)
        self._token = token
        self._was_live = True
        self._end_written = False
        self._acknowledged_at = _now()
        self.state = "live"
        _log.info("supervised by the hub", extra={"chat_id": hello["chat_id"]})

    async def _read(self, connection: ClientConnection) -> None:
        while True:
            message = self._parsed(await connection.recv())
            if message is None:
                continue
            if _is_count(message.get("ack")):
                self._outbox.acknowledge(message["ack"])
                self._acknowledged_at = _now()
                self._progress = True
                self._woken.set()
            elif "command" in message and isinstance(message.get("id"), str):
                self._progress = True
                self._on_command(message["id"], message["command"])
            elif message.get("type") == "goodbye":
                raise _Goodbye(message, greeting=False)
            else:
                self._count_fault()

    async def _write(self, connection: ClientConnection) -> None:
        try:
            while True:
                self._woken.clear()
                while (frame := self._next_frame()) is not None:
                    await self._send(connection, frame)
                    await asyncio.sleep(0)  # a long backlog must not hold up the bot
                if self._outbox.unanswered and self._silent_for() > STALL_S:
                    raise TimeoutError
                try:
                    async with asyncio.timeout(STALL_S):
                        await self._woken.wait()
                except TimeoutError:
                    pass
        except (TimeoutError, ConnectionClosed, OSError):
            connection.transport.abort()  # the reader sees the end of it

    def _next_frame(self) -> bytes | None:
        if self._outcomes:
            return json.dumps(self._outcomes.popleft().frame()).encode()
        if not self._outbox.unanswered:
            self._acknowledged_at = _now()
        if self._telling_again and not self._outbox.behind:
            self._telling_again = False
            return b'{"type": "caught_up"}'
        if (frame := self._outbox.next_frame()) is not None:
            return frame
        if self._ending is not None and not self._end_written and self._outbox.all_written:
            self._end_written = True
            return json.dumps({"type": "end", "reason": self._ending}).encode("utf-8", "replace")
        return None

    def _silent_for(self) -> float:
        return _now() - self._acknowledged_at

    async def _send(self, connection: ClientConnection, frame: bytes) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await connection.send(frame, text=True)

    def _parsed(self, raw: str | bytes) -> dict[str, Any] | None:
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
        self._count_fault()
        return None

    def _count_fault(self) -> None:
        self.faults += 1
        if self.faults == 1:
            _log.warning("the hub sent a frame that is of no use to a bot; more are counted, not logged")

    def _take_leave(self, goodbye: _Goodbye) -> bool:
        """Returns whether to dial again at once, since the hub only does not know this link any more."""
        nothing_left = self._ending is not None and self._outbox.open == 0
        if self._end_written or (goodbye.greeting and nothing_left):
            self.state = "ended"
            return False
        self._lost(f"it says goodbye: {goodbye.reason}")
        forgotten = goodbye.greeting and self._token is not None
        if forgotten:
            self._token = None
        return forgotten

    def _fail(self, error: Exception) -> None:
        closed_well = isinstance(error, ConnectionClosed) and error.rcvd is not None and error.rcvd.code == 1000
        if closed_well and self._end_written:
            self.state = "ended"
        elif isinstance(error, InvalidStatus) and error.response.status_code in (401, 403) and not self._was_live:
            self.state = "refused"
            self._outbox.discard()
            _log.error("the hub refuses the key (HTTP %d): this call is not supervised", error.response.status_code)
        else:
            self._lost(why_lost(error))

    def _lost(self, why: str) -> None:
        if self.state != "reconnecting":
            _log.warning("no hub: %s; the call goes on and the link tries again", why)
        self.state = "reconnecting"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _now() -> float:
    return asyncio.get_running_loop().time()
