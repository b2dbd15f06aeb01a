"""What a supervisor tells the LLM and nobody hears: the context of `session_settings`, and variables in the prompt.

Pure; when the LLM is about to answer, the bot's side asks what to add.
"""

import re
from collections.abc import Hashable, Mapping
from typing import Any

from evi_mcp.link.commands import Context, Refused

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_.-]{1,64})\s*\}\}")


class Whisper:
    """The one context of a chat; a new one replaces it. A temporary one holds for the next user message only.

    User messages are told apart by a key: an id, or a number.
    """

    def __init__(self) -> None:
        self._context: Context | None = None
        self._after: Hashable = None
        self._for: Hashable = None

    def set(self, context: Context | None, newest: Hashable) -> None:
        """Takes a context; `None` clears it. `newest`: the user message that was the last; `None` if there is none."""
        self._context, self._after, self._for = context, newest, None

    def text_for(self, newest: Hashable) -> str | None:
        """What to add now that the LLM is about to answer, the newest user message being this one; `None`: nothing."""
        if self._context is None:
            return None
        if not self._context.persistent:
            if newest == self._after:
                return None  # the next user message is still to come
            if self._for is None:
                self._for = newest
            elif newest != self._for:
                self._context = None
                return None
        return _line(self._context)


class Prompt:
    """A system prompt with `{{name}}` in it, and the values for these.

    Where nothing stands between a supervisor and the LLM, as with one that hears and speaks by itself, a context can
    only stand at the prompt's end.
    """

    def __init__(self) -> None:
        self._template: str | None = None
        self._values: dict[str, str] = {}
        self._context: Context | None = None

    def change(self, template: str | None, variables: Mapping[str, Any] | None, current: str) -> str:
        """The prompt from now on. `current` is the bot's own, used where no other was sent.

        Raises:
            Refused: Variables came, and the prompt has no place for them.
        """
        new = template if template is not None else self._template if self._template is not None else current
        if variables is not None and not _VARIABLE.search(new):
            raise Refused("the system prompt has no {{variable}} in it; send it with some, or without `variables`")
        self._values |= {str(name): _text(value) for name, value in (variables or {}).items()}
        self._template = new
        prompt = _VARIABLE.sub(lambda found: self._values.get(found[1], found[0]), new)
        return prompt if self._context is None else f"{prompt}\n\n{_line(self._context)}"

    def stand(self, context: Context | None) -> None:
        """From the next change on this context stands at the end; `None`: no more."""
        self._context = context


def _line(context: Context) -> str:
    return f"Context: {context.text}"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
