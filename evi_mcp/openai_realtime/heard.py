"""The conversation as EVI's messages: what the service's events say, each thing once and in its place.

Every item has an id, and so has every response: nothing is guessed from the order of events. Facts: the event types of
the SDK; OpenAI's guide "Realtime conversations" on the order of a turn.
"""

from collections.abc import Callable

from evi_mcp.openai_realtime.calls_asked import CallsAsked
from evi_mcp.openai_realtime.endings import Endings
from evi_mcp.openai_realtime.reading import (
    MAX_TEXT,
    Message,
    Object,
    is_complete,
    is_voiced,
    kind_of,
    mcp_call_of,
    same_words,
    settled,
    text,
    thing,
    things,
    tool_call_of,
    tool_output_of,
    words_of,
)
from evi_mcp.openai_realtime.responses import MAX_ITEMS, Response, Responses
from evi_mcp.openai_realtime.timeline import Timeline
from evi_mcp.openai_realtime.utterances import Utterances

MAX_DRAFTS = 200
"""Messages of the assistant whose words are kept while they are made."""


class Conversation:
    """What is said and asked for in a call, on its way to the chat.

    Args:
        timeline: Where it is put.
        caller: What the caller says.
        responses: The responses of the call.
        endings: How each of them ended.
        asked: Its tool calls.
        words_for: What this adapter has asked a response to say, by its mark; `None` if it has not.
    """

    def __init__(
        self,
        timeline: Timeline,
        caller: Utterances,
        responses: Responses,
        endings: Endings,
        asked: CallsAsked,
        words_for: Callable[[str], str | None],
    ) -> None:
        self._timeline = timeline
        self._caller = caller
        self._responses = responses
        self._endings = endings
        self._asked = asked
        self._words_for = words_for
        self._drafts: dict[str, str] = {}
        self.own: dict[str, list[Message]] = {}
        """What is published for items that this adapter writes, by their ids."""

    # Items

    def added(self, item: Object, previous: str | None) -> None:
        """An item joined the conversation; what the assistant makes is still empty."""
        key, kind = text(item, "id"), kind_of(item)
        if not key:
            return
        if kind == "speech":
            self._caller.committed(key, previous)
        else:
            self._timeline.place(key, after=previous, group=self._group_of(item))
        if kind != "assistant" or is_complete(item):
            self._take(item)

    def completed(self, item: Object, previous: str | None = None) -> None:
        """An item is as it will be."""
        key = text(item, "id")
        if key:
            if kind_of(item) == "speech":
                self._caller.committed(key, previous)
            else:
                self._timeline.place(key, after=previous)
            self._take(settled(item))

    def restored(self, item: Object) -> None:
        """An item was asked for again; what the service still makes is left to come."""
        if item.get("status") != "in_progress":
            self.completed(item)

    def lost(self, key: str) -> None:
        """An item that was asked for again is not there: it never will be, or is yet to come."""
        response = self._responses.of_item(key)
        if not self._caller.lost(key) and (response is None or response.done):
            self._give_up(key)

    def finish(self) -> None:
        """The call is over: of what was not complete, as much as is known."""
        for key in tuple(self._drafts):
            self._give_up(key)

    def _give_up(self, key: str) -> None:
        draft = self._drafts.pop(key, "")
        self._timeline.fill(key, [self._assistant(key, draft, heard="part")] if draft else [])

    def _take(self, item: Object) -> None:
        """Publishes an item in its place, as soon as it says enough."""
        key = text(item, "id")
        match kind_of(item):
            case "speech":
                self._caller.spoken(key, words_of(item))
            case "typed":
                self._caller.typed(key, words_of(item))
            case "assistant" if is_complete(item):
                self._say(item)
            case "call":
                self._ask(item)
            case "output":
                self._answer(item)
            case "mcp_call" if isinstance(item.get("output"), str) or thing(item, "error"):
                self._timeline.fill(key, mcp_call_of(item))
            case "system":  # a whisper, whoever gives it
                context = {"text": words_of(item), "type": "persistent"}
                whisper: Message = {"type": "session_settings", "context": context, "item_id": key}
                self._show(key, whisper)
            case "other":
                self._timeline.fill(key, [])

    # The assistant

    def begun(self, value: Object) -> Response:
        """`response.created`, or the first that is heard of a response."""
        response = self._responses.known(text(value, "id"))
        response.read(value)
        self._endings.hold(response)
        return response

    def output(self, event: Object) -> None:
        """`response.output_item.added` and `.done`."""
        item, response = thing(event, "item"), self._responses.known(text(event, "response_id"))
        if not response.id:
            return
        self._endings.hold(response)
        self._belongs(item, response)
        if self._is_shown(item, response):
            if str(event.get("type")).endswith(".done"):
                self._take(settled(item))

    def spoken(self, event: Object) -> None:
        """A piece of what is spoken, or all of it: `delta` and `done` of transcripts and texts."""
        key = text(event, "item_id")
        if str(event.get("type")).endswith(".done"):
            whole_text = text(event, "transcript") or text(event, "text")
        else:
            whole_text = (self._drafts.get(key, "") + text(event, "delta"))[:MAX_TEXT]
        self._drafts.pop(key, None)
        self._drafts[key] = whole_text
        if len(self._drafts) > MAX_DRAFTS:
            del self._drafts[next(iter(self._drafts))]

    def finished(self, value: Object, at_ms: int) -> Response:
        """`response.done`: all of it once more, which repairs what was missed."""
        response = self._responses.known(text(value, "id"))
        response.finish(value)
        self._endings.hold(response)
        for item in things(value, "output"):
            self._belongs(item, response)
            if self._is_shown(item, response):
                self._take(item if is_complete(item) else {**item, "status": "incomplete"})
        for key in filter(self._timeline.is_open, (*response.spoken, *response.calls)):
            if key in response.calls:
                self._asked.dropped(response.calls[key])
            self._say({"id": key, "role": "assistant", "status": "incomplete"})  # the service says no more of it
        self._endings.close(response, at_ms)
        return response

    def _belongs(self, item: Object, response: Response) -> None:
        key, kind = text(item, "id"), kind_of(item)
        if not self._is_shown(item, response) or len(response.spoken) + len(response.calls) >= MAX_ITEMS:
            return
        self._timeline.place(key, group=None if response.outside else response.id)
        if kind == "assistant" and key not in response.spoken:
            response.spoken.append(key)
        elif kind == "call":
            response.calls[key] = text(item, "call_id")
            self._asked.belongs(text(item, "call_id"), response.id)

    def _is_shown(self, item: Object, response: Response) -> bool:
        """Of a response outside of the conversation only what is heard."""
        return bool(text(item, "id")) and (not response.outside or is_voiced(item))

    def _group_of(self, item: Object) -> str | None:
        """The response that an item is part of, if it is; the one that runs makes what is not complete."""
        response = self._responses.of_item(text(item, "id"))
        if response is None and kind_of(item) in ("assistant", "call", "mcp_call") and not is_complete(item):
            response = next(iter(self._responses.active), None)
        return None if response is None or response.outside else response.id

    def _say(self, item: Object) -> None:
        key = text(item, "id")
        draft = self._drafts.pop(key, "")
        words = words_of(item) or draft
        response = self._responses.of_item(key)
        heard = "none" if response is None or response.text_only else None
        if not words:
            self._timeline.fill(key, [])
            return
        if heard is None and response is not None and response.is_cut:
            heard = str(response.unheard["heard"])
        message = self._assistant(key, words, heard=heard)
        asked = self._words_for(response.ours) if response is not None and response.ours else None
        if asked is not None:
            equal = same_words(asked, words)
            message |= {"from_text": True, "asked_text": asked, "reworded": not equal}
            message["message"] = {"role": "assistant", "content": asked if equal else words}
        self._timeline.fill(key, [message])

    def _assistant(self, key: str, words: str, *, heard: str | None = None) -> Message:
        return {
            "type": "assistant_message",
            "id": key,
            "message": {"role": "assistant", "content": words},
            "models": {},
            "from_text": False,
            **({"heard": heard} if heard else {}),
        }

    # Tools

    def _ask(self, item: Object) -> None:
        call = tool_call_of(item)
        if item.get("status") == "completed":
            if self._timeline.fill(text(item, "id"), [call]):
                self._asked.asked(call)
        elif is_complete(item):  # it was cut: its arguments are not whole
            self._asked.dropped(call["tool_call_id"])
            self._timeline.fill(text(item, "id"), [])

    def _answer(self, item: Object) -> None:
        key, call_id = text(item, "id"), text(item, "call_id")
        name = self._asked.name_of(call_id)
        foreign = {**tool_output_of(item), **({"tool_name": name} if name else {}), "tool_type": "function"}
        if self._show(key, foreign):
            self._asked.answered(call_id, key)

    def _show(self, key: str, foreign: Message) -> bool:
        """Publishes an item that a client has written; one of this adapter at once, as its command had it."""
        own = self.own.pop(key, None)
        if own is None:
            return self._timeline.fill(key, [foreign])
        self._timeline.now(*own)
        return self._timeline.fill(key, [])
