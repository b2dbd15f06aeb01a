"""The settings as users know them: flags, variables and rows of the docs; and reading them."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError

from evi_mcp.config.settings import PREFIX, SECRETS, Settings
from evi_mcp.errors import InvalidSetting


class Row(NamedTuple):
    """A setting as users see it. `default` is `None` where there is none, `bare` what the flag means without a value:
    `None` where it needs one."""

    field: str
    flag: str
    variable: str
    default: str | None
    description: str
    bare: str | None


def rows() -> Iterator[Row]:
    """Every setting, in the order of the docs."""
    for name, info in Settings.model_fields.items():
        if name == "secrets":
            continue
        alias = info.validation_alias
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        default = info.default if info.default not in (None, "") else None
        default = extra.get("shown", default)
        text = f"{default:g}" if isinstance(default, float) else None if default is None else str(default)
        yield Row(
            name,
            "--" + name.replace("_", "-"),
            alias if isinstance(alias, str) else PREFIX + name.upper(),
            text,
            info.description or "",
            bare if isinstance(bare := extra.get("bare"), str) else None,
        )


def load(flags: Mapping[str, str | None] | None = None) -> Settings:
    """The settings of flags over environment variables over defaults.

    Args:
        flags: By field name; `None` values were not given.

    Raises:
        InvalidSetting: One cannot be used, or an `EVI_MCP_` variable is none of ours: a typing error in a limit
            that an operator relies on must not pass in silence.
    """
    variables = {row.field: row.variable for row in rows()}
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable not in variables.values() and not variable.startswith(SECRETS):
            raise InvalidSetting(f"{variable} is not a setting of this version; see `evi-mcp serve --help`.")
    given: dict[str, Any] = {name: value for name, value in (flags or {}).items() if value is not None}
    given["secrets"] = {
        variable.removeprefix(SECRETS): SecretStr(value)
        for variable, value in os.environ.items()
        if variable.startswith(SECRETS) and value
    }
    try:
        return Settings(**given)  # strings, as in the environment; pydantic converts them
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            said = problem["msg"].removeprefix("Value error, ")
            if not problem["loc"]:  # about several settings: it names them itself
                problems.append(said)
                continue
            field = str(problem["loc"][0])
            where = f"--{field.replace('_', '-')}" if (flags or {}).get(field) else variables.get(field, field)
            problems.append(f"{where}: {said[:1].lower()}{said[1:]}")
        raise InvalidSetting(f"{'; '.join(problems)}.") from None
