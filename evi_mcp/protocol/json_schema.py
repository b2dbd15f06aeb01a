"""Whether a text is a JSON Schema, as the `parameters` of a tool have to be."""

import json

from evi_mcp.quoting import quote

MAX_SCHEMA = 64 * 1024
"""The longest schema that is checked, in characters."""


def schema_problem(text: str) -> str | None:
    """Why the text is no JSON Schema that is an object; `None` if it is one.

    The dialect is the one that `$schema` names, 2020-12 if it names none or an unknown one. Nothing is fetched.
    """
    if len(text) > MAX_SCHEMA:
        return f"is longer than {MAX_SCHEMA} characters, too long to be checked"
    # Imported here: it takes a tenth of a second to load, and most processes never need it.
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        schema = json.loads(text, parse_constant=refuse)
        if not isinstance(schema, dict):
            return "must be a JSON Schema, which is a JSON object"
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        where = ".".join(map(str, error.path)) or "the schema"
        return f"is no JSON Schema: at {quote(where, 80)}, {quote(error.message, 200)}"
    except (ValueError, RecursionError):
        return "is not JSON; give the JSON Schema as an object, or as its JSON text"
    except Exception as error:  # a `$schema` of a wrong type, for one, breaks the library
        return f"is no JSON Schema ({type(error).__name__})"
    return None
