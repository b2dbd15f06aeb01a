"""The model's own account of what was said before the attach, asked for once and labelled as that.

A response outside of the conversation uses it as context, is text alone, and is heard by nobody (that no audio comes of
it follows from its modality; it was not tried against the live service). It costs tokens.
"""

from evi_mcp.openai_realtime.outbox import Outbox
from evi_mcp.openai_realtime.reading import Message, Object, text, thing, things, words_of
from evi_mcp.openai_realtime.responses import OURS

INSTRUCTIONS = (
    "List what the user and you have said so far, turn by turn, one line each, beginning with 'user:' or 'assistant:'."
    " Add nothing. If nothing was said yet, write 'nothing'."
)


class Recap:
    """Asks for the account, and knows it when it comes.

    Args:
        outbox: Where client events are written.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._mark = ""

    def ask(self) -> None:
        """Asks for it."""
        self._mark = self._outbox.new_id()
        self._outbox.send(
            "response.create",
            response={
                "conversation": "none",
                "output_modalities": ["text"],
                "tools": [],
                "metadata": {OURS: self._mark},
                "instructions": INSTRUCTIONS,
            },
        )

    def take(self, response: Object) -> Message | None:
        """The account as a message, if a finished response is it."""
        if not self._mark or thing(response, "metadata").get(OURS) != self._mark:
            return None
        self._mark = ""
        said = "\n".join(filter(None, map(words_of, things(response, "output"))))
        failed = text(response, "status") != "completed" or not said
        return {
            "type": "recap",
            "by": "the model",
            "message": "The model gave no account of what was said before the attach."
            if failed
            else f"The model's own account of what was said before the attach, not a record: {said}",
        }
