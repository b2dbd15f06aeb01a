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
import inspect
import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

from evi_mcp.link.address import link_uri
from evi_mcp.link.commands import Command, Refused, SessionSettings, ToolError, ToolResponse, command_of
from evi_mcp.link.dialing import OVER, Dialer, State, backoff
from evi_mcp.link.inbox import Inbox, Outcome
from evi_mcp.link.messages import Message, cut, held_of, inference, text_of, wav_base64
from evi_mcp.link.outbox import Outbox

COMMAND_TIMEOUT_S = 10.0
"""How long a handler may take. It should begin what was asked for and not wait for its end."""
FLUSH_S = 2.0
MAX_COMMANDS = 256
"""Commands that wait to be carried out; more are refused."""
DEFAULT_HUB = "http://127.0.0.1:8770"

C = TypeVar("C", bound=Command)
Handler = Callable[[C], Awaitable[None] | None]

_CHAT_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}")
_log = logging.getLogger("evi_mcp.link")


class ChatLink:
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
        self.chat_id = chat_id or str(uuid4())
        self.chat_group_id = chat_group_id
        self._source = source
        self._metadata = metadata
        self._outbox = Outbox()
        self._inbox = Inbox()
        self._dialer = Dialer(
            link_uri(hub, insecure=insecure), key, self._hello, self._outbox, self._inbox, self._receive, delays
        )
        self._handlers: dict[type[Command], Callable[[Any], Awaitable[None] | None]] = {}
        self._commands: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(MAX_COMMANDS)
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._began = time.monotonic()
        self._ended = False
        self._audio_index: tuple[str, int] = ("", 0)
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
        return sorted(command.type for command in self._handlers)

    @property
    def now_ms(self) -> int:
        """Milliseconds since this link was made, at least 1: what EVI's `time` counts."""
        return self.position_ms(time.monotonic())

    def position_ms(self, monotonic_s: float) -> int:
        """A moment of `time.monotonic()` as EVI's `time`."""
        return max(1, round((monotonic_s - self._began) * 1000))

    def on(self, command: type[C]) -> Callable[[Handler[C]], Handler[C]]:
        """Registers the handler of a command, before `start`. It raises `Refused` to refuse.

        Commands come one after the other. Tool answers and settings that were accepted are shown to all by the link;
        what a handler says, it tells by itself.
        """

        def register(handler: Handler[C]) -> Handler[C]:
            self._handlers[command] = handler
            return handler

        return register

    def start(self) -> None:
        """Begins to dial, in the running event loop. A second call does nothing."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.get_ident()
            self._tasks = [
                self._loop.create_task(self._dialer.run(), name=f"evi-mcp link {self.chat_id}"),
                self._loop.create_task(self._obey(), name=f"evi-mcp commands {self.chat_id}"),
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

    def user_message(
        self,
        text: str,
        *,
        interim: bool = False,
        from_text: bool = False,
        begin_ms: int | None = None,
        end_ms: int | None = None,
        language: str | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> Message:
        """The user said something. `interim`: provisional. `from_text`: it was a `user_input`. Times: as `now_ms`."""
        end = self.now_ms if end_ms is None else end_ms
        message = Message(uuid4().hex, "user")
        self.message(
            {
                "type": "user_message",
                "id": message.id,
                "message": {"role": "user", "content": cut(text)},
                "models": inference(scores),
                "time": {"begin": end if begin_ms is None else begin_ms, "end": end},
                "from_text": from_text,
                "interim": interim,
                **_given(language=language),
            }
        )
        return message

    def assistant_message(
        self,
        text: str,
        *,
        from_text: bool = False,
        is_quick_response: bool = False,
        language: str | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> Message:
        """The bot says something, a sentence at a time. `from_text`: it was an `assistant_input`."""
        message = Message(uuid4().hex, "assistant")
        self.message(
            {
                "type": "assistant_message",
                "id": message.id,
                "message": {"role": "assistant", "content": cut(text)},
                "models": inference(scores),
                "from_text": from_text,
                "is_quick_response": is_quick_response,
                **_given(language=language),
            }
        )
        return message

    def assistant_end(self) -> None:
        """The bot's turn is complete."""
        self.message({"type": "assistant_end"})

    def user_interruption(self) -> None:
        """The user cut in: what the bot was saying was not heard to its end."""
        self.message({"type": "user_interruption", "time": int(time.time())})

    def tool_call(
        self, tool_call_id: str, name: str, parameters: str | Mapping[str, Any], *, response_required: bool = False
    ) -> None:
        """A tool was called. `response_required`: a supervisor has to answer it; else the bot does by itself."""
        self.message(
            {
                "type": "tool_call",
                "tool_call_id": tool_call_id,
                "name": name,
                "parameters": text_of(parameters),
                "tool_type": "function",
                "response_required": response_required,
            }
        )

    def tool_response(self, tool_call_id: str, content: Any, *, name: str | None = None) -> None:
        """A tool has answered; content that is no text is shown as JSON."""
        told = {"type": "tool_response", "tool_call_id": tool_call_id, "content": text_of(content)}
        self.message({**told, "tool_type": "function", **_given(tool_name=name)})

    def tool_error(self, tool_call_id: str, error: str, *, content: str | None = None, code: str | None = None) -> None:
        """A tool has failed. `content` is what the LLM gets in place of a result."""
        told = {"type": "tool_error", "tool_call_id": tool_call_id, "error": cut(error), "level": "warn"}
        self.message({**told, "tool_type": "function", **_given(content=content, code=code)})

    def audio_output(self, message: Message, pcm: bytes, sample_rate: int, channels: int = 1) -> None:
        """What the bot said sounds like this: 16-bit PCM, a chunk at a time. Dropped first where there is no room."""
        last, index = self._audio_index
        index = index + 1 if last == message.id else 0
        self._audio_index = (message.id, index)
        try:
            data = wav_base64(pcm, sample_rate, channels)
        except Exception as error:
            self._log_fault(error)
            return
        self.message({"type": "audio_output", "id": message.id, "index": index, "data": data})

    def expression(self, message: Message, scores: Mapping[str, float]) -> None:
        """How something sounded: scores of any names. EVI's own go from about 0 to 1."""
        type_ = "assistant_prosody" if message.speaker == "assistant" else "user_prosody"
        self.message({"type": type_, "id": message.id, "models": inference(scores)})

    def chat_metadata(self, **fields: Any) -> None:
        """Says more of the chat. Its ids, source and supported commands go out by themselves."""
        ids = {"chat_id": self.chat_id, **_given(chat_group_id=self.chat_group_id)}
        self.message({**fields, "type": "chat_metadata", **ids})

    def session_settings(self, settings: Mapping[str, Any]) -> None:
        """The settings have changed. A key of a language model is not shown."""
        hidden = {"language_model_api_key": "[redacted]"} if settings.get("language_model_api_key") else {}
        self.message({**settings, **hidden, "type": "session_settings"})

    def error(self, code: str, message: str, *, slug: str | None = None) -> None:
        """Something went wrong in the bot, in a sentence for people."""
        self.message({"type": "error", "code": code, "slug": slug or code, "message": cut(message)})

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
            self._log_fault(error)
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
            self._log_fault(error)

    def _log_fault(self, error: Exception) -> None:
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
            **_given(chat_group_id=self.chat_group_id),
            **metadata,
        }

    def _receive(self, id_: str, message: Any) -> None:
        if not self._inbox.is_new(id_):
            if (outcome := self._inbox.outcome(id_)) is not None:
                self._dialer.tell(outcome)
        elif self._commands.full():
            self._settle(Outcome(id_, "the bot has too many commands to carry out"))
        else:
            self._commands.put_nowait((id_, message))

    def _settle(self, outcome: Outcome) -> None:
        self._inbox.settle(outcome)
        self._dialer.tell(outcome)

    async def _obey(self) -> None:
        while True:
            id_, message = await self._commands.get()
            self._settle(Outcome(id_, await self._carry_out(message)))

    async def _carry_out(self, message: Any) -> str | None:
        """Returns why it was refused, or `None`."""
        try:
            command = command_of(message)
            if (handler := self._handlers.get(type(command))) is None:
                raise Refused(f"this chat does not support {command.type}")
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                if inspect.isawaitable(doing := handler(command)):
                    await doing
            if isinstance(command, (ToolResponse, ToolError)):
                self.message({"tool_type": "function", **message})
            elif isinstance(command, SessionSettings):
                self.session_settings(message)
        except Refused as refusal:
            return str(refusal)
        except TimeoutError:
            return f"the bot did not finish it within {COMMAND_TIMEOUT_S:g} s; it may have taken effect in part"
        except Exception as error:
            _log.exception("a command failed in the bot")
            return f"it failed in the bot ({type(error).__name__})"
        return None


def _given(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}
