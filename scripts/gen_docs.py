"""Writes the pages of `docs/` that are made from the code; with `--check`, says which are stale (status 1)."""

import sys
from pathlib import Path

from evi_mcp.config import rows

ROOT = Path(__file__).parent.parent
SETTINGS = """\
# Settings

Made by `make docs` from `evi_mcp/config.py`. A flag of `evi-mcp serve` wins over the variable. An `EVI_MCP_` variable
that is not in this table stops the server with status 2, so that a mistyped limit does not pass in silence.

| Variable | Flag | Default | Meaning |
| --- | --- | --- | --- |
"""


def settings_page() -> str:
    """The table of settings."""
    lines = [
        f"| `{row.variable}` | `{row.flag}` | {f'`{row.default}`' if row.default else 'none'} | {row.description} |"
        for row in rows()
    ]
    return SETTINGS + "\n".join(lines) + "\n"


PAGES = {ROOT / "docs" / "settings.md": settings_page}


def main() -> int:
    """Writes or checks every page."""
    stale = [page for page, make in PAGES.items() if not page.exists() or page.read_text("utf-8") != make()]
    if "--check" in sys.argv:
        for page in stale:
            print(f"{page.relative_to(ROOT)} is stale; run `make docs`")
        return 1 if stale else 0
    for page in stale:
        page.write_text(PAGES[page](), "utf-8")
        print(f"wrote {page.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
