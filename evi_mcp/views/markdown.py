"""A transcript as Markdown.

All that comes from a chat stands in code spans. In them no renderer looks for markup, HTML, links, mentions or
formulas, whatever extensions it has. Escaping special characters would not do: some renderers make links of bare
addresses (`www.`, an e-mail) after they have removed the escapes.
"""

import re

from evi_mcp.quoting import quote
from evi_mcp.views import shapes
from evi_mcp.views.lines import expression, given_words, when

_SPEAKERS = frozenset({"user", "assistant"})
_BACKTICKS = re.compile("`+")


def transcript(chat_id: str, shown: shapes.Transcript) -> str:
    """The turns as a list; what was said stands in double quotes, as in every text."""
    lines = [f"# Transcript of chat {_code(chat_id)}", ""]
    if earlier := shown.get("earlier_turns"):
        lines += [f"_Earlier turns that are not shown: {earlier}._", ""]
    lines += map(_line, shown["turns"])
    if not shown["turns"]:
        lines.append("_Nobody has spoken yet._")
    return "\n".join(lines) + "\n"


def _line(item: shapes.Turn) -> str:
    given = given_words(item, lambda name: _code(quote(name)))
    marks = [*([given] if given else []), *(["interrupted"] if item.get("interrupted") else [])]
    if rest := item.get("left_out"):
        marks.append(f"the end of it, {rest} characters before are left out")
    who = item["speaker"]
    speaker = (f"**{who}**" if who in _SPEAKERS else _code(quote(who))) + (f" ({', '.join(marks)})" if marks else "")
    voice = f" {_code(expression(item['expression']))}" if "expression" in item else ""
    return f"- {when(item).replace('*', 'earlier')} {speaker}: {_code(quote(item['text']))}{voice}"


def _code(line: str) -> str:
    """A code span of one line that neither begins nor ends with a backtick."""
    fence = "`" * (1 + max(map(len, _BACKTICKS.findall(line)), default=0))
    return f"{fence}{line}{fence}"
