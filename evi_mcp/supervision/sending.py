"""Sends the commands of a chat: takes an intent, returns a receipt. No command leaves in another way."""

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from evi_mcp.chat.events import COMMAND, Draft, Event
from evi_mcp.chat.outcomes import Outcomes
from evi_mcp.clock import timeout
from evi_mcp.errors import MaybeSent, NotSent, NotSupported
from evi_mcp.ledger.ledger import CommandState
from evi_mcp.protocol.commands import EVI_COMMANDS
from evi_mcp.protocol.lifecycle import State
from evi_mcp.quoting import quote
from evi_mcp.supervision import intents
from evi_mcp.supervision.effects import Proof, Proofs, Verdict, note_of
from evi_mcp.supervision.house import House
from evi_mcp.supervision.intents import Intent, Receipt
from evi_mcp.supervision.recording import Recording
from evi_mcp.upstream.transport import Closed, MaybeTaken, NotTaken, Transport

if TYPE_CHECKING:
    from evi_mcp.supervision.live_chat import LiveChat

MAX_REFUSAL = 300
"""The most characters of a refusal that a receipt shows."""
_STATUSES = {Verdict.PROOF: "confirmed", Verdict.REWORDED: "reworded", Verdict.REFUTED: "no_effect"}
LATE_EFFECT_S = 30.0
"""How long after its agent has stopped waiting a command is still matched to its effect, in seconds."""


class Sending:
    """Sends the commands of one chat, and looks for their effects.

    It keeps no reference to the chat: a reference cycle would keep a chat, which is large, until a garbage collection.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._proofs = Proofs()

    def saw(self, chat: "LiveChat", event: Event, elapsed: float) -> None:
        """Takes in a logged event, which may be the effect of a command, or refuse it."""
        if self._proofs and (refused := self._proofs.see(event, elapsed)) is not None:
            refused.on_refused(chat)

    async def send(self, chat: "LiveChat", intent: Intent) -> Receipt:
        """Writes a command once or not at all, and waits for its effect. The journal has the command before it is sent,
        and its outcome before this returns.

        Raises:
            InvalidCommand: EVI would not understand it.
            NotSent: The chat is over, or could not take it in time; nothing was written.
            Unrecorded: The journal could not be written, so nothing was sent.
            MaybeSent: The connection broke during the write, or the write took too long.
            NotSupported: The chat does not take such commands.
            EviMcpError: The error with which the condition of the intent refuses.
        """
        kind = intent.command.type
        frame = intent.command.frame()
        command_id = secrets.token_hex(8)
        async with Recording(
            self._house.journal,
            self._house.clock,
            intent.command,
            chat_id=chat.chat_id,
            by=intent.by,
            terms=intent.terms,
            pre_authorised=intent.pre_authorised,
        ) as recording:
            await self._house.ledger.submit(chat.chat_id, command_id)
            transport = await self._wait_for_socket(chat, intent)
            check_supported(chat, kind)
            intent.condition.check(chat)
            cursor_seq = self._house.ledger.cursors.last_seq
            event = await self._house.ledger.claim(chat.chat_id, command_id, self._draft(chat, intent))
            if event is None:
                raise NotSent(kind, "somebody else has this chat now; try again")
            outcomes = chat.record.outcomes
            try:
                intent.condition.check(chat)  # the claim may have taken a while, and the user may have spoken
            except Exception:
                self._house.ledger.outcome(chat.chat_id, command_id, CommandState.NOT_SENT)
                outcomes.tell(event.seq, CommandState.NOT_SENT.value)
                raise
            intent.condition.begin(chat)
            proof = self._look_for(intent, outcomes, event.seq)
            recording.begins(event.seq)
            try:
                await self._write(chat.chat_id, transport, frame, intent)
            except Exception as error:  # even a fault of our own: only `NotSent` is sure
                sent = CommandState.NOT_SENT if isinstance(error, NotSent) else CommandState.MAYBE_SENT
                self._house.ledger.outcome(chat.chat_id, command_id, sent)
                outcomes.tell(event.seq, sent.value)
                if proof:
                    self._proofs.remove(proof)
                (intent.condition.refused if isinstance(error, NotSent) else intent.condition.undo)(chat)
                raise
            self._house.ledger.outcome(chat.chat_id, command_id, CommandState.SENT)
            outcomes.tell(event.seq, CommandState.SENT.value)
            recording.outcome("sent")
            receipt = Receipt(chat.chat_id, kind, event.seq, cursor_seq)
            if proof is None:
                return receipt
            with timeout(self._house.clock, intent.wait_for_effect_s):
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
                warning += f", which says {quote(proof.event.error or '', MAX_REFUSAL)}"
            return replace(receipt, warning=warning)

    def _draft(self, chat: "LiveChat", intent: Intent) -> Draft:
        facts = self._house.mask.fields({"by": intent.by.claimed or intent.by.kind.value, **intent.facts})
        facts |= {"command": intent.command.type, "by_kind": intent.by.kind.value, "signature": intent.by.signature}
        return Draft(Event(chat_id=chat.chat_id, at=self._house.clock.now(), type=COMMAND, **facts))

    def _look_for(self, intent: Intent, outcomes: Outcomes, seq: int) -> Proof | None:
        if intent.effect is None:
            return None
        expires_at = self._house.clock.elapsed() + intent.wait_for_effect_s + LATE_EFFECT_S

        def settled(verdict: Verdict, shown_by: int) -> None:
            outcomes.tell(seq, _STATUSES[verdict], shown_by)

        proof = Proof(intent.effect, intent.command, expires_at, intent.condition.refused, settled)
        self._proofs.add(proof)
        return proof

    async def _wait_for_socket(self, chat: "LiveChat", intent: Intent) -> Transport | None:
        """The socket that takes the command; `None` if the command goes by REST. Nothing may await between this and
        the claim.

        Raises:
            NotSent: There was no way to send it in time.
        """
        kind = intent.command.type
        patience_s = intents.WAIT_FOR_LIVE_S if intent.patience_s is None else intent.patience_s
        with timeout(self._house.clock, patience_s):
            while True:
                if self._can_take(chat, intent):
                    return chat.transport
                if intent.may_post and not chat.is_connected:
                    return None
                if chat.over:
                    raise NotSent(kind, f"the chat is {chat.state}{_bracketed(chat.record.reason)}")
                if patience_s <= 0:
                    break
                await chat.changed()
        if intent.may_post:
            return None
        if chat.state is State.LIVE and chat.record.catching_up:
            raise NotSent(kind, "what was said while the connection was away has not all come, so nobody can tell yet")
        why = _bracketed(chat.record.reason)
        raise NotSent(kind, f"the chat is {chat.state}{why} and was not live within {patience_s:g} s; try again")

    def _can_take(self, chat: "LiveChat", intent: Intent) -> bool:
        """Whether the socket can take a command now, and the log is complete enough for its condition."""
        if chat.transport is None or not chat.transport.is_open:
            return False
        if intent.patience_s == 0:
            return True
        return chat.state is State.LIVE and not (intent.condition.needs_history and chat.record.catching_up)

    async def _write(self, chat_id: str, transport: Transport | None, frame: str, intent: Intent) -> None:
        kind = intent.command.type
        # Shielded: a client that gives up must not leave half a command, or one without an outcome.
        with anyio.CancelScope(shield=True):
            try:
                if transport is None:
                    await self._house.connector.post(chat_id, frame, intent.write_timeout_s)
                    return
                with timeout(self._house.clock, intent.write_timeout_s) as written:
                    await transport.send(frame)
            except NotTaken as refusal:
                raise NotSent(kind, str(refusal), gone=refusal.gone) from None
            except (Closed, MaybeTaken):
                raise MaybeSent(kind) from None
            if written.cancelled_caught:
                transport.abort()  # so that it cannot arrive later, when the moment has passed
                raise MaybeSent(kind)


def check_supported(chat: "LiveChat", kind: str) -> None:
    """Raises `NotSupported` if the chat does not take commands of this type."""
    supports = EVI_COMMANDS if chat.record.supports is None else chat.record.supports
    if kind not in supports:
        raise NotSupported(kind, chat.record.source or "EVI", supports)


def _said_of(proof: Event) -> str | None:
    """The service's note on a proof, in quotes; `None` if there is none."""
    note = note_of(proof)
    return f"the service says {quote(note)}" if note else None


def _bracketed(reason: str | None) -> str:
    return f" ({reason})" if reason else ""
