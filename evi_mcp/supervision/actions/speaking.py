"""Saying something as the user or as EVI."""

from collections.abc import Callable

from evi_mcp.access.callers import Caller
from evi_mcp.chat.events import Event
from evi_mcp.errors import InvalidArgument, UserSpoke
from evi_mcp.ledger.cursors import Cursors, Position
from evi_mcp.protocol.commands import AssistantInput, UserInput
from evi_mcp.supervision.actions.cautions import warn_if_paused
from evi_mcp.supervision.effects import HeardAsUser, SpokenByEvi
from evi_mcp.supervision.intents import Always, Intent, Receipt
from evi_mcp.supervision.live_chat import LiveChat


class UnlessUserSpoke(Always):
    """Refuses if the user has said something after a cursor, or if nobody can tell."""

    needs_history = True

    def __init__(self, cursors: Cursors, position: Position, cursor: str) -> None:
        self._cursors, self._position = cursors, position
        self.terms = {"unless_user_spoke_after": cursor}
        """As the audit log has them."""

    def check(self, chat: LiveChat) -> None:
        """Looks at the log.

        Raises:
            UserSpoke: A final spoken message came after the cursor.
            InvalidArgument: The log does not reach back so far.
        """
        log, seq = chat.record.log, self._position.in_chat(chat.chat_id)
        if self._position.foreign:
            raise InvalidArgument(
                "nothing was sent: unless_user_spoke_after is a cursor of another run of this server, so nobody can"
                " tell what was said since; read_events gives one of this run. A client that starts a server for each"
                " call has to leave it out."
            )
        forgotten = 0 < seq < chat.record.forgotten_to  # what came before and what came after has come anew
        after = (event for event in log.after(seq) if not (forgotten and event.replayed))
        if said := [event.text or "" for event in after if _is_final_speech(event)]:
            raise UserSpoke(" ".join(said), self._cursors.at(self._cursors.last_seq, chat.chat_id))
        if forgotten or log.dropped_major_seq > seq:
            raise InvalidArgument(
                "nothing was sent: unless_user_spoke_after is too old to tell what was said since;"
                " read_events gives a cursor that is not."
            )


class _Saying(Always):
    """The condition of a line: its guard, if it has one."""

    def __init__(self, guard: UnlessUserSpoke | None, on_write: Callable[[], None]) -> None:
        self._guard, self._on_write = guard, on_write
        self.needs_history = guard is not None

    def check(self, chat: LiveChat) -> None:
        """Raises as the guard."""
        if self._guard is not None:
            self._guard.check(chat)

    def begin(self, chat: LiveChat) -> None:
        """The write comes next."""
        self._on_write()


async def speak(
    chat: LiveChat,
    command: UserInput | AssistantInput,
    *,
    by: Caller,
    guard: UnlessUserSpoke | None,
    wait_s: float,
    on_write: Callable[[], None] = lambda: None,
) -> Receipt:
    """Says something as the user or as EVI. Proven by the message with `from_text` that comes back from it.

    Args:
        guard: Refuses; `None` says it whatever was said meanwhile.
        wait_s: Seconds to wait for the proof.
        on_write: Called right before the write.

    Raises:
        NotSent, MaybeSent, InvalidCommand: As `Sending.send`.
        UserSpoke, InvalidArgument: As `UnlessUserSpoke`.
    """
    as_user = isinstance(command, UserInput)
    intent = Intent(
        command=command,
        by=by,
        condition=_Saying(guard, on_write),
        effect=HeardAsUser(command) if isinstance(command, UserInput) else SpokenByEvi(command),
        wait_for_effect_s=wait_s,
        terms=guard.terms if guard is not None else {},
        facts={"text": command.text},
    )
    receipt = await chat.send(intent)
    return warn_if_paused(chat, receipt) if as_user else receipt


def _is_final_speech(event: Event) -> bool:
    return event.type == "user_message" and not event.interim and not event.from_text
