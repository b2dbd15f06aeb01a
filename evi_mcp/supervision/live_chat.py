"""One attached chat: its record, its socket while there is one, and the commands that go out on it."""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import anyio

from evi_mcp.audit.log import AuditLog, Recording
from evi_mcp.chat.events import CHAT_STATE, Event
from evi_mcp.chat.record import ChatRecord
from evi_mcp.chat.triggers import Reminders
from evi_mcp.errors import MaybeSent, NotSent, Unrecorded
from evi_mcp.ledger.log import Cursors
from evi_mcp.logs import fields
from evi_mcp.protocol.commands import Command
from evi_mcp.protocol.fast_decode import FastMessage
from evi_mcp.protocol.lifecycle import Change, State
from evi_mcp.protocol.messages import Message
from evi_mcp.protocol.redaction import Mask
from evi_mcp.supervision.listeners import Listeners
from evi_mcp.upstream.transport import Closed, Transport

WAIT_FOR_LIVE_S = 5.0
WRITE_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)

LATE_EFFECT_S = 30.0
"""How long after an agent has stopped waiting an effect still counts as that of its command."""
MAX_PROOFS = 50
"""Commands of which the effect is looked for; the oldest is given up first."""


class Verdict(Enum):
    """What an event says of a command. Each event speaks of one command only, the oldest that it can speak of."""

    PART = "part"  # some of its effect; more has to follow
    PROOF = "proof"
    REFUTED = "refuted"  # it reached the chat and had no effect


Effect = Callable[[Event, bool], Verdict | None]
"""What an event means for a command; `None`: nothing. The flag says that an older command has claimed the event."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of a command.

    `cursor_seq` is the last event before it, `confirmed_by` the event that shows its effect, `resumes_at` when a
    pause ends by itself (Unix seconds).
    """

    chat_id: str
    command: str
    seq: int
    cursor_seq: int
    confirmed_by: int | None = None
    resumes_at: float | None = None
    warning: str | None = None


class _Proof:
    """A command whose effect is looked for, also after its agent has stopped waiting: a late effect is still its own,
    and must not pass for that of an equal command."""

    def __init__(self, effect: Effect, expires_at: float) -> None:
        self._effect = effect
        self.expires_at = expires_at
        self.event: Event | None = None
        self.verdict: Verdict | None = None
        self.settled = anyio.Event()

    def sees(self, event: Event, claimed: bool) -> bool:
        """Takes in an event; whether it is this command's."""
        verdict = self._effect(event, claimed)
        if verdict in (Verdict.PROOF, Verdict.REFUTED):
            self.event, self.verdict = event, verdict
            self.settled.set()
        return verdict is not None


class LiveChat:
    """A chat that is followed. What changes it happens in plain functions, which nothing can cut in half."""

    def __init__(
        self,
        chat_id: str,
        cursors: Cursors,
        *,
        max_events: int,
        max_audio: int = 0,
        mask: Mask | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self.chat_id = chat_id
        self._audit = audit
        self.record = ChatRecord(
            chat_id, cursors, max_events=max_events, max_audio=max_audio, now=time.time(), mask=mask
        )
        self._cursors = cursors
        self._transport: Transport | None = None
        self.listeners = Listeners()
        self._proofs: deque[_Proof] = deque(maxlen=MAX_PROOFS)
        self._news = anyio.Event()
        self.reminders = Reminders()
        self.proven = False
        """Whether it is more than an attempt: it was live or over, or an agent was told of it; the registry sets it."""
        self.dead_man: anyio.CancelScope | None = None
        """The timer that ends a pause by itself, while one runs."""

    def __repr__(self) -> str:
        return f"<LiveChat {self.chat_id}: {self.state}, {self.record.log.appended} events>"

    @property
    def state(self) -> State:
        """Where the chat stands."""
        return self.record.lifecycle.state

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.record.lifecycle.over

    @property
    def never_was(self) -> bool:
        """Whether it failed before there was anything to follow."""
        return self.state is State.FAILED and not self.record.lifecycle.was_live

    @property
    def came_to_nothing(self) -> bool:
        """Whether it is an attempt that failed, of which nobody was told: nothing of it is to be seen."""
        return not self.proven and self.never_was

    # What happens to it

    def connected(self, transport: Transport) -> None:
        """A socket stands; what it brings first is the history."""
        self._transport = transport
        self.record.connection_opened()
        self._notify_change()

    def disconnected(self) -> None:
        """The socket is gone."""
        self._transport = None
        self._notify_change()

    @property
    def is_connected(self) -> bool:
        """Whether there is a socket, be it still in its replay."""
        return self._transport is not None

    def receive(self, frame: str | bytes | Message | FastMessage) -> None:
        """Takes in a frame and tells every listener what it brought."""
        self.publish(self.record.receive(frame, time.time()))

    def change(self, change: Change | None) -> None:
        """Logs a change of state and tells every listener."""
        self.publish(self.record.changed(change, time.time()))

    def publish(self, events: list[Event]) -> None:
        """Hands new events of the record to the listeners, in order."""
        for event in events:
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("event", extra=fields(chat_id=self.chat_id, seq=event.seq, type=event.type))
            if self._proofs:
                self._look_for_effects(event)
            self.listeners.tell(event)
            if event.type == CHAT_STATE:
                _log.info("chat state", extra=fields(chat_id=self.chat_id, state=event.state, reason=event.reason))
                self._notify_change()

    def _look_for_effects(self, event: Event) -> None:
        claimed, now = False, time.monotonic()
        for proof in tuple(self._proofs):
            claimed = proof.sees(event, claimed) or claimed
            if proof.settled.is_set() or proof.expires_at < now:
                self._proofs.remove(proof)

    async def changed(self) -> None:
        """Returns after the next change of state or connection."""
        await self._news.wait()

    def _notify_change(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    # What is done to it

    async def send(
        self,
        command: Command,
        *,
        by: str,
        effect: Effect | None = None,
        wait_for_effect_s: float = 0.0,
        guard: Callable[[], None] | None = None,
        terms: Mapping[str, Any] | None = None,
        foretold: bool = False,
        **facts: Any,
    ) -> Receipt:
        """Writes a command once or not at all, and waits for its effect. Where there is an audit log, the command is on
        record before anything else happens, and its outcome when this returns.

        Args:
            by: The agent, for the log.
            effect: Says what an event means for it; `None` if EVI shows no effect of such a command.
            wait_for_effect_s: Seconds to wait for that event; 0 does not wait.
            guard: Called right before the write, with nothing in between; raises to refuse.
            terms: Its conditions, for the audit log.
            foretold: Announced by an earlier command: it is sent even if the audit log cannot be written.
            facts: Fields of the `command` event.

        Raises:
            InvalidCommand: EVI would not understand it.
            NotSent: The chat is over or did not become live within 5 s; nothing was written.
            Unrecorded: The audit log could not be written; nothing else was, either.
            MaybeSent: The connection broke during the write.
        """
        kind = command.type
        frame = command.frame()
        async with Recording(
            self._audit, command, chat_id=self.chat_id, by=by, terms=terms, foretold=foretold
        ) as recording:
            transport = await self._live_transport(kind)
            if guard:
                guard()
            cursor_seq = self._cursors.last_seq
            event = self.record.command(kind, time.time(), by=by, **facts)
            self.publish([event])
            proof = _Proof(effect, time.monotonic() + wait_for_effect_s + LATE_EFFECT_S) if effect else None
            if proof:
                self._proofs.append(proof)
            recording.begins(event.seq)
            try:
                await self._write(transport, frame, kind)
            except MaybeSent:
                if proof and proof in self._proofs:
                    self._proofs.remove(proof)
                raise
            recording.outcome("sent")
            receipt = Receipt(self.chat_id, kind, event.seq, cursor_seq)
            if proof is None:
                return receipt
            with anyio.move_on_after(wait_for_effect_s):
                await proof.settled.wait()
            if proof.event is None:
                return receipt
            if proof.verdict is Verdict.PROOF:
                recording.outcome("confirmed", confirmed_by=proof.event.seq)
                return replace(receipt, confirmed_by=proof.event.seq)
            recording.outcome("no_effect", shown_by=proof.event.seq)
            return replace(receipt, warning=f"it had no effect: see event {proof.event.seq}")

    async def _live_transport(self, kind: str) -> Transport:
        """The socket of a live chat, awaited for 5 s. Nothing may await between this and the write."""
        with anyio.move_on_after(WAIT_FOR_LIVE_S):
            while True:
                if self.over:
                    raise NotSent(kind, f"the chat is {self.state}{_bracketed(self.record.lifecycle.reason)}")
                if self.state is State.LIVE and self._transport is not None and self._transport.is_open:
                    return self._transport
                await self.changed()
        why = _bracketed(self.record.lifecycle.reason)
        raise NotSent(kind, f"the chat is {self.state}{why} and was not live within {WAIT_FOR_LIVE_S:g} s; try again")

    async def _write(self, transport: Transport, frame: str, kind: str) -> None:
        # Shielded: a client that gives up must not leave half a command, or one that nobody knows of.
        with anyio.CancelScope(shield=True), anyio.move_on_after(WRITE_TIMEOUT_S) as written:
            try:
                await transport.send(frame)
            except Closed:
                raise MaybeSent(kind) from None
        if written.cancelled_caught:
            raise MaybeSent(kind)

    async def write_parting(self, command: Command, *, by: str) -> bool:
        """Writes a last command before the socket is closed, if it is open; whether it did. Never waits long.

        It is one that an earlier command announced: a full disk does not keep it back.
        """
        transport = self._transport
        if transport is None or not transport.is_open:
            return False
        try:
            async with Recording(self._audit, command, chat_id=self.chat_id, by=by, foretold=True) as recording:
                event = self.record.command(command.type, time.time(), by=by)
                self.publish([event])
                recording.begins(event.seq)
                sent = False
                with anyio.move_on_after(0.5):
                    try:
                        await transport.send(command.frame())
                        sent = True
                    except Closed:
                        pass
                recording.outcome("sent" if sent else "maybe_sent")
                return sent
        except Unrecorded:
            return False

    def call_off_dead_man(self) -> None:
        """Stops the timer that would end a pause, if one runs."""
        if self.dead_man is not None:
            self.dead_man.cancel()
            self.dead_man = None
        self.record.resumes_at = None


def _bracketed(reason: str | None) -> str:
    return f" ({reason})" if reason else ""
