"""What happens in a LiveKit session, in EVI's words."""

import inspect
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Container
from typing import Any

from evi_mcp.link.chat_link import ChatLink
from evi_mcp.link.livekit.gate import wrap
from evi_mcp.link.messages import Message
from evi_mcp.link.speech import Speech

_SENTENCE = re.compile(r".*?[.!?…。！？][\"'”’)\]]*(?:\s+|(?<=[。！？]))", re.DOTALL)
_log = logging.getLogger("evi_mcp.link")


class Telling:
    """Tells a link what it sees.

    Args:
        link: Told everything.
        session: The `AgentSession`.
        supervised: Names of the tools that supervisors answer; their calls are told by whoever asks.
    """

    def __init__(self, link: ChatLink, session: Any, supervised: Container[str]) -> None:
        self.newest: dict[str, Message] = {}
        """The newest message of `user` and `assistant`."""
        self._link = link
        self._session = session
        self._supervised = supervised
        self._speech = Speech()
        self._spoken_inputs: deque[str] = deque(maxlen=100)
        self._typed_inputs: deque[tuple[str, str]] = deque(maxlen=100)
        self._heard = False
        self._told = False
        self._open: set[str] = set()
        self._calls: dict[str, str] = {}
        self._failed = False
        for event, see in {
            "user_state_changed": self._see_user_state,
            "user_input_transcribed": self._see_transcript,
            "conversation_item_added": self._see_item,
            "speech_created": self._see_speech,
            "tool_execution_updated": self._see_tool,
            "error": self._see_error,
        }.items():
            session.on(event, self._guarded(see))

    def install(self, agent: Any) -> None:
        """Listens to what this agent is about to say."""
        wrap(agent, "transcription_node", self._transcription_node)

    def expect_speech(self, text: str) -> None:
        """A supervisor's words are on their way to the voice."""
        self._spoken_inputs.append(text.strip())

    def expect_turn(self, item_id: str, text: str) -> None:
        """A supervisor's turn for the user was told already; its item is not told again. Realtime models give it
        another id."""
        self._typed_inputs.append((item_id, text))

    def _guarded(self, see: Callable[[Any], None]) -> Callable[[Any], None]:
        def guarded(event: Any) -> None:
            try:
                see(event)
            except Exception:
                if not self._failed:
                    self._failed = True
                    _log.exception("something in the agent could not be told; more of this is not logged")

        return guarded

    def _see_user_state(self, event: Any) -> None:
        if event.new_state == "speaking":
            self._speech.begin(self._link.now_ms)
        else:
            self._speech.end(self._link.now_ms)

    def _see_transcript(self, event: Any) -> None:
        if not event.transcript.strip():
            return
        begin, end = self._speech.interval(self._link.now_ms, is_final=event.is_final)
        language = None if event.language is None else str(event.language)
        message = self._link.user_message(
            event.transcript, interim=not event.is_final, begin_ms=begin, end_ms=end, language=language or None
        )
        if event.is_final:
            self._heard = True
            self.newest["user"] = message

    def _see_item(self, event: Any) -> None:
        item = event.item
        if item.type == "agent_handoff" and item.old_agent_id is not None:
            fields = {"old_agent_id": item.old_agent_id, "new_agent_id": item.new_agent_id}
            self._link.message({"type": "agent_handoff", **fields})
        elif item.type == "message" and item.role == "user":
            self._see_user_item(item.id, item.text_content or "")
        elif item.type == "message" and item.role == "assistant":
            told, self._told = self._told, False
            if not told:  # the agent has no text of what it says until it is said
                self._tell(item.text_content or "")

    def _see_user_item(self, id_: str, text: str) -> None:
        for expected in self._typed_inputs:
            if id_ == expected[0] or text == expected[1]:
                self._typed_inputs.remove(expected)
                return
        heard, self._heard = self._heard, False
        if not heard:  # nothing of it was transcribed: it was typed
            self.newest["user"] = self._link.user_message(text, from_text=True)

    def _see_speech(self, event: Any) -> None:
        event.speech_handle.add_done_callback(self._guarded(self._see_speech_done))

    def _see_speech_done(self, speech: Any) -> None:
        if speech.id in self._open:
            self._open.discard(speech.id)
            if speech.interrupted:
                self._link.user_interruption()
            else:
                self._link.assistant_end()

    def _see_tool(self, event: Any) -> None:
        update = event.update
        if update.type == "tool_call_started":
            call = update.function_call
            if call.name not in self._supervised:
                self._calls[call.call_id] = call.name
                self._link.tool_call(call.call_id, call.name, call.arguments)
        elif update.type == "tool_call_ended" and (name := self._calls.pop(update.call_id, None)) is not None:
            text = update.message or ""
            if update.status == "done":
                self._link.tool_response(update.call_id, text, name=name)
            else:
                code = "cancelled" if update.status == "cancelled" else None
                self._link.tool_error(update.call_id, text or update.status, content=text or None, code=code)

    def _see_error(self, event: Any) -> None:
        error = getattr(event.error, "error", event.error)
        self._link.error("livekit_error", f"{type(error).__name__}: {error}")

    async def _transcription_node(self, pass_on: Callable[..., Any], text: Any, model_settings: Any) -> Any:
        source = pass_on(text, model_settings)
        if inspect.iscoroutine(source):
            source = await source
        return None if source is None else self._tap(source)

    async def _tap(self, source: Any) -> AsyncIterator[Any]:
        """Passes the text on, and tells it a sentence at a time."""
        speech = self._session.current_speech
        pending = ""
        try:
            async for piece in source:
                pending = self._tell_sentences(pending + str(piece), speech)
                yield piece
        finally:
            self._tell(pending, speech)

    def _tell_sentences(self, text: str, speech: Any) -> str:
        """Tells the sentences that are complete; returns the rest."""
        if any(words.startswith(text.strip()) for words in self._spoken_inputs):
            return text  # perhaps a supervisor's, which is told as a whole
        while (found := _SENTENCE.match(text)) is not None:
            self._tell(found[0], speech)
            text = text[found.end() :]
        return text

    def _tell(self, text: str, speech: Any = None) -> None:
        """The agent says this, in the given speech."""
        text = text.strip()
        if not text:
            return
        ours = text in self._spoken_inputs
        if ours:
            self._spoken_inputs.remove(text)
        self.newest["assistant"] = self._link.assistant_message(text, from_text=ours)
        if speech is None:
            self._link.assistant_end()
        else:
            self._told = True
            self._open.add(speech.id)
