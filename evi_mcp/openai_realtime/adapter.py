"""One call as a chat of the hub: holds the sideband, connects again, and ends the chat when the call is over."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel

from evi_mcp.clock import Clock, sleep, timeout
from evi_mcp.hub import ChatSource, Hub, SourceCommand
from evi_mcp.hub.closes import INTERNAL_ERROR, NORMAL_CLOSURE
from evi_mcp.hub.json_frames import Unreadable, read
from evi_mcp.logs import fields
from evi_mcp.openai_realtime import SOURCE
from evi_mcp.openai_realtime.declared import SUPPORTS
from evi_mcp.openai_realtime.endpoints import Endpoint
from evi_mcp.openai_realtime.pausing import Held
from evi_mcp.openai_realtime.reading import Message
from evi_mcp.openai_realtime.refusals import FRESH_S, LONGEST_CALL, OVER, CallNotAttached, is_final, sentence
from evi_mcp.openai_realtime.rest import NotDone, Rest, action_of
from evi_mcp.openai_realtime.sideband import Refused, Socket, open_sideband
from evi_mcp.openai_realtime.tickets import result_of
from evi_mcp.openai_realtime.translator import Translator
from evi_mcp.protocol.redaction import Mask
from evi_mcp.upstream.reconnect import backoff
from evi_mcp.upstream.transport import Closed, Unreachable

RECONNECT_FOR_S = 300.0
COMMAND_PATIENCE_S = 5.0
"""How long a command waits for a connection that is away."""
LAST_WORD_S = 2.0
"""How long the end of a pause may take when this process ends."""
MAX_FRESH_WAIT_S = 2.0
LOST = "ERROR"
"""The status of a chat whose call may go on, without anybody here who follows it."""
RESUME = "resume_assistant_message"
"""What is never too late: it waits for a connection for as long as the call lasts."""

Open = Callable[[Endpoint, str], Awaitable[Socket]]
_log = logging.getLogger(__name__)


class CallAdapter:
    """A call that is attached. `attach`, then `run` until it is over.

    Args:
        call_id: `rtc_...`; the chat has the same id.
        hub: Where the chat is.
        endpoint: The service.
        rest: Ends and transfers calls.
        clock: The time.
        recap: Whether the model is asked for its account of what was said before.
        held: What a former adapter of the call has left.
        fresh_s: For how long an id that was never seen may be unknown.
        reconnect_for_s: The chat ends after so many seconds without a connection.
        open_socket: Opens the sideband.
        delays: The waits between attempts.
    """

    def __init__(
        self,
        call_id: str,
        hub: Hub,
        endpoint: Endpoint,
        rest: Rest,
        clock: Clock,
        *,
        recap: bool = False,
        held: Held | None = None,
        fresh_s: float = FRESH_S,
        reconnect_for_s: float = RECONNECT_FOR_S,
        open_socket: Open = open_sideband,
        delays: Callable[[], Iterator[float]] = backoff,
    ) -> None:
        self.call_id = call_id
        self._hub, self._endpoint, self._rest, self._clock = hub, endpoint, rest, clock
        self._fresh_s, self._reconnect_for_s = fresh_s, reconnect_for_s
        self._open, self._delays = open_socket, delays
        self._mask = Mask([endpoint.api_key.get_secret_value()])
        self._translator = Translator(self._publish, secrets.token_hex(6), recap=recap, held=held)
        self._socket: Socket | None = None
        self._source: ChatSource | None = None
        self._changed = anyio.Event()
        self._unreadable = 0
        self._over = OVER  # why, once the service does not know the call any more

    @property
    def source(self) -> ChatSource:
        """Its end of the chat."""
        assert self._source is not None, "the call is not attached"
        return self._source

    @property
    def held(self) -> Held | None:
        """What is left behind where the call was lost and may go on; `None` if nothing, or if it is over."""
        return self._translator.held if self.source.chat.status == LOST else None

    async def attach(self) -> None:
        """Opens the sideband and the chat.

        Raises:
            CallNotAttached: There is no way to the call; the text says why.
            ChatIdTaken, TooManyChats: The hub does not take it.
        """
        self._socket = await self._first_socket()
        try:
            self._source = self._hub.open_chat(
                source={"name": SOURCE, "wire": "sideband"}, supports=SUPPORTS, chat_id=self.call_id
            )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._socket.close()
            raise
        self._translator.connected()

    async def run(self) -> None:
        """Carries the call until it is over. Cancelled, it lets a paused assistant go on, and ends the chat."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._take_commands)
                while self._socket is not None:
                    await self._carry(self._socket)
                    self._translator.cut()
                    self._lose(self._socket)
                    self._socket = None if self.source.ended else await self._next_socket()
                    if self._socket is not None:
                        self._found()
                group.cancel_scope.cancel()
        finally:
            if self._socket is not None:
                with anyio.CancelScope(shield=True):
                    await self._leave(self._socket)
            if not self.source.ended:
                self._end("this server no longer follows the call, which may go on", status=LOST)

    async def _first_socket(self) -> Socket:
        ends, delays = self._clock.elapsed() + self._fresh_s, self._delays()
        while True:
            try:
                return await self._open(self._endpoint, self.call_id)
            except Refused as refusal:
                why, status, asked = sentence(refusal, self._fresh_s), refusal.status, refusal.retry_after
                if is_final(status):
                    raise CallNotAttached(self.call_id, why, status) from None
            except Unreachable as trouble:
                why, status, asked = str(trouble), None, None
            wait = max(min(next(delays), MAX_FRESH_WAIT_S), asked or 0.0)
            if self._clock.elapsed() + wait > ends:
                raise CallNotAttached(self.call_id, why, status, asked)
            await sleep(self._clock, wait)

    async def _next_socket(self) -> Socket | None:
        """Connects again; `None` if the call is over, or cannot be reached any more: then the chat has ended."""
        if self._translator.expired:
            self._end(LONGEST_CALL, status="MAX_DURATION_TIMEOUT")
            return None
        ends, delays, why = self._clock.elapsed() + self._reconnect_for_s, self._delays(), ""
        while True:
            wait = 0.0
            try:
                return await self._open(self._endpoint, self.call_id)
            except Refused as refusal:
                if refusal.status in (404, 410):
                    self._end(self._over)
                    return None
                why, wait = sentence(refusal), refusal.retry_after or 0.0
                if is_final(refusal.status):
                    self._end(why, status=LOST)
                    return None
            except Unreachable as trouble:
                why = str(trouble)
            _log.warning("cannot connect again", extra=fields(chat_id=self.call_id, reason=why))
            wait = max(next(delays), wait)
            if self._clock.elapsed() + wait > ends:
                self._end(f"gave up after {self._reconnect_for_s:g} s: {why}", status=LOST)
                return None
            await sleep(self._clock, wait)

    def _end(self, reason: str, status: str = "USER_ENDED") -> None:
        """Ends the chat, with everything that was said in it. One that was lost may go on: whoever follows it may come
        back, and is not told that it is over."""
        self._translator.finish()
        self.source.end(reason, status=status, code=INTERNAL_ERROR if status == LOST else NORMAL_CLOSURE)

    def _lose(self, socket: Socket) -> None:
        self.source.away = True  # the hub refuses what would be spoken too late
        self._socket = None
        self._tell()

    def _found(self) -> None:
        self.source.away = False
        self._translator.connected()
        self._tell()

    async def _carry(self, socket: Socket) -> None:
        """Carries events and commands until the connection is gone."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._write, socket, group.cancel_scope)
            group.start_soon(self._keep_time)
            try:
                while True:
                    self._receive(await socket.receive())
                    await anyio.lowlevel.checkpoint()  # others have their turn while many are here already
            except Closed as end:
                _log.info("the sideband is gone", extra=fields(chat_id=self.call_id, code=end.code))
            group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await socket.close()

    def _receive(self, frame: str | bytes) -> None:
        try:
            event = read(frame)
        except Unreadable:
            self._unreadable += 1
            _log.log(
                logging.WARNING if self._unreadable == 1 else logging.DEBUG,
                "an event cannot be read",
                extra=fields(chat_id=self.call_id, count=self._unreadable),
            )
            return
        try:
            self._translator.receive(event, self._clock.elapsed(), int(self._clock.now() * 1000))
        except Exception:  # a call is worth more than one event of it
            _log.exception("an event was not understood", extra=fields(chat_id=self.call_id))
        self._tell()

    async def _write(self, socket: Socket, scope: anyio.CancelScope) -> None:
        try:
            while True:
                changed = self._changed
                for event in self._translator.outbox.take():
                    await socket.send(event)
                await changed.wait()
        except Closed:
            scope.cancel()

    async def _keep_time(self) -> None:
        while True:
            changed, due = self._changed, self._translator.next_due()
            if due is None:
                await changed.wait()
                continue
            with self._clock.timeout_at(due) as waiting:
                await changed.wait()
            if waiting.cancelled_caught:
                self._translator.tick(self._clock.elapsed())
                self._tell()

    async def _take_commands(self) -> None:
        async with anyio.create_task_group() as group:
            async for command in self.source.commands():
                try:
                    action = action_of(command.message)
                except NotDone as why:
                    command.refuse(str(why))
                    continue
                if action is not None:
                    group.start_soon(self._act, command, *action)
                elif command.message["type"] == RESUME or await self._is_connected():
                    self._translator.command(command, self._clock.elapsed())
                    self._tell()
                else:
                    command.refuse("the connection to the service is away; nothing was sent")

    async def _is_connected(self) -> bool:
        with timeout(self._clock, COMMAND_PATIENCE_S):
            while self._socket is None:
                await self._changed.wait()
        return self._socket is not None

    async def _act(self, command: SourceCommand, verb: str, body: dict[str, Any] | None) -> None:
        try:
            await self._rest.post(self.call_id, verb, body)
        except NotDone as why:
            command.refuse(str(why))
            return
        self._over = f"a supervisor has {'ended' if verb == 'hangup' else 'transferred'} the call"
        self._publish(result_of(command, "confirmed"))
        command.done()

    async def _leave(self, socket: Socket) -> None:
        """The last word: an assistant that is held back from here would be mute for good."""
        with anyio.move_on_after(LAST_WORD_S):
            try:
                self._translator.leave(self._clock.elapsed())
                for event in self._translator.outbox.take():
                    await socket.send(event)
            except Closed:
                pass
            await socket.close()

    def _publish(self, message: Message) -> None:
        self.source.publish(self._mask(message))

    def _tell(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
