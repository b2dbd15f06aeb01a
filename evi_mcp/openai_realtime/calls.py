"""All calls that are attached, and the way in for those who attach: by their id, through the hub."""

import logging
from contextlib import AsyncExitStack
from typing import Any

import anyio
from anyio.abc import TaskGroup

from evi_mcp.clock import Clock, sleep
from evi_mcp.hub import Hub
from evi_mcp.hub.chats import ChatIdTaken, TooManyChats
from evi_mcp.hub.closes import INTERNAL_ERROR
from evi_mcp.logs import fields
from evi_mcp.openai_realtime import SOURCE
from evi_mcp.openai_realtime.adapter import LOST, CallAdapter
from evi_mcp.openai_realtime.endpoints import Endpoint
from evi_mcp.openai_realtime.pausing import Held
from evi_mcp.openai_realtime.refusals import CallNotAttached, is_final
from evi_mcp.openai_realtime.rest import Rest
from evi_mcp.opened import Opened
from evi_mcp.protocol.chat_id import check_chat_id
from evi_mcp.protocol.lifecycle import GONE_STATUS
from evi_mcp.upstream.reconnect import backoff
from evi_mcp.upstream.transport import Connector, NotTaken, Refused, Transport, Unreachable

MAX_WHY = 100
"""Refusals that are remembered, to be explained."""
MAX_HELD = 1000
"""Lost calls whose assistants are held back; the oldest is forgotten first."""
LONGEST_CALL_S = 3600.0

_log = logging.getLogger(__name__)


class RealtimeCalls(Opened):
    """Attaches to calls, open as long as its `async with` block. On leaving, paused assistants go on.

    Args:
        hub: Where their chats are.
        endpoint: The service.
        clock: The time; by default the hub's.
        options: As for `CallAdapter`.
    """

    def __init__(self, hub: Hub, endpoint: Endpoint, clock: Clock | None = None, **options: Any) -> None:
        self._hub, self._endpoint, self._options = hub, endpoint, options
        self._clock = clock or hub.clock
        self._rest = Rest(endpoint, self._clock)
        self._opening: dict[str, anyio.Event] = {}
        self._why: dict[str, CallNotAttached] = {}
        self._held: dict[str, Held] = {}
        self._tasks: TaskGroup | None = None

    async def attach(self, call_id: str, **options: Any) -> None:
        """Makes a call a chat of the hub, if it is none yet; whoever asks meanwhile gets the same.

        Args:
            call_id: Of a call that runs over WebRTC or SIP.
            options: `recap` and `fresh_s`, as for `CallAdapter`.

        Raises:
            InvalidChatId: It can be no id of a call.
            CallNotAttached: There is no way to it; the text says why.
        """
        check_chat_id(call_id)
        while (opening := self._opening.get(call_id)) is not None:
            await opening.wait()
            if (why := self._why.get(call_id)) is not None:
                raise why
        if self._hub.chats.live(call_id) is not None:
            return
        self._opening[call_id] = opened = anyio.Event()
        self._why.pop(call_id, None)
        try:
            await self._hold(call_id, options)
        except CallNotAttached as why:
            self._why[call_id] = why
            if len(self._why) > MAX_WHY:
                del self._why[next(iter(self._why))]
            raise
        finally:
            del self._opening[call_id]
            opened.set()

    def announce(self, call_id: str, **options: Any) -> None:
        """Somebody says that there is such a call: it is attached to in the background. Options as for `attach`.

        Raises:
            InvalidChatId: It can be no id of a call.
        """
        check_chat_id(call_id)
        assert self._tasks is not None, "the calls are not open"
        self._tasks.start_soon(self._attach_quietly, call_id, options)

    def may_be(self, chat_id: str) -> bool:
        """Whether an id that nobody has announced may be that of a call."""
        return self._endpoint.may_be_call(chat_id)

    def why_not(self, call_id: str) -> str | None:
        """Why a call was not attached the last time; `None` if it was, or nobody has tried."""
        why = self._why.get(call_id)
        return why.why if why is not None else None

    async def _open(self, stack: AsyncExitStack) -> None:
        stack.push_async_callback(self._rest.aclose)
        self._tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(self._tasks.cancel_scope.cancel)

    async def _hold(self, call_id: str, options: dict[str, Any]) -> None:
        assert self._tasks is not None, "the calls are not open"
        options = {**self._options, "held": self._held.get(call_id), **options}
        adapter = CallAdapter(call_id, self._hub, self._endpoint, self._rest, self._clock, **options)
        try:
            await adapter.attach()
        except CallNotAttached as why:
            if why.status in GONE_STATUS:
                self._held.pop(call_id, None)
            raise
        except (ChatIdTaken, TooManyChats):
            raise CallNotAttached(call_id, "the hub has no room for it, or a live chat with this id") from None
        self._held.pop(call_id, None)
        self._tasks.start_soon(self._run, adapter)

    async def _run(self, adapter: CallAdapter) -> None:
        try:
            await adapter.run()
        except Exception:
            _log.exception("a call failed", extra=fields(chat_id=adapter.call_id))
            adapter.source.end(
                "this server failed while following the call; see its log", status=LOST, code=INTERNAL_ERROR
            )
        if (held := adapter.held) is not None:
            self._held[adapter.call_id] = held
            if len(self._held) > MAX_HELD:
                del self._held[next(iter(self._held))]
            if held.resumed:
                await self._keep_the_promise(adapter.call_id)

    async def _keep_the_promise(self, call_id: str) -> None:
        """A resume was asked for, and the connection broke before it took effect: attaches until it can."""
        ends, delays = self._clock.elapsed() + LONGEST_CALL_S, backoff()
        while call_id in self._held and self._clock.elapsed() < ends:
            try:
                await self.attach(call_id, fresh_s=0.0)
            except CallNotAttached as why:
                if why.status is not None and is_final(why.status):
                    _log.error("an assistant may stay silent", extra=fields(chat_id=call_id, reason=why.why))
                    return
            else:
                return
            await sleep(self._clock, next(delays))

    async def _attach_quietly(self, call_id: str, options: dict[str, Any]) -> None:
        try:
            await self.attach(call_id, **options)
        except CallNotAttached as why:
            _log.warning("an announced call was not attached", extra=fields(chat_id=call_id, reason=why.why))


class CallsConnector:
    """Attaches to chats of the hub; an id of a call that is none yet is attached to at the service first.

    Args:
        connector: The hub's.
        calls: The calls.
    """

    def __init__(self, connector: Connector, calls: RealtimeCalls, hub: Hub) -> None:
        self._connector, self._calls, self._hub = connector, calls, hub

    async def connect(self, chat_id: str) -> Transport:
        """As `Connector.connect`."""
        try:
            await self._attach(chat_id)
        except CallNotAttached as why:
            if why.status is None:
                raise Unreachable(why.why) from None
            raise Refused(why.status, why.retry_after) from None
        return await self._connector.connect(chat_id)

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        """As `Connector.post`. A call whose connection was given up is attached to again first: a pause outlives it."""
        if self._is_lost(chat_id):
            try:
                with anyio.fail_after(within_s):
                    await self._attach(chat_id)
            except TimeoutError:
                raise NotTaken(f"the service was not reached within {within_s:g} s") from None
            except CallNotAttached as why:
                raise NotTaken(why.why, gone=why.status in GONE_STATUS) from None
        await self._connector.post(chat_id, frame, within_s)

    async def _attach(self, chat_id: str) -> None:
        if self._is_lost(chat_id):
            await self._calls.attach(chat_id, fresh_s=0.0)  # it was known once, so an unknown id is one that has ended
        elif self._hub.chats.get(chat_id) is None and self._calls.may_be(chat_id):
            await self._calls.attach(chat_id)

    def _is_lost(self, chat_id: str) -> bool:
        """Whether it is a call that may go on although its connection was given up."""
        known = self._hub.chats.get(chat_id)
        return known is not None and known.status == LOST and known.facts.source_name == SOURCE

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        """As `Connector.explain_refusal`."""
        return self._calls.why_not(chat_id) or await self._connector.explain_refusal(chat_id, status)
