"""`evi-mcp watch`: follows a chat in the terminal, through the same registry as the server, and sends nothing."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import islice

import anyio
from anyio import to_thread

from evi_mcp.chat.events import Event
from evi_mcp.cli.terminal import Line, Lines, Screen, note
from evi_mcp.config import Settings
from evi_mcp.ending import Ending
from evi_mcp.errors import AttachRefused, EviMcpError, InvalidArgument
from evi_mcp.protocol.lifecycle import State
from evi_mcp.quoting import name
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.service import App, open_app
from evi_mcp.upstream.rest import ServiceChat
from evi_mcp.views import structure
from evi_mcp.views.text import counted

BATCH = 200
"""The most events made into lines at once."""
FAREWELL_S = 0.5
"""How long the last lines may take where nobody reads stdout."""


async def watch(settings: Settings, chat_id: str | None) -> int:
    """Follows the chat until it is over or a signal comes. The exit status: 0 if the chat has ended, or if whoever
    read stdout has; 1 if it cannot be followed any more; 128 and the signal's number. A thread may be left behind, on a
    stdout that nobody reads.

    Args:
        chat_id: `None` takes the chat that is active, if it is the only one.

    Raises:
        EviMcpError: The chat cannot be followed, or there is not exactly one to choose.
        OSError: stdout takes no more.
    """
    screen, scope = Screen(), anyio.CancelScope()
    trouble: EviMcpError | OSError | None = None
    end = Ending(scope.cancel)
    end.catch_signals()
    # The server answers tool calls that nobody has answered, if it is told to: who watches does not. Who sends nothing
    # has nothing to record, and must not keep the server from its file.
    settings = settings.model_copy(update={"tool_call_fallback": None, "audit_log": None})
    async with open_app(settings) as app:
        watching = Watching(app, screen)
        with scope:
            try:
                await watching.follow(chat_id or await _the_active_chat(app, screen))
            except (EviMcpError, OSError) as error:  # here, since a group would be made of it further out
                trouble = error
        status = end.status or watching.status
        last_words = watching.last_words()
    if isinstance(trouble, BrokenPipeError):
        return 0
    if trouble is not None:
        raise trouble
    with anyio.move_on_after(FAREWELL_S):
        try:
            await _show(screen, last_words)
        except OSError:
            if end.status is None:
                raise
            # else its terminal may be what has gone (SIGHUP)
    return status


class Watching:
    """Follows one chat. The log is the only buffer between the chat and the screen."""

    def __init__(self, app: App, screen: Screen) -> None:
        self._app, self._screen = app, screen
        self._chat: LiveChat | None = None
        self._refusal: EviMcpError | None = None
        self._news = anyio.Event()
        self._lines = Lines()
        self._seq = 0
        self._counts: Counter[str] = Counter()
        self._began = time.monotonic()

    @property
    def status(self) -> int:
        """0 if the chat has ended, else 1."""
        return 0 if self._chat is not None and self._chat.state is State.ENDED else 1

    async def follow(self, chat_id: str) -> None:
        """Shows all that happens in the chat, returns when it is over.

        Raises:
            EviMcpError: As `App.attach`, also if it takes longer than that to know.
            OSError: As `Screen.show`.
        """
        await _show(self._screen, [note(f"connecting to {name(chat_id)} at {self._app.settings.base_url}")])
        self._app.registry.on_chats_changed(self._listen)
        self._app.registry.start(self._attach, chat_id)
        while True:
            self._news = anyio.Event()
            if self._refusal is not None:
                raise self._refusal
            if lines := self._next_lines():
                await _show(self._screen, lines)
            elif self._chat is None or not self._chat.over:
                await self._news.wait()
            elif self._chat.is_connected:
                await self._chat.changed()  # after the error that ends a chat, EVI may have something to say
            else:
                return

    async def _attach(self, chat_id: str) -> None:
        try:
            await self._app.attach(chat_id)
        except EviMcpError as error:
            self._refusal = error
            self._news.set()

    def _listen(self) -> None:
        """Listens from the first moment on: an attach returns only when it has worked or taken too long."""
        if self._chat is None and (chats := self._app.registry.chats()):
            self._chat = chats[0]
            self._chat.listeners.add(lambda _: self._news.set())

    def _next_lines(self) -> list[Line]:
        """The lines of the next events that give any; none if there are no more events."""
        if self._chat is None:
            return []
        if self._chat.never_was:
            raise AttachRefused(self._chat.chat_id, self._chat.record.lifecycle.reason or "it failed")
        log, lines = self._chat.record.log, list[Line]()
        if log.dropped_seq > self._seq:
            lines.append(note(f"{counted(log.dropped_seq - self._seq, 'event')} dropped, for stdout was not read"))
            self._seq = log.dropped_seq
        while not lines and (events := list(islice(log.after(self._seq), BATCH))):
            self._seq = events[-1].seq
            for event in events:
                self._count(event)
                lines += self._lines.of(structure.event(event, with_chat_id=False))
        return lines

    def _count(self, event: Event) -> None:
        if not event.interim:
            self._counts[event.type] += 1

    def last_words(self) -> list[Line]:
        """What is to be said at the end: none if there was nothing to see."""
        if self._chat is None or not self._chat.record.lifecycle.was_live:
            return []
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        parts = [
            f"watched for {minutes}:{seconds:02}",
            counted(self._counts["user_message"], "user message"),
            counted(self._counts["assistant_message"], "assistant message"),
            counted(self._counts["tool_call"], "tool call"),
        ]
        if unanswered := len(self._chat.record.tool_calls.pending()):
            parts[-1] += f" ({unanswered} without an answer)"
        if reconnects := self._chat.record.reconnects:
            parts.append(counted(reconnects, "reconnect"))
        lines = [note(", ".join(parts))]
        return lines if self._chat.over else [note("left; the chat goes on"), *lines]


async def _the_active_chat(app: App, screen: Screen) -> str:
    """The id of the chat that is active; if there are more, lists them.

    Raises:
        InvalidArgument: There is none, or more than one.
        MissingApiKey, ServiceUnavailable: The service cannot be asked.
    """
    found, hidden, more = await app.active_chats()
    if len(found) == 1 and not more:
        return found[0].chat_id
    if not found:
        others = f" that may be watched (EVI_MCP_ALLOWED_CHATS forbids {hidden})" if hidden else ""
        raise InvalidArgument(f"no chat is active{others}; evi-mcp watch --simulate shows a simulated one.")
    await _show(screen, [_listed(chat) for chat in found])
    count = f"{len(found)} or more" if more else str(len(found))
    raise InvalidArgument(f"{count} chats are active; say which one: evi-mcp watch CHAT_ID.")


def _listed(chat: ServiceChat) -> Line:
    started = f"since {datetime.fromtimestamp(chat.started_ms / 1000):%Y-%m-%d %H:%M:%S}" if chat.started_ms else ""
    return note(f"{name(chat.chat_id)}  {started}".rstrip())


async def _show(screen: Screen, lines: Sequence[Line]) -> None:
    """In a thread: a pipe that is full, or a terminal that was stopped, must not keep the socket from its pings."""
    await to_thread.run_sync(screen.show, lines, abandon_on_cancel=True)
