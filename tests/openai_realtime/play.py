"""A simulated call and the translator of it, without sockets: time is a number."""

from collections.abc import Mapping
from random import Random
from typing import Any

from evi_mcp.openai_realtime.translator import Translator
from evi_mcp.simulator.openai.call import RealtimeCall
from evi_mcp.simulator.scenario import scenarios

Message = dict[str, Any]
AT_MS = 1_800_000_000_000


class FakeTicket:
    """A command, and what became of it."""

    def __init__(self, type_: str, /, **fields: Any) -> None:
        self.message: Mapping[str, Any] = {"type": type_, **fields}
        self.outcome: str | None = None

    def done(self) -> None:
        assert self.outcome is None, "a command is settled once"
        self.outcome = "done"

    def refuse(self, reason: str | None) -> None:
        assert self.outcome is None, "a command is settled once"
        self.outcome = f"refused: {reason}"


class Play:
    """A call on the simulated service, and a supervisor's view of it."""

    def __init__(self, script: str | None = None, *, recap: bool = False, connect: bool = True, **options: Any) -> None:
        self.now = 100.0
        self.frames: list[Message] = []
        self.messages: list[Message] = []
        self.sent: list[Message] = []
        self._unread: list[Message] = []
        self.connected = False
        self.call = RealtimeCall(
            scenarios()[script] if script else None, Random("test"), self._push, now=self.now, **options
        )
        self.translator = Translator(self.messages.append, "test", recap=recap)
        if connect:
            self.connect()

    def connect(self) -> None:
        self.connected = True
        self._push(self.call.greeting())
        self.translator.connected()
        self._settle()

    def attach_anew(self) -> None:
        """The adapter has lost the call, and another one takes it on."""
        held = self.translator.held
        self.cut()
        self.translator = Translator(self.messages.append, "other", held=held)
        self.connect()

    def cut(self) -> None:
        self._settle()
        self.connected = False
        self.translator.cut()

    def command(self, type_: str, /, **fields: Any) -> FakeTicket:
        ticket = FakeTicket(type_, **fields)
        self.translator.command(ticket, self.now)
        self._settle()
        return ticket

    def foreign(self, type_: str, /, **fields: Any) -> None:
        """Another client of the call does something."""
        self.call.take({"type": type_, **fields}, self.now)
        self._settle()

    def wait(self, seconds: float) -> list[Message]:
        """What comes in the next so many seconds."""
        seen, until = len(self.messages), self.now + seconds
        while True:
            dues = [due for due in (self.call.next_due(), self.translator.next_due()) if due is not None]
            due = max(self.now, min(dues, default=until))
            if due > until:
                break
            if due == self.now and not dues:
                break
            self.now = due
            self.call.advance(self.now)
            self._settle()
            if due == until:
                break
        self.now = until
        self._settle()
        return self.messages[seen:]

    def to_the_end(self) -> list[Message]:
        for _ in range(400):
            if self.call.ending is not None:
                return self.messages
            self.wait(1.0)
        raise AssertionError("the call does not end")

    def of(self, *types: str) -> list[Message]:
        return [message for message in self.messages if message["type"] in types]

    def _push(self, event: Message) -> None:
        self.frames.append(event)
        if self.connected:
            self._unread.append(event)

    def _settle(self) -> None:
        """Everything that is on its way arrives."""
        while True:
            while self._unread:
                self.translator.receive(self._unread.pop(0), self.now, AT_MS)
            if not self.connected:
                return
            self.translator.tick(self.now)
            events = self.translator.outbox.take()
            if not events and not self._unread:
                return
            for event in events:
                self.sent.append(event)
                error = self.call.take(event, self.now)
                if error is not None:
                    self._unread.append(error)


def turns(messages: list[Message]) -> list[tuple[str, str]]:
    """Who said what, and what was asked and answered, in order; words of one side in a row are one turn."""
    found: list[tuple[str, str]] = []
    for message in messages:
        match message["type"]:
            case "user_message" | "assistant_message" if not message.get("interim"):
                who, said = message["message"]["role"], message["message"]["content"]
                if found and found[-1][0] == who:
                    said = f"{found.pop()[1]} {said}"
                found.append((who, said))
            case "tool_call":
                found.append(("tool_call", f"{message['name']} {message['parameters']}"))
            case "tool_response" | "tool_error":
                found.append((message["type"], message.get("content") or message.get("error") or ""))
            case "user_interruption":
                found.append(("user_interruption", ""))
    return found
