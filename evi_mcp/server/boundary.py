"""What every request passes on its way in, and every answer on its way out, whatever it is about.

On the way out nothing invisible is left in any text: results, resources, prompts, completions and errors all go through
`visible`. Notifications do so in `sdk.Connection`; those of a `subscriptions/listen` hold only URIs, which are ASCII.
"""

import logging
from dataclasses import replace
from typing import Any

import mcp_types as types
from mcp.server import MCPServer
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from evi_mcp.quoting import visible

_log = logging.getLogger(__name__)


def install(server: MCPServer[Any]) -> None:
    """From now on all requests of `server` pass here. What is installed later stands closer to the request."""
    server.middleware.append(_pass)


async def _pass(ctx: Any, call_next: Any) -> Any:
    try:
        return visible(await call_next(_without_nulls(ctx)))
    except MCPError as error:
        told = error.error
        raise MCPError(told.code, visible(told.message), visible(told.data)) from None
    except ValidationError:
        raise  # the SDK says that the parameters are invalid, and nothing more
    except Exception:
        _log.exception("a request failed inside this server")
        raise MCPError(
            types.INTERNAL_ERROR,
            "the request failed inside this server, which is not your fault: its log on stderr says why.",
        ) from None


def _without_nulls(ctx: Any) -> Any:
    """The request of a prompt, or of a completion, without the arguments that are `null`: they are left out."""
    params = ctx.params or {}
    where = params if ctx.method == "prompts/get" else params.get("context")
    if ctx.method not in ("prompts/get", "completion/complete") or not isinstance(where, dict):
        return ctx
    arguments = where.get("arguments")
    if not isinstance(arguments, dict) or None not in arguments.values():
        return ctx
    where = {**where, "arguments": {name: value for name, value in arguments.items() if value is not None}}
    return replace(ctx, params=where if ctx.method == "prompts/get" else {**params, "context": where})
