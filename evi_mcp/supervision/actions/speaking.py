"""Saying something as the user or as EVI."""

from evi_mcp.access.callers import Caller
from evi_mcp.chat.events import Event
from evi_mcp.errors import InvalidArgument, UserSpoke
from evi_mcp.ledger.cursors import Cursors, Position
from evi_mcp.protocol.commands import AssistantInput, UserInput
from evi_mcp.supervision.actions.pausing import warn_if_paused
from evi_mcp.supervision.effects import HeardAsUser, SpokenByEvi
from evi_mcp.supervision.intents import Always, Intent, Receipt
from evi_mcp.supervision.live_chat import LiveChat


class UnlessUserSpoke(Always):
    """Refuses if the user has said something after a cursor, or if nobody can tell."""

    needs_history = True

    def __init__(self, cursors: Cursors, position: Position) -> None:
        self._cursors, self._position = cursors, position

    def check(self, chat: LiveChat) -> None:
        """Looks at the log.

        Raises:
            UserSpoke: A final spoken message came after the cursor.
            InvalidArgument: The log does not reach back so far.
        """
        log, seq = chat.record.log, self._position.in_chat(chat.chat_id)
        said = [event.text or "" for event in log.after(seq) if _is_final_speech(event)]
        if said:
            raise UserSpoke(" ".join(said), self._cursors.at(self._cursors.last_seq, chat.chat_id))
        if self._position.foreign or log.dropped_major_seq > seq:
            raise InvalidArgument(
                "nothing was sent: unless_user_spoke_after is too old to tell what was said since;"
                " read_events gives a cursor that is not."
            )


async def speak(
    chat: LiveChat,
    command: UserInput | AssistantInput,
    *,
    by: Caller,
    condition: UnlessUserSpoke | None,
    terms: dict[str, str],
    wait_s: float,
) -> Receipt:
    """Says something as the user or as EVI. Proven by the message with `from_text` that comes back from it.

    Raises:
        NotSent, MaybeSent, InvalidCommand: As `Sending.send`.
        UserSpoke, InvalidArgument: As `UnlessUserSpoke`.
    """
    as_user = isinstance(command, UserInput)
    intent = Intent(
        command=command,
        by=by,
        condition=condition or Always(),
        effect=HeardAsUser(command) if isinstance(command, UserInput) else SpokenByEvi(command),
        wait_for_effect_s=wait_s,
        terms=terms,
        facts={"text": command.text},
    )
    receipt = await chat.send(intent)
    return warn_if_paused(chat, receipt) if as_user else receipt


def _is_final_speech(event: Event) -> bool:
    return event.type == "user_message" and not event.interim and not event.from_text
