"""Answers that the layers around MCP give by themselves, as clients of both eras can read them."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

INVALID_REQUEST, INTERNAL_ERROR = -32600, -32603
BUSY_S = 5
"""What `Retry-After` says where only time helps."""


def problem(
    status: int,
    said: str,
    *,
    id: Any = None,
    retry_after: float | None = None,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, str] | None = None,
) -> Response:
    """An error in JSON-RPC, with the status of HTTP.

    Args:
        said: For whoever reads it, perhaps a model.
        id: Of the request that it answers; `None` where that is not known.
        retry_after: In seconds.
        more: Fields beside those of JSON-RPC.
    """
    code = INTERNAL_ERROR if status >= 500 else INVALID_REQUEST
    body = {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": said}, **(more or {})}
    sent = dict(headers or {})
    if retry_after is not None:
        sent["Retry-After"] = f"{max(1.0, retry_after):.0f}"
    return Response(json.dumps(body), status_code=status, headers=sent, media_type="application/json")


def busy(said: str, *, id: Any = None, retry_after: float = BUSY_S) -> Response:
    """503: the same request may succeed later."""
    return problem(503, said, id=id, retry_after=retry_after)
