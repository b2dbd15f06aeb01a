"""What a bot holds: one chat, told to a hub in EVI's words, and the hub's commands carried out.

```python
async with ChatLink("https://hub.example.com", key=KEY, source="my-bot 1.0") as link:
    @link.on(AssistantInput)
    async def _(command: AssistantInput) -> None:
        await my_bot.say(command.text)
        link.assistant_message(command.text, from_text=True)

    link.user_message("Where is my parcel?")
```

No method that tells something waits, raises, or depends on the hub: what cannot be sent now is kept (10,000 messages,
16 MiB), and sent when the hub is there. Nothing here imports MCP or anything else but `websockets`.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from evi_mcp.link.address import link_uri
from evi_mcp.link.connecting import backoff
from evi_mcp.link.dialing import OVER, Dialer, State
from evi_mcp.link.inbox import Inbox
from evi_mcp.link.messages import held_of, text_of
from evi_mcp.link.obeying import C, Handler, Obeying
from evi_mcp.link.outbox import Outbox
from evi_mcp.link.vocabulary import Vocabulary, given

FLUSH_S = 2.0
DEFAULT_HUB = "http://127.0.0.1:8770"

_CHAT_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}")
_log = logging.getLogger("evi_mcp.link")


class ChatLink(Vocabulary):
    """The link of one chat. Make it where the call begins, register handlers, `start` it, tell what happens, `stop` it.

    Args:
        hub: The hub's base address.
        key: What the hub asks for in `X-Hume-Api-Key`; `None` for a hub on this machine that asks for none.
        chat_id: 1 to 128 of letters, digits, `-`, `_`, `.`; `None` makes one up.
        chat_group_id: What several chats of one person share; `None` if nothing.
        source: What kind of bot this is, with its version: `pipecat 1.14.0`.
        metadata: Shown with the chat; plain data.
        insecure: Send the key in clear text to another machine (`http://`), in a network that you trust.
        delays: Makes the seconds between attempts to reach the hub.

    Raises:
        ValueError: `hub` or `chat_id` is malformed. This is the only error, and comes before the call begins.
    """

    def __init__(
        self,
        hub: str = DEFAULT_HUB,
        *,
        key: str | None = None,
        chat_id: str | None = None,
        chat_group_id: str | None = None,
        source: str = "custom",
        metadata: Mapping[str, Any] | None = None,
        insecure: bool = False,
        delays: Callable[[], Iterator[float]] = backoff,
    ) -> None:
        if chat_id is not None and not _CHAT_ID.fullmatch(chat_id):
            raise ValueError("chat_id must be 1 to 128 letters, digits, '-', '_' or '.'")
        super().__init__(chat_id or str(uuid4()), chat_group_id)
        self._source = source
        self._metadata = metadata
        self._outbox = Outbox()
        self._inbox = Inbox()
        self._obeying = Obeying(self._inbox, self, lambda outcome: self._dialer.tell(outcome))
        self._dialer = Dialer(
            link_uri(hub, insecure=insecure),
            key,
            self._hello,
            self._outbox,
            self._inbox,
            self._obeying.receive,
            delays,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._ended = False
        self._logged_fault = False

    def __repr__(self) -> str:
        return f"<ChatLink {self.chat_id}: {self.state}, {self.unsent} unsent, {self.dropped} dropped>"

    @property
    def state(self) -> State:
        """`new`, `connecting`, `live`, `reconnecting`, `refused` (the key; it is not tried again) or `ended`."""
        return self._dialer.state

    @property
    def unsent(self) -> int:
        """Messages that the hub has not acknowledged."""
        return self._outbox.open

    @property
    def dropped(self) -> int:
        """Messages that the hub never gets, because there was no room."""
        return self._outbox.dropped

    @property
    def supports(self) -> list[str]:
        """The commands that have a handler, in EVI's types."""
        return sorted(command.type for command in self._obeying.handlers)

    def on(self, command: type[C]) -> Callable[[Handler[C]], Handler[C]]:
        """Registers the handler of a command, before `start`. It raises `Refused` to refuse.

        Commands come one after the other. Tool answers and settings that were accepted are shown to all by the link;
        what a handler says, it tells by itself.
        """

        def register(handler: Handler[C]) -> Handler[C]:
            self._obeying.handlers[command] = handler
            return handler

        return register

    def start(self) -> None:
        """Begins to dial, in the running event loop. A second call does nothing."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.get_ident()
            self._tasks = [
                self._loop.create_task(self._dialer.run(), name=f"evi-mcp link {self.chat_id}"),
                self._loop.create_task(self._obeying.run(), name=f"evi-mcp commands {self.chat_id}"),
            ]

    async def stop(self, reason: str = "the bot left", *, flush_s: float = FLUSH_S) -> None:
        """Ends the chat, waits until the hub has everything, but no longer than `flush_s` seconds, and hangs up."""
        self.end(reason)
        if not self._tasks:
            return
        await asyncio.wait(self._tasks[:1], timeout=flush_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        if self._dialer.state not in OVER:
            _log.warning("the hub did not get the end of this chat; %d messages are lost", self.unsent)
            self._dialer.state = "ended"

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop("the bot left" if kind is None else f"the bot failed ({kind.__name__})")

    def end(self, reason: str) -> None:
        """The chat is over; what is told later is not sent."""
        if not self._ended:
            self._ended = True
            self._on_loop(lambda: self._dialer.end(str(reason)[:1000]))

    def message(self, message: Mapping[str, Any]) -> None:
        """Any message of EVI's, or of a type of your own, which is kept as it is."""
        if self._ended or self.state in OVER:
            return
        try:
            held = held_of(message)
        except Exception as error:
            self.log_fault(error)
            return

        def keep() -> None:
            self._outbox.put(held)
            self._dialer.wake()

        self._on_loop(keep)

    def _on_loop(self, act: Callable[[], None]) -> None:
        """Runs this in the link's own thread, in order; a bot's tools may run in others."""
        try:
            if self._loop is None or threading.get_ident() == self._thread:
                act()
            else:
                self._loop.call_soon_threadsafe(act)
        except Exception as error:  # a loop that was closed, for one: nobody listens any more
            self.log_fault(error)

    def log_fault(self, error: Exception) -> None:
        if not self._logged_fault:
            self._logged_fault = True
            _log.error("a message was not sent (%s); more are not logged", type(error).__name__)

    def _hello(self) -> dict[str, Any]:
        metadata = {} if self._metadata is None else {"metadata": text_of(self._metadata)}
        return {
            "type": "hello",
            "protocol": 1,
            "chat_id": self.chat_id,
            "source": self._source,
            "supports": self.supports,
            **given(chat_group_id=self.chat_group_id),
            **metadata,
        }
