"""One attached chat. It owns all that is known and done about it: its connection, its record, its pause, its commands.

What changes it happens in plain functions, which nothing can cut in half. Frames become drafts (`ChatReader`), the
ledger numbers them, and numbered events come back to be folded (`ChatRecord`) and told to whoever listens.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import anyio

from evi_mcp.chat.events import CHAT_STATE, COMMAND, Draft, Event
from evi_mcp.chat.memory import Memory
from evi_mcp.chat.reader import ChatReader
from evi_mcp.chat.record import ChatRecord
from evi_mcp.chat.triggers import Reminders
from evi_mcp.clock import Clock, moment, timeout
from evi_mcp.errors import MaybeSent, NotSent, NotSupported
from evi_mcp.ledger.journal import Journal
from evi_mcp.ledger.ledger import CommandState, Ledger
from evi_mcp.logs import fields
from evi_mcp.protocol.commands import EVI_COMMANDS
from evi_mcp.protocol.fast_decode import FastMessage
from evi_mcp.protocol.lifecycle import Change, State
from evi_mcp.protocol.messages import Message
from evi_mcp.protocol.redaction import Mask
from evi_mcp.quoting import quote
from evi_mcp.supervision import intents
from evi_mcp.supervision.effects import Proof, Proofs, Verdict, note_of
from evi_mcp.supervision.intents import Intent, Receipt
from evi_mcp.supervision.listeners import Listeners
from evi_mcp.supervision.recording import Recording
from evi_mcp.upstream.transport import Closed, Connector, MaybeTaken, NotTaken, Transport
from evi_mcp.wakeups import Signal

MAX_REFUSAL = 300
"""Characters of a refusal that a receipt shows."""
LATE_EFFECT_S = 30.0
"""How long after an agent has stopped waiting an effect still counts as that of its command."""

_log = logging.getLogger(__name__)


class Attach(Enum):
    """How far an attach has come."""

    TRIED = "tried"  # nobody has been told of it, and it may come to nothing
    KNOWN = "known"  # it was live or over, or an agent was told of it
    DETACHED = "detached"


@dataclass(frozen=True, slots=True)
class House:
    """What all chats of a process share, and their limits.

    Args:
        connector: Opens the sockets, and posts single commands.
        ledger: Numbers and keeps events.
        clock: For everything that takes time.
        journal: Where commands are recorded before they are sent.
        memory: The budget of all chats.
        mask: Takes secrets out of whatever is kept.
        max_events: The most events kept for each chat.
        max_audio: The most characters of audio kept for each chat; 0 keeps none.
        salt: Of the digests that tell events apart; whoever speaks in a chat must not know it.
    """

    connector: Connector
    ledger: Ledger
    clock: Clock
    journal: Journal
    memory: Memory
    mask: Mask
    max_events: int = 10_000
    max_audio: int = 0
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(32))


class LiveChat:
    """A chat that is followed.

    Args:
        chat_id: Whose connection it is.
        house: What it shares with the others.
        on_pause: Called with the chat whenever a pause begins or ends.
    """

    def __init__(self, chat_id: str, house: House, on_pause: Callable[["LiveChat"], None] = lambda _: None) -> None:
        self.chat_id = chat_id
        self.clock = house.clock
        self._house = house
        self._ledger = house.ledger
        keep = house.ledger.keeps_identities
        self.reader = ChatReader(chat_id, house.mask, house.salt, keep_identities=keep)
        self.record = ChatRecord(
            chat_id,
            max_events=house.max_events,
            moment=moment(house.clock),
            max_audio=house.max_audio,
            memory=house.memory,
        )
        self.listeners = Listeners()
        self.reminders = Reminders()
        self.attach = Attach.TRIED
        self._on_pause = on_pause
        self._transport: Transport | None = None
        self._connections = 0
        self._elapsed: float | None = None  # when the frame came whose events are on their way through the ledger
        self._proofs = Proofs()
        self._changed = Signal()
        self._ledger.follow(chat_id, self._fold)

    def __repr__(self) -> str:
        return f"<LiveChat {self.chat_id}: {self.state}, {self.record.log.appended} events>"

    @property
    def state(self) -> State:
        """Where the chat stands."""
        return self.record.state

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.record.over

    @property
    def never_was(self) -> bool:
        """Whether it failed before there was anything to follow."""
        return self.state is State.FAILED and not self.record.was_live

    @property
    def came_to_nothing(self) -> bool:
        """Whether it is an attempt that failed, of which nobody was told: nothing of it is to be seen."""
        return self.attach is Attach.TRIED and self.never_was

    @property
    def is_connected(self) -> bool:
        """Whether there is a socket, be it still in its replay."""
        return self._transport is not None

    @property
    def is_detached(self) -> bool:
        """Whether an agent, or the end of the process, has taken it off the list."""
        return self.attach is Attach.DETACHED

    def pause_changed(self) -> None:
        """A pause has begun or ended."""
        self._on_pause(self)

    async def changed(self) -> None:
        """Returns after the next change of state or connection."""
        await self._changed.wait()

    # What happens to it

    def connected(self, transport: Transport) -> None:
        """A socket stands; what it brings first is the history."""
        self._transport = transport
        self._connections += 1
        self.record.reconnects = self._connections - 1
        self.record.catching_up = True
        self.reader.history.begin_replay()
        self._changed.tell()

    def disconnected(self) -> None:
        """The socket is gone."""
        self._transport = None
        self.record.catching_up = True
        self.reader.history.lose_connection()
        self._changed.tell()

    def caught_up(self) -> None:
        """The replay has ended: what comes from here on happens now."""
        self.reader.history.end_replay()
        self.record.caught_up()
        self.change(self.reader.lifecycle.caught_up())
        self._changed.tell()

    def receive(self, frame: str | bytes | Message | FastMessage) -> None:
        """Takes in a frame and tells every listener what it brought."""
        at = moment(self.clock)
        read = self.reader.read(frame, at)
        if read.drafts:
            self._elapsed = at.elapsed
            self._append(read.drafts)
            self._elapsed = None
        if (voice := read.voice) is not None:
            self.record.hear(voice.message_id, voice.number, voice.data, at.elapsed, live=not voice.replayed)

    def change(self, change: Change | None) -> None:
        """Logs a change of state, if there was one, and tells every listener."""
        if change is not None:
            self._append(self.reader.changed(change, moment(self.clock)))

    def _append(self, drafts: Sequence[Draft]) -> None:
        self._ledger.append(self.chat_id, drafts)

    def _fold(self, events: Sequence[Event]) -> None:
        """Numbered events, back from the ledger."""
        elapsed = self.clock.elapsed() if self._elapsed is None else self._elapsed
        for event in events:
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("event", extra=fields(chat_id=self.chat_id, seq=event.seq, type=event.type))
            self.record.apply(event, elapsed)
            if self._proofs:
                self._proofs.see(event, elapsed)
            self.listeners.tell(event)
            if event.type == CHAT_STATE:
                _log.info("chat state", extra=fields(chat_id=self.chat_id, state=event.state, reason=event.reason))
                self._changed.tell()

    # What is done to it

    async def send(self, intent: Intent) -> Receipt:
        """Writes a command once or not at all, and waits for its effect. It is in the journal before anything else
        happens, and its outcome is when this returns.

        Raises:
            InvalidCommand: EVI would not understand it.
            NotSent: The chat is over, or could not take it in time; nothing was written.
            Unrecorded: The journal could not be written; nothing else was, either.
            MaybeSent: The connection broke during the write, or the write took too long.
            NotSupported: The chat does not take such commands.
            EviMcpError: Whatever its condition refuses with.
        """
        kind = intent.command.type
        frame = intent.command.frame()
        command_id = secrets.token_hex(8)
        async with Recording(
            self._house.journal,
            self.clock,
            intent.command,
            chat_id=self.chat_id,
            by=intent.by,
            terms=intent.terms,
            pre_authorised=intent.pre_authorised,
        ) as recording:
            await self._ledger.submit(self.chat_id, command_id)
            transport = await self._way(intent)
            self._check_supported(kind)
            intent.condition.check(self)
            cursor_seq = self._ledger.cursors.last_seq
            event = await self._ledger.claim(self.chat_id, command_id, self._draft(intent))
            if event is None:
                raise NotSent(kind, "somebody else has this chat now; try again")
            try:
                intent.condition.check(self)  # the claim may have taken a while, and the user may have spoken
            except Exception:
                self._ledger.outcome(self.chat_id, command_id, CommandState.NOT_SENT)
                raise
            intent.condition.begin(self)
            proof = self._look_for(intent)
            recording.begins(event.seq)
            try:
                await self._write(transport, frame, intent)
            except Exception as error:  # be it a fault of our own: nobody knows whether it arrived, but for `NotSent`
                sent = CommandState.NOT_SENT if isinstance(error, NotSent) else CommandState.MAYBE_SENT
                self._ledger.outcome(self.chat_id, command_id, sent)
                if proof:
                    self._proofs.remove(proof)
                intent.condition.undo(self)
                raise
            self._ledger.outcome(self.chat_id, command_id, CommandState.SENT)
            recording.outcome("sent")
            receipt = Receipt(self.chat_id, kind, event.seq, cursor_seq)
            if proof is None:
                return receipt
            with timeout(self.clock, intent.wait_for_effect_s):
                await proof.settled.wait()
            if proof.event is None:
                return receipt
            if proof.verdict is Verdict.PROOF:
                recording.outcome("confirmed", confirmed_by=proof.event.seq)
                return replace(receipt, confirmed_by=proof.event.seq, warning=_said_of(proof.event))
            if proof.verdict is Verdict.REWORDED:
                recording.outcome("reworded", confirmed_by=proof.event.seq)
                return replace(receipt, confirmed_by=proof.event.seq, said=proof.event.text or "")
            recording.outcome("no_effect", shown_by=proof.event.seq)
            warning = f"it had no effect: see event {proof.event.seq}"
            if proof.event.type == "error":  # a hub's, whose bot has not carried it out
                intent.condition.undo(self)
                warning += f", which says {quote(proof.event.error or '', MAX_REFUSAL)}"
            return replace(receipt, warning=warning)

    def _check_supported(self, kind: str) -> None:
        supports = EVI_COMMANDS if self.record.supports is None else self.record.supports
        if kind not in supports:
            raise NotSupported(kind, self.record.source or "EVI", supports)

    def _draft(self, intent: Intent) -> Draft:
        facts = self._house.mask.fields({"by": intent.by.claimed or intent.by.kind.value, **intent.facts})
        kind, by_kind = intent.command.type, intent.by.kind.value
        at = self.clock.now()
        return Draft(Event(chat_id=self.chat_id, at=at, type=COMMAND, command=kind, by_kind=by_kind, **facts))

    def _look_for(self, intent: Intent) -> Proof | None:
        if intent.effect is None:
            return None
        expires_at = self.clock.elapsed() + intent.wait_for_effect_s + LATE_EFFECT_S
        proof = Proof(intent.effect, intent.command, expires_at)
        self._proofs.add(proof)
        return proof

    async def _way(self, intent: Intent) -> Transport | None:
        """The socket that takes the command, or `None` if it goes by REST. Nothing may await between this and the
        claim.

        Raises:
            NotSent: There is none.
        """
        kind = intent.command.type
        patience_s = intents.WAIT_FOR_LIVE_S if intent.patience_s is None else intent.patience_s
        with timeout(self.clock, patience_s):
            while True:
                if self._can_take(intent):
                    return self._transport
                if intent.may_post and not self.is_connected:
                    return None
                if self.over:
                    raise NotSent(kind, f"the chat is {self.state}{_bracketed(self.record.reason)}")
                if patience_s <= 0:
                    break
                await self.changed()
        if intent.may_post:
            return None
        if self.state is State.LIVE and self.record.catching_up:
            raise NotSent(kind, "what was said while the connection was away has not all come, so nobody can tell yet")
        why = _bracketed(self.record.reason)
        raise NotSent(kind, f"the chat is {self.state}{why} and was not live within {patience_s:g} s; try again")

    def _can_take(self, intent: Intent) -> bool:
        """Whether the socket can take a command now, and the log what it depends on."""
        if self._transport is None or not self._transport.is_open:
            return False
        if intent.patience_s == 0:
            return True
        return self.state is State.LIVE and not (intent.condition.needs_history and self.record.catching_up)

    async def _write(self, transport: Transport | None, frame: str, intent: Intent) -> None:
        kind = intent.command.type
        # Shielded: a client that gives up must not leave half a command, or one that nobody knows of.
        with anyio.CancelScope(shield=True):
            try:
                if transport is None:
                    await self._house.connector.post(self.chat_id, frame, intent.write_timeout_s)
                    return
                with timeout(self.clock, intent.write_timeout_s) as written:
                    await transport.send(frame)
            except NotTaken as refusal:
                raise NotSent(kind, str(refusal), gone=refusal.gone) from None
            except (Closed, MaybeTaken):
                raise MaybeSent(kind) from None
            if written.cancelled_caught:
                transport.abort()  # else it would be delivered once the other side reads again, over the caller
                raise MaybeSent(kind)

    def detach(self) -> None:
        """It is followed no longer; the chat itself goes on."""
        self.attach = Attach.DETACHED
        self.change(self.reader.lifecycle.detached())

    def leave(self) -> None:
        """Nothing of it is followed, listened to or kept any more."""
        self._ledger.leave(self.chat_id, self._fold)
        self.listeners.clear()  # one of them holds the chat: with it, its log would wait for the garbage collector
        self.record.forget()


def _said_of(proof: Event) -> str | None:
    """What a service says beside a proof, quoted: it is not our word."""
    note = note_of(proof)
    return f"the service says {quote(note)}" if note else None


def _bracketed(reason: str | None) -> str:
    return f" ({reason})" if reason else ""
