"""What is wrong with the arguments of a tool, in one sentence for the model that gave them."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from evi_mcp.protocol.redaction import Mask
from evi_mcp.quoting import name, plain

MAX_PROBLEMS = 5
"""Wrong arguments told of at once."""

_IS_TYPE = re.compile(r"str|int|float|bool|(dict|list|function-\w+)\[.*", re.DOTALL)

_WANTED = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": 'must be a list, such as ["..."]',
    "dict_type": 'must be an object, such as {{"name": "value"}}',
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "missing": "is required",
    "extra_forbidden": "is not a field that there is",
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be more than {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be less than {lt:g}",
    "too_long": "takes at most {max_length}",
    "too_short": "takes at least {min_length}",
    "string_too_long": "takes at most {max_length} characters",
    "string_too_short": "takes at least {min_length} characters",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
}
"""By the kind of a problem, in pydantic's words, what is wanted; with the numbers of its context."""


def sentence(tool: str, error: ValidationError, mask: Mask) -> str:
    """What is wrong, without the values. Masked before it is cut: a cut could halve a secret."""
    found = error.errors(include_url=False, include_input=False)
    problems = dict.fromkeys(f"{_where(problem, mask)}{_what(problem, mask)}" for problem in found[:MAX_PROBLEMS])
    rest = f"; and {len(found) - MAX_PROBLEMS} more" if len(found) > MAX_PROBLEMS else ""
    return f"{tool} was not run, correct its arguments: {'; '.join(problems)}{rest}."


def _where(problem: Mapping[str, Any], mask: Mask) -> str:
    *outer, last = problem["loc"] or ("arguments",)
    # The last part names one of several types that a value may have, if it has none of them.
    place = outer if outer and _IS_TYPE.fullmatch(str(last)) else [*outer, last]
    return ".".join(name(mask(str(part)), 40) for part in place)


def _what(problem: Mapping[str, Any], mask: Mask) -> str:
    wanted = _WANTED.get(problem["type"])
    if wanted is not None:
        return " " + wanted.format_map(problem.get("ctx", {}))
    if problem["type"] == "value_error":
        said = plain(mask(problem["msg"]).removeprefix("Value error, "), 1000)
        return f": {said[:1].lower()}{said[1:]}"
    return " is not of the right form"
