"""Turns the frames of a connection into drafts: without events that are known, and with secrets masked.

Only the process that holds the connection has this part of a chat: which events are new (`History`), and the state of
the chat (`Lifecycle`). `ChatRecord` holds what is known of the chat; it folds the events once they are numbered. This
module does no I/O and never awaits.
"""

from typing import Any

import msgspec

from evi_mcp.chat.events import CHAT_STATE, KNOWN, Draft, Event
from evi_mcp.chat.facts import facts_of, facts_of_fast
from evi_mcp.chat.flooding import UnknownTypes
from evi_mcp.protocol.fast_decode import FastMessage
from evi_mcp.protocol.history import History
from evi_mcp.protocol.identity import Identities
from evi_mcp.protocol.lifecycle import Change, Lifecycle
from evi_mcp.protocol.messages import AudioOutput, ErrorMessage, Message
from evi_mcp.protocol.reading import read
from evi_mcp.protocol.redaction import Mask
from evi_mcp.protocol.scores import Scores
from evi_mcp.times import Moment


class Voice(msgspec.Struct, frozen=True, gc=False):
    """A chunk of EVI's voice, as `AudioStore.keep` takes it."""

    message_id: str | None
    number: int | None
    data: str | None
    replayed: bool


class Read(msgspec.Struct, frozen=True, gc=False):
    """What a frame brought: drafts of new events, and a chunk of voice if the frame holds one."""

    drafts: list[Draft]
    voice: Voice | None = None


class ChatReader:
    """Reads the frames of one chat, over all of its connections.

    Args:
        chat_id: The chat of the frames.
        mask: Removes secrets from what is read.
        salt: The salt of `Identities`.
        keep_identities: Whether drafts come with the identities of their events.
    """

    def __init__(
        self, chat_id: str, mask: Mask | None = None, salt: bytes = b"", *, keep_identities: bool = False
    ) -> None:
        self.chat_id = chat_id
        self._keep_identities = keep_identities
        self._identities = Identities(salt)
        self.mask = mask or Mask()
        self.history = History()
        self.lifecycle = Lifecycle(self.mask)
        self._unknown = UnknownTypes()

    def read(self, frame: str | bytes | Message | FastMessage, moment: Moment) -> Read:
        """Takes in a frame, or the message that was already read from it."""
        message = frame if isinstance(frame, FastMessage) else read(frame, self.mask)
        if isinstance(message, FastMessage):
            return self._take_in(message, moment)
        # A message that was read already, in a thread, was masked there as well.
        masked = message if message is frame else message.masked(self.mask)
        return self._take_in_other(message, masked, moment)

    def changed(self, change: Change | None, moment: Moment) -> list[Draft]:
        """The draft of a change of state, if there was one, after the drafts of events that were held back."""
        if change is None:
            return []
        event = self._event(moment, type=CHAT_STATE, state=change.state.value, reason=self.mask(change.reason))
        return [*map(Draft, self._unknown.release(moment.elapsed)), Draft(event)]

    def _take_in(self, message: FastMessage, moment: Moment) -> Read:
        if not self.history.is_new(self._identities.of_fast(message)):
            return Read([])
        self.lifecycle.heard(message.type)
        if self.mask.has_secrets:
            message = message.masked(self.mask)
        facts = facts_of_fast(message)
        event = Event(chat_id=self.chat_id, at=moment.now, replayed=self.history.replaying or None, **facts)
        if message.data is None:
            return Read([self._draft(event)])
        return Read([self._draft(event)], Voice(event.message_id, message.number, message.data, bool(event.replayed)))

    def _take_in_other(self, decoded: Message, message: Message, moment: Moment) -> Read:
        """Takes in a message, as decoded and as masked. It is masked before it is cut: half a secret would not be
        recognised."""
        identity = self._identities.of(decoded)  # two ids may look alike once they are masked
        if not self.history.is_new(identity if decoded.type == message.type else identity._replace(type=message.type)):
            return Read([])
        self.lifecycle.heard(message.type)
        event = self._event(moment, replayed=self.history.replaying or None, **facts_of(message))
        if event.type not in KNOWN:
            return Read([*map(Draft, self._unknown.admit(event, moment.elapsed))])
        drafts = [self._draft(event)]
        if isinstance(decoded, ErrorMessage):
            replayed = self.history.replaying
            drafts += self.changed(self.lifecycle.heard_error(decoded.code, decoded.slug, replayed=replayed), moment)
        if isinstance(message, AudioOutput):
            return Read(drafts, Voice(event.message_id, message.index, message.data, bool(event.replayed)))
        return Read(drafts)

    def _draft(self, event: Event) -> Draft:
        """The draft of an event that was just taken in."""
        return Draft(event, self.history.newest) if self._keep_identities else Draft(event)

    def _event(self, moment: Moment, **facts: Any) -> Event:
        if isinstance(facts.get("scores"), dict):
            facts["scores"] = Scores(facts["scores"])
        return Event(chat_id=self.chat_id, at=moment.now, **facts)
