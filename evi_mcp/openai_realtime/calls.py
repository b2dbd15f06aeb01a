"""All calls that are attached, and the way in for those who attach: by their id, through the hub."""

import logging
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from evi_mcp.clock import Clock
from evi_mcp.hub import Hub
from evi_mcp.hub.chats import ChatIdTaken, TooManyChats
from evi_mcp.logs import fields
from evi_mcp.openai_realtime.adapter import CallAdapter
from evi_mcp.openai_realtime.endpoints import Endpoint
from evi_mcp.openai_realtime.refusals import CallNotAttached
from evi_mcp.openai_realtime.rest import Rest
from evi_mcp.protocol.chat_id import check_chat_id
from evi_mcp.upstream.transport import Connector, Refused, Transport, Unreachable

CALL_ID_PREFIX = "rtc_"
MAX_WHY = 100
"""Refusals that are remembered, to be explained."""

_log = logging.getLogger(__name__)


def is_call_id(chat_id: str) -> bool:
    """Whether an id looks like one of OpenAI's calls; other services have others, which have to be announced."""
    return chat_id.startswith(CALL_ID_PREFIX)


class RealtimeCalls:
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
        self._tasks: TaskGroup | None = None
        self._exit: AsyncExitStack | None = None

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
            await self._open(call_id, options)
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

    def why_not(self, call_id: str) -> str | None:
        """Why a call was not attached the last time; `None` if it was, or nobody has tried."""
        why = self._why.get(call_id)
        return why.why if why is not None else None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._rest.aclose)
            self._tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(self._tasks.cancel_scope.cancel)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._exit is not None
        if isinstance(exc, Exception):
            await self._exit.aclose()
            return None
        return await self._exit.__aexit__(exc_type, exc, traceback)

    async def _open(self, call_id: str, options: dict[str, Any]) -> None:
        assert self._tasks is not None, "the calls are not open"
        adapter = CallAdapter(
            call_id, self._hub, self._endpoint, self._rest, self._clock, **{**self._options, **options}
        )
        try:
            await adapter.attach()
        except (ChatIdTaken, TooManyChats):
            raise CallNotAttached(call_id, "the hub has no room for it, or a live chat with this id") from None
        self._tasks.start_soon(self._run, adapter)

    async def _run(self, adapter: CallAdapter) -> None:
        try:
            await adapter.run()
        except Exception:
            _log.exception("a call failed", extra=fields(chat_id=adapter.call_id))
            adapter.source.end("this server failed while following the call; see its log", status="ERROR")

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
        known = self._hub.chats.get(chat_id)
        if is_call_id(chat_id) and (known is None or known.status == "ERROR"):  # it may go on although it was lost
            try:
                await self._calls.attach(chat_id)
            except CallNotAttached as why:
                if why.status is None:
                    raise Unreachable(why.why) from None
                raise Refused(why.status) from None
        return await self._connector.connect(chat_id)

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        """As `Connector.post`."""
        await self._connector.post(chat_id, frame, within_s)

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        """As `Connector.explain_refusal`."""
        return self._calls.why_not(chat_id) or await self._connector.explain_refusal(chat_id, status)
