"""One call: the service's events in, EVI's messages out; EVI's commands in, the service's client events out.

No I/O and no clock: `now` is seconds of a clock that nobody sets, `at_ms` Unix milliseconds for showing.
"""

from collections.abc import Callable

from evi_mcp.openai_realtime.calls_asked import CallsAsked
from evi_mcp.openai_realtime.commands import Commands
from evi_mcp.openai_realtime.endings import Endings
from evi_mcp.openai_realtime.floor import Floor
from evi_mcp.openai_realtime.heard import Conversation
from evi_mcp.openai_realtime.outbox import Outbox
from evi_mcp.openai_realtime.pausing import Held, Pause
from evi_mcp.openai_realtime.reading import Message, Object, text, thing
from evi_mcp.openai_realtime.recap import Recap
from evi_mcp.openai_realtime.repair import BEFORE_ATTACH, Repair
from evi_mcp.openai_realtime.responses import Response, Responses
from evi_mcp.openai_realtime.settings import shown
from evi_mcp.openai_realtime.tickets import Ticket, Unheard
from evi_mcp.openai_realtime.timeline import Timeline
from evi_mcp.openai_realtime.utterances import Utterances

EXPIRED = "session_expired"
"""The code of the `error` that comes before the close at the maximum duration, 60 minutes (reported in public)."""

HARMLESS = frozenset({"response_cancel_not_active"})
"""Codes of errors that say that there was nothing to do."""


class Translator:
    """A call as a chat.

    Args:
        publish: Takes each message of the chat, in order.
        prefix: For the ids that it chooses; at most 16 letters and digits that no other client of the call uses.
        recap: Whether the model is asked, once, for its own account of what was said before.
        held: What a former adapter of the call has left; `None` if nothing.
    """

    def __init__(
        self, publish: Callable[[Message], None], prefix: str, *, recap: bool = False, held: Held | None = None
    ) -> None:
        self._publish = publish
        self.outbox = Outbox(prefix)
        self._timeline = Timeline()
        self._responses = Responses()
        self._endings = Endings(self._timeline, self._responses)
        self._asked = CallsAsked()
        self._floor = Floor(self.outbox)
        self._caller = Utterances(self._timeline, self._responses)
        self._conversation = Conversation(
            self._timeline, self._caller, self._responses, self._endings, self._asked, self._floor.words_for
        )
        self._commands = Commands(self.outbox, self._conversation, self._endings, self._asked, self._floor, publish)
        self._pause = Pause(self.outbox, publish, held)
        self._floor.paused = self._pause.on
        self._is_to_resume = held is not None and held.resumed
        self._repair = Repair(self.outbox, self._timeline)
        self._recap = Recap(self.outbox)
        self._is_to_recap = recap
        self._shown: Message | None = None
        self._connected_before = False
        self.expired = False
        """Whether the call has reached its maximum duration."""

    @property
    def paused(self) -> bool:
        """Whether the assistant is held back from here."""
        return self._pause.on

    @property
    def held(self) -> Held | None:
        """What whoever attaches again has to know if the call is lost now."""
        return self._pause.held

    def connected(self) -> None:
        """The sideband is open, for the first time or again."""
        if self._connected_before:
            self._repair.reconnected(self._commands.unproven_items())
            self._pause.reconnected()
        else:
            self._connected_before = True
            self._publish(dict(BEFORE_ATTACH))
            if self._is_to_recap:
                self._recap.ask(Unheard({"type": "recap"}))
            if self._is_to_resume:
                self._resume(Unheard({"type": "resume_assistant_message"}))

    def cut(self) -> None:
        """The sideband is gone. What was not written yet is dropped, and its senders are told."""
        self.outbox.take()
        self._floor.cut()
        self._commands.cut()
        self._recap.cut()

    def receive(self, event: Object, now: float, at_ms: int) -> None:
        """An event of the service. One that is new, or not as documented, does no harm."""
        kind = text(event, "type")
        match kind.split("."):
            case ["session", "created" | "updated"]:
                self._saw_session(thing(event, "session"))
            case ["error"]:
                self._failed(thing(event, "error"))
            case ["conversation", "item", *_]:
                self._item(kind, event, now, at_ms)
            case ["input_audio_buffer", "speech_started" | "speech_stopped"]:
                self._caller.speech(event)
            case ["input_audio_buffer", "committed"]:
                key, previous = text(event, "item_id"), text(event, "previous_item_id") or None
                self._repair.joins(key, previous)
                self._caller.committed(key, previous)
            case ["input_audio_buffer", "dtmf_event_received"]:
                key = text(event, "event")
                self._timeline.last({"type": "dtmf", "key": key, "message": f"The caller pressed {key}."})
            case ["output_audio_buffer", "started" | "stopped" | "cleared"]:
                if self._responses.get(text(event, "response_id")) is None:
                    self._repair.mentions(text(event, "response_id"))
                self._endings.audible(event, now, at_ms)
            case ["response", *rest]:
                self._response(rest, event, now, at_ms)
        self.tick(now)

    def command(self, ticket: Ticket, now: float) -> None:
        """A command of a supervisor. `end_chat` and `transfer_chat` are not for here: they go by REST."""
        match ticket.message["type"]:
            case "pause_assistant_message":
                running = {response.id: response for response in (*self._responses.active, *self._responses.playing)}
                self._pause.pause(ticket, running.values())
            case "resume_assistant_message":
                self._resume(ticket)
            case "recap":
                self._recap.ask(ticket)
            case _:
                self._commands.take(ticket, now)
        self._floor.paused = self._pause.on
        self.tick(now)

    def leave(self, now: float) -> None:
        """Nobody follows the call from here any more: an assistant that is held back goes on."""
        if self._pause.on:
            self._resume(Unheard({"type": "resume_assistant_message"}))
            self.tick(now)

    def finish(self) -> None:
        """The call is over, or followed no longer: what waits is published."""
        self._conversation.finish()
        for message in self._timeline.finish():
            self._publish(message)

    def tick(self, now: float) -> None:
        """Publishes what is ready, and gives up what is late."""
        self._floor.expire(now)
        for message in self._timeline.take(now):
            self._publish(message)

    def next_due(self) -> float | None:
        """When `tick` has something to do by then; `None` if it has not."""
        due = [at for at in (self._timeline.next_due(), self._floor.next_due()) if at is not None]
        return min(due, default=None)

    def _saw_session(self, session: Object) -> None:
        shown_already = self._commands.saw(session)
        self._caller.settings(session)
        self._pause.saw(session)
        message = shown(session)
        if message != self._shown and len(message) > 1:
            self._shown = message
            if not shown_already:
                self._publish(message)

    def _item(self, kind: str, event: Object, now: float, at_ms: int) -> None:
        item, previous = thing(event, "item"), text(event, "previous_item_id") or None
        match kind.removeprefix("conversation.item."):
            case "added" | "created":
                self._repair.joins(text(item, "id"), previous)
                self._conversation.added(item, previous)
                self.tick(now)  # an answer is shown before it is done, else the hub shows it
                self._commands.added(text(item, "id"))
            case "done":
                self._repair.joins(text(item, "id"), previous)
                self._conversation.completed(item, previous)
                self.tick(now)
                self._commands.added(text(item, "id"))
            case "retrieved":
                self._conversation.restored(item)
                self.tick(now)
                self._commands.added(text(item, "id"))
            case "truncated":
                self._endings.truncated(event, at_ms)
            case transcription if transcription.startswith("input_audio_transcription."):
                self._repair.mentions(text(event, "item_id"))
                self._caller.transcription(event)

    def _response(self, rest: list[str], event: Object, now: float, at_ms: int) -> None:
        value = thing(event, "response")
        id_ = text(value, "id") or text(event, "response_id")
        if not id_:
            return
        if rest != ["created"] and self._responses.get(id_) is None:
            self._repair.mentions(id_)
        match rest:
            case ["created"]:
                self._began(self._conversation.begun(value), at_ms)
            case ["done"]:
                response = self._conversation.finished(value, at_ms)
                if (account := self._recap.take(value)) is not None:
                    self._timeline.now(account)
                self._commands.response_done(response.id)
                self._floor.ended(response, now)
            case ["output_item", "added" | "done"]:
                self._conversation.output(event)
            case ["output_audio_transcript" | "output_text", "delta" | "done"]:
                self._conversation.spoken(event)

    def _began(self, response: Response, at_ms: int) -> None:
        if not response.outside:
            for former in self._responses.active:
                if former is not response:  # its end was missed
                    self._abandon(former, at_ms)
        line = self._floor.is_ours_to_say(response)
        heard = not (response.outside and response.text_only)
        broken = self._pause.on and heard and not line
        answers = not (response.outside or line or broken)
        self._floor.began(response, answers=answers)
        if answers:
            self._caller.waits_for_answer = False
            self._commands.response_began(response.id)
        if broken:
            self._pause.undone(response)

    def _abandon(self, response: Response, at_ms: int) -> None:
        response.status = "completed"
        response.audio = "stopped" if response.audio == "playing" else response.audio
        for key in (*response.spoken, *response.calls):
            if self._timeline.is_open(key):
                self._repair.ask_for(key)
        self._endings.close(response, at_ms)

    def _resume(self, ticket: Ticket) -> None:
        was_on = self._pause.on
        self._pause.resume(ticket)
        self._floor.paused = False
        if was_on and self._caller.waits_for_answer:
            self._floor.ask()
        self._floor.go_on()

    def _failed(self, error: Object) -> None:
        code, event_id = text(error, "code"), text(error, "event_id")
        if code == EXPIRED:
            self.expired = True
        if code in HARMLESS:
            return
        if event_id:
            if (missing := self._repair.failed(event_id)) is not None:
                if not self._commands.missing(missing):
                    self._conversation.lost(missing)
                return
            if (
                self._commands.failed(event_id, error)
                or self._floor.failed(event_id, error)
                or self._pause.failed(event_id, error)
                or self._recap.failed(event_id, error)
                or self.outbox.is_ours(event_id)
            ):
                return
        self._timeline.last(
            {
                "type": "error",
                "code": code or text(error, "type"),
                "slug": code or text(error, "type") or "error",
                "message": text(error, "message"),
            }
        )
