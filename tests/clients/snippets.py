"""The lines of docs/clients.md that are to be pasted, and a PATH on which they find the program."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from tests.process.conftest import SCRIPT

PAGE = Path(__file__).parent.parent.parent / "docs" / "clients.md"


class Snippet(NamedTuple):
    """What stands under a heading."""

    language: str
    code: str


def snippets() -> dict[str, Snippet]:
    """By heading, each of which has one."""
    found: dict[str, Snippet] = {}
    for section in PAGE.read_text().split("\n### ")[1:]:
        blocks = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        assert len(blocks) == 1, section
        found[section.partition("\n")[0]] = Snippet(*blocks[0])
    return found


def program(folder: Path, base_url: str, *, slow_s: float = 0) -> Path:
    """A folder with an `evi-mcp` whose chats are those at this address, in the mode of the page. It takes so long to
    start.

    Frameworks pass on `PATH`, and hardly anything else.
    """
    script = folder / "evi-mcp"
    waiting = f"sleep {slow_s}\n" if slow_s else ""
    settings = f"EVI_MCP_BASE_URL={base_url} EVI_MCP_RESULTS=text"
    script.write_text(f'#!/bin/sh\n{waiting}{settings} exec {shlex.quote(SCRIPT)} "$@"\n')
    script.chmod(0o755)
    return folder
