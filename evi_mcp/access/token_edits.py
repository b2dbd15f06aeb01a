"""Changes to the tokens file that keep what a person wrote in it: comments, order, entries of others."""

import os
import tempfile
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT

from evi_mcp.access.callers import Access
from evi_mcp.access.tokens import SETTING, Table, TokenEntry, check_mode, digest_of, new_token, parse
from evi_mcp.errors import InvalidSetting
from evi_mcp.quoting import quote


def entries(path: Path) -> tuple[TokenEntry, ...]:
    """The tokens of the file. Raises `InvalidSetting` if it cannot be used."""
    return _table(path, _text(path)).token


def add(
    path: Path,
    name: str,
    *,
    access: Access,
    chats: Collection[str] = (),
    tenant: str = "",
    expires: datetime | None = None,
) -> str:
    """Adds a token, and makes the file if there is none; the token, which is nowhere else.

    Raises:
        InvalidSetting: The file cannot be used, or not with this entry.
    """
    token = new_token()
    text = _text(path) if path.exists() else ""
    document = tomlkit.parse(text)
    entry = tomlkit.table()
    entry["name"], entry["sha256"], entry["access"] = name, digest_of(token), access.value
    if chats:
        entry["chats"] = list(chats)
    if tenant:
        entry["tenant"] = tenant
    if expires is not None:
        entry["expires"] = expires
    tokens = document.setdefault("token", tomlkit.aot())
    if not isinstance(tokens, AoT):
        raise InvalidSetting(f"{SETTING}: the tokens in {quote(str(path), 200)} have to be written as [[token]].")
    tokens.append(entry)
    _write(path, tomlkit.dumps(document))
    return token


def revoke(path: Path, name: str) -> bool:
    """Takes a token out; whether there was one of this name. A server that runs notices within a second."""
    document = tomlkit.parse(_text(path))
    tokens = document.get("token", [])
    found = [place for place, entry in enumerate(tokens) if entry.get("name") == name]
    for place in reversed(found):
        del tokens[place]
    if found:
        _write(path, tomlkit.dumps(document))
    return bool(found)


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            check_mode(os.fstat(file.fileno()).st_mode)
            text = file.read()
        tomlkit.parse(text)
        return text
    except (OSError, ValueError, TOMLKitError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise InvalidSetting(f"{SETTING}: {quote(str(path), 200)} cannot be used: {said}.") from None


def _table(path: Path, text: str) -> Table:
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidSetting(f"{SETTING}: {quote(str(path), 200)} cannot be used: {error}.") from None


def _write(path: Path, text: str) -> None:
    """Replaces the file in one step, so that no reader finds half of it; readable by its owner only."""
    _table(path, text)
    target = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise InvalidSetting(f"{SETTING}: {quote(str(path), 200)} cannot be written: {error.strerror}.") from None
