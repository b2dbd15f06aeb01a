"""Loading what serves, so that the first answer comes soon: some clients wait for it for no more than a second."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter

DEFERRED = ConfigDict(defer_build=True)


@contextmanager
def quickly() -> Iterator[None]:
    """While modules are loaded: models are built when they are first used, and garbage is not looked for.

    The SDK has 350 models, one for each message of each version of MCP, and adapters for all of them at once; a
    connection uses a dozen, and to build all of them is a quarter of the start. Pydantic's `defer_build` puts that off;
    a model takes it over from its base, an adapter has to be given it. Passes over what loading makes, and what stays,
    are another tenth: who serves turns them on again.
    """
    gc.disable()
    build = TypeAdapter.__init__

    def build_later(self: TypeAdapter[Any], type: Any, **given: Any) -> None:
        try:
            build(self, type, **{"config": DEFERRED, "_parent_depth": 3, **given})
        except (PydanticUserError, TypeError):  # it has a configuration of its own
            build(self, type, **given)

    BaseModel.model_config.update(DEFERRED)
    TypeAdapter.__init__ = build_later  # type: ignore[method-assign]  # there is no setting for all of them
    try:
        yield
    finally:
        TypeAdapter.__init__ = build  # type: ignore[method-assign]  # as above
        del BaseModel.model_config["defer_build"]
