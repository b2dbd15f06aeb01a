"""What EVI says where the script has no words: the LLM of the simulator, which has none.

Answers to typed words are a function of the words, the chat's settings and how often EVI was asked, so that a
test can foresee them; lines that use a tool's answer are filled from it.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from evi_mcp.protocol.commands import SessionSettings, ToolError, ToolResponse
from evi_mcp.simulator.scenario import CallFunction, Reply, Say

MOST_QUOTED = 300
"""The most characters that EVI repeats of what a client sent."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_EXPRESSION = {"Calmness": 0.38, "Interest": 0.34, "Sympathy": 0.22}
_OPENINGS = ("I understand.", "Thank you for telling me.", "All right.", "I see.")


def reply_to(text: str, settings: SessionSettings, context: str | None, turn: int) -> Reply:
    """EVI's reply to typed words: it repeats them, uses the context, and calls a function that they name.

    Args:
        text: What the user typed.
        settings: What clients have set in this chat so far; a function of `tools` is called if `text` names it.
        context: The context that holds for this message; `None` if there is none.
        turn: How many such replies came before.
    """
    lines = [_OPENINGS[turn % len(_OPENINGS)], f"You said: {_cut(text)}"]
    if context:
        lines.append(remark_on(context))
    said = Say(says=tuple(lines), expression=_EXPRESSION)
    for tool in settings.tools or ():
        if tool.type == "function" and _names(text, tool.name):
            sorry = tool.fallback_content or "I could not find that out."
            call = CallFunction(
                calls=tool.name,
                then=("This is what I found: {content}",),
                otherwise=("This is what I found: {content}",),
                fallback=(sorry if sorry.strip() else "I could not find that out.",),
                expression=_EXPRESSION,
            )
            return said, call
    return (said,)


def remark_on(context: str) -> str:
    """EVI's line that uses a context for which there are no words in a script."""
    return f"What I know about it: {_cut(context)}"


def lines_after(step: CallFunction, answer: ToolResponse | ToolError | None) -> tuple[str, ...]:
    """What EVI says after a tool call: with the answer in it, or without if it is `None`.

    The `content` of a `tool_error` is what the LLM gets in place of a result (Hume's reference), so it is used.
    """
    if answer is None:
        return step.fallback
    content = (answer.content or "").strip()
    if isinstance(answer, ToolError):
        return (f"I am sorry, that did not work. {_cut(content)}",) if content else step.fallback
    values = {**_fields(content), "content": _cut(content) if content else "nothing"}
    wanted = {name for line in step.then for name in _PLACEHOLDER.findall(line)}
    lines = step.then if wanted <= values.keys() else step.otherwise
    return tuple(_PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), line) for line in lines)


def _fields(content: str) -> Mapping[str, str]:
    """The fields of a JSON object as words; empty if it is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return {name: words for name, value in found.items() if (words := _words(value))} if isinstance(found, dict) else {}


def _words(value: Any) -> str:
    if isinstance(value, str):
        return _cut(value.strip())
    if isinstance(value, list) and value and all(isinstance(item, str | int | float) for item in value):
        words = [str(item) for item in value[:8]]
        return _cut(" or ".join(filter(None, (", ".join(words[:-1]), words[-1]))))
    return "" if value is None or value == [] else _cut(json.dumps(value, ensure_ascii=False))


def _names(text: str, tool: str) -> bool:
    said = text.casefold()
    return tool.casefold() in said or tool.replace("_", " ").casefold() in said


def _cut(text: str) -> str:
    return text if len(text) <= MOST_QUOTED else f"{text[:MOST_QUOTED]}…"
