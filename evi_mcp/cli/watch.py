"""`evi-mcp watch`: follows a chat in the terminal, through the same registry as the server, and sends nothing."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import anyio
from anyio import to_thread

from evi_mcp.access.callers import Caller, CallerKind
from evi_mcp.chat.events import Event
from evi_mcp.cli.terminal import Line, Lines, Screen, note
from evi_mcp.config import Settings
from evi_mcp.ending import Ending
from evi_mcp.errors import AttachRefused, EviMcpError, InvalidArgument
from evi_mcp.protocol.lifecycle import State
from evi_mcp.quoting import name
from evi_mcp.supervision.desk import Desk
from evi_mcp.supervision.feed import Batch
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.service import open_service
from evi_mcp.upstream.directory import ServiceChat
from evi_mcp.views import structure
from evi_mcp.views.text import counted

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
    async with open_service(settings) as service:
        desk = service.desk(Caller("watch", CallerKind.PERSON, "", service.rights))
        watching = Watching(desk, screen)
        with scope:
            try:
                chat_id = chat_id or await _the_active_chat(desk, screen)
                await _show(screen, [note(f"connecting to {name(chat_id)} at {settings.base_url}")])
                await watching.follow(chat_id)
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

    def __init__(self, desk: Desk, screen: Screen) -> None:
        self._desk, self._screen = desk, screen
        self._chat: LiveChat | None = None
        self._lines = Lines()
        self._counts: Counter[str] = Counter()
        self._began = desk.clock.elapsed()

    @property
    def status(self) -> int:
        """0 if the chat has ended, else 1."""
        return 0 if self._chat is not None and self._chat.state is State.ENDED else 1

    async def follow(self, chat_id: str) -> None:
        """Shows all that happens in the chat, returns when it is over.

        Raises:
            EviMcpError: As `Desk.follow`, or `AttachRefused` if the chat cannot be followed.
            OSError: As `Screen.show`.
        """
        self._chat = chat = self._desk.follow(chat_id)
        with self._desk.feed(only=[chat]) as feed:
            while not chat.over or chat.is_connected or feed.is_behind:
                if feed.is_behind:
                    await self._show_batch(chat, feed.read())
                elif chat.over:
                    await chat.changed()  # after the error that ends a chat, EVI may have something to say
                else:
                    await feed.wait()
        if chat.never_was:
            raise AttachRefused(chat.chat_id, chat.record.reason or "it failed")

    async def _show_batch(self, chat: LiveChat, batch: Batch) -> None:
        lines = [note("some of what was said is not here, for stdout was not read")] if batch.dropped else []
        for event in batch.events:
            self._count(event)
            lines += self._lines.of(structure.event(event, chat.record, with_chat_id=False))
        if lines and not chat.never_was:
            await _show(self._screen, lines)

    def _count(self, event: Event) -> None:
        if not event.interim:
            self._counts[event.type] += 1

    def last_words(self) -> list[Line]:
        """What is to be said at the end: none if there was nothing to see."""
        if self._chat is None or not self._chat.record.was_live:
            return []
        minutes, seconds = divmod(int(self._desk.clock.elapsed() - self._began), 60)
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


async def _the_active_chat(desk: Desk, screen: Screen) -> str:
    """The id of the chat that is active; if there are more, lists them.

    Raises:
        InvalidArgument: There is none, or more than one.
        MissingApiKey, ServiceUnavailable: The service cannot be asked.
    """
    found, hidden, more = await desk.active_chats()
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
