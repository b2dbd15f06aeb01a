"""EVI's commands as the service's client events, each with the proof that it was taken.

Items have ids that are chosen here and come back; responses carry a mark. So a command is known to be done, or why
not, without guessing.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from evi_mcp.openai_realtime.calls_asked import CallsAsked
from evi_mcp.openai_realtime.endings import Endings
from evi_mcp.openai_realtime.floor import Floor, Line
from evi_mcp.openai_realtime.heard import Conversation
from evi_mcp.openai_realtime.outbox import Outbox
from evi_mcp.openai_realtime.reading import Message, Object, text
from evi_mcp.openai_realtime.settings import Change, change_of, shows
from evi_mcp.openai_realtime.tickets import Ticket
from evi_mcp.protocol.redaction import redact

MAX_UNPROVEN = 1000
CROWDED = "too many commands wait for the service"
Proven = Callable[[str], None]
"""What follows once the service shows an item; given its id."""


class _Unproven:
    """An item that was written. `then` is what follows once the service shows it."""

    def __init__(self, ticket: Ticket, then: Proven) -> None:
        self.ticket, self.then = ticket, then


class Commands:
    """Carries out commands for which the conversation itself is enough.

    Args:
        outbox: Where client events are written.
        conversation: What is known of the call.
        endings: Knows whether the assistant was heard.
        asked: Its tool calls.
        floor: Asks for responses.
        publish: Takes messages of the chat, for what the service does not show.
    """

    def __init__(
        self,
        outbox: Outbox,
        conversation: Conversation,
        endings: Endings,
        asked: CallsAsked,
        floor: Floor,
        publish: Callable[[Message], None],
    ) -> None:
        self._outbox = outbox
        self._conversation = conversation
        self._endings = endings
        self._asked = asked
        self._floor = floor
        self._publish = publish
        self._items: dict[str, _Unproven] = {}
        self._item_of_event: dict[str, str] = {}
        self._updates: dict[str, tuple[Ticket, Change]] = {}
        self._variables: Mapping[str, Any] = {}
        self._persistent: str | None = None
        self._temporary: dict[str, str | None] = {}
        self.session: Object = {}

    def take(self, ticket: Ticket, now: float) -> None:
        """Carries a command out, as far as can be done now."""
        command = ticket.message
        match command["type"]:
            case "user_input":
                content = [{"type": "input_text", "text": command["text"]}]
                self._write(ticket, {"type": "message", "role": "user", "content": content}, self._ask)
            case "assistant_input":
                self._floor.say(Line(command["text"], ticket, now))
            case "tool_response":
                self._answer(ticket, command["content"])
            case "tool_error":
                said = {"error": command.get("content") or command["error"]}
                self._answer(ticket, json.dumps(said, ensure_ascii=False))
            case "session_settings":
                self._change(ticket)
            case _:
                ticket.refuse("this source does not know it")

    # What the service says

    def added(self, item_id: str) -> None:
        """An item joined the conversation; it may be one of these."""
        written = self._items.pop(item_id, None)
        if written is not None:
            written.ticket.done()
            written.then(item_id)

    def missing(self, item_id: str) -> bool:
        """An item does not exist; whether it is one of these, which is then refused."""
        written = self._items.pop(item_id, None)
        if written is not None:
            self._conversation.own.pop(item_id, None)
            written.ticket.refuse("the connection broke before it reached the service; nothing happened")
        return written is not None

    def failed(self, event_id: str, error: Object) -> bool:
        """An `error` for a client event; whether it was one of these."""
        why = text(error, "message") or text(error, "code") or "the service refuses it"
        item_id = self._item_of_event.pop(event_id, None)
        if item_id is not None and (written := self._items.pop(item_id, None)) is not None:
            self._conversation.own.pop(item_id, None)
            written.ticket.refuse(why)
            return True
        if event_id in self._updates:
            self._updates.pop(event_id)[0].refuse(why)
            return True
        return False

    def saw(self, session: Object) -> bool:
        """The state of the session, after anybody's update; whether it shows a change that was asked for here."""
        self.session = session
        proven = False
        for event_id, (ticket, change) in tuple(self._updates.items()):
            if shows(session, change.session):
                del self._updates[event_id]
                self._changed(ticket, change)
                proven = True
        return proven

    def response_began(self, response_id: str) -> None:
        """A response begins, which uses the temporary whispers that are there."""
        for item_id, used_by in self._temporary.items():
            if used_by is None:
                self._temporary[item_id] = response_id

    def response_done(self, response_id: str) -> None:
        """It is done with them."""
        for item_id, used_by in tuple(self._temporary.items()):
            if used_by == response_id:
                del self._temporary[item_id]
                self._outbox.send("conversation.item.delete", item_id=item_id)

    def unproven_items(self) -> tuple[str, ...]:
        """The items of which nobody knows whether they have reached the service."""
        return tuple(self._items)

    def cut(self) -> None:
        """The connection is gone. Items can be asked for later; updates are refused."""
        for ticket, _ in self._updates.values():
            ticket.refuse("the connection to the service broke before it showed the change; it may have been made")
        self._updates.clear()
        self._item_of_event.clear()

    # How it is done

    def _ask(self, item_id: str) -> None:
        self._floor.ask()

    def _answer(self, ticket: Ticket, output: str) -> None:
        command = ticket.message
        call_id = command["tool_call_id"]
        if self._asked.answer_of(call_id) is not None:
            ticket.refuse("the tool call was answered already, by a client of the call or from here")
            return
        item = {"type": "function_call_output", "call_id": call_id, "output": output}

        def go_on(item_id: str) -> None:
            if not self._asked.others_are_open(call_id):
                self._floor.ask()

        self._write(ticket, item, go_on, dict(command))

    def _change(self, ticket: Ticket) -> None:
        spoken = self._endings.has_spoken
        change = change_of(ticket.message, self.session, self._variables, has_spoken=spoken)
        if change.refusal is not None:
            ticket.refuse(change.refusal)
        elif change.session and len(self._updates) >= MAX_UNPROVEN:
            ticket.refuse(CROWDED)
        elif change.session:
            update = {"type": "realtime", **change.session}
            self._updates[self._outbox.send("session.update", session=update)] = ticket, change
        else:
            self._changed(ticket, change)

    def _changed(self, ticket: Ticket, change: Change) -> None:
        """The session is as it should be; the whisper follows."""
        self._variables = change.variables
        shown = redact(dict(ticket.message))
        if change.context is None:
            self._publish(shown)
            ticket.done()
            return
        if not change.temporary and self._persistent is not None:
            self._outbox.send("conversation.item.delete", item_id=self._persistent)
            self._persistent = None
        if not change.context:
            self._publish(shown)
            ticket.done()
            return
        content = [{"type": "input_text", "text": change.context}]

        def keep(item_id: str) -> None:
            if change.temporary:
                self._temporary[item_id] = None
            else:
                self._persistent = item_id

        self._write(ticket, {"type": "message", "role": "system", "content": content}, keep, shown)

    def _write(self, ticket: Ticket, item: Message, then: Proven, *shown: Message) -> None:
        """Writes an item under an id of its own."""
        item_id = self._outbox.new_id()
        if len(self._items) >= MAX_UNPROVEN:
            ticket.refuse(CROWDED)
            return
        self._items[item_id] = _Unproven(ticket, then)
        if shown:
            self._conversation.own[item_id] = list(shown)
        event_id = self._outbox.send("conversation.item.create", item={"id": item_id, **item})
        self._item_of_event[event_id] = item_id
        if len(self._item_of_event) > 2 * MAX_UNPROVEN:
            del self._item_of_event[next(iter(self._item_of_event))]
