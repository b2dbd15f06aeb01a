"""The model's own account of what was said before the attach, asked for by a supervisor and labelled as that.

A response outside of the conversation uses it as context, is text alone, and is heard by nobody (that no audio comes of
it follows from its modality; it was not tried against the live service). It costs tokens.
"""

from evi_mcp.openai_realtime.outbox import Outbox
from evi_mcp.openai_realtime.reading import Message, Object, text, thing, things, words_of
from evi_mcp.openai_realtime.responses import OURS
from evi_mcp.openai_realtime.tickets import Ticket

MAX_ASKED = 10
INSTRUCTIONS = (
    "List what the user and you have said so far, turn by turn, one line each, beginning with 'user:' or 'assistant:'."
    " Add nothing. If nothing was said yet, write 'nothing'."
)


class Recap:
    """Asks for the account, and knows it when it comes.

    Args:
        outbox: Where client events are written.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._asked: dict[str, Ticket] = {}
        self._events: dict[str, str] = {}

    def ask(self, ticket: Ticket) -> None:
        """Asks for it."""
        if len(self._asked) >= MAX_ASKED:
            ticket.refuse("the model has been asked several times and has not answered yet")
            return
        mark = self._outbox.new_id()
        self._asked[mark] = ticket
        event_id = self._outbox.send(
            "response.create",
            response={
                "conversation": "none",
                "output_modalities": ["text"],
                "tools": [],
                "metadata": {OURS: mark},
                "instructions": INSTRUCTIONS,
            },
        )
        self._events[event_id] = mark

    def take(self, response: Object) -> Message | None:
        """The account as a message, if a finished response is one. Whoever asked is told if there is none."""
        ticket = self._forget(text(thing(response, "metadata"), OURS))
        if ticket is None:
            return None
        said = "\n".join(filter(None, map(words_of, things(response, "output"))))
        if text(response, "status") != "completed" or not said:
            ticket.refuse("the model gave no account of what was said")
            return None
        ticket.done()
        label = "The model's own account of what was said before the attach, not a record"
        return {"type": "recap", "by": "the model", "message": f"{label}: {said}"}

    def failed(self, event_id: str, error: Object) -> bool:
        """An `error` for a client event; whether it was one of these."""
        ticket = self._forget(self._events.get(event_id, ""))
        if ticket is not None:
            ticket.refuse(text(error, "message") or text(error, "code") or "the service refuses it")
        return ticket is not None

    def cut(self) -> None:
        """The connection is gone, and what comes on another one is not known to be an answer."""
        for mark in tuple(self._asked):
            if (ticket := self._forget(mark)) is not None:
                ticket.refuse("the connection to the service broke before the model answered; ask again")

    def _forget(self, mark: str) -> Ticket | None:
        self._events = {event_id: its for event_id, its in self._events.items() if its != mark}
        return self._asked.pop(mark, None)
