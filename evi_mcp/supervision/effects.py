"""The effects of commands: decides whether an event proves that a command took effect.

EVI documents the effects of few commands. `user_input` and `assistant_input` come back as messages with `from_text`. A
tool answer does not come back to its sender, but EVI goes on. Whether settings come back to their sender is not stated.
A pause and a resume show no effect. Other services may confirm these with a `command_result`.
"""

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol

import anyio

from evi_mcp.chat.events import CHAT_STATE, Event, payload_of
from evi_mcp.chat.tool_calls import TrackedCall
from evi_mcp.protocol.commands import AssistantInput, Command, SessionSettings, ToolError, ToolResponse, UserInput
from evi_mcp.protocol.cutting import MAX_TEXT
from evi_mcp.protocol.lifecycle import DETACHED, State
from evi_mcp.protocol.redaction import REDACTED, TOO_DEEP

MAX_PROOFS = 50
"""The most commands of one chat whose effect is looked for; beyond, the oldest is given up."""

COMMAND_RESULT = "command_result"
ENDINGS = frozenset({"end_chat", "transfer_chat"})
"""Commands after which the chat is over."""
REFUSED = frozenset({"command_refused", "command_not_supported", "command_not_delivered"})
"""Slugs of a hub's errors about a command that was not carried out (docs/hub.md)."""

_ANSWERS = ("tool_response", "tool_error")


class Verdict(Enum):
    """What an event says about a command. Each event counts for one command only: the oldest that it fits."""

    PART = "part"  # a part of its effect; more must follow
    PROOF = "proof"
    REWORDED = "reworded"  # it was spoken, in other words
    REFUTED = "refuted"  # it reached the chat and had no effect


class Effect(Protocol):
    """Recognises the effect of one command."""

    def judge(self, event: Event, claimed: bool) -> Verdict | None:
        """What an event says about the command; `None` if nothing.

        Args:
            claimed: Whether the event already counts for an older command.
        """
        ...


class HeardAsUser:
    """A `user_input` comes back as a `user_message` with `from_text` and the same words."""

    def __init__(self, command: UserInput) -> None:
        self._words = command.text.split()

    def judge(self, event: Event, claimed: bool) -> Verdict | None:
        if claimed or event.type != "user_message" or not event.from_text:
            return None
        return Verdict.PROOF if (event.text or "").split() == self._words else None


class SpokenByEvi:
    """An `assistant_input` comes back as an `assistant_message` with `from_text`. EVI may split a long text (not
    documented), so the last part of it is the proof. Other services may say it in other words."""

    def __init__(self, command: AssistantInput) -> None:
        self._text = command.text
        self._left = command.text.split()

    def judge(self, event: Event, claimed: bool) -> Verdict | None:
        words = (event.text or "").split()
        if claimed or event.type != "assistant_message" or not event.from_text:
            return None
        if event.asked_text is not None:  # an adapter repeats the line that it was given, once
            if not _alike(event.asked_text, self._text):
                return None
            return Verdict.REWORDED if event.reworded else Verdict.PROOF
        if not words or self._left[: len(words)] != words:
            return None
        self._left = self._left[len(words) :]
        return Verdict.PART if self._left else Verdict.PROOF


class TakenByEvi:
    """A tool answer is proven if it comes back to us, or if EVI goes on with words or another call. EVI going on proves
    nothing once the user has spoken since the call: EVI may react to that, and may have dropped the call.

    Another answer to the call, or a `tool_error` that is not ours, shows that this answer did not count (Hume: a
    malformed or late answer gets a `tool_error`).
    """

    def __init__(self, command: ToolResponse | ToolError, call: TrackedCall) -> None:
        self._command = command
        self._call = call
        self._moved_on = False

    def judge(self, event: Event, claimed: bool) -> Verdict | None:
        command = self._command
        if event.tool_call_id == command.tool_call_id and event.type in _ANSWERS:
            same = event.type == command.type and _alike(event.content, command.content)
            if isinstance(command, ToolError):
                same = same and _alike(event.error, command.error)
            return Verdict.PROOF if same else Verdict.REFUTED
        self._moved_on = self._moved_on or (event.type == "user_message" and not event.interim)
        spoke = event.type == "assistant_message" and not (event.from_text or event.quick)
        doubtful = event.replayed or claimed or self._moved_on or self._call.user_spoke_since
        return Verdict.PROOF if (spoke or event.type == "tool_call") and not doubtful else None


class ShownBack:
    """Settings are proven by a `session_settings` event that shows all of them; made by `of`."""

    def __init__(self, sent: Mapping[str, Any]) -> None:
        self._sent = sent

    @classmethod
    def of(cls, command: SessionSettings) -> "ShownBack | None":
        """The effect; `None` if no event could prove it. A secret is never shown, so settings of somebody else would
        look the same; and a cleared field is absent."""
        shown = command.shown
        return cls(shown) if shown and not _has_unshown(shown) else None

    def judge(self, event: Event, claimed: bool) -> Verdict | None:
        if claimed or event.type != "session_settings" or event.replayed:
            return None
        return Verdict.PROOF if _holds(event.settings or {}, self._sent, top=True) else None


class Acknowledged:
    """A command without an effect in EVI's messages is proven by a `command_result` of another service. Commands that
    end the chat are proven by its end as well."""

    def __init__(self, command: Command) -> None:
        self._type = command.type

    @classmethod
    def of(cls, command: Command, source: str | None) -> "Acknowledged | None":
        """The effect; `None` for a chat of EVI, which acknowledges none of these commands.

        Args:
            source: What the chat comes from; `None` for EVI.
        """
        return None if source is None else cls(command)

    def judge(self, event: Event, claimed: bool) -> Verdict | None:
        if event.type == CHAT_STATE:
            over = event.state == State.ENDED and event.reason != DETACHED
            return Verdict.PROOF if over and self._type in ENDINGS else None
        if claimed or event.replayed:
            return None
        if event.type != COMMAND_RESULT:
            return None
        result = payload_of(event)
        confirmed = result.get("command") == self._type and result.get("status") == "confirmed"
        return Verdict.PROOF if confirmed else None


class Recalled:
    """What the model says of a call comes as a `recap`."""

    def judge(self, event: Event, claimed: bool) -> Verdict | None:
        return Verdict.PROOF if event.type == "recap" and not claimed and not event.replayed else None


def note_of(event: Event) -> str | None:
    """The service's note on a proof, in sentences; `None` if there is none."""
    note = payload_of(event).get("note") if event.type == COMMAND_RESULT else None
    return note if isinstance(note, str) and note else None


def _alike(logged: str | None, sent: str | None) -> bool:
    """Whether a logged text is the one that was sent; the log keeps only the beginning of a very long one."""
    logged, sent = logged or "", sent or ""
    return logged == sent or (len(sent) > MAX_TEXT and logged.startswith(f"{sent[:MAX_TEXT]} [cut here: "))


def _has_unshown(sent: Any) -> bool:
    """Whether any value, at any depth, will not be shown as it was sent."""
    if isinstance(sent, Mapping):
        return any(value is None or _has_unshown(value) for value in sent.values())
    if isinstance(sent, list):
        return any(map(_has_unshown, sent))
    return isinstance(sent, str) and (REDACTED in sent or TOO_DEEP in sent)


def _holds(shown: Any, sent: Any, *, top: bool = False) -> bool:
    """Whether the shown value is the one that was sent; an object may show defaults in addition."""
    if isinstance(sent, Mapping):
        if not isinstance(shown, Mapping) or not (sent or top or not shown):
            return False
        return all(name in shown and _holds(shown[name], value) for name, value in sent.items())
    if isinstance(sent, list):
        return isinstance(shown, list) and len(shown) == len(sent) and all(map(_holds, shown, sent))
    return bool(shown == sent) and isinstance(shown, bool) == isinstance(sent, bool)


class Proof:
    """A command whose effect is looked for, also after its agent has stopped waiting: a late effect must not be taken
    for the effect of a later, equal command.

    Args:
        expires_at: When to stop looking for the effect, in seconds of `Clock.elapsed`.
        on_refused: Called if the chat's source says that it has not carried out the command. Its agent may have stopped
            waiting by then.
        on_settled: Called with what an event has shown of the command, and with the event's number.
    """

    def __init__(
        self,
        effect: Effect,
        command: Command,
        expires_at: float,
        on_refused: Callable[[Any], None],
        on_settled: Callable[[Verdict, int], None] = lambda verdict, seq: None,
    ) -> None:
        self._effect = effect
        self._on_settled = on_settled
        self._command = command
        self.on_refused = on_refused
        self.expires_at = expires_at
        """In seconds of `Clock.elapsed`."""
        self.event: Event | None = None
        self.verdict: Verdict | None = None
        self.settled = anyio.Event()

    def sees(self, event: Event, claimed: bool) -> bool:
        """Takes in an event. Returns whether the event counts for this command."""
        verdict = self._effect.judge(event, claimed)
        if verdict is not None and verdict is not Verdict.PART:
            self._settle(event, verdict)
        return verdict is not None

    def is_meant_by(self, refusal: Event) -> bool:
        """Whether a refusal may be about this command."""
        call = getattr(self._command, "tool_call_id", None)
        return refusal.command == self._command.type and refusal.tool_call_id == call

    def refute(self, refusal: Event) -> None:
        """The command had no effect: this event refuses it."""
        self._settle(refusal, Verdict.REFUTED)

    def _settle(self, event: Event, verdict: Verdict) -> None:
        self.event, self.verdict = event, verdict
        self.settled.set()
        self._on_settled(verdict, event.seq)


class Proofs:
    """The commands of one chat whose effect is looked for."""

    def __init__(self) -> None:
        self._proofs: deque[Proof] = deque(maxlen=MAX_PROOFS)

    def __len__(self) -> int:
        return len(self._proofs)

    def add(self, proof: Proof) -> None:
        """Looks for the effect of this command from now on."""
        self._proofs.append(proof)

    def remove(self, proof: Proof) -> None:
        """Undoes `add`; a command that was given up already is ignored."""
        if proof in self._proofs:
            self._proofs.remove(proof)

    def see(self, event: Event, elapsed: float) -> Proof | None:
        """Checks the event against each command, the oldest first. A refusal names only the type of a command, so it
        counts only if there is exactly one command that it can mean. Returns that command."""
        claimed, refused = False, None
        if event.type == "error" and event.slug in REFUSED and not event.replayed:
            meant = [proof for proof in self._proofs if proof.is_meant_by(event)]
            if len(meant) == 1:
                refused = meant[0]
                refused.refute(event)
        for proof in tuple(self._proofs):
            claimed = proof.sees(event, claimed) or claimed
            if proof.settled.is_set() or proof.expires_at < elapsed:
                self._proofs.remove(proof)
        return refused
