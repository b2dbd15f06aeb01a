"""The shapes of structured results, as in the contract's sections 4 and 5. Fields that do not apply are absent."""

from typing import Annotated, Any, NotRequired

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict  # pydantic refuses that of `typing` before Python 3.12

Seq = Annotated[int, Field(description="Number of an event; grows over all chats of this server.")]
Cursor = Annotated[str, Field(description="Pass back as `after` to go on without a gap or a repeat.")]
Expression = Annotated[
    dict[str, float], Field(description="How the voice sounds: the strongest of 48 scores, mostly 0 to 1.")
]


_JSON_TYPES = ("object", "array", "string", "number", "boolean", "null")
Json = Annotated[Any, WithJsonSchema({"anyOf": [{"type": kind} for kind in _JSON_TYPES]})]
"""Any JSON value, with a schema that names the types: an empty one is refused by some clients."""


class Event(TypedDict):
    """One event. `type` is EVI's, or `chat_state`, `command` and `protocol_fault` of this server."""

    seq: Seq
    type: str
    at: NotRequired[Annotated[str, Field(description="When it happened, as it reached this server, UTC.")]]
    arrived_at: NotRequired[
        Annotated[str, Field(description="Of history: when it reached this server, not when it was said.")]
    ]
    chat_id: NotRequired[str]
    speaker: NotRequired[str]
    text: NotRequired[str]
    expression: NotRequired[Expression]
    interim: NotRequired[bool]
    from_text: NotRequired[Annotated[bool, Field(description="Given as text, by a supervisor or the app; not spoken.")]]
    given_by: NotRequired[
        Annotated[
            str, Field(description="The supervisor of this server whose line it is; absent with from_text: unknown.")
        ]
    ]
    quick: NotRequired[bool]
    asked_text: NotRequired[Annotated[str, Field(description="The line that was given to be spoken.")]]
    reworded: NotRequired[Annotated[bool, Field(description="Other words were spoken than were given.")]]
    heard: NotRequired[Annotated[str, Field(description="How much of it the user heard: none or part.")]]
    heard_ms: NotRequired[int]
    late: NotRequired[Annotated[bool, Field(description="It belongs further up.")]]
    replayed: NotRequired[bool]
    begin_ms: NotRequired[int]
    end_ms: NotRequired[int]
    chat_group_id: NotRequired[str]
    message_id: NotRequired[str]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]
    parameters: NotRequired[str]
    response_required: NotRequired[bool]
    content: NotRequired[str]
    error: NotRequired[str]
    code: NotRequired[str]
    slug: NotRequired[str]
    settings: NotRequired[dict[str, Any]]
    state: NotRequired[str]
    command: NotRequired[str]
    reason: NotRequired[str]
    by: NotRequired[str]
    by_kind: NotRequired[Annotated[str, Field(description="Who gave a command: agent, person or server.")]]
    count: NotRequired[Annotated[int, Field(description="Events of this type that it stands for, the newest of them.")]]
    left_out: NotRequired[Annotated[int, Field(description="Characters cut off to fit the page; raise max_chars.")]]


Note = Annotated[str, Field(description="What was odd, or done beside what was asked for.")]


class Gap(TypedDict):
    """Events before `oldest_seq` are not here: `expired` (dropped, the log was full), `restarted` (new process),
    `detached` (in between; the history has come again) or `before_attach` (the service gives no history)."""

    reason: str
    oldest_seq: NotRequired[int]


class ToolCall(TypedDict):
    """One tool call. `parameters` are parsed if what EVI sent is JSON, else they are that text."""

    tool_call_id: str
    status: str
    waiting_s: NotRequired[
        Annotated[float, Field(description="Seconds to its answer, or until now; absent if nobody saw that.")]
    ]
    replayed: NotRequired[Annotated[bool, Field(description="Of history, so it has waited longer than that.")]]
    chat_id: NotRequired[str]
    name: NotRequired[str]
    parameters: NotRequired[Json]
    at: NotRequired[Annotated[str, Field(description="When it was asked for, as it reached this server, UTC.")]]
    arrived_at: NotRequired[
        Annotated[str, Field(description="Of history, instead of `at`: when it reached this server.")]
    ]
    deadline_s: NotRequired[
        Annotated[
            float, Field(description="Seconds until this server answers it with an error, if nobody does before.")
        ]
    ]
    answered_at: NotRequired[str]
    answer: NotRequired[Annotated[str, Field(description="What it was answered with, the first 1000 characters.")]]
    answered_by: NotRequired[str]
    answered_by_kind: NotRequired[
        Annotated[
            str, Field(description="agent or person: a claimed name; server: this one; absent: seen in the chat.")
        ]
    ]


class EventPage(TypedDict):
    """Events in order. `omitted` counts by type what was left out on purpose."""

    events: list[Event]
    cursor: Cursor
    more: bool
    state: Annotated[dict[str, str], Field(description="By chat id.")]
    pending_tool_calls: NotRequired[
        Annotated[list[ToolCall], Field(description="Calls that wait for an answer, whatever else is shown.")]
    ]
    more_pending: NotRequired[Annotated[int, Field(description="Calls that wait and are not among them.")]]
    gap: NotRequired[Gap]
    omitted: NotRequired[dict[str, int]]
    catching_up: NotRequired[
        Annotated[list[str], Field(description="Ids of live chats whose history may still be arriving.")]
    ]
    note: NotRequired[Annotated[str, Field(description="Something odd about what was asked for.")]]


class TriggeredBy(TypedDict):
    """What woke the wait: the event `seq` or the tool call that waits, and in which of several chats."""

    chat_id: NotRequired[str]
    seq: NotRequired[Seq]
    tool_call_id: NotRequired[str]


class NewChat(TypedDict):
    """A chat of the service that has begun and is not attached."""

    chat_id: str
    chat_group_id: NotRequired[str]
    started_at: NotRequired[str]


class WaitPage(EventPage):
    """An EventPage, and why the wait returned."""

    woken_by: Annotated[str, Field(description="event, trigger, chat_ended, new_chat, timeout or no_scores")]
    new_chats: NotRequired[Annotated[list[NewChat], Field(description="Attach to follow them.")]]
    more_new_chats: NotRequired[int]
    trigger: NotRequired[Annotated[dict[str, Any], Field(description="The trigger that was met, as it was given.")]]
    triggered_by: NotRequired[TriggeredBy]
    reason: NotRequired[str]


class ToolCallList(TypedDict):
    """Tool calls, oldest first; `not_shown` counts those that are too many for one list."""

    tool_calls: list[ToolCall]
    not_shown: NotRequired[int]
    note: NotRequired[Note]


class Turn(TypedDict):
    """What one side said until the other spoke. `interrupted`: the user cut in. `replayed`: it is of the history."""

    speaker: str
    text: str
    at: NotRequired[
        Annotated[str, Field(description="When its first words were said, as they reached this server, UTC.")]
    ]
    arrived_at: NotRequired[
        Annotated[str, Field(description="Of history: when it reached this server, not when it was said.")]
    ]
    begin_ms: NotRequired[Annotated[int, Field(description="Where its first words are in the call's audio, in ms.")]]
    expression: NotRequired[Expression]
    interrupted: NotRequired[bool]
    from_text: NotRequired[Annotated[bool, Field(description="Given as text, by a supervisor or the app; not spoken.")]]
    given_by: NotRequired[
        Annotated[
            str, Field(description="The supervisor of this server whose line it is; absent with from_text: unknown.")
        ]
    ]
    replayed: NotRequired[bool]
    left_out: NotRequired[Annotated[int, Field(description="Characters cut off at the beginning.")]]


class Transcript(TypedDict):
    """The newest turns, oldest of them first; `earlier_turns` counts those that are not here."""

    turns: list[Turn]
    cursor: Cursor
    earlier_turns: NotRequired[int]
    note: NotRequired[Note]


class ScoreOverTurns(TypedDict):
    """One score of a voice. `change`: from the first of the turns to the last."""

    series: Annotated[list[float], Field(description="Its mean in each turn, oldest first.")]
    mean: float
    change: float


class Expressions(TypedDict):
    """How a voice has sounded over its last `turns` turns, typed ones left out; the strongest score first."""

    speaker: str
    turns: int
    scores: dict[str, ScoreOverTurns]
    note: NotRequired[Annotated[str, Field(description="Why there are none, if the chat is not EVI's.")]]


class Chat(TypedDict):
    """What this server knows of one chat. `paused`: by this server; what others do cannot be seen. `catching_up`: the
    chat is live, and its history may still be arriving."""

    chat_id: str
    state: str
    paused: bool
    cursor: Cursor
    event_count: int
    reconnects: int
    attached_at: str
    pending_tool_calls: list[ToolCall]
    last_turns: list[Turn]
    catching_up: NotRequired[bool]
    chat_group_id: NotRequired[str]
    source: NotRequired[Annotated[str, Field(description="What it comes from, if it is not EVI.")]]
    supports: NotRequired[Annotated[list[str], Field(description="The commands that it takes; absent: all.")]]
    reason: NotRequired[str]
    last_event_at: NotRequired[str]
    resumes_at: NotRequired[str]
    resume_undelivered: NotRequired[Annotated[str, Field(description="Why EVI could not be told to go on yet.")]]
    note: NotRequired[Note]


class ChatSummary(TypedDict):
    """One chat of a list. `status` is the service's own word, `state` and the rest are known of attached chats.
    `catching_up` as in a Chat. What it is about, where that is known: `config` (EVI's, name or id), `metadata` (its
    maker's), `source` (if it is not EVI), `first_words` (of the user)."""

    chat_id: str
    attached: bool
    state: NotRequired[str]
    catching_up: NotRequired[bool]
    status: NotRequired[str]
    config: NotRequired[str]
    metadata: NotRequired[str]
    source: NotRequired[str]
    first_words: NotRequired[str]
    chat_group_id: NotRequired[str]
    cursor: NotRequired[Cursor]
    last_event_at: NotRequired[str]
    started_at: NotRequired[str]
    pending_tool_calls: NotRequired[list[ToolCall]]


class NotHad(TypedDict):
    """A chat that could not be attached to, and why."""

    chat_id: str
    reason: str


class Attached(TypedDict):
    """Of one chat: the fields of a Chat. Of several: `chats`, those that could not be had, and in `left_out` the number
    of those that were not tried."""

    cursor: Annotated[str, Field(description="Pass back as `after`, for one of them or for all chats.")]
    chats: NotRequired[list[Chat]]
    failed: NotRequired[list[NotHad]]
    left_out: NotRequired[int]
    note: NotRequired[Note]


class ChatList(TypedDict):
    """Chats; `note` says what the list cannot tell."""

    chats: list[ChatSummary]
    note: NotRequired[str]


class Receipt(TypedDict):
    """Proof of a command. `confirmed`: its effect was seen in event `confirmed_by`; `reworded`: it was spoken there in
    other words, `said`; `sent`: written, none seen yet."""

    chat_id: str
    command: str
    seq: Seq
    status: str
    cursor: Annotated[str, Field(description="Just before the command.")]
    confirmed_by: NotRequired[Seq]
    said: NotRequired[Annotated[str, Field(description="What was spoken instead of the text that was given.")]]
    resumes_at: NotRequired[str]
    warning: NotRequired[str]
    call_seq: NotRequired[Annotated[int, Field(description="Which tool call, where its id names several.")]]
    note: NotRequired[Note]
