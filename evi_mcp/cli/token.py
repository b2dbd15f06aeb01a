"""`evi-mcp token`: the tokens of a server over HTTP."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evi_mcp.access.callers import Access
from evi_mcp.errors import InvalidSetting

if TYPE_CHECKING:
    from evi_mcp.access.tokens import TokenEntry

SETTING = "EVI_MCP_TOKENS"

_FILE = click.option(
    "--file", "path", metavar="PATH", default=None, help=f"The tokens file.  [{SETTING}]", envvar=SETTING
)


@click.group()
def token() -> None:
    """Make, list and revoke tokens (EVI_MCP_TOKENS)."""


@token.command()
@click.argument("name")
@click.option(
    "--access",
    type=click.Choice([level.value for level in Access]),
    default=Access.MONITOR.value,
    show_default=True,
    help="What its holder may do.",
)
@click.option("--chat", "chats", multiple=True, metavar="ID", help="The only chats it reaches; may be repeated.")
@click.option("--tenant", default="", metavar="NAME", help="Whose chats it reaches; a [tenant.NAME] of the file.")
@click.option("--days", type=click.FloatRange(0, 36_500, min_open=True), default=None, help="It ends after so many.")
@_FILE
def new(name: str, access: str, chats: tuple[str, ...], tenant: str, days: float | None, path: str | None) -> int:
    """Make a token for NAME.

    Prints the token, which is shown this once: the file holds its SHA-256 only. A server that runs takes it at once.
    """
    from evi_mcp.access import token_edits  # what it needs takes a while to load, and no other command needs it

    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days) if days is not None else None
    file = _file(path)
    made = token_edits.add(file, name, access=Access(access), chats=chats, tenant=tenant, expires=expires)
    click.echo(made)
    click.echo(f"{_line(token_edits.entries(file)[-1])}, in {file}", err=True)
    return 0


@token.command("list")
@_FILE
def list_(path: str | None) -> int:
    """List the tokens, without what opens anything."""
    from evi_mcp.access import token_edits

    for entry in token_edits.entries(_file(path)):
        click.echo(_line(entry))
    return 0


@token.command()
@click.argument("name")
@_FILE
def revoke(name: str, path: str | None) -> int:
    """Revoke the token of NAME.

    A server that runs notices within a second, and ends what the token has opened. Status 1 if there is none.
    """
    from evi_mcp.access import token_edits

    if token_edits.revoke(_file(path), name):
        return 0
    click.echo(f"evi-mcp: no token has the name {name!r}", err=True)
    return 1


def _line(entry: "TokenEntry") -> str:
    parts = [
        f"{entry.name}: {entry.access.value}",
        f"tenant {entry.tenant}" if entry.tenant else "",
        f"chats {', '.join(sorted(entry.chats)) or 'none'}" if entry.chats is not None else "",
        f"until {entry.expires.isoformat()}" if entry.expires is not None else "",
        f"sha256 {entry.sha256[:12]}...",
    ]
    return ", ".join(part for part in parts if part)


def _file(path: str | None) -> Path:
    if not path:
        raise InvalidSetting(f"which file? Set {SETTING}, or give --file.")
    return Path(os.path.expanduser(path))
